package kube

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
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
