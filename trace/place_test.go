package trace

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"tracer/bpf"
	"tracer/trace/event"
	"tracer/trace/place"
	"tracer/trace/proc"
)

// lines is a Sink that keeps events as the objects that their JSON is.
type lines struct {
	t      *testing.T
	mu     sync.Mutex // guards events until the session has ended
	events []map[string]any
	more   chan struct{} // holds one when an event has come
}

func (l *lines) Event(e event.Event) bool {
	var o map[string]any
	if err := json.Unmarshal(event.AppendJSON(nil, e), &o); err != nil {
		l.t.Error(err)
	}
	l.mu.Lock()
	l.events = append(l.events, o)
	l.mu.Unlock()
	select {
	case l.more <- struct{}{}:
	default:
	}
	return true
}

func (l *lines) Flush() error            { return nil }
func (l *lines) Broken() <-chan struct{} { return nil }
func (l *lines) Close() (uint64, error)  { return 0, nil }

// A tracing is a session that runs.
type tracing struct {
	t      *testing.T
	sink   *lines
	s      *Session
	cancel context.CancelFunc
	ended  chan error
}

// traceWith runs a session until stop, of this process and what it starts:
// other tests may run beside it. All cgroups that there are are known when it
// returns.
func traceWith(t *testing.T, tracer Tracer, opts Options) *tracing {
	t.Helper()
	opts.PIDs = family(t)
	if os.Getenv("TRACER_VM") != "" {
		opts.placeWait = 2 * time.Second // an emulated machine is slow
	}
	s, err := Open(tracer, opts)
	if err != nil {
		t.Fatal(err)
	}
	if s.places == nil || s.places.records == nil {
		t.Fatalf("no places: %q", s.Warnings())
	}
	select {
	case <-s.places.resolver.Scanned():
	case <-time.After(60 * time.Second):
		t.Fatal("the cgroups were not read")
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := &tracing{t, &lines{t: t, more: make(chan struct{}, 1)}, s, cancel, make(chan error, 1)}
	go func() { r.ended <- s.Run(ctx, r.sink) }()
	return r
}

// family is this process and all below it.
func family(t *testing.T) (pids []uint32) {
	t.Helper()
	root := os.Getpid()
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
func (r *tracing) until(f func(e map[string]any) bool) {
	r.t.Helper()
	deadline := time.After(60 * time.Second)
	for {
		r.sink.mu.Lock()
		come := slices.ContainsFunc(r.sink.events, f)
		r.sink.mu.Unlock()
		if come {
			return
		}
		select {
		case <-r.sink.more:
		case <-deadline:
			r.t.Fatal("the awaited event did not come")
		}
	}
}

// stop ends the session when all that has happened is shown.
func (r *tracing) stop() *event.Account {
	r.t.Helper()
	r.cancel()
	if err := <-r.ended; err != nil {
		r.t.Fatal(err)
	}
	a, err := r.s.Account()
	if err != nil {
		r.t.Fatal(err)
	}
	r.s.Close()
	return a
}

// placeOf is the part of an event that says where it happened.
func placeOf(e map[string]any) event.Place {
	get := func(key string) string { s, _ := e[key].(string); return s }
	return event.Place{
		Container: get("container"), ContainerID: get("container_id"),
		Pod: get("pod"), Namespace: get("namespace"), PodUID: get("pod_uid"),
	}
}

// A fakeContainer is all that tracer sees of one: a cgroup, and the bundle that
// containerd leaves.
type fakeContainer struct {
	dir    string // of the cgroup
	parent string
	event.Place
}

// newContainer makes one, before or while it is traced.
func newContainer(t *testing.T, tree place.Hierarchy, pod, container string) *fakeContainer {
	t.Helper()
	var random [48]byte
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	text := hex.EncodeToString(random[:])
	c := &fakeContainer{Place: event.Place{
		Container: container, ContainerID: text[:64], Pod: pod, Namespace: "tracer-test",
		PodUID: fmt.Sprintf("%s-%s-%s-%s-%s", text[64:72], text[72:76], text[76:80], text[80:84], text[84:96]),
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
	c.parent = filepath.Join(tree.Dir, "tracer-test/kubepods/besteffort/pod"+c.PodUID)
	c.dir = filepath.Join(c.parent, c.ContainerID)
	t.Cleanup(func() {
		c.remove()
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			if _, err := os.Stat(c.dir); err != nil {
				break
			}
			if time.Now().After(deadline) {
				t.Errorf("cgroup %q stays: something runs in it", c.dir)
				break
			}
			c.remove() // who has just ended may be in it for a moment
		}
		for dir := c.dir; dir != tree.Dir; dir = filepath.Dir(dir) {
			_ = os.Remove(dir) // where it is empty
		}
		_ = os.RemoveAll(bundle)
		for dir := filepath.Dir(bundle); dir != "/run"; dir = filepath.Dir(dir) {
			_ = os.Remove(dir)
		}
	})
	for _, err := range []error{
		os.MkdirAll(bundle, 0o711),
		os.WriteFile(filepath.Join(bundle, "config.json"), spec, 0o644),
		os.MkdirAll(c.dir, 0o755),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// run runs a command in the container.
func (c *fakeContainer) run(t *testing.T, args ...string) {
	t.Helper()
	// The shell moves itself, then becomes the command: one exec on the host,
	// one in the container, whatever tree the cgroup is in.
	cmd := exec.Command("/bin/sh", append([]string{"-c", `echo $$ >"$0" && exec "$@"`, c.dir + "/cgroup.procs"}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// remove ends the container.
func (c *fakeContainer) remove() { _ = os.Remove(c.dir) }

// trees are the cgroup trees of this host, whose ids events carry.
func trees(t *testing.T) map[string]place.Hierarchy {
	t.Helper()
	needRoot(t)
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

// execs are the events of execs of this program, by their last argument.
func (r *tracing) execs(comm string) map[string]map[string]any {
	r.t.Helper()
	found := map[string]map[string]any{}
	for _, e := range r.sink.events {
		if e["event"] != "exec" || e["comm"] != comm {
			continue
		}
		args := e["args"].([]any)
		last := args[len(args)-1].(string)
		if found[last] != nil {
			r.t.Errorf("two execs of %s %s", comm, last)
		}
		found[last] = e
	}
	return found
}

func TestKernelPlaceOfContainers(t *testing.T) {
	for name, tree := range trees(t) {
		t.Run(name, func(t *testing.T) {
			older := newContainer(t, tree, "older-0", "app")
			r := traceWith(t, &execTracer{}, Options{})
			older.run(t, "/bin/sleep", "0.001")

			// It is gone before anybody can look.
			const n = 31
			want := map[string]event.Place{"0.001": older.Place}
			for i := range n {
				c := newContainer(t, tree, "short-"+strconv.Itoa(i), "job")
				arg := "0.000" + strconv.Itoa(i+1)
				c.run(t, "/bin/sleep", arg)
				c.remove()
				want[arg] = c.Place
			}
			// One in another is not of interest: it is the outer one's.
			nested := *older
			nested.dir = filepath.Join(older.dir, "docker", strings.Repeat("ab", 32))
			if err := os.MkdirAll(nested.dir, 0o755); err != nil {
				t.Fatal(err)
			}
			nested.run(t, "/bin/sleep", "0.002")
			want["0.002"] = older.Place
			_ = os.Remove(nested.dir)
			_ = os.Remove(filepath.Dir(nested.dir))
			if err := exec.Command("/bin/sleep", "0.003").Run(); err != nil {
				t.Fatal(err)
			}
			want["0.003"] = event.Place{}

			a := r.stop()
			got := map[string]event.Place{}
			for arg, e := range r.execs("sleep") {
				if got[arg] = placeOf(e); e["cgroup_id"].(float64) > 1<<62 {
					t.Errorf("%s: cgroup_id is marked: %v", arg, e["cgroup_id"])
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
	for name, tree := range trees(t) {
		t.Run(name, func(t *testing.T) {
			r := traceWith(t, &execTracer{}, Options{})
			c := newContainer(t, tree, "x", "x")
			id := c.ContainerID[32:] + c.ContainerID[:32] // which no bundle is of
			dir := filepath.Join(tree.Dir, "tracer-test-"+id[:8], id)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = os.Remove(dir)
				_ = os.Remove(filepath.Dir(dir))
			})
			(&fakeContainer{dir: dir}).run(t, "/bin/sleep", "0.001")
			r.stop()
			want := event.Place{Container: id[:12], ContainerID: id}
			if diff := cmp.Diff(want, placeOf(r.execs("sleep")["0.001"])); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestKernelPlaceIsFilteredByTheKernel(t *testing.T) {
	for name, tree := range trees(t) {
		t.Run(name, func(t *testing.T) {
			const n = 17
			other := newContainer(t, tree, "db-0", "db")
			web := newContainer(t, tree, "web-0", "web")
			for what, c := range map[string]struct {
				place Place
				want  bool // of containers like web
			}{
				"a pod":                {Place{Pod: "web-?"}, true},
				"a namespace and more": {Place{Namespace: "tracer-*", Container: "web"}, true},
				"an id":                {Place{Container: web.ContainerID[:9]}, false},
				"no pod":               {Place{Pod: "web"}, false},
			} {
				r := traceWith(t, &execTracer{}, Options{Place: c.place})
				// Behind what is still to be told to the kernel.
				r.s.places.resolver.Watch(Place{}, func(uint64, place.Verdict) {})()
				want := 0
				for i := range n {
					web.run(t, "/bin/sleep", "0.001"+strconv.Itoa(i))
					other.run(t, "/bin/sleep", "0.001"+strconv.Itoa(i))
					if c.want || what == "an id" {
						want++
					}
				}
				if a := r.stop(); len(r.sink.events) != want || a.Seen != uint64(want) || a.Lost != 0 {
					t.Errorf("%s: %d shown, want %d; the kernel passed others: %+v", what, len(r.sink.events), want, a)
				}
				for _, e := range r.sink.events {
					if placeOf(e) != web.Place || e["comm"] != "sleep" {
						t.Errorf("%s: shows %v", what, e)
					}
				}
				// Those that start later: none of the wanted is missed, from the
				// first exec on, and no other is shown.
				r = traceWith(t, &execTracer{}, Options{Place: c.place})
				wanted := map[string]event.Place{}
				for i := range n {
					later, stranger := newContainer(t, tree, "web-1", "web"), newContainer(t, tree, "db-1", "db")
					arg := "0.002" + strconv.Itoa(i)
					later.run(t, "/bin/sleep", arg)
					stranger.run(t, "/bin/sleep", "0.003"+strconv.Itoa(i))
					if c.want {
						wanted[arg] = later.Place
					}
				}
				a := r.stop()
				got := map[string]event.Place{}
				for arg, e := range r.execs("sleep") {
					got[arg] = placeOf(e)
				}
				if diff := cmp.Diff(wanted, got); diff != "" || len(r.sink.events) != len(got) || a.Lost != 0 {
					t.Errorf("%s: %d shown, %+v (-want +got):\n%s", what, len(r.sink.events), a, diff)
				}
			}
		})
	}
}

// What cannot be told to be wanted in time is a loss, not silence.
func TestKernelPlaceThatIsNotKnownInTimeIsCounted(t *testing.T) {
	for name, tree := range trees(t) {
		t.Run(name, func(t *testing.T) {
			c := newContainer(t, tree, "x", "x")
			if err := os.RemoveAll(filepath.Join("/run/containerd/io.containerd.runtime.v2.task/tracer-test", c.ContainerID)); err != nil {
				t.Fatal(err)
			}
			r := traceWith(t, &execTracer{}, Options{Place: Place{Pod: "x"}})
			const n = 7
			for range n {
				c.run(t, "/bin/sleep", "0.001")
			}
			if a := r.stop(); a.Seen != n || a.Lost != n || a.LostBy["place_unknown"] != n || len(r.sink.events) != 0 {
				t.Errorf("made %d: %+v", n, a)
			}
		})
	}
}

func TestKernelPlaceLeavesNothing(t *testing.T) {
	needRoot(t)
	before := ownObjects(t)
	for range 3 {
		s, err := Open(&execTracer{}, Options{Place: Place{Pod: "x"}})
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
	if after := ownObjects(t); after != before {
		t.Errorf("%d objects before, %d after", before, after)
	}
}

// placeRecord builds a record as the kernel sends it.
func placeRecord(id uint64, hierarchy, gone uint32, path string) []byte {
	r := bpf.PlacePlaceRecord{Id: id, Hierarchy: hierarchy, Gone: gone}
	head := unsafe.Slice((*byte)(unsafe.Pointer(&r)), unsafe.Offsetof(r.Path))
	return append(append([]byte(nil), head...), path...)
}

// fakeHost is a directory with a cgroup2 tree and docker's names.
func fakeHost(t testing.TB, containers map[string]string) (*place.Resolver, string) {
	t.Helper()
	root := t.TempDir()
	for path, text := range map[string]string{
		"proc/self/mountinfo":           "35 30 0:29 / " + root + "/tree rw - cgroup2 cgroup2 rw\n",
		"proc/self/cgroup":              "0::/\n",
		"tree/cgroup.controllers":       "",
		"tree/docker/cgroup.procs":      "",
		"var/lib/docker/containers/x/x": "",
	} {
		writeFile(t, filepath.Join(root, path), text)
	}
	for id, name := range containers {
		writeFile(t, filepath.Join(root, "var/lib/docker/containers", id, "config.v2.json"), `{"Name":"/`+name+`"}`)
	}
	r, err := place.New(place.Roots{FS: root}, place.Options{Kubelet: place.Kubelet{URL: "http://127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	<-r.Scanned()
	return r, root
}

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestDecodePlace(t *testing.T) {
	id := strings.Repeat("0a", 32)
	r, _ := fakeHost(t, map[string]string{id: "db"})
	p := &places{resolver: r}
	for name, c := range map[string]struct {
		record []byte
		ok     bool
	}{
		"a cgroup that is made":     {placeRecord(100, 0, 0, "/docker/"+id+"\x00"), true},
		"one that is removed":       {placeRecord(101, 0, 1, "/docker/"+id+"/x\x00"), true},
		"another hierarchy's":       {placeRecord(102, 3, 0, "/docker/"+id+"\x00"), true},
		"bytes behind the path":     {placeRecord(103, 0, 0, "/user.slice\x00\xff\xff"), true},
		"a path without an end":     {placeRecord(104, 0, 0, "/docker/"+id), false},
		"no path":                   {placeRecord(105, 0, 0, ""), false},
		"less than a record's head": {placeRecord(106, 0, 0, "")[:9], false},
		"nothing":                   {nil, false},
	} {
		if ok := p.decode(c.record); ok != c.ok {
			t.Errorf("%s: %v, want %v", name, ok, c.ok)
		}
	}
	for id, want := range map[uint64]string{100: "db", 101: "db", 103: ""} {
		place, ok := r.Lookup(id, 0)
		if got := place != nil && place.Container == "db"; !ok || got != (want != "") {
			t.Errorf("%d: %v, %v", id, place, ok)
		}
	}
	if n := r.Counts().Cgroups; n != 5 { // the root, /docker, and the three
		t.Errorf("%d cgroups are known", n)
	}
}

func FuzzDecodePlace(f *testing.F) {
	f.Add(placeRecord(100, 0, 0, "/docker/x\x00"))
	f.Add(placeRecord(1, 0, 1, "\x00"))
	f.Add([]byte{})
	r, _ := fakeHost(f, nil)
	f.Fuzz(func(t *testing.T, data []byte) {
		p := &places{resolver: r}
		// A path ends within the record, or there is none.
		const head = int(unsafe.Offsetof(bpf.PlacePlaceRecord{}.Path))
		if ok := p.decode(data); ok != (len(data) > head && bytes.IndexByte(data[head:], 0) >= 0) {
			t.Errorf("accepted %v: %q", ok, data)
		}
	})
}

// located is a session that knows a docker container as cgroup 100, the host as
// 101, and 102 as a container without a name.
func located(t *testing.T, filter Place) (*Session, *collector) {
	s, sink := offline(t)
	id := strings.Repeat("0a", 32)
	r, _ := fakeHost(t, map[string]string{id: "db"})
	r.Mkdir(100, 0, "/docker/"+id)
	r.Mkdir(101, 0, "/user.slice")
	r.Mkdir(102, 0, "/docker/"+strings.Repeat("0b", 32))
	s.places = &places{resolver: r, filter: filter}
	return s, sink
}

func TestEmitTellsTheContainer(t *testing.T) {
	s, sink := located(t, Place{})
	for _, cgroup := range []uint64{100, 101, 102, 1 << 40, 1<<40 | place.V1, 0} {
		s.emit(&event.Exec{Common: event.Common{Process: event.Process{CgroupID: cgroup}}})
	}
	given := event.Process{Place: event.Place{Pod: "web-0", PodUID: "u"}} // of a row that is no process
	s.emit(&event.Exec{Common: event.Common{Process: given}})
	db, other := strings.Repeat("0a", 32), strings.Repeat("0b", 32)
	want := []event.Process{
		{CgroupID: 100, Place: event.Place{Container: "db", ContainerID: db}},
		{CgroupID: 101},
		{CgroupID: 102, Place: event.Place{Container: other[:12], ContainerID: other}},
		{CgroupID: 1 << 40},
		{CgroupID: 1 << 40},
		{},
		given,
	}
	var got []event.Process
	for _, e := range sink.execs {
		got = append(got, e.Process)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEmitFiltersByContainer(t *testing.T) {
	for name, c := range map[string]struct {
		filter Place
		want   []uint64 // cgroups
		lost   uint64
	}{
		"by name":                         {Place{Container: "d*"}, []uint64{100}, 2},
		"by id":                           {Place{Container: "0b0b"}, []uint64{102}, 1},
		"by what a container has not":     {Place{Pod: "x"}, nil, 2},
		"where every row is of no cgroup": {Place{}, []uint64{100, 101, 102, 1 << 40, 0}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s, sink := located(t, c.filter)
			for _, cgroup := range []uint64{100, 101, 102, 1 << 40, 0} {
				s.emit(&event.Exec{Common: event.Common{Process: event.Process{CgroupID: cgroup}}})
			}
			var got []uint64
			for _, e := range sink.execs {
				got = append(got, e.CgroupID)
			}
			if diff := cmp.Diff(c.want, got); diff != "" || s.stats.lost[lostPlace] != c.lost {
				t.Errorf("lost %d, want %d (-want +got):\n%s", s.stats.lost[lostPlace], c.lost, diff)
			}
		})
	}
}

// The first event of a cgroup that was never heard of waits, those behind it do
// not wait again, and order is kept.
func TestEmitWaitsOnceForAName(t *testing.T) {
	s, sink := located(t, Place{})
	const n = 1000
	begin := time.Now()
	for i := range uint32(n) {
		s.emit(&event.Exec{Common: event.Common{Process: event.Process{PID: i, CgroupID: 1<<40 + uint64(i%7)}}})
	}
	if took := time.Since(begin); took > 100*time.Millisecond {
		t.Errorf("%d events of 7 unknown cgroups took %v", n, took)
	}
	for i, e := range sink.execs {
		if e.PID != uint32(i) {
			t.Fatalf("event %d came as number %d", e.PID, i)
		}
	}
}

// discard is a Sink.
type discard struct{ lines }

func (*discard) Event(event.Event) bool { return true }

func TestEmitInAKnownContainerAllocatesNothing(t *testing.T) {
	s, _ := located(t, Place{Container: "db"})
	s.sink = &discard{}
	e := &event.Exec{}
	if n := testing.AllocsPerRun(1000, func() { e.CgroupID = 100; s.emit(e) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkEmitInAKnownContainer(b *testing.B) {
	r, _ := fakeHost(b, nil)
	r.Mkdir(100, 0, "/docker/"+strings.Repeat("0a", 32))
	s := &Session{sink: &discard{}, stats: newStats(), places: &places{resolver: r}}
	e := &event.Exec{}
	b.ReportAllocs()
	for b.Loop() {
		e.CgroupID = 100
		s.emit(e)
	}
}

func TestNamelessContainersAreToldOnce(t *testing.T) {
	s, _ := located(t, Place{})
	var notices []string
	s.opts.Notice = func(n *event.Notice) { notices = append(notices, n.Kind+": "+n.Message) }
	s.emit(&event.Exec{Common: event.Common{Process: event.Process{CgroupID: 100}}})
	s.tellNameless()
	s.emit(&event.Exec{Common: event.Common{Process: event.Process{CgroupID: 102}}})
	s.tellNameless()
	if len(notices) != 0 {
		t.Errorf("too early: %q", notices)
	}
	s.places.nameless = s.places.nameless.Add(-namesDue)
	s.tellNameless()
	s.tellNameless()
	if len(notices) != 1 || !strings.HasPrefix(notices[0], "note: 1 of 2 containers lack a name: 0b0b0b0b0b0b") {
		t.Errorf("%q", notices)
	}
}
