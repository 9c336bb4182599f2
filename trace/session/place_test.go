package session

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"tracer/bpf"
	"tracer/trace/account"
	"tracer/trace/event"
	"tracer/trace/place"
)

// taker is a Sink that keeps processes of events.
type taker struct{ processes []event.Process }

func (k *taker) Name() string            { return "taker" }
func (k *taker) Flush() error            { return nil }
func (k *taker) Broken() <-chan struct{} { return nil }
func (k *taker) Close() (uint64, error)  { return 0, nil }
func (k *taker) Event(e event.Event) bool {
	k.processes = append(k.processes, e.Head().Process)
	return true
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
func located(t *testing.T, filter place.Filter) (*Host, *taker) {
	sink := &taker{}
	h := Offline(nil, Options{}, sink)
	id := strings.Repeat("0a", 32)
	r, _ := fakeHost(t, map[string]string{id: "db"})
	r.Mkdir(100, 0, "/docker/"+id)
	r.Mkdir(101, 0, "/user.slice")
	r.Mkdir(102, 0, "/docker/"+strings.Repeat("0b", 32))
	h.stages.places = &places{resolver: r, filter: filter}
	return h, sink
}

func TestEmitTellsTheContainer(t *testing.T) {
	h, sink := located(t, place.Filter{})
	for _, cgroup := range []uint64{100, 101, 102, 1 << 40, 1<<40 | place.V1, 0} {
		h.Emit(&event.Exec{Common: event.Common{Process: event.Process{CgroupID: cgroup}}})
	}
	given := event.Process{Place: event.Place{Pod: "web-0", PodUID: "u"}} // of a row that is no process
	h.Emit(&event.Exec{Common: event.Common{Process: given}})
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
	if diff := cmp.Diff(want, sink.processes); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A table that shows cgroups has events tell their paths, and no other.
func TestEmitTellsThePathOfTheCgroup(t *testing.T) {
	for asked, want := range map[bool][]string{
		true:  {"/docker/" + strings.Repeat("0a", 32), "user.slice", "", ""},
		false: {"", "", "", ""},
	} {
		h, sink := located(t, place.Filter{})
		h.stages.opts.CgroupPaths = asked
		for _, cgroup := range []uint64{100, 101, 1 << 40, 0} {
			h.Emit(&event.Exec{Common: event.Common{Process: event.Process{CgroupID: cgroup}}})
		}
		var got []string
		for _, p := range sink.processes {
			got = append(got, p.Cgroup)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("asked for %v: %s", asked, diff)
		}
	}
}

func TestEmitFiltersByContainer(t *testing.T) {
	for name, c := range map[string]struct {
		filter place.Filter
		want   []uint64 // cgroups
		lost   uint64
	}{
		"by name":                         {place.Filter{Container: "d*"}, []uint64{100}, 2},
		"by id":                           {place.Filter{Container: "0b0b"}, []uint64{102}, 1},
		"by what a container has not":     {place.Filter{Pod: "x"}, nil, 2},
		"where every row is of no cgroup": {place.Filter{}, []uint64{100, 101, 102, 1 << 40, 0}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			h, sink := located(t, c.filter)
			for _, cgroup := range []uint64{100, 101, 102, 1 << 40, 0} {
				h.Emit(&event.Exec{Common: event.Common{Process: event.Process{CgroupID: cgroup}}})
			}
			var got []uint64
			for _, e := range sink.processes {
				got = append(got, e.CgroupID)
			}
			if diff := cmp.Diff(c.want, got); diff != "" || h.Ledger.Account(0).LostBy[account.PlaceUnknown] != c.lost {
				t.Errorf("lost %d, want %d (-want +got):\n%s", h.Ledger.Account(0).LostBy[account.PlaceUnknown], c.lost, diff)
			}
		})
	}
}

// The first event of a cgroup that was never heard of waits, those behind it do
// not wait again, and order is kept.
func TestEmitWaitsOnceForAName(t *testing.T) {
	h, sink := located(t, place.Filter{})
	const n = 1000
	begin := time.Now()
	for i := range uint32(n) {
		h.Emit(&event.Exec{Common: event.Common{Process: event.Process{PID: i, CgroupID: 1<<40 + uint64(i%7)}}})
	}
	if took := time.Since(begin); took > 100*time.Millisecond {
		t.Errorf("%d events of 7 unknown cgroups took %v", n, took)
	}
	for i, e := range sink.processes {
		if e.PID != uint32(i) {
			t.Fatalf("event %d came as number %d", e.PID, i)
		}
	}
}

// discard is a Sink.
type discard struct{ taker }

func (*discard) Event(event.Event) bool { return true }

func TestEmitInAKnownContainerAllocatesNothing(t *testing.T) {
	h, _ := located(t, place.Filter{Container: "db"})
	h.stages.sinks = newFanout(h.Ledger, []Sink{&discard{}})
	e := &event.Exec{}
	if n := testing.AllocsPerRun(1000, func() { e.CgroupID = 100; h.Emit(e) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkEmitInAKnownContainer(b *testing.B) {
	r, _ := fakeHost(b, nil)
	r.Mkdir(100, 0, "/docker/"+strings.Repeat("0a", 32))
	h := Offline(nil, Options{}, &discard{})
	h.stages.places = &places{resolver: r}
	e := &event.Exec{}
	b.ReportAllocs()
	for b.Loop() {
		e.CgroupID = 100
		h.Emit(e)
	}
}

func TestNamelessContainersAreToldOnce(t *testing.T) {
	emitted := func() (*Host, *places) {
		h, _ := located(t, place.Filter{})
		h.Emit(&event.Exec{Common: event.Common{Process: event.Process{CgroupID: 100}}})
		h.Emit(&event.Exec{Common: event.Common{Process: event.Process{CgroupID: 102}}})
		return h, h.stages.places
	}
	_, places := emitted()
	if early := places.nameProblems(false); early != "" {
		t.Errorf("too early: %q", early)
	}
	places.nameless = places.nameless.Add(-namesDue)
	told := places.nameProblems(false)
	if again := places.nameProblems(true); !strings.HasPrefix(told, "1 of 2 containers lack a name: 0b0b0b0b0b0b") || again != "" {
		t.Errorf("%q, then %q", told, again)
	}
	// A short run ends before that.
	if _, places = emitted(); places.nameProblems(true) != told {
		t.Error("it is not said at the end")
	}
}

func TestPlacesThatNobodyHas(t *testing.T) {
	for what, c := range map[string]struct {
		filter place.Filter
		want   string
	}{
		"a container that is here":   {place.Filter{Container: "d*"}, ""},
		"by its id":                  {place.Filter{Container: "0b0b0b"}, ""},
		"none":                       {place.Filter{Container: "web"}, `no container matches --container "web" now; there are 0b0b0b0b0b0b, db. What starts later is shown`},
		"no pods at all":             {place.Filter{Pod: "web-*"}, `no pod matches --pod "web-*" now; there are none. What starts later is shown`},
		"a container, but in no pod": {place.Filter{Container: "db", Namespace: "demo"}, `no namespace matches --namespace "demo" now; there are none. What starts later is shown`},
	} {
		h, _ := located(t, c.filter)
		places := h.stages.places
		for _, cgroup := range []uint64{100, 102} { // so that names have been read
			places.resolver.Lookup(cgroup, 0)
		}
		first := places.nobody(false)
		if again := places.nobody(true); first != c.want || again != "" {
			t.Errorf("%s: %q, then %q, want %q", what, first, again, c.want)
		}
	}
}
