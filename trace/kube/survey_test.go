package kube

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSurveyNamesOnlyRuntimesThatAreThere(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"proc/self", "run/containerd", "run/crio", "var/lib/kubelet/pods/1234", "run/containers/storage/overlay-containers"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mounts := "30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
	if err := os.WriteFile(filepath.Join(root, "proc/self/mountinfo"), []byte(mounts), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Chdir(root) // a socket's path must be short
	l, err := net.Listen("unix", "run/containerd/containerd.sock")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	// A socket that was left behind, which nobody listens on.
	gone, err := net.ListenUnix("unix", &net.UnixAddr{Name: "run/crio/crio.sock", Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	gone.SetUnlinkOnClose(false)
	gone.Close()
	cgroups, runtimes := Survey(Roots{FS: "."})
	if diff := cmp.Diff([]string{"containerd", "kubelet"}, runtimes); diff != "" || cgroups != "v2" {
		t.Errorf("cgroups %q, runtimes %s", cgroups, diff)
	}
}

func TestSurveyOfNothing(t *testing.T) {
	if cgroups, runtimes := Survey(Roots{FS: t.TempDir()}); cgroups != "" || runtimes != nil {
		t.Errorf("cgroups %q, runtimes %q", cgroups, runtimes)
	}
}
