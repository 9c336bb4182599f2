// Package container makes containers for tests: all that tracer sees of one, a cgroup
// and the bundle that containerd leaves. Start with [New].
package container

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"tracer/trace/event"
	"tracer/trace/place"
)

// A Container is one that runs nothing yet.
type Container struct {
	event.Place
	Dir string // of its cgroup

	t testing.TB
}

// Trees are the cgroup trees of this host whose ids events carry: "cgroup2" and "v1".
func Trees(t testing.TB) map[string]place.Hierarchy {
	t.Helper()
	found, err := place.FindHierarchies(place.Roots{})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]place.Hierarchy{}
	for _, h := range found {
		if h.V1 {
			all["v1"] = h
		} else {
			all["cgroup2"] = h
		}
	}
	return all
}

// New makes a container of this name in a pod of this name. It is removed when the test
// ends.
func New(t testing.TB, tree place.Hierarchy, pod, name string) *Container {
	t.Helper()
	number := func() uint64 { return rand.Uint64() }
	c := &Container{t: t, Place: event.Place{
		Container: name, ContainerID: fmt.Sprintf("%016x%016x%016x%016x", number(), number(), number(), number()),
		Pod: pod, Namespace: "tracer-test",
		PodUID: fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", number()>>32, number()>>48, number()>>48, number()>>48, number()>>16),
	}}
	bundle := filepath.Join("/run/containerd/io.containerd.runtime.v2.task/tracer-test", c.ContainerID)
	spec, err := json.Marshal(map[string]any{"annotations": map[string]string{
		"io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.container-name": c.Container,
		"io.kubernetes.cri.sandbox-name": c.Pod, "io.kubernetes.cri.sandbox-namespace": c.Namespace,
		"io.kubernetes.cri.sandbox-uid": c.PodUID,
	}})
	if err != nil {
		t.Fatal(err)
	}
	c.Dir = filepath.Join(tree.Dir, "tracer-test/kubepods/besteffort/pod"+c.PodUID, c.ContainerID)
	t.Cleanup(func() {
		c.end()
		removeEmpty(c.Dir, tree.Dir)
		_ = os.RemoveAll(bundle)
		removeEmpty(filepath.Dir(bundle), "/run")
	})
	for _, err := range []error{
		os.MkdirAll(bundle, 0o711),
		os.WriteFile(filepath.Join(bundle, "config.json"), spec, 0o644),
		os.MkdirAll(c.Dir, 0o755),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// At makes a container of a cgroup alone, about which nothing else is known. The test
// removes it.
func At(t testing.TB, dir string) *Container {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return &Container{Dir: dir, t: t}
}

// end removes the cgroup: who has just ended may be in it for a moment.
func (c *Container) end() {
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		c.Remove()
		if _, err := os.Stat(c.Dir); err != nil {
			return
		}
		if time.Now().After(deadline) {
			c.t.Errorf("cgroup %q stays: something runs in it", c.Dir)
			return
		}
	}
}

// removeEmpty removes a folder and those above it, as long as they are empty, up to the
// one that stays.
func removeEmpty(dir, stays string) {
	for ; dir != stays; dir = filepath.Dir(dir) {
		_ = os.Remove(dir)
	}
}

// Add moves a process into the container.
func (c *Container) Add(pid int) {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(c.Dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
		c.t.Fatal(err)
	}
}

// Run runs a command in the container. The shell moves itself, then becomes the
// command: one exec on the host, one in the container, whatever tree the cgroup is in.
func (c *Container) Run(args ...string) {
	c.t.Helper()
	cmd := exec.Command("/bin/sh", append([]string{"-c", `echo $$ >"$0" && exec "$@"`, c.Dir + "/cgroup.procs"}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		c.t.Fatalf("%v: %s", err, out)
	}
}

// Remove ends the container, if nothing runs in it.
func (c *Container) Remove() { _ = os.Remove(c.Dir) }
