package place

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// sameNames compares names, wherever they are from.
var sameNames = cmp.Comparer(func(a, b names) bool {
	a.from, b.from = stamp{}, stamp{}
	return a == b
})

func TestFiles(t *testing.T) {
	const (
		bundle  = "run/containerd/io.containerd.runtime.v2.task/"
		link    = "var/log/containers/"
		pods    = "/var/log/pods/"
		crio    = "run/containers/storage/overlay-containers/" + idA + "/userdata/config.json"
		podman  = "containers/storage/overlay-containers/"
		aPodman = `[{"id":"` + idB + `","names":["other"]},{"id":"` + idA + `","names":["db","alias"],"metadata":"{}"}]`
	)
	inPod := target{podUID: uid, id: idA}
	want := names{container: "app", pod: "web-0", namespace: "demo"}
	withUID := want
	withUID.podUID = uid
	long := strings.Repeat("p", 200)
	// What kubelet makes of a name that is too long.
	cut := func(pod, container, id string) string {
		return (pod + "_demo_" + container + "-" + id)[:251] + ".log"
	}
	crioSpec := `{"annotations":{"io.kubernetes.cri-o.ContainerType":"TYPE","io.kubernetes.container.name":"NAME",
		"io.kubernetes.pod.name":"web-0","io.kubernetes.pod.namespace":"demo","io.kubernetes.pod.uid":"` + uid + `"}}`

	tests := map[string]struct {
		files  map[string]string // a content that begins with "->" makes a link
		target target
		want   names
	}{
		"nothing there": {target: inPod},
		"k3s's bundle": {
			files: map[string]string{"run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/" + idA + "/config.json": `{"annotations":{
				"io.kubernetes.cri.container-name":"app","io.kubernetes.cri.sandbox-name":"web-0","io.kubernetes.cri.sandbox-namespace":"demo","io.kubernetes.cri.sandbox-uid":"` + uid + `"}}`},
			target: inPod, want: withUID,
		},
		"an old bundle, with the rest from the link": {
			files: map[string]string{
				bundle + "k8s.io/" + idA + "/config.json": `{"annotations":{"io.kubernetes.cri.container-name":"app"}}`,
				link + "web-0_demo_app-" + idA + ".log":   "->" + pods + "demo_web-0_" + uid + "/app/0.log",
				link + "other-0_demo_app-" + idB + ".log": "->" + pods + "demo_other-0_" + uid + "/app/0.log",
				link + "noise":                                "",
				link + "web-0-app-" + idA + ".log":            "",
				link + "demo_app-" + idA + ".log":             "",
				"var/log/pods/demo_web-0_" + uid + "/x/0.log": "",
			},
			target: inPod, want: want,
		},
		"nerdctl": {
			files:  map[string]string{bundle + "default/" + idA + "/config.json": `{"annotations":{"nerdctl/name":"db"}}`},
			target: target{id: idA, runtime: "containerd"}, want: names{container: "db"},
		},
		"CRI-O": {
			files:  map[string]string{crio: strings.NewReplacer("TYPE", "container", "NAME", "app").Replace(crioSpec)},
			target: target{podUID: uid, id: idA, runtime: "crio"}, want: withUID,
		},
		"CRI-O's sandbox": {
			files:  map[string]string{crio: strings.NewReplacer("TYPE", "sandbox", "NAME", "POD").Replace(crioSpec)},
			target: target{podUID: uid, id: idA, runtime: "crio"},
			want:   names{pod: "web-0", namespace: "demo", podUID: uid, sandbox: true},
		},
		"docker": {
			files:  map[string]string{"var/lib/docker/containers/" + idA + "/config.v2.json": `{"Name":"/db","Config":{"Labels":null}}`},
			target: target{id: idA, runtime: "docker"}, want: names{container: "db"},
		},
		"docker elsewhere": {
			files: map[string]string{
				"etc/docker/daemon.json":                           `{"data-root":"/big/docker"}`,
				"big/docker/containers/" + idA + "/config.v2.json": `{"Name":"/db"}`,
			},
			target: target{id: idA, runtime: "docker"}, want: names{container: "db"},
		},
		"docker, rootless": {
			files:  map[string]string{"home/ann/.local/share/docker/containers/" + idA + "/config.v2.json": `{"Name":"/db"}`},
			target: target{id: idA, runtime: "docker"}, want: names{container: "db"},
		},
		"docker below Kubernetes": {
			files: map[string]string{"var/lib/docker/containers/" + idA + "/config.v2.json": `{"Name":"/k8s_app_web-0_demo_` + uid + `_0","Config":{"Labels":{
				"io.kubernetes.container.name":"app","io.kubernetes.pod.name":"web-0","io.kubernetes.pod.namespace":"demo","io.kubernetes.pod.uid":"` + uid + `","io.kubernetes.docker.type":"container"}}}`},
			target: inPod, want: withUID,
		},
		"docker's logs tell their container": {
			files: map[string]string{
				"var/log/pods/demo_web-0_" + uid + "/side/0.log": "->/var/lib/docker/containers/" + idB + "/" + idB + "-json.log",
				"var/log/pods/demo_web-0_" + uid + "/app/0.log":  "->/var/lib/docker/containers/" + idA + "/" + idA + "-json.log",
			},
			target: inPod, want: want,
		},
		"other logs do not": {
			files:  map[string]string{"var/log/pods/demo_web-0_" + uid + "/app/0.log": "", "var/log/pods/x": ""},
			target: inPod, want: names{pod: "web-0", namespace: "demo"},
		},
		"podman": {
			files:  map[string]string{"var/lib/" + podman + "containers.json": aPodman},
			target: target{id: idA, runtime: "podman"}, want: names{container: "db"},
		},
		"podman, with --rm": {
			files:  map[string]string{"var/lib/" + podman + "containers.json": "[]", "var/lib/" + podman + "volatile-containers.json": aPodman},
			target: target{id: idA, runtime: "podman"}, want: names{container: "db"},
		},
		"docker with a folder of its own, by its flag": {
			files: map[string]string{
				"proc/7/comm": "dockerd\n", "proc/7/cmdline": "/usr/bin/dockerd\x00--debug\x00--data-root=/srv/docker\x00",
				"srv/docker/containers/" + idA + "/config.v2.json": `{"Name":"/db"}`,
			},
			target: target{id: idA, runtime: "docker"}, want: names{container: "db"},
		},
		"the same, beside others and as an argument of its own": {
			files: map[string]string{
				"proc/6/comm": "sh\n", "proc/6/cmdline": "sh\x00-c\x00dockerd --data-root=/x\x00",
				"proc/7/comm": "dockerd\n", "proc/7/cmdline": "dockerd\x00-H\x00unix:///run/b.sock\x00--data-root\x00/srv/b\x00",
				"proc/8/comm": "dockerd\n", "proc/8/cmdline": "dockerd\x00-g\x00/srv/c\x00",
				"srv/c/containers/" + idA + "/config.v2.json": `{"Name":"/db"}`,
			},
			target: target{id: idA, runtime: "docker"}, want: names{container: "db"},
		},
		"the same, by a configuration of another name": {
			files: map[string]string{
				"proc/7/comm": "dockerd\n", "proc/7/cmdline": "dockerd\x00--config-file\x00/srv/d.json\x00",
				"srv/d.json": `{"data-root":"/srv/d"}`,
				"srv/d/containers/" + idA + "/config.v2.json": `{"Name":"/db"}`,
			},
			target: target{id: idA}, want: names{container: "db"},
		},
		"docker in a mount namespace of its own": {
			files: map[string]string{
				"proc/7/comm": "dockerd\n", "proc/7/cmdline": "dockerd\x00",
				"proc/7/root/var/lib/docker/containers/" + idA + "/config.v2.json": `{"Name":"/db"}`,
			},
			target: target{id: idA, runtime: "docker"}, want: names{container: "db"},
		},
		"podman, rootless, beside one whose list is broken": {
			files: map[string]string{
				"home/ann/.local/share/" + podman + "containers.json": "[{",
				"home/bob/.local/share/" + podman + "containers.json": aPodman,
			},
			target: target{id: idA, runtime: "podman"}, want: names{container: "db"},
		},
		"a link whose name is cut in the id": {
			files: map[string]string{
				link + cut(long, "app", idA):  "->" + pods + "demo_" + long + "_" + uid + "/app/0.log",
				link + cut(long, "side", idB): "->" + pods + "demo_" + long + "_" + uid + "/side/0.log",
			},
			target: inPod, want: names{container: "app", pod: long, namespace: "demo"},
		},
		"a link whose name is cut before the id": {
			files: map[string]string{
				link + cut(long+strings.Repeat("p", 42), "app", idA): "->" + pods + "demo_" + long + "_" + uid + "/app/0.log",
			},
			target: inPod,
		},
		"a name that is too long": {
			files:  map[string]string{bundle + "x/" + idA + "/config.json": `{"annotations":{"nerdctl/name":"` + strings.Repeat("n", 5000) + `"}}`},
			target: target{id: idA}, want: names{container: strings.Repeat("n", maxText)},
		},
		"a pod without a container": {
			files:  map[string]string{"var/log/pods/demo_web-0_" + uid + "/app/0.log": "", link + "web-0_demo_app-" + idA + ".log": ""},
			target: target{podUID: uid}, want: names{pod: "web-0", namespace: "demo"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, false)
			for name, content := range tt.files {
				if to, ok := strings.CutPrefix(content, "->"); ok {
					h.link(to, name)
				} else {
					h.write(name, content)
				}
			}
			got, errs := newFiles(Roots{FS: h.root}.filled()).find(tt.target)
			if diff := cmp.Diff(tt.want, got, sameNames); diff != "" {
				t.Errorf("errors %v, names (-want +got):\n%s", errs, diff)
			}
		})
	}
}

func TestFilesThatAreTraps(t *testing.T) {
	traps := map[string]struct {
		set  func(path string) error
		want string
	}{
		"fifo":      {func(path string) error { return syscall.Mkfifo(path, 0o644) }, "not a regular file"},
		"directory": {func(path string) error { return os.Mkdir(path, 0o755) }, "not a regular file"},
		"link":      {func(path string) error { return os.Symlink("/etc/passwd", path) }, "too many levels"},
		"huge":      {func(path string) error { return errOf(os.WriteFile(path, nil, 0o644), os.Truncate(path, 1<<40)) }, "larger than"},
		"no JSON":   {func(path string) error { return os.WriteFile(path, []byte("{"), 0o644) }, "parse"},
		"wrong JSON": {func(path string) error {
			return os.WriteFile(path, []byte(`{"annotations":[1]}`), 0o644)
		}, "parse"},
	}
	for name, trap := range traps {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, false)
			path := filepath.Join(h.root, "run/containerd/io.containerd.runtime.v2.task/k8s.io", idA, "config.json")
			if err := errOf(os.MkdirAll(filepath.Dir(path), 0o755), trap.set(path)); err != nil {
				t.Fatal(err)
			}
			h.dockerContainer(idA, "db") // the next source is asked all the same
			got, errs := newFiles(Roots{FS: h.root}.filled()).find(target{id: idA})
			if got.container != "db" {
				t.Errorf("got %+v", got)
			}
			err := errs["containerd's bundles"]
			if err == nil || !strings.Contains(err.Error(), trap.want) {
				t.Errorf("got error %v, want %q", err, trap.want)
			}
		})
	}
}

func errOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestFilesThatMayNotBeRead(t *testing.T) {
	h := newHost(t, false)
	h.write("run/containerd/io.containerd.runtime.v2.task", "a file where a directory should be")
	id := h.cgroup("/docker/" + idA)
	r := h.resolver(Options{})
	r.Lookup(id, 0)
	problems := strings.Join(r.Problems(), "\n")
	if !strings.Contains(problems, "containerd's bundles: ") || !strings.Contains(problems, "not a directory") {
		t.Errorf("problems: %s", problems)
	}
}

// A list that has all containers is read once, not once for each of them.
func TestPodmansListIsReadOnce(t *testing.T) {
	h := newHost(t, false)
	const path = "var/lib/containers/storage/overlay-containers/containers.json"
	list := func(name string) string {
		return `[{"id":"` + idA + `","names":["` + name + `1"]},{"id":"` + idB + `","names":["` + name + `2"]}]`
	}
	at := time.Now().Add(-time.Hour)
	write := func(name string, at time.Time) {
		t.Helper()
		h.write(path, list(name))
		if err := os.Chtimes(filepath.Join(h.root, path), at, at); err != nil {
			t.Fatal(err)
		}
	}
	f := newFiles(Roots{FS: h.root}.filled())
	found := func(id string) string {
		n, _ := f.find(target{id: id, runtime: "podman"})
		return n.container
	}
	write("db", at)
	first := found(idA)
	write("ab", at) // nobody can tell that it has changed
	second := found(idB)
	write("ab", at.Add(time.Second))
	third := found(idA)
	if got, want := []string{first, second, third}, []string{"db1", "db2", "ab1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
