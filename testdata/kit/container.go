package kit

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// A Container is all that tracer sees of one: a cgroup, and the bundle that containerd leaves.
type Container struct {
	ID, PodUID string
	procs      string // the file that moves processes into its cgroup
}

// NewContainer makes a container of this name in a pod of this name, in the namespace demo. One without a bundle has a
// name that only the kubelet knows. It is removed when the test ends.
func NewContainer(t testing.TB, pod, name string, bundle bool) *Container {
	t.Helper()
	tree := "/sys/fs/cgroup/unified"
	if _, err := os.Stat(tree); err != nil {
		tree = "/sys/fs/cgroup"
	}
	c := &Container{ID: fmt.Sprintf("%064x", rand.Uint64()), PodUID: fmt.Sprintf("7ace0000-0000-4000-8000-%012x", rand.Uint64()>>16)}
	dir := filepath.Join(tree, "tracer-test-flags/kubepods/besteffort/pod"+c.PodUID, c.ID)
	c.procs = filepath.Join(dir, "cgroup.procs")
	made := []string{dir}
	if bundle {
		file := filepath.Join("/run/containerd/io.containerd.runtime.v2.task/tracer-test-flags", c.ID, "config.json")
		made = append(made, filepath.Dir(file))
		if err := os.MkdirAll(filepath.Dir(file), 0o711); err != nil {
			t.Fatal(err)
		}
		spec := fmt.Sprintf(`{"annotations":{"io.kubernetes.cri.container-name":%q,"io.kubernetes.cri.sandbox-name":%q,"io.kubernetes.cri.sandbox-namespace":"demo"}}`, name, pod)
		if err := os.WriteFile(file, []byte(spec), 0o644); err != nil {
			t.Fatal(err)
		}
		made = append([]string{file}, made...)
	}
	t.Cleanup(func() {
		for _, dir := range made {
			for dir != tree && dir != "/run" && os.Remove(dir) == nil {
				dir = filepath.Dir(dir)
			}
		}
	})
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return c
}

// Sleep runs sleep in the container, for this long.
func (c *Container) Sleep(t testing.TB, seconds string) {
	t.Helper()
	Run(t, exec.Command("/bin/sh", "-c", `echo $$ >"$0" && exec /bin/sleep "$1"`, c.procs, seconds))
}
