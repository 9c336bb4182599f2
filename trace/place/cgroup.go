package place

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// V1 marks the id of a cgroup of the memory controller's v1 tree: cgroup2 has
// ids of its own, and the same numbers.
const V1 uint64 = 1 << 63

// A Hierarchy is a cgroup tree whose directories' inodes are the cgroup ids of
// events: cgroup2, and for processes that are in no part of that, the memory
// controller's of v1.
type Hierarchy struct {
	Dir string // where it is mounted
	ID  uint32 // as tracepoints and /proc/PID/cgroup number it: 0 for cgroup2
	V1  bool   // its ids carry the mark V1
}

// mark turns an inode, or the tracepoint's id, into the id of events.
func (h Hierarchy) mark(id uint64) uint64 {
	if h.V1 {
		id |= V1
	}
	return id
}

// FindHierarchies finds the tree in roots.Cgroup, or else those in this
// process's mounts, cgroup2 first. It fails where neither cgroup2 nor the
// memory controller is mounted.
func FindHierarchies(roots Roots) ([]Hierarchy, error) {
	roots = roots.filled()
	var v1, v2 string
	if dir := roots.Cgroup; dir != "" {
		if _, err := os.Lstat(filepath.Join(dir, "cgroup.controllers")); err == nil { // only in cgroup2's
			v2 = dir
		} else {
			v1 = dir
		}
	} else {
		data, err := readFile(filepath.Join(roots.Proc, "self/mountinfo"), maxMounts)
		if err != nil {
			return nil, fmt.Errorf("read mounts: %w", err)
		}
		if v2, v1 = cgroupMounts(string(data)); v2 == "" && v1 == "" {
			return nil, errors.New("find cgroup mount: neither cgroup2 nor the v1 memory controller is mounted")
		}
	}
	var found []Hierarchy
	if v2 != "" {
		found = append(found, Hierarchy{Dir: v2})
	}
	if v1 != "" {
		id, err := memoryHierarchy(roots)
		switch {
		case err == nil:
			found = append(found, Hierarchy{Dir: v1, ID: id, V1: true})
		case v2 == "":
			return nil, err
		}
	}
	return found, nil
}

// memoryHierarchy is the number of the v1 hierarchy with the memory controller.
func memoryHierarchy(roots Roots) (uint32, error) {
	data, err := readFile(filepath.Join(roots.Proc, "self/cgroup"), maxProc)
	if err != nil {
		return 0, fmt.Errorf("read own cgroup: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		number, rest, _ := strings.Cut(line, ":")
		controllers, _, _ := strings.Cut(rest, ":")
		if slices.Contains(strings.Split(controllers, ","), "memory") {
			id, err := strconv.ParseUint(number, 10, 32)
			if err != nil {
				return 0, fmt.Errorf("parse own cgroup %q: %w", line, err)
			}
			return uint32(id), nil
		}
	}
	return 0, errors.New("find the v1 memory hierarchy: no memory controller in own cgroup")
}

// cgroupMounts finds the mount points in the text of /proc/PID/mountinfo
// (proc_pid_mountinfo(5)). A mount of a whole tree is better than one of a part.
func cgroupMounts(mountinfo string) (v2, v1 string) {
	whole := map[*string]bool{}
	for line := range strings.Lines(mountinfo) {
		head, tail, ok := strings.Cut(line, " - ")
		f, t := strings.Fields(head), strings.Fields(tail)
		if !ok || len(f) < 5 || len(t) < 3 {
			continue
		}
		var dir *string
		switch {
		case t[0] == "cgroup2":
			dir = &v2
		case t[0] == "cgroup" && slices.Contains(strings.Split(t[2], ","), "memory"):
			dir = &v1
		default:
			continue
		}
		if *dir == "" || f[3] == "/" && !whole[dir] {
			*dir, whole[dir] = unescape(f[4]), f[3] == "/"
		}
	}
	return v2, v1
}

// unescape undoes seq_path's \040 and the like.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// ParseCgroup returns the paths in the text of /proc/PID/cgroup, each once and
// the most telling first: cgroup2's, then those of the v1 hierarchies as they
// come. "/" is left out: it says nothing of where a process runs.
func ParseCgroup(data []byte) []string {
	var paths []string
	for line := range bytes.Lines(data) {
		f := strings.SplitN(strings.TrimSuffix(string(line), "\n"), ":", 3)
		if len(f) < 3 || !strings.HasPrefix(f[2], "/") {
			continue
		}
		path := strings.TrimSuffix(f[2], " (deleted)") // of a zombie whose cgroup is gone
		switch {
		case path == "/" || slices.Contains(paths, path):
		case f[0] == "0" && f[1] == "":
			paths = slices.Insert(paths, 0, path)
		default:
			paths = append(paths, path)
		}
	}
	return paths
}

var (
	// systemd's name of a pod: a slice, alone or (where kubelet and runtime
	// use different drivers) as the first part of a container's name.
	podSlice = regexp.MustCompile(`kubepods(?:-burstable|-besteffort)?-pod([^-:]+)\.slice`)
	// A container: its id alone, behind the runtime's name, or as a scope.
	containerPart = regexp.MustCompile(`^(?:(.*)[-:])?([0-9a-f]{64})(?:\.scope)?$`)
)

// identify reads pod and container off a cgroup path, as the drivers of
// kubelet, containerd, CRI-O, docker and podman name them. Of nested
// containers it is the outermost, or the outermost in the pod where there is
// one. The runtime is docker, podman, crio, containerd, or "" where the path
// does not tell. A path of the host has none of the three.
func identify(path string) (t target) {
	parts := strings.Split(path, "/")
	start := 0
	for i, part := range parts {
		if m := podSlice.FindStringSubmatch(part); m != nil {
			t.podUID, start = strings.ReplaceAll(m[1], "_", "-"), i
			break
		}
		if uid, ok := strings.CutPrefix(part, "pod"); ok && uid != "" && slices.Contains(parts[:i], "kubepods") {
			t.podUID, start = uid, i
			break
		}
	}
	for i := start; i < len(parts); i++ {
		if strings.Contains(parts[i], "conmon") { // watches a container from outside
			break
		}
		m := containerPart.FindStringSubmatch(parts[i])
		if m == nil {
			continue
		}
		parent := ""
		if i > 0 {
			parent = parts[i-1]
		}
		if m[1] == "" && parent == "libpod_parent" { // a pod of podman's, with containers below
			continue
		}
		t.id, t.runtime = m[2], runtimeOf(m[1], parent)
		return t
	}
	return t
}

func runtimeOf(prefix, parent string) string {
	name := prefix[strings.LastIndexByte(prefix, ':')+1:] // behind SLICE:
	switch {
	case name == "docker", name == "" && parent == "docker":
		return "docker"
	case strings.HasPrefix(name, "libpod"):
		return "podman"
	case name == "crio":
		return "crio"
	case name == "cri-containerd", name == "nerdctl":
		return "containerd"
	}
	return ""
}

// walk calls found with inode and path (below root, "/" for root itself) of
// every directory until found returns false. A directory that goes meanwhile
// is passed over; only a root that cannot be read is an error.
func walk(ctx context.Context, root string, found func(id uint64, path string) bool) error {
	for todo := []string{"/"}; len(todo) > 0; {
		path := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		id, children, err := readDir(filepath.Join(root, path))
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && path == "/":
			return fmt.Errorf("read cgroup tree: %w", err)
		case err != nil:
			continue
		case !found(id, path):
			return nil
		}
		for _, name := range children {
			todo = append(todo, filepath.Join(path, name))
		}
	}
	return nil
}

func readDir(dir string) (id uint64, children []string, err error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return 0, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, nil, err
	}
	for {
		entries, err := f.ReadDir(512)
		for _, e := range entries {
			if e.IsDir() && len(children) < maxCgroups {
				children = append(children, e.Name())
			}
		}
		if err == io.EOF {
			return inode(info), children, nil
		}
		if err != nil {
			return 0, nil, err
		}
	}
}

func inode(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
}
