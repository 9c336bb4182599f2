package place

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Bounds of what is read: many times what real hosts have, and small enough
// that a file made to be large does no harm.
const (
	maxProc   = 64 << 10
	maxMounts = 8 << 20
	maxState  = 8 << 20  // a runtime's state file
	maxAnswer = 32 << 20 // a list of all pods of a node
	maxNames  = 1 << 16  // entries of a directory of logs
	maxText   = 253      // a name; Kubernetes allows no longer one
)

// target is what a cgroup path tells of a container, and what sources are
// asked about: at least one of podUID and id is set.
type target struct{ podUID, id, runtime string }

// names is what a source knows; empty where it does not.
type names struct {
	container, pod, namespace, podUID string
	// sandbox is a pod's first container, which holds its namespaces and has
	// no name in Kubernetes.
	sandbox bool
	// from is the file that the container's name is from, where that may be
	// changed while the container runs; else empty.
	from stamp
}

// A stamp is a file as it was when it was read.
type stamp struct {
	path string
	time time.Time
	size int64
	ino  uint64
}

// stampOf is the file at path as it is now; the zero stamp where there is none.
func stampOf(path string) stamp {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}
	}
	return stamp{path, info.ModTime(), info.Size(), inode(info)}
}

// add fills from m what n lacks.
func (n *names) add(m names) {
	fill := func(to *string, from string) {
		if len(from) > maxText {
			from = strings.Clone(from[:maxText])
		}
		*to = cmp.Or(*to, from)
	}
	fill(&n.container, m.container)
	fill(&n.pod, m.pod)
	fill(&n.namespace, m.namespace)
	fill(&n.podUID, m.podUID)
	n.sandbox = n.sandbox || m.sandbox
	if n.from == (stamp{}) {
		n.from = m.from
	}
}

// complete reports whether there is nothing left to ask for.
func (n *names) complete(t target) bool {
	if t.runtime == "buildkit" {
		return true // steps of a build have no names
	}
	named := n.container != "" || n.sandbox || t.id == ""
	if t.podUID == "" && n.podUID == "" {
		return n.container != ""
	}
	return named && n.pod != "" && n.namespace != ""
}

// files finds names in what kubelet and the runtimes leave on disk, below
// root. That needs no credential, no network and nobody to answer: only the
// right to read. It is for one goroutine.
type files struct {
	root, proc string
	lists      map[string]podmanList // by path
	daemons    []string              // where daemons of docker that run keep containers
	daemonsDue time.Time             // to be looked for again
}

func newFiles(roots Roots) *files {
	return &files{root: roots.FS, proc: roots.Proc, lists: make(map[string]podmanList)}
}

// storage is where CRI-O and podman keep containers.
var storage = []string{"run/containers/storage", "var/lib/containers/storage"}

// fileSources are asked in this order until the names are complete. A source
// that has nothing returns empty names or fs.ErrNotExist.
var fileSources = []struct {
	name string
	find func(*files, target) (names, error)
}{
	{"containerd's bundles", (*files).bundle},
	{"CRI-O's state", (*files).crio},
	{"docker's state", (*files).docker},
	{"podman's state", (*files).podman},
	{"kubelet's links in /var/log/containers", (*files).logLinks},
	{"kubelet's directories in /var/log/pods", (*files).logDirs},
}

// find merges what the sources have. Their errors, by source, are for the
// user to see: names may be there that could not be read.
func (f *files) find(t target) (n names, errs map[string]error) {
	for _, s := range fileSources {
		m, err := s.find(f, t)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			if errs == nil {
				errs = make(map[string]error)
			}
			errs[s.name] = err
		}
		if n.add(m); n.complete(t) {
			break
		}
	}
	return n, errs
}

// bundle reads the annotations of the OCI bundle, which is there before the
// container's cgroup is.
func (f *files) bundle(t target) (names, error) {
	return f.spec(t, "io.containerd.runtime.v2.task/*/"+t.id+"/config.json",
		"run/containerd", "run/k3s/containerd", "run/k0s/containerd", "var/snap/microk8s/common/run/containerd")
}

func (f *files) crio(t target) (names, error) {
	return f.spec(t, "*-containers/"+t.id+"/userdata/config.json", storage...)
}

// spec reads an OCI spec.
func (f *files) spec(t target, pattern string, dirs ...string) (names, error) {
	if t.id == "" {
		return names{}, nil
	}
	paths, err := f.glob(pattern, dirs...)
	if len(paths) == 0 {
		return names{}, err
	}
	var spec struct{ Annotations map[string]string }
	err = readJSON(paths[0], &spec)
	return fromLabels(spec.Annotations), err
}

// fromLabels reads the annotations and labels that runtimes and kubelet give
// a container.
func fromLabels(labels map[string]string) names {
	first := func(keys ...string) string {
		for _, k := range keys {
			if v := labels[k]; v != "" {
				return v
			}
		}
		return ""
	}
	n := names{
		container: first("io.kubernetes.cri.container-name", "io.kubernetes.container.name", "nerdctl/name"),
		pod:       first("io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"),
		namespace: first("io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"),
		podUID:    first("io.kubernetes.cri.sandbox-uid", "io.kubernetes.pod.uid"),
	}
	switch first("io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType", "io.kubernetes.docker.type") {
	case "sandbox", "podsandbox":
		n.sandbox, n.container = true, "" // CRI-O and docker call it POD
	}
	return n
}

func (f *files) docker(t target) (names, error) {
	if t.id == "" || t.runtime == "podman" || t.runtime == "buildkit" {
		return names{}, nil
	}
	dirs := []string{"var/lib/docker", "var/snap/docker/common/var-lib-docker"}
	if dir := dataRoot(filepath.Join(f.root, "etc/docker/daemon.json")); dir != "" {
		dirs = append(dirs, dir)
	}
	if t.runtime == "docker" { // homes are often far away: only where they are sure to matter
		dirs = append(dirs, "home/*/.local/share/docker")
	}
	state := "containers/" + t.id + "/config.v2.json"
	paths, err := f.glob(state, dirs...)
	if len(paths) == 0 && t.podUID == "" {
		for _, dir := range f.dockerDaemons() {
			if path := filepath.Join(dir, state); stampOf(path) != (stamp{}) {
				paths = append(paths, path)
			}
		}
	}
	if len(paths) == 0 {
		return names{}, err
	}
	var c struct {
		Name   string
		Config struct{ Labels map[string]string }
	}
	from := stampOf(paths[0])
	err = readJSON(paths[0], &c)
	n := fromLabels(c.Config.Labels)
	if n.pod == "" {
		n.container, n.from = strings.TrimPrefix(c.Name, "/"), from // docker rename
	}
	return n, err
}

// dataRoot is what a file of docker's configuration says of where it keeps containers.
func dataRoot(path string) string {
	var daemon struct {
		Root string `json:"data-root"`
	}
	_ = readJSON(path, &daemon) // mostly there is no such file
	return daemon.Root
}

// daemonsAge is how long it is believed where docker keeps containers: to look through
// all processes takes some milliseconds.
const daemonsAge = 5 * time.Second

// dockerDaemons are the folders where daemons that run keep containers, as their
// command lines say: each as the daemon itself sees it, where that may be looked at.
func (f *files) dockerDaemons() []string {
	if time.Now().Before(f.daemonsDue) {
		return f.daemons
	}
	f.daemons = nil
	all, _ := os.ReadDir(f.proc) // without it there are none
	for _, p := range all {
		if p.Name()[0] < '1' || p.Name()[0] > '9' {
			continue
		}
		dir := filepath.Join(f.proc, p.Name())
		comm, err := readFile(filepath.Join(dir, "comm"), maxProc)
		if err != nil || string(bytes.TrimSpace(comm)) != "dockerd" {
			continue
		}
		line, err := readFile(filepath.Join(dir, "cmdline"), maxProc)
		if err != nil {
			continue
		}
		args := strings.Split(string(line), "\x00")
		root := f.root
		if _, err := os.Stat(filepath.Join(dir, "root/.")); err == nil {
			root = filepath.Join(dir, "root")
		}
		kept := flagOf(args, "--data-root", "-g", "--graph")
		if kept == "" {
			kept = dataRoot(filepath.Join(root, cmp.Or(flagOf(args, "--config-file"), "/etc/docker/daemon.json")))
		}
		f.daemons = append(f.daemons, filepath.Join(root, cmp.Or(kept, "/var/lib/docker")))
	}
	f.daemonsDue = time.Now().Add(daemonsAge)
	return f.daemons
}

// flagOf is the value of a flag by one of these names, behind = or as the next argument.
func flagOf(args []string, flags ...string) string {
	for i, arg := range args {
		for _, flag := range flags {
			if value, ok := strings.CutPrefix(arg, flag+"="); ok {
				return value
			}
			if arg == flag && i+1 < len(args) {
				return args[i+1]
			}
		}
	}
	return ""
}

// A podmanList is a list of podman's containers, as it was when it was read.
type podmanList struct {
	stamp
	names map[string]string // by id
	err   error
}

// podman reads its list of containers, and that of the ones made with --rm.
func (f *files) podman(t target) (names, error) {
	if t.id == "" || t.podUID != "" || t.runtime != "podman" && t.runtime != "" {
		return names{}, nil
	}
	dirs := storage
	if t.runtime == "podman" {
		dirs = slices.Concat(dirs, []string{"home/*/.local/share/containers/storage", "run/user/*/containers"})
	}
	paths, failed := f.glob("*-containers/*containers.json", dirs...)
	for _, path := range paths {
		list := f.podmanList(path)
		if list.err != nil {
			failed = list.err // another user's may be whole
		}
		if name := list.names[t.id]; name != "" {
			return names{container: name, from: list.stamp}, nil // podman rename
		}
	}
	return names{}, failed
}

// podmanList reads a list, if it is not the one that was read last: it has all
// containers, and is asked for one after the other.
func (f *files) podmanList(path string) podmanList {
	now := stampOf(path)
	if last, ok := f.lists[path]; ok && last.stamp == now {
		return last
	}
	list := podmanList{stamp: now, names: make(map[string]string)}
	var all []struct {
		ID    string
		Names []string
	}
	list.err = readJSON(path, &all)
	for _, c := range all {
		if len(c.Names) > 0 {
			list.names[c.ID] = c.Names[0]
		}
	}
	f.lists[path] = list
	return list
}

// logLinks reads POD_NAMESPACE_CONTAINER-ID.log, the name of a link that kubelet
// makes once the container runs.
func (f *files) logLinks(t target) (names, error) {
	if t.podUID == "" || t.id == "" {
		return names{}, nil
	}
	const whole = 255 // kubelet cuts the name to fit
	dir := filepath.Join(f.root, "var/log/containers")
	links, err := readNames(dir)
	for _, link := range links {
		name := strings.TrimSuffix(link, ".log")
		if head, ok := strings.CutSuffix(name, "-"+t.id); ok {
			if pod, rest, ok := strings.Cut(head, "_"); ok {
				if namespace, container, ok := strings.Cut(rest, "_"); ok {
					return names{container: container, pod: pod, namespace: namespace}, nil
				}
			}
		}
		if len(link) < whole {
			continue
		}
		// The id is cut: .../NAMESPACE_POD_UID/CONTAINER/0.log, where it points
		// to, has the rest of the name, and enough digits must remain of the id.
		to, err := os.Readlink(filepath.Join(dir, link))
		if err != nil {
			continue
		}
		n, uid := fromLogDir(filepath.Base(filepath.Dir(filepath.Dir(to))))
		n.container = filepath.Base(filepath.Dir(to))
		begin := n.pod + "_" + n.namespace + "_" + n.container + "-"
		if uid == t.podUID && len(name) >= len(begin)+minPrefix && strings.HasPrefix(begin+t.id, name) {
			return n, nil
		}
	}
	return names{}, err
}

// logDirs finds the pod by its uid in NAMESPACE_POD_UID. Which container it is
// the directories below tell only where the logs are links to docker's.
func (f *files) logDirs(t target) (names, error) {
	if t.podUID == "" {
		return names{}, nil
	}
	dir := filepath.Join(f.root, "var/log/pods")
	pods, err := readNames(dir)
	for _, pod := range pods {
		n, uid := fromLogDir(pod)
		if uid != t.podUID {
			continue
		}
		logs, _ := f.glob(pod+"/*/*.log", "var/log/pods")
		for _, log := range logs {
			if to, err := os.Readlink(log); err == nil && t.id != "" && strings.Contains(to, t.id) {
				n.container = filepath.Base(filepath.Dir(log))
			}
		}
		return n, nil
	}
	return names{}, err
}

// fromLogDir splits NAMESPACE_POD_UID; no part has an underscore of its own.
func fromLogDir(name string) (n names, uid string) {
	if f := strings.Split(name, "_"); len(f) == 3 {
		return names{namespace: f[0], pod: f[1]}, f[2]
	}
	return names{}, ""
}

// glob lists what matches in any of dirs. The error tells of a directory that
// could not be looked into; that there is none is no error.
func (f *files) glob(pattern string, dirs ...string) (paths []string, failed error) {
	for _, dir := range dirs {
		path := filepath.Join(f.root, dir, pattern)
		// Up to the last star only: behind it Glob would list directories, of
		// all containers for each, to find a name that stands there in full.
		head, rest := path, ""
		if star := strings.LastIndexByte(path, '*'); star >= 0 {
			if i := strings.IndexByte(path[star:], '/'); i >= 0 {
				head, rest = path[:star+i], path[star+i:]
			}
		}
		heads, err := filepath.Glob(head)
		var found []string
		for _, head := range heads {
			if _, err := os.Lstat(head + rest); err == nil {
				found = append(found, head+rest)
			}
		}
		if len(found) == 0 && err == nil {
			fixed, _, _ := strings.Cut(path, "*")
			_, err = os.Stat(filepath.Dir(fixed) + "/.")
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = err
		}
		paths = append(paths, found...)
	}
	return paths, failed
}

// readFile reads a regular file of at most max bytes, following no link in its
// last part. It never waits: a fifo or a device is refused.
func readFile(path string, max int64) ([]byte, error) {
	return readRegular(path, max, syscall.O_NOFOLLOW)
}

func readRegular(path string, max int64, flags int) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY|flags, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("read %q: not a regular file", path)
	case info.Size() > max:
		return nil, tooLarge(path, max)
	}
	var data bytes.Buffer
	data.Grow(int(info.Size()) + bytes.MinRead) // the size of files in /proc is 0
	n, err := data.ReadFrom(io.LimitReader(f, max+1))
	switch {
	case err != nil:
		return nil, err
	case n > max:
		return nil, tooLarge(path, max)
	}
	return data.Bytes(), nil
}

func tooLarge(path string, max int64) error {
	return fmt.Errorf("read %q: larger than %d bytes", path, max)
}

func readJSON(path string, v any) error {
	data, err := readFile(path, maxState)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("parse %q: %w", path, err)
	}
	return nil
}

func readNames(dir string) ([]string, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := f.Readdirnames(maxNames)
	if err == io.EOF {
		err = nil
	}
	return list, err
}

func inode(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
}
