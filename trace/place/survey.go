package place

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"
)

// runtimeSigns are what shows that a runtime is here: a socket that somebody
// listens on or, of runtimes without a daemon, the folder of what they run.
var runtimeSigns = []struct{ name, path string }{
	{"docker", "run/docker.sock"},
	{"docker", "var/run/docker.sock"},
	{"containerd", "run/containerd/containerd.sock"},
	{"k3s", "run/k3s/containerd/containerd.sock"},
	{"cri-o", "run/crio/crio.sock"},
	{"cri-dockerd", "run/cri-dockerd.sock"},
	{"k0s", "run/k0s/containerd.sock"},
	{"microk8s", "var/snap/microk8s/common/run/containerd.sock"},
	{"podman", "run/crun"},
	{"podman", "run/containers/storage/overlay-containers"},
	{"kubelet", "var/lib/kubelet/pods"},
}

// Survey says which cgroup trees a host has (v2, v1 or hybrid, which is both;
// empty if none is in sight) and which container runtimes.
func Survey(roots Roots) (cgroups string, runtimes []string) {
	roots = roots.filled()
	trees, _ := FindHierarchies(roots) // an error means none
	for _, h := range trees {
		switch {
		case cgroups != "":
			cgroups = "hybrid"
		case h.V1:
			cgroups = "v1"
		default:
			cgroups = "v2"
		}
	}
	for _, sign := range runtimeSigns {
		if !slices.Contains(runtimes, sign.name) && present(filepath.Join(roots.FS, sign.path)) {
			runtimes = append(runtimes, sign.name)
		}
	}
	return cgroups, runtimes
}

// Unseen says that some of trees are no whole ones, and what to do about it; empty if
// all are.
func Unseen(trees []Hierarchy) string {
	var parts []string
	for _, h := range trees {
		if h.Part {
			parts = append(parts, h.Dir)
		}
	}
	if parts == nil {
		return ""
	}
	return fmt.Sprintf("only a part of the cgroup tree is mounted at %s, as in a container: containers and pods that are older than tracing, or outside of it, may not be known; "+
		"mount the host's (docker run --cgroupns=host -v /sys/fs/cgroup:/sys/fs/cgroup:ro)", strings.Join(parts, " and "))
}

// present reports whether path is a folder with something in it, or a socket
// that somebody listens on.
func present(path string) bool {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return false
	case info.IsDir():
		entries, err := os.ReadDir(path)
		return err == nil && len(entries) > 0
	}
	conn, err := net.DialTimeout("unix", path, 100*time.Millisecond)
	if err != nil {
		return false
	}
	_ = conn.Close() // nothing was said
	return true
}

// Names says what can be asked for now by Filter's fields: the names of all
// containers, pods and namespaces whose cgroups are there, in order and each
// once. It takes what files tell and asks nobody, so that a shell can complete
// words with it: of a container that they do not name it is the first digits of
// the id. Names that are no plain word are left out.
func Names(roots Roots) (containers, pods, namespaces []string) {
	roots = roots.filled()
	trees, _ := FindHierarchies(roots) // an error means that there is nothing to name
	targets := make(map[target]bool)
	for _, h := range trees {
		_ = walk(context.Background(), h.Dir, func(_ uint64, path string) bool {
			if t := identify(path); t != (target{}) {
				targets[t] = true
			}
			return len(targets) < maxCgroups
		})
	}
	var found [3]map[string]bool
	for i := range found {
		found[i] = make(map[string]bool)
	}
	files := newFiles(roots)
	for t := range targets {
		o := owner{target: t}
		o.names, _ = files.find(t)
		p := o.newPlace()
		for i, name := range []string{p.Container, p.Pod, p.Namespace} {
			if name != "" && !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) }) {
				found[i][name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found[0])), slices.Sorted(maps.Keys(found[1])), slices.Sorted(maps.Keys(found[2]))
}
