package place

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A host is a directory that stands for one.
type host struct {
	t    testing.TB
	root string
	tree string // its cgroups
	mark uint64 // of their ids: V1 or none
}

func newHost(t testing.TB, v1 bool) *host {
	root, err := os.MkdirTemp("", "kube") // t.TempDir is too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	h := &host{t: t, root: root}
	h.tree = filepath.Join(h.root, "sys/fs/cgroup")
	mount := "35 30 0:29 / " + h.tree + " rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
	if v1 {
		mount = "35 30 0:29 / " + h.tree + " rw - cgroup cgroup rw,memory\n"
		h.mark = V1
	}
	h.write("proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"+mount)
	h.write("proc/self/cgroup", "9:name=systemd:/\n4:memory:/\n0::/\n")
	h.cgroup("/")
	return h
}

func (h *host) write(name, content string) {
	h.t.Helper()
	path := filepath.Join(h.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) link(to, name string) {
	h.t.Helper()
	path := filepath.Join(h.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.Symlink(to, path); err != nil {
		h.t.Fatal(err)
	}
}

// cgroup makes a cgroup and returns its id.
func (h *host) cgroup(path string) uint64 {
	h.t.Helper()
	dir := filepath.Join(h.tree, path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		h.t.Fatal(err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		h.t.Fatal(err)
	}
	return inode(info) | h.mark
}

// dockerContainer names a container as docker does.
func (h *host) dockerContainer(id, name string) {
	h.t.Helper()
	h.write("var/lib/docker/containers/"+id+"/config.v2.json", `{"ID":"`+id+`","Name":"/`+name+`","Config":{"Labels":{}}}`)
}

// closedPort is where no kubelet is.
var closedPort = Kubelet{URL: "http://127.0.0.1:1"}

// resolver starts one that has read the tree and all files.
func (h *host) resolver(opts Options) *Resolver {
	h.t.Helper()
	if opts.Kubelet.URL == "" {
		opts.Kubelet = closedPort
	}
	r, err := New(Roots{FS: h.root}, opts)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(r.Close)
	await(h.t, r.Scanned(), "the tree to be read")
	return r
}

func await[T any](t testing.TB, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(10 * time.Second):
		t.Fatalf("waited in vain for %s", what)
	}
	return v
}

// recorded is one directory of testdata/cgroup.
type recorded struct {
	dir    string
	places []recordedPlace
}

type recordedPlace struct {
	id   uint64
	path string
	Place
}

func (c recorded) read(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(c.dir, name))
	if os.IsNotExist(err) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func allRecorded(t testing.TB) map[string]recorded {
	t.Helper()
	dirs, err := filepath.Glob("../../testdata/cgroup/*/places.txt")
	if err != nil || len(dirs) < 14 {
		t.Fatalf("found %d recorded hosts, error %v", len(dirs), err)
	}
	all := make(map[string]recorded)
	for _, file := range dirs {
		c := recorded{dir: filepath.Dir(file)}
		lines := bufio.NewScanner(strings.NewReader(c.read(t, "places.txt")))
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "#") {
				continue
			}
			var p recordedPlace
			_, err := fmt.Sscan(lines.Text(), &p.id, &p.path, &p.ContainerID, &p.PodUID, &p.Namespace, &p.Pod, &p.Container)
			if err != nil {
				t.Fatalf("%s: %q: %v", file, lines.Text(), err)
			}
			for _, s := range []*string{&p.ContainerID, &p.PodUID, &p.Namespace, &p.Pod, &p.Container} {
				if *s == "-" {
					*s = ""
				}
			}
			c.places = append(c.places, p)
		}
		all[filepath.Base(c.dir)] = c
	}
	return all
}

// cri is what the runtime said of its containers and sandboxes.
type criList struct {
	Containers, Sandboxes []struct {
		ID     string
		Labels map[string]string
	}
}

func (c recorded) cri(t testing.TB) (list criList) {
	t.Helper()
	if data := c.read(t, "cri.json"); data != "" {
		if err := json.Unmarshal([]byte(data), &list); err != nil {
			t.Fatal(err)
		}
	}
	return list
}
