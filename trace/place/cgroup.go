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

	"golang.org/x/sys/unix"
)

// V1 marks the id of a cgroup of the memory controller's v1 tree: cgroup2 has
// ids of its own, and the same numbers.
const V1 uint64 = 1 << 63

// A Hierarchy is a cgroup tree whose directories' inodes are the cgroup ids of
// events: cgroup2, and for processes that are in no part of that, the memory
// controller's of v1.
type Hierarchy struct {
	Dir  string // where it is mounted
	ID   uint32 // as tracepoints and /proc/PID/cgroup number it: 0 for cgroup2
	V1   bool   // its ids carry the mark V1
	Part bool   // only a part of it can be seen here, as a container's own
}

// name is what people call it.
func (h Hierarchy) name() string {
	if h.V1 {
		return "the v1 memory controller's"
	}
	return "cgroup2's"
}

// mark turns an inode, or the tracepoint's id, into the id of events.
func (h Hierarchy) mark(id uint64) uint64 {
	if h.V1 {
		id |= V1
	}
	return id
}

// FindHierarchies finds the tree in roots.Cgroup, or else those in this
// process's mounts, cgroup2 first. The error says what of them cannot be read:
// if some can, the others are missed; it is never nil where there are none.
func FindHierarchies(roots Roots) (found []Hierarchy, failed error) {
	roots = roots.filled()
	if dir := roots.Cgroup; dir != "" {
		_, err := os.Lstat(filepath.Join(dir, "cgroup.controllers")) // only in cgroup2's
		found = []Hierarchy{{Dir: dir, V1: err != nil}}
	} else {
		data, err := readFile(filepath.Join(roots.Proc, "self/mountinfo"), maxMounts)
		if err != nil {
			return nil, fmt.Errorf("read mounts: %w", err)
		}
		mounts := cgroupMounts(string(data))
		if len(mounts) == 0 {
			return nil, errors.New("find cgroup mount: neither cgroup2 nor the v1 memory controller is mounted")
		}
		for _, v1 := range []bool{false, true} {
			h, err := reachable(mounts, v1, roots.FS == "/")
			failed = both(failed, err)
			if h != nil {
				found = append(found, *h)
			}
		}
	}
	for i, h := range found {
		if !h.V1 {
			continue
		}
		id, err := memoryHierarchy(roots)
		if err == nil {
			found[i].ID = id
			continue
		}
		// Beside cgroup2 what is in no part of that has no other id.
		if found = slices.Delete(found, i, i+1); len(found) == 0 {
			failed = both(failed, err)
		}
	}
	return found, failed
}

// both joins errors on one line.
func both(a, b error) error {
	if a == nil || b == nil {
		return errors.Join(a, b)
	}
	return fmt.Errorf("%w; %w", a, b)
}

// reachable is the tree of one kind, by the first of its mounts that can be read:
// others may be mounted over. nil, nil: there is none. own says that the mounts are
// those of this process, and no test's.
func reachable(mounts []cgroupMount, v1, own bool) (*Hierarchy, error) {
	var failed error
	for _, m := range mounts {
		if m.v1 != v1 {
			continue
		}
		h := &Hierarchy{Dir: m.dir, V1: v1, Part: m.part}
		info, err := os.Stat(m.dir)
		if err == nil && own {
			st := info.Sys().(*syscall.Stat_t)
			if dev := fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)); dev != m.dev {
				err = &fs.PathError{Op: "read", Path: m.dir, Err: errors.New("another mount covers it")}
			}
			// What looks like the whole in a cgroup namespace need not be it, and the
			// other way round. The directory at the top is the first that was made.
			h.Part = st.Ino != 1
		}
		if err == nil {
			return h, nil
		}
		if failed == nil {
			failed = fmt.Errorf("read %s cgroup tree: %w", h.name(), err)
		}
	}
	return nil, failed
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

// A cgroupMount is a mount of cgroup2, or of v1's memory controller.
type cgroupMount struct {
	dir  string
	dev  string // MAJOR:MINOR
	v1   bool
	part bool // of a part of the tree, as far as mountinfo tells
}

// cgroupMounts finds the mounts in the text of /proc/PID/mountinfo
// (proc_pid_mountinfo(5)), those of a whole tree before those of a part.
func cgroupMounts(mountinfo string) (mounts []cgroupMount) {
	for line := range strings.Lines(mountinfo) {
		head, tail, ok := strings.Cut(line, " - ")
		f, t := strings.Fields(head), strings.Fields(tail)
		if !ok || len(f) < 5 || len(t) < 3 {
			continue
		}
		m := cgroupMount{dir: unescape(f[4]), dev: f[2], part: f[3] != "/" && !strings.HasPrefix(f[3], "/..")}
		switch {
		case t[0] == "cgroup2":
		case t[0] == "cgroup" && slices.Contains(strings.Split(t[2], ","), "memory"):
			m.v1 = true
		default:
			continue
		}
		mounts = append(mounts, m)
	}
	slices.SortStableFunc(mounts, func(a, b cgroupMount) int {
		switch {
		case a.part == b.part:
			return 0
		case b.part:
			return -1
		}
		return 1
	})
	return mounts
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
	// A step of a build, by the runtime's name or below buildkit: identity.NewID of
	// BuildKit makes 25 digits to the base of 36.
	buildPart = regexp.MustCompile(`^(?:(.*)[-:])?([0-9a-z]{25})(?:\.scope)?$`)
	// A container of a task on Fargate: the task's id, and a number.
	fargatePart = regexp.MustCompile(`^[0-9a-f]{32}-[0-9]{6,20}$`)
)

// identify reads pod and container off a cgroup path, as the drivers of
// kubelet, containerd, CRI-O, docker and podman name them. Of nested
// containers it is the outermost, or the outermost in the pod where there is
// one. The runtime is docker, buildkit, podman, crio, containerd, or "" where the
// path does not tell. A path of the host has none of the three.
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
		parent := ""
		if i > 0 {
			parent = parts[i-1]
		}
		m := containerPart.FindStringSubmatch(parts[i])
		if m == nil {
			if b := buildPart.FindStringSubmatch(parts[i]); b != nil && (b[1] == "" && parent == "buildkit" || runtimeOf(b[1], "") == "docker") {
				t.id, t.runtime = b[2], "buildkit"
				return t
			}
			if fargatePart.MatchString(parts[i]) && slices.Contains(parts[:i], "ecs") {
				t.id = parts[i]
				return t
			}
			continue
		}
		if m[1] == "" && parent == "libpod_parent" { // a pod of podman's, with containers below
			continue
		}
		t.id, t.runtime = m[2], runtimeOf(m[1], parent)
		return t
	}
	return t
}

// fromUnit is a path from systemd's unit on: the last one in it that holds processes
// by its kind, or else the last slice. A path without a unit is whole.
func fromUnit(path string) string {
	for _, kinds := range [][]string{{".service", ".scope", ".mount", ".socket", ".swap"}, {".slice"}} {
		for end := len(path); end > 0; {
			start := strings.LastIndexByte(path[:end], '/') + 1
			for _, kind := range kinds {
				if part := path[start:end]; len(part) > len(kind) && strings.HasSuffix(part, kind) {
					return path[start:]
				}
			}
			end = start - 1
		}
	}
	return path
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
