package session_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"

	"tracer/testdata/kit"
	"tracer/testdata/kit/container"
	"tracer/testdata/kit/work"
	"tracer/trace"
	"tracer/trace/event"
	"tracer/trace/exec"
	"tracer/trace/place"
	"tracer/trace/proc"
)

// placedRows are what each command shows of one container that runs workload,
// as event and comm, sorted. A command that is not in the table of probes is
// passed over.
var placedRows = map[string][]string{
	"exec": {"exec httpd", "exec sh", "exec sleep", "exec wget"},
	"conn": {"accept httpd", "close httpd", "close wget", "connect wget"},
	"http": {"http httpd"},
	// By container.
	"traffic": {"traffic"},
}

// workload is a container's program: a server, a client, and what lives for
// 50 ms. httpd returns when it listens, and ends with the container. Its port is
// free, as nobody else is in this network.
var workload = []string{"/bin/sh", "-c", "/bin/httpd -p 127.0.0.1:8080 -h /www && " +
	"/bin/wget -q -O /www/got http://127.0.0.1:8080/index.html && /bin/sleep 0.05"}

// TestKernelRuntimes runs real containers. Each runtime is started in a mount
// namespace of its own, where it finds empty folders instead of the
// host's, and the cgroup trees as a host of that kind has them, and in a network
// of its own, where no other's test has left a port in use.
func TestKernelRuntimes(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	if kit.Emulated() {
		t.Skip("this kernel's machine has no container runtimes")
	}
	if stage := os.Getenv(runtimeStage); stage != "" {
		beStage(t, stage)
		return
	}
	for _, tool := range []string{"containerd", "ctr", "runc", "crun", "dockerd", "podman", "conmon", "busybox"} {
		if _, err := osexec.LookPath(tool); err == nil {
			continue
		}
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is missing: make install-tools", tool)
		}
		t.Skipf("%s is missing: make install-tools", tool)
	}
	has := container.Trees(t)
	before := runtimeCgroups()
	// Runtimes are set up side by side, which takes most of the time and disturbs nobody; containers run in one of
	// them after the other.
	started := map[string]*stageProcess{}
	for stage := range stages {
		if v1, v2 := has["v1"].Dir != "", has["cgroup2"].Dir != ""; strings.HasSuffix(stage, "v1") && !v1 ||
			strings.HasSuffix(stage, "v2") && !v2 || strings.HasSuffix(stage, "hybrid") && !(v1 && v2) {
			continue
		}
		started[stage] = startStage(t, stage)
	}
	for _, s := range started {
		_, _ = io.ReadAll(s.ready) // to its end
	}
	for _, stage := range slices.Sorted(maps.Keys(stages)) {
		t.Run(stage, func(t *testing.T) {
			s := started[stage]
			if s == nil {
				t.Skip("this host has no such cgroups") // and hence the other stages
			}
			s.turn.Close()
			if err := s.cmd.Wait(); err != nil {
				t.Errorf("%v:\n%s", err, s.out.Bytes())
			}
		})
	}
	for _, dir := range runtimeCgroups() {
		if !slices.Contains(before, dir) {
			_ = os.Remove(dir)
		}
	}
}

// A stageProcess is this test again, with namespaces of its own, for one stage.
type stageProcess struct {
	cmd   *osexec.Cmd
	out   bytes.Buffer
	ready *os.File // ends when the runtime is set up
	turn  *os.File // closed when it is the stage's turn
}

func startStage(t *testing.T, stage string) *stageProcess {
	t.Helper()
	ready, isReady, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	hasTurn, turn, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s := &stageProcess{ready: ready, turn: turn}
	s.cmd = osexec.Command("/proc/self/exe", "-test.run", "^TestKernelRuntimes$", "-test.v", "-test.timeout", "540s")
	s.cmd.Env = append(os.Environ(), runtimeStage+"="+stage)
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.out
	s.cmd.ExtraFiles = []*os.File{isReady, hasTurn}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		ready.Close()
		turn.Close()
	})
	isReady.Close()
	hasTurn.Close()
	return s
}

// beStage is the stage's side.
func beStage(t *testing.T, stage string) {
	syscall.CloseOnExec(3)
	syscall.CloseOnExec(4)
	// What a runtime leaves behind becomes a child of this process.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	defer killOrphans(t)
	t.Run("inside", func(t *testing.T) { stages[stage](t) })
}

// awaitTurn is called in a stage when the runtime is set up.
func awaitTurn() {
	_ = os.NewFile(3, "ready").Close()
	_, _ = io.ReadAll(os.NewFile(4, "turn"))
}

const runtimeStage = "TRACER_TEST_RUNTIME"

// stages by name; its last part is the kind of host it is for, if not any.
var stages = map[string]func(*testing.T){
	"containerd-hybrid": func(t *testing.T) { testContainerd(t, "") },
	"containerd-v1":     func(t *testing.T) { testContainerd(t, "v1") },
	"containerd-v2":     func(t *testing.T) { testContainerd(t, "v2") },
	"docker":            testDocker,
	"podman-runc":       func(t *testing.T) { testPodman(t, "", "runc") },
	"podman-crun-v1":    func(t *testing.T) { testPodman(t, "v1", "crun") },
	"podman-crun-v2":    func(t *testing.T) { testPodman(t, "v2", "crun") },
}

// runtimeCgroups are the cgroups that runtimes make for this test, children
// first.
func runtimeCgroups() (dirs []string) {
	for _, name := range []string{"kubepods", "docker", "libpod_parent"} {
		for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
			tops, _ := filepath.Glob(pattern + name)
			for _, top := range tops {
				_ = filepath.WalkDir(top, func(path string, d os.DirEntry, err error) error {
					if err == nil && d.IsDir() {
						dirs = append(dirs, path)
					}
					return nil
				})
			}
		}
	}
	slices.Sort(dirs)
	slices.Reverse(dirs)
	return dirs
}

// killOrphans ends all children, which are what a stage has left.
func killOrphans(t *testing.T) {
	t.Helper()
	for range 100 {
		pids, err := proc.Dir("/proc").PIDs()
		if err != nil {
			t.Fatal(err)
		}
		left := 0
		for _, pid := range pids {
			if s, err := proc.Dir("/proc").Stat(pid); err == nil && s.PPID == uint32(os.Getpid()) {
				_ = unix.Kill(int(pid), unix.SIGKILL)
				_, _ = unix.Wait4(int(pid), nil, 0, nil)
				left++
			}
		}
		if left == 0 {
			return
		}
	}
	t.Error("what a runtime left does not end")
}

// ownHost makes the mounts of the namespace that this test is in: empty folders
// for all that runtimes keep, and cgroup trees as on a host of this kind. It
// brings up the network's loopback.
func ownHost(t *testing.T, kind string) {
	t.Helper()
	work.LoopbackUp()
	mount := func(what, where, kind string, flags uintptr) {
		t.Helper()
		if err := unix.Mount(what, where, kind, flags, ""); err != nil {
			t.Fatalf("mount %s: %v", where, err)
		}
	}
	mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE)
	for _, dir := range []string{"/run", "/var/lib", "/var/log"} {
		mount("tmpfs", dir, "tmpfs", 0)
	}
	const trees = "/sys/fs/cgroup"
	has, err := place.FindHierarchies(place.Roots{})
	if err != nil {
		t.Fatal(err)
	}
	switch hybrid := len(has) == 2; {
	case kind == "v1" && hybrid:
		if err := unix.Unmount(has[0].Dir, unix.MNT_DETACH); err != nil {
			t.Fatal(err)
		}
	case kind == "v2" && hybrid:
		const aside = "/run/aside"
		if err := os.Mkdir(aside, 0o755); err != nil {
			t.Fatal(err)
		}
		mount(has[0].Dir, aside, "", unix.MS_BIND)
		if err := unix.Unmount(trees, unix.MNT_DETACH); err != nil {
			t.Fatal(err)
		}
		mount(aside, trees, "", unix.MS_BIND)
		if err := unix.Unmount(aside, 0); err != nil {
			t.Fatal(err)
		}
	}
}

// daemon starts a program that ends with the test, and tells on failure what it
// said.
func daemon(t *testing.T, args ...string) {
	t.Helper()
	cmd := osexec.Command(args[0], args[1:]...)
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if text, _ := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("%s: %s", args[0], text)
		}
		_ = log.Close()
	})
}

// tool runs a program and returns what it writes.
func tool(t *testing.T, args ...string) string {
	t.Helper()
	var errs bytes.Buffer
	cmd := osexec.Command(args[0], args[1:]...)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s", args, err, errs.String())
	}
	return strings.TrimSpace(string(out))
}

// eventually waits until f no longer fails.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

const image = "docker.io/library/tool:1"

// writeImage makes an image that all runtimes can load: busybox, and a page to
// serve. As a pod's sandbox it sleeps.
func writeImage(t *testing.T) string {
	t.Helper()
	busybox, err := osexec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	archive := func(add func(put func(h tar.Header, data []byte))) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		add(func(h tar.Header, data []byte) {
			h.Size, h.Mode = int64(len(data)), 0o755
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(data); err != nil {
				t.Fatal(err)
			}
		})
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	layer := archive(func(put func(tar.Header, []byte)) {
		for _, dir := range []string{"bin/", "www/", "tmp/", "etc/"} {
			put(tar.Header{Name: dir, Typeflag: tar.TypeDir}, nil)
		}
		put(tar.Header{Name: "bin/busybox", Typeflag: tar.TypeReg}, program)
		for _, name := range []string{"sh", "httpd", "wget", "sleep", "true"} {
			put(tar.Header{Name: "bin/" + name, Typeflag: tar.TypeSymlink, Linkname: "busybox"}, nil)
		}
		put(tar.Header{Name: "www/index.html", Typeflag: tar.TypeReg}, []byte("hello"))
	})
	asJSON := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	config := asJSON(map[string]any{
		"architecture": "amd64", "os": "linux",
		"config": map[string]any{"Cmd": []string{"/bin/sleep", "1000000"}, "Env": []string{"PATH=/bin"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer))}},
	})
	name := fmt.Sprintf("%x.json", sha256.Sum256(config))
	path := filepath.Join(t.TempDir(), "image.tar")
	err = os.WriteFile(path, archive(func(put func(tar.Header, []byte)) {
		put(tar.Header{Name: "layer.tar", Typeflag: tar.TypeReg}, layer)
		put(tar.Header{Name: name, Typeflag: tar.TypeReg}, config)
		put(tar.Header{Name: "manifest.json", Typeflag: tar.TypeReg}, asJSON([]any{map[string]any{
			"Config": name, "RepoTags": []string{image}, "Layers": []string{"layer.tar"},
		}}))
	}), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// checkRows holds the rows of every command against those of placedRows, and
// with a filter that no other is shown: run runs workload in a container that
// is wanted, or in another, to its end, and says where that was.
func checkRows(t *testing.T, filter place.Filter, run func(wanted bool, args []string) event.Place) {
	t.Helper()
	for _, p := range trace.Probes {
		want := placedRows[p.Name]
		if want == nil {
			continue
		}
		var args []string
		if p.Name == "traffic" {
			args = []string{"--by", "container", "--interval", "1h"}
		}
		r := traceWith(t, p, filter, args...)
		if filter != (place.Filter{}) {
			run(false, workload)
		}
		where := run(true, workload)
		a := r.Stop()
		var got []string
		for _, e := range r.Events() {
			at, row := e.Head().Place, e.Head().Kind
			if e.Head().PID != 0 {
				row += " " + e.Head().Comm
			}
			switch {
			case strings.HasPrefix(row, "exec runc"), strings.HasPrefix(row, "exec crun"):
				continue // the runtime's own, that has moved in before
			case at == where:
				got = append(got, row)
			case at.ContainerID == where.ContainerID, filter != place.Filter{} && filter.Judge(&at, true) != place.Wanted:
				t.Errorf("%s %+v: %v (-want +got):\n%s", p.Name, filter, row, cmp.Diff(where, at))
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s %+v: (-want +got):\n%s", p.Name, filter, diff)
		}
		// Where v1 is out of sight nobody can tell of what is not in a container.
		unknown := filter != (place.Filter{}) && strings.HasSuffix(os.Getenv(runtimeStage), "v2")
		if a.Lost != 0 && !(unknown && a.Lost == a.LostBy["place_unknown"]) || a.Incomplete != 0 {
			t.Errorf("%s %+v: %+v", p.Name, filter, a)
		}
	}
}

// testContainerd runs Kubernetes' containers: by the CRI, as the kubelet asks.
func testContainerd(t *testing.T, kind string) {
	ownHost(t, kind)
	c := startContainerd(t)
	awaitTurn()
	// The sandbox itself is in the pod, and in no container that has a name.
	r := traceWith(t, exec.Probe, place.Filter{})
	web := c.sandbox(t, "web-0")
	asleep := func(e event.Event) bool { return e.Head().Comm == "sleep" }
	r.until(asleep)
	r.Stop()
	var got []event.Place
	for _, e := range r.Events() {
		if asleep(e) {
			got = append(got, e.Head().Place)
		}
	}
	if diff := cmp.Diff([]event.Place{web.Place}, got); diff != "" {
		t.Errorf("sandbox (-want +got):\n%s", diff)
	}

	other := c.sandbox(t, "db-0")
	if _, pods, namespaces := place.Names(place.Roots{}); !slices.Equal(pods, []string{"db-0", "web-0"}) || !slices.Equal(namespaces, []string{web.Namespace}) {
		t.Errorf("a shell would complete %q and %q", pods, namespaces)
	}
	for _, filter := range []place.Filter{{}, {Pod: "web-*"}, {Pod: "web-0", Container: "job?", Namespace: "*"}, {Container: "job1"}} {
		checkRows(t, filter, func(wanted bool, args []string) event.Place {
			if wanted {
				return c.run(t, web, "job1", args)
			}
			return c.run(t, other, "side", args)
		})
	}
	checkCRI(t, web)
}

// checkCRI asks the runtime's socket, where files tell nothing.
func checkCRI(t *testing.T, s *sandbox) {
	t.Helper()
	root := t.TempDir()
	for _, link := range []string{"run/containerd/containerd.sock", "proc"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, link)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("/"+link, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	r, err := place.New(place.Roots{FS: root}, place.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	found := make(chan uint64, 1)
	defer r.Watch(place.Filter{Pod: s.Pod}, func(id uint64, v place.Verdict) {
		if v == place.Wanted && len(found) == 0 {
			found <- id
		}
	})()
	select {
	case id := <-found:
		if p, ok := r.Lookup(id, 0); p == nil || !ok || event.Place(*p) != s.Place {
			t.Errorf("the CRI socket told %+v, %v, want %+v", p, ok, s.Place)
		}
	case <-time.After(60 * time.Second):
		t.Errorf("the CRI socket told nothing of %s: %q", s.Pod, r.Problems())
	}
}

// containerd is one that serves the CRI.
type containerd struct{ socket string }

// A sandbox is a pod, and where its first container is.
type sandbox struct {
	event.Place
	config []byte // as PodSandboxConfig
}

func startContainerd(t *testing.T) *containerd {
	t.Helper()
	c := &containerd{"/run/containerd/containerd.sock"}
	runtime, err := filepath.Abs(filepath.Join(t.TempDir(), runcWithoutResources))
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(exe, runtime); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "config.toml")
	writeText(t, config, `version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "`+image+`"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
        BinaryName = "`+runtime+`"
`)
	daemon(t, "containerd", "--log-level", "warn", "--config", config)
	eventually(t, "containerd", func() error {
		_, err := c.call(t, "RuntimeService/Version", nil)
		return err
	})
	tool(t, "ctr", "-n", "k8s.io", "images", "import", "--snapshotter", "native", writeImage(t))
	eventually(t, "containerd's image", func() error {
		answer, err := c.call(t, "ImageService/ImageStatus", pb(1, pb(1, image)))
		if err == nil && len(answer) == 0 {
			err = fmt.Errorf("it is not there")
		}
		return err
	})
	return c
}

// sandbox starts a pod. The numbers are those of the fields in
// k8s.io/cri-api/pkg/apis/runtime/v1/api.proto.
func (c *containerd) sandbox(t *testing.T, pod string) *sandbox {
	t.Helper()
	uid := fmt.Sprintf("7ace0000-0000-4000-8000-%012x", time.Now().UnixNano()&(1<<48-1))
	s := &sandbox{Place: event.Place{Pod: pod, Namespace: "tracer-test", PodUID: uid}}
	s.config = slices.Concat(
		pb(1, slices.Concat(pb(1, pod), pb(2, uid), pb(3, s.Namespace))), // metadata
		pb(3, logDir(s)),
		labels(6, map[string]string{"io.kubernetes.pod.name": pod, "io.kubernetes.pod.namespace": s.Namespace, "io.kubernetes.pod.uid": uid}),
		pb(8, slices.Concat( // linux
			pb(1, "/kubepods/besteffort/pod"+uid), // cgroup_parent
			pb(2, pb(1, pb(1, 2))),                // security_context: namespace_options: network: NODE
		)),
	)
	s.ContainerID = c.id(t, "RunPodSandbox", pb(1, s.config))
	t.Cleanup(func() {
		_, _ = c.call(t, "RuntimeService/StopPodSandbox", pb(1, s.ContainerID))
		_, _ = c.call(t, "RuntimeService/RemovePodSandbox", pb(1, s.ContainerID))
	})
	return s
}

// logDir is where the runtime keeps what a pod's containers write.
func logDir(s *sandbox) string { return "/var/log/pods/" + s.Namespace + "_" + s.Pod + "_" + s.PodUID }

// run runs a container in a pod, to its end.
func (c *containerd) run(t *testing.T, s *sandbox, name string, args []string) event.Place {
	t.Helper()
	config := slices.Concat(
		pb(1, pb(1, name)),  // metadata
		pb(2, pb(1, image)), // image
		labels(9, map[string]string{
			"io.kubernetes.pod.name": s.Pod, "io.kubernetes.pod.namespace": s.Namespace, "io.kubernetes.pod.uid": s.PodUID,
			"io.kubernetes.container.name": name,
		}),
		pb(11, name+".log"),
		pb(15, pb(2, pb(3, pb(1, 2)))), // linux: security_context: namespace_options: network: NODE
	)
	for _, arg := range args {
		config = append(config, pb(3, arg)...) // command
	}
	place := s.Place
	place.Container = name
	place.ContainerID = c.id(t, "CreateContainer", slices.Concat(pb(1, s.ContainerID), pb(2, config), pb(3, s.config)))
	if _, err := c.call(t, "RuntimeService/StartContainer", pb(1, place.ContainerID)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of "+name, func() error {
		answer, err := c.call(t, "RuntimeService/ContainerStatus", pb(1, place.ContainerID))
		if err != nil {
			return err
		}
		status := pbFields(pbFields(answer)[1].bytes)
		if state := status[3].number; state != 2 { // EXITED
			return fmt.Errorf("it is in state %d", state)
		}
		if code := status[7].number; code != 0 {
			log, _ := os.ReadFile(filepath.Join(logDir(s), name+".log"))
			t.Fatalf("%s %q: exit status %d: %s", name, args, code, log)
		}
		return nil
	})
	if _, err := c.call(t, "RuntimeService/RemoveContainer", pb(1, place.ContainerID)); err != nil {
		t.Fatal(err)
	}
	return place
}

// id calls a method that answers with an id.
func (c *containerd) id(t *testing.T, method string, message []byte) string {
	t.Helper()
	answer, err := c.call(t, "RuntimeService/"+method, message)
	if err != nil {
		t.Fatal(err)
	}
	return string(pbFields(answer)[1].bytes)
}

// call makes one gRPC call.
func (c *containerd) call(t *testing.T, method string, message []byte) ([]byte, error) {
	t.Helper()
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", c.socket)
		},
		Protocols: new(http.Protocols),
	}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	body := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost/runtime.v1."+method, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("TE", "trailers")
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.Trailer.Get("Grpc-Status") != "0" || len(answer) < 5 {
		return nil, fmt.Errorf("%s: %s%s", method, resp.Trailer.Get("Grpc-Message"), resp.Header.Get("Grpc-Message"))
	}
	return answer[5:], nil
}

// pb encodes a field of a protobuf message.
func pb[T int | string | []byte](field protowire.Number, value T) []byte {
	switch v := any(value).(type) {
	case int:
		return protowire.AppendVarint(protowire.AppendTag(nil, field, protowire.VarintType), uint64(v))
	case string:
		return protowire.AppendString(protowire.AppendTag(nil, field, protowire.BytesType), v)
	default:
		return protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), v.([]byte))
	}
}

func labels(field protowire.Number, all map[string]string) (b []byte) {
	for k, v := range all {
		b = append(b, pb(field, slices.Concat(pb(1, k), pb(2, v)))...)
	}
	return b
}

type pbValue struct {
	number uint64
	bytes  []byte
}

// pbFields decodes the fields of a message that are numbers or bytes, the last
// of each.
func pbFields(b []byte) map[protowire.Number]pbValue {
	all := map[protowire.Number]pbValue{}
	for len(b) > 0 {
		field, kind, head := protowire.ConsumeTag(b)
		if head < 0 {
			return all
		}
		size := protowire.ConsumeFieldValue(field, kind, b[head:])
		if size < 0 {
			return all
		}
		var v pbValue
		switch kind {
		case protowire.VarintType:
			v.number, _ = protowire.ConsumeVarint(b[head:])
		case protowire.BytesType:
			v.bytes, _ = protowire.ConsumeBytes(b[head:])
		}
		all[field] = v
		b = b[head+size:]
	}
	return all
}

// runcWithoutResources is runc under another name. The cgroup2 of a hybrid host
// has no controllers, and runc wants those that limits are for.
const runcWithoutResources = "runc-without-resources"

// becomeRunc takes the limits out of a container's bundle, then is runc.
func becomeRunc() {
	if filepath.Base(os.Args[0]) != runcWithoutResources {
		return
	}
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	if i := slices.Index(os.Args, "--bundle"); i >= 0 && slices.Contains(os.Args, "create") {
		path := filepath.Join(os.Args[i+1], "config.json")
		b, err := os.ReadFile(path)
		fail(err)
		var spec map[string]any
		fail(json.Unmarshal(b, &spec))
		delete(spec["linux"].(map[string]any), "resources")
		b, err = json.Marshal(spec)
		fail(err)
		fail(os.WriteFile(path, b, 0o644))
	}
	runc, err := osexec.LookPath("runc")
	fail(err)
	fail(syscall.Exec(runc, append([]string{"runc"}, os.Args[1:]...), os.Environ()))
}

// testDocker runs containers under dockerd, testPodman without a daemon.
func testDocker(t *testing.T) {
	ownHost(t, "")
	docker := "/usr/bin/docker" // another may be before it in PATH
	daemon(t, "dockerd", "--log-level", "warn", "--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver", "vfs",
		"--exec-opt", "native.cgroupdriver=cgroupfs", "--data-root", "/var/lib/elsewhere")
	eventually(t, "dockerd", func() error { return osexec.Command(docker, "version").Run() })
	tool(t, docker, "load", "-i", writeImage(t))
	awaitTurn()
	testCommand(t, docker, "run", "--network", "host")
	testRename(t, docker)
	testRecipe(t, docker)
}

func testPodman(t *testing.T, kind, runtime string) {
	ownHost(t, kind)
	// Without a user's session, and with limits that any host allows: crun wants
	// a higher one for the devices of a container that is not privileged.
	common := []string{"podman", "--cgroup-manager", "cgroupfs", "--events-backend", "none", "--storage-driver", "vfs"}
	tool(t, append(common, "load", "-i", writeImage(t))...)
	awaitTurn()
	testCommand(t, slices.Concat(common, []string{"--runtime", runtime, "run", "--network", "host",
		"--privileged"}, limits)...)
	if kind == "" { // on one kind of host
		common = append(common, "--runtime", runtime)
		testRename(t, common...)
		testRecipe(t, common...)
	}
}

// limits are what podman is not to raise here: see testPodman.
var limits = []string{"--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--pids-limit", "0"}

// ownLimits are limits for a command that wants them.
func ownLimits(command []string) []string {
	if command[0] == "podman" {
		return limits
	}
	return nil
}

// testRename renames a container while it is traced, by a command of this beginning.
func testRename(t *testing.T, command ...string) {
	t.Helper()
	call := func(args ...string) { t.Helper(); tool(t, slices.Concat(command, args)...) }
	call(slices.Concat([]string{"run", "-d", "--network", "host", "--name", "before"}, ownLimits(command), []string{image, "/bin/sleep", "600"})...)
	r := kit.Start(t, "exec")
	named := func(container string) {
		t.Helper()
		for until := time.Now().Add(60 * time.Second); ; {
			before := len(r.Events)
			call("exec", container, "/bin/true")
			e := r.Until(func(e kit.Event) bool {
				return len(r.Events) > before && e["comm"] == "true" && e["container_id"] != nil
			})
			if e["container"] == container {
				return
			}
			if time.Now().After(until) {
				t.Fatalf("not %s: %v", container, e)
			}
		}
	}
	named("before")
	call("rename", "before", "after")
	named("after")
	r.Stop()
	call("rm", "-f", "after")
}

// testRecipe runs tracer in a container as README says, by a command of this beginning.
func testRecipe(t *testing.T, command ...string) {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, recipe, ok := strings.Cut(string(text), "\n    docker run ")
	if !ok {
		t.Fatal("README has no recipe")
	}
	recipe, _, _ = strings.Cut(recipe, "\n\n")
	var args []string
	for _, word := range strings.Fields(strings.ReplaceAll(recipe, "\\\n", " ")) {
		switch {
		case word == "-it": // there is no terminal here
		case word == "debian:12":
			args = append(append(args, ownLimits(command)...), image)
		default:
			args = append(args, strings.Replace(word, `"$PWD"/tracer:`, kit.Binary(t)+":", 1))
		}
	}
	argv := slices.Concat(command, []string{"run"}, args, []string{"--json"})
	r := kit.StartCmd(t, osexec.Command(argv[0], argv[1:]...))
	tool(t, slices.Concat(command, []string{"run", "--rm", "--network", "host", "--name", "seen"}, ownLimits(command), []string{image, "/bin/true"})...)
	if e := r.Until(func(e kit.Event) bool { return e["comm"] == "true" && e["container_id"] != nil }); e["container"] != "seen" {
		t.Errorf("%v, and said: %v", e, r.Notes)
	}
	for _, n := range r.Notes {
		if n["event"] == "warning" {
			t.Errorf("%v", n)
		}
	}
	r.Stop()
}

// testCommand runs containers by a command of this beginning.
func testCommand(t *testing.T, command ...string) {
	t.Helper()
	run := func(name string, args []string) event.Place {
		t.Helper()
		id := filepath.Join(t.TempDir(), "id")
		all := slices.Concat(command, []string{"--cidfile", id, "--name", name, image}, args)
		tool(t, all...)
		b, err := os.ReadFile(id)
		if err != nil {
			t.Fatal(err)
		}
		tool(t, append(slices.Clone(command[:slices.Index(command, "run")]), "rm", name)...)
		return event.Place{Container: name, ContainerID: strings.TrimSpace(string(b))}
	}
	for _, filter := range []place.Filter{{}, {Container: "web*"}, {Container: "?eb-1"}} {
		checkRows(t, filter, func(wanted bool, args []string) event.Place {
			if wanted {
				return run("web-1", args)
			}
			return run("db", args)
		})
	}
}

// writeText writes a file, with the folders that lead to it.
func writeText(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}
