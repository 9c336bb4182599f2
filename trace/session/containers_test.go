package session_test

import (
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tracer/testdata/kit"
	"tracer/testdata/kit/container"
	"tracer/testdata/kit/record"
	"tracer/testdata/kit/work"
	"tracer/trace/conn"
	"tracer/trace/event"
	"tracer/trace/exec"
	"tracer/trace/kernel"
	"tracer/trace/place"
	"tracer/trace/proc"
	"tracer/trace/session"
)

func TestMain(m *testing.M) {
	work.Main()
	becomeRunc()
	os.Exit(m.Run())
}

// A tracing is a session that runs.
type tracing struct {
	*record.Recorder
	t *testing.T
}

// traceWith runs a session until stop, of this process and what it starts:
// other tests may run beside it. All cgroups that there are are known when it
// returns.
func traceWith(t *testing.T, p session.Probe, where place.Filter, args ...string) *tracing {
	t.Helper()
	opts := session.Options{Place: where}
	opts.PIDs = family(t)
	if kit.Emulated() {
		opts.Limits.PlaceWait = 2 * time.Second // an emulated machine is slow
	}
	r := record.Open(t, p, opts, args...)
	scanned := r.Session.Scanned()
	if scanned == nil {
		t.Fatalf("no places: %q", r.Session.Warnings())
	}
	select {
	case <-scanned:
	case <-time.After(60 * time.Second):
		t.Fatal("the cgroups were not read")
	}
	r.Run()
	return &tracing{r, t}
}

// family is this process and all below it; where it is a stage of
// TestKernelRuntimes those of its parent, whose children orphans become.
func family(t *testing.T) (pids []uint32) {
	t.Helper()
	root := os.Getpid()
	if os.Getenv(runtimeStage) != "" {
		root = os.Getppid()
	}
	dir := proc.Dir("/proc")
	all, err := dir.PIDs()
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range all {
		below := slices.ContainsFunc(dir.Ancestors(pid), func(s proc.Stat) bool { return s.PID == uint32(root) })
		if below || pid == uint32(root) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// until waits for an event of which f is true.
func (r *tracing) until(f func(e event.Event) bool) {
	r.t.Helper()
	if !r.Wait(60*time.Second, func() bool { return slices.ContainsFunc(r.Events(), f) }) {
		r.t.Fatal("the awaited event did not come")
	}
}

// execs are the events of execs of this program, by their last argument.
func (r *tracing) execs(comm string) map[string]*event.Exec {
	r.t.Helper()
	found := map[string]*event.Exec{}
	for _, e := range record.All[*event.Exec](r.Recorder) {
		if e.Comm != comm {
			continue
		}
		last := e.Args[len(e.Args)-1]
		if found[last] != nil {
			r.t.Errorf("two execs of %s %s", comm, last)
		}
		found[last] = e
	}
	return found
}

// A process moves from one container to another between the beginning and the end of its
// connection: whether one of them is asked for or not, all rows say the first.
func TestKernelMovedProcessHasOnePlace(t *testing.T) {
	kit.Needs(t, kit.EndsKernel)
	for name, tree := range container.Trees(t) {
		first, second := container.New(t, tree, "moved-0", "first"), container.New(t, tree, "moved-0", "second")
		for wanted, rows := range map[string]int{"": 4, "first": 4, "second": 0} {
			r := traceWith(t, conn.Probe, place.Filter{Container: wanted})
			w := work.Start(t, "changesUser", "0")
			w.Hear()
			first.Add(w.PID)
			w.Say("open")
			w.Hear()
			second.Add(w.PID)
			w.Say("close")
			w.Hear()
			a := r.Stop()
			told := 0
			for _, e := range r.Events() {
				if int(e.Head().PID) != w.PID {
					continue // this process asks for names
				}
				told++
				if e.Head().Container != "first" {
					t.Errorf("%s, --container %q: %+v", name, wanted, e)
				}
			}
			if lost, _ := r.Tolerated(a); told != rows || lost != 0 {
				t.Errorf("%s, --container %q: %d rows, want %d: %+v", name, wanted, told, rows, a)
			}
			if err := w.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestKernelPlaceOfContainers(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	for name, tree := range container.Trees(t) {
		t.Run(name, func(t *testing.T) {
			older := container.New(t, tree, "older-0", "app")
			r := traceWith(t, exec.Probe, place.Filter{})
			older.Run("/bin/sleep", "0.001")

			// It is gone before anybody can look.
			const n = 31
			want := map[string]event.Place{"0.001": older.Place}
			for i := range n {
				c := container.New(t, tree, "short-"+strconv.Itoa(i), "job")
				arg := "0.000" + strconv.Itoa(i+1)
				c.Run("/bin/sleep", arg)
				c.Remove()
				want[arg] = c.Place
			}
			// One in another is not of interest: it is the outer one's.
			nested := container.At(t, filepath.Join(older.Dir, "docker", strings.Repeat("ab", 32)))
			nested.Run("/bin/sleep", "0.002")
			want["0.002"] = older.Place
			nested.Remove()
			_ = os.Remove(filepath.Dir(nested.Dir))
			if err := osexec.Command("/bin/sleep", "0.003").Run(); err != nil {
				t.Fatal(err)
			}
			want["0.003"] = event.Place{}

			a := r.Stop()
			got := map[string]event.Place{}
			for arg, e := range r.execs("sleep") {
				if got[arg] = e.Place; e.CgroupID > 1<<62 {
					t.Errorf("%s: cgroup_id is marked: %v", arg, e.CgroupID)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if a.Lost != 0 || a.Incomplete != 0 {
				t.Errorf("%+v", a)
			}
		})
	}
}

// Where nothing names a container its id does.
func TestKernelPlaceOfAContainerWithoutAName(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	for name, tree := range container.Trees(t) {
		t.Run(name, func(t *testing.T) {
			r := traceWith(t, exec.Probe, place.Filter{})
			c := container.New(t, tree, "x", "x")
			id := c.ContainerID[32:] + c.ContainerID[:32] // which no bundle is of
			dir := filepath.Join(tree.Dir, "tracer-test-"+id[:8], id)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = os.Remove(dir)
				_ = os.Remove(filepath.Dir(dir))
			})
			container.At(t, dir).Run("/bin/sleep", "0.001")
			r.Stop()
			want := event.Place{Container: id[:12], ContainerID: id}
			if diff := cmp.Diff(want, r.execs("sleep")["0.001"].Place); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestKernelPlaceIsFilteredByTheKernel(t *testing.T) {
	kit.Needs(t, kit.NewestKernel)
	for name, tree := range container.Trees(t) {
		t.Run(name, func(t *testing.T) {
			const n = 17
			other := container.New(t, tree, "db-0", "db")
			web := container.New(t, tree, "web-0", "web")
			for what, c := range map[string]struct {
				place place.Filter
				want  bool // of containers like web
			}{
				"a pod":                {place.Filter{Pod: "web-?"}, true},
				"a namespace and more": {place.Filter{Namespace: "tracer-*", Container: "web"}, true},
				"an id":                {place.Filter{Container: web.ContainerID[:9]}, false},
				"no pod":               {place.Filter{Pod: "web"}, false},
			} {
				r := traceWith(t, exec.Probe, c.place)
				// Behind what is still to be told to the kernel.
				r.Session.AfterVerdicts()
				want := 0
				for i := range n {
					web.Run("/bin/sleep", "0.001"+strconv.Itoa(i))
					other.Run("/bin/sleep", "0.001"+strconv.Itoa(i))
					if c.want || what == "an id" {
						want++
					}
				}
				if a := r.Stop(); len(r.Events()) != want || a.Seen != uint64(want) || a.Lost != 0 {
					t.Errorf("%s: %d shown, want %d; the kernel passed others: %+v", what, len(r.Events()), want, a)
				}
				for _, e := range r.Events() {
					if e.Head().Place != web.Place || e.Head().Comm != "sleep" {
						t.Errorf("%s: shows %v", what, e)
					}
				}
				// Those that start later: none of the wanted is missed, from the
				// first exec on, and no other is shown.
				r = traceWith(t, exec.Probe, c.place)
				wanted := map[string]event.Place{}
				for i := range n {
					later, stranger := container.New(t, tree, "web-1", "web"), container.New(t, tree, "db-1", "db")
					arg := "0.002" + strconv.Itoa(i)
					later.Run("/bin/sleep", arg)
					stranger.Run("/bin/sleep", "0.003"+strconv.Itoa(i))
					if c.want {
						wanted[arg] = later.Place
					}
				}
				a := r.Stop()
				got := map[string]event.Place{}
				for arg, e := range r.execs("sleep") {
					got[arg] = e.Place
				}
				if diff := cmp.Diff(wanted, got); diff != "" || len(r.Events()) != len(got) || a.Lost != 0 {
					t.Errorf("%s: %d shown, %+v (-want +got):\n%s", what, len(r.Events()), a, diff)
				}
			}
		})
	}
}

// Who comes into a container later has a history, too.
func TestKernelExitInAContainerTellsWhatBeganOutside(t *testing.T) {
	kit.Needs(t, kit.EndsKernel)
	for name, tree := range container.Trees(t) {
		t.Run(name, func(t *testing.T) {
			web := container.New(t, tree, "web-0", "web")
			r := traceWith(t, exec.Probe, place.Filter{Pod: "web-0"}, "--exits")
			r.Session.AfterVerdicts()
			cmd := osexec.Command("/bin/sh", "-c", "read line; exit 3")
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			web.Add(kit.Launch(t, cmd))
			in.Close()
			_ = cmd.Wait()
			a := r.Stop()
			exits := record.All[*event.Exit](r.Recorder)
			if len(exits) != 1 || len(r.Events()) != 1 || a.Lost != 0 {
				t.Fatalf("%v: %+v", r.Events(), a)
			}
			if diff := cmp.Diff(cmd.Args, exits[0].Args); diff != "" || exits[0].Code != 3 {
				t.Errorf("%+v: %s", exits[0], diff)
			}
		})
	}
}

// What cannot be told to be wanted in time is a loss, not silence.
func TestKernelPlaceThatIsNotKnownInTimeIsCounted(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	for name, tree := range container.Trees(t) {
		t.Run(name, func(t *testing.T) {
			c := container.New(t, tree, "x", "x")
			if err := os.RemoveAll(filepath.Join("/run/containerd/io.containerd.runtime.v2.task/tracer-test", c.ContainerID)); err != nil {
				t.Fatal(err)
			}
			r := traceWith(t, exec.Probe, place.Filter{Pod: "x"})
			const n = 7
			for range n {
				c.Run("/bin/sleep", "0.001")
			}
			if a := r.Stop(); a.Seen != n || a.Lost != n || a.LostBy["place_unknown"] != n || len(r.Events()) != 0 {
				t.Errorf("made %d: %+v", n, a)
			}
		})
	}
}

func TestKernelPlaceLeavesNothing(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	before := record.KernelObjects(t)
	for range 3 {
		s, err := session.Open([]session.Tracer{exec.Probe.New()}, session.Options{Place: place.Filter{Pod: "x"}})
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
	if after := record.KernelObjects(t); after != before {
		t.Errorf("%d objects before, %d after", before, after)
	}
}

// impossible is exec with a feature that no kernel has.
type impossible struct{ session.Tracer }

func (i impossible) Plan(types *kernel.Types, opts *session.Options) (kernel.Plan, error) {
	plan, err := i.Tracer.Plan(types, opts)
	plan.Features = append(plan.Features, kernel.Feature{Name: "what is to come"})
	return plan, err
}

// Where one of several cannot be loaded, what was begun of the others is closed.
func TestKernelSessionThatFailsLeavesNothing(t *testing.T) {
	kit.Needs(t, kit.EndsKernel)
	before := record.KernelObjects(t)
	for _, order := range [][]session.Tracer{
		{impossible{exec.Probe.New()}, conn.Probe.New(), exec.Probe.New()},
		{conn.Probe.New(), exec.Probe.New(), impossible{exec.Probe.New()}},
	} {
		if _, err := session.Open(order, session.Options{}); err == nil || !strings.Contains(err.Error(), "what is to come") {
			t.Errorf("%v", err)
		}
	}
	if after := record.KernelObjects(t); after != before {
		t.Errorf("%d objects before, %d after", before, after)
	}
}

// Cgroup mounts that cannot be read are a warning, and an error only for who asks for a container.
func TestKernelCgroupMountsThatOthersCover(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	cover := func(dir string, args ...string) (string, int) {
		argv := append([]string{"-m", "sh", "-c", `mount -t tmpfs none "$1" && shift && exec "$@"`, "sh", dir, kit.Binary(t), "exec"}, args...)
		return kit.Output(osexec.Command("unshare", argv...))
	}
	trees, err := place.FindHierarchies(place.Roots{})
	if err != nil {
		t.Fatal(err)
	}
	if out, status := cover("/sys/fs/cgroup", "--", "/bin/true"); status != 0 || !strings.Contains(out, "tracer: warning: containers and pods are not shown: read cgroup2's cgroup tree: ") || !strings.Contains(out, "1 event seen, 1 shown") {
		t.Errorf("all: status %d: %s", status, out)
	}
	if out, status := cover("/sys/fs/cgroup", "--container", "x", "--", "/bin/true"); status != 1 || !strings.HasPrefix(out, "tracer: error: tell containers and pods apart: read cgroup2's cgroup tree: ") {
		t.Errorf("all, with a filter: status %d: %s", status, out)
	}
	for _, tree := range trees {
		out, status := cover(tree.Dir, "--", "/bin/true")
		if want := tree.Dir + ": another mount covers it"; status != 0 || !strings.Contains(out, want) || !strings.Contains(out, "1 event seen, 1 shown") {
			t.Errorf("%s: status %d: %s", tree.Dir, status, out)
		}
	}
}

// Who sees only a part of the cgroup tree is told, and what to do about it.
func TestKernelPartOfTheCgroupTree(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	tree := container.Trees(t)["cgroup2"]
	if tree.Dir == "" {
		t.Skip("this host has no cgroup2")
	}
	own := filepath.Join(tree.Dir, "tracer-test-part")
	if err := os.Mkdir(own, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(own)
	script := `echo 0 >"$1/cgroup.procs" && exec unshare -C -m sh -c 'umount -l "$1" && mount -t cgroup2 none "$1" && shift && exec "$@"' sh "$2" "$3" "$4" "$5" "$6"`
	for _, args := range [][]string{{"exec", "--", "/bin/true"}, {"check", "", ""}} {
		argv := append([]string{"-c", script, "sh", own, tree.Dir, kit.Binary(t)}, args...)
		if args[0] == "check" {
			argv[1] = strings.Replace(script, ` "$5" "$6"`, "", 1)
		}
		out, _ := kit.Output(osexec.Command("sh", argv...))
		for _, want := range []string{"only a part of the cgroup tree is mounted at " + tree.Dir, "docker run --cgroupns=host -v /sys/fs/cgroup:/sys/fs/cgroup:ro"} {
			if !strings.Contains(strings.Join(strings.Fields(out), " "), want) {
				t.Errorf("%v: %s", args, out)
			}
		}
	}
}
