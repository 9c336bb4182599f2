package place

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
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

func TestNamesOfWhatIsHere(t *testing.T) {
	h := newHost(t, false)
	h.dockerContainer(idA, "db")
	h.cgroup("/docker/" + idA + "/nested")
	h.cgroup("/docker/" + idB) // whose name no file tells
	h.cgroup("/system.slice/ssh.service")
	const hostile = "aaaa1d114dd56686c7c2629397daa0b8fcf3a3bfbd2b2fc80c8cc5162d51a1e9"
	h.cgroup("/docker/" + hostile)
	h.dockerContainer(hostile, `two\u001b[31m words`)
	h.cgroup("/kubepods/besteffort/pod" + uid) // its containers are still to come
	for i, pod := range []string{"web-0", "web-1"} {
		podUID := uid[:len(uid)-1] + strconv.Itoa(i)
		for j, container := range []string{"app", "side"} {
			id := idA[:62] + strconv.Itoa(i) + strconv.Itoa(j)
			h.cgroup("/kubepods/besteffort/pod" + podUID + "/" + id)
			h.link("/var/log/pods/demo_"+pod+"_"+podUID+"/"+container+"/0.log", "var/log/containers/"+pod+"_demo_"+container+"-"+id+".log")
		}
	}
	h.write("var/log/pods/demo_new-0_"+uid+"/app/0.log", "")
	var got [3][]string
	got[0], got[1], got[2] = Names(Roots{FS: h.root})
	want := [3][]string{{"app", "db", idB[:12], "side"}, {"new-0", "web-0", "web-1"}, {"demo"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if a, b, c := Names(Roots{FS: t.TempDir()}); len(a)+len(b)+len(c) != 0 {
		t.Errorf("of no host: %q %q %q", a, b, c)
	}
}
