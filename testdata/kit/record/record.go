// Package record is for tests of probes: it runs a session of one tracer and keeps what
// it reports. One recorder serves all probes; what may be lost on which kernel is one
// table.
//
// Start with [Open].
package record

import (
	"context"
	"errors"
	"flag"
	"os"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"tracer/testdata/kit"
	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/session"
)

// Patience is how long a test waits for what must come.
const Patience = 20 * time.Second

// A Recorder is a sink that keeps copies of all that it takes.
type Recorder struct {
	TB      testing.TB
	Session *session.Session
	Host    *session.Host // the tracer's, for tests that look into its maps

	mu      sync.Mutex
	events  []event.Event
	counts  map[string]int // by kind and process, as "exec 17"
	counted bool           // count only
	late    time.Duration  // the longest that an event took from its end to get here
	pages   int
	closing Page
	changed chan struct{} // holds one when something has come

	probe    string
	opts     session.Options
	preempts bool
	silent   bool // tracepoints do not tell of calls, and the probe needs that
	ctx      context.Context
	cancel   context.CancelFunc
	ended    chan error
	run      sync.Once
	stop     func() *event.Account
}

// A Page is a copy of the closing page.
type Page struct {
	event.Page
	Rows  []event.Event
	Below []event.Event
}

// New returns a Recorder without a session.
func New(t testing.TB) *Recorder {
	return &Recorder{TB: t, counts: map[string]int{}, changed: make(chan struct{}, 1)}
}

// Name, Event, Page, Flush, Broken and Close are those of a session.Sink.
func (r *Recorder) Name() string { return "recorder" }

func (r *Recorder) Event(e event.Event) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := e.Head()
	r.counts[h.Kind+" "+strconv.Itoa(int(h.PID))]++
	if !r.counted {
		end := h.Time
		if x, ok := e.(*event.HTTP); ok {
			end = end.Add(x.Duration + x.Age)
		}
		r.late = max(r.late, time.Since(end))
		r.events = append(r.events, Clone(e))
	}
	r.change()
	return true
}

func (r *Recorder) Page(p *event.Page) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pages++
	if p.Closing {
		r.closing = Page{Page: *p}
		for e := range p.Rows {
			r.closing.Rows = append(r.closing.Rows, Clone(e))
		}
		for _, e := range p.Below {
			r.closing.Below = append(r.closing.Below, Clone(e))
		}
	}
	r.change()
}

func (r *Recorder) Flush() error            { return nil }
func (r *Recorder) Broken() <-chan struct{} { return nil }
func (r *Recorder) Close() (uint64, error)  { return 0, nil }

func (r *Recorder) change() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// Clone copies an event and its strings: both are valid only while it is shown.
func Clone(e event.Event) event.Event {
	v := reflect.New(reflect.TypeOf(e).Elem())
	v.Elem().Set(reflect.ValueOf(e).Elem())
	cloneStrings(v.Elem())
	return v.Interface().(event.Event)
}

func cloneStrings(v reflect.Value) {
	for i := range v.NumField() {
		switch f := v.Field(i); {
		case !f.CanSet():
		case f.Kind() == reflect.String:
			f.SetString(strings.Clone(f.String()))
		case f.Kind() == reflect.Struct:
			cloneStrings(f)
		}
	}
}

// Count makes the recorder count events from now on, and not keep them.
func (r *Recorder) Count() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counted = true
}

// Counted is how many events of a kind and a process came.
func (r *Recorder) Counted(kind string, pid int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts[kind+" "+strconv.Itoa(pid)]
}

// Events are those that came so far. They are shared: do not change them.
func (r *Recorder) Events() []event.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.events[:len(r.events):len(r.events)]
}

// Late is the longest that an event took from when it was over to get here.
func (r *Recorder) Late() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.late
}

// Pages is how many pages came so far.
func (r *Recorder) Pages() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pages
}

// Closing is the closing page.
func (r *Recorder) Closing() Page {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closing
}

// Wait returns as soon as f is true, which is asked when something has come, and
// reports whether it was in time.
func (r *Recorder) Wait(patience time.Duration, f func() bool) bool {
	deadline := time.After(patience)
	for !f() {
		select {
		case <-r.changed:
		case <-deadline:
			return f()
		}
	}
	return true
}

// All are the events of one type.
func All[E event.Event](r *Recorder) (list []E) {
	for _, e := range r.Events() {
		if e, ok := e.(E); ok {
			list = append(list, e)
		}
	}
	return list
}

// cache keeps objects and types for all sessions of a test binary.
var cache = sync.OnceValue(kernel.NewCache)

// Parse returns a tracer of a probe with flags.
func Parse(t testing.TB, p session.Probe, args ...string) session.Tracer {
	t.Helper()
	tracer := p.New()
	flags := flag.NewFlagSet(p.Name, flag.ContinueOnError)
	tracer.Flags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return tracer
}

// Open opens a session, which is closed when the test ends. Nobody reads what it tells
// until Run or Stop is called. Where opts name a tier that this kernel does not have, the
// test is skipped.
func Open(t testing.TB, p session.Probe, opts session.Options, args ...string) *Recorder {
	t.Helper()
	return OpenTracer(t, p, Parse(t, p, args...), opts)
}

// OpenTracer is Open for a tracer that a test has made.
func OpenTracer(t testing.TB, p session.Probe, tracer session.Tracer, opts session.Options) *Recorder {
	t.Helper()
	kit.Needs(t, kit.EveryKernel) // a benchmark does not say it
	opts.Cache = cache()
	r := New(t)
	r.probe, r.opts = p.Name, opts
	watched := &watcher{Tracer: tracer, recorder: r}
	var err error
	if r.Session, err = session.Open([]session.Tracer{watched}, opts); err != nil {
		r.skipTier(err)
		var refused *ebpf.VerifierError
		if errors.As(err, &refused) {
			t.Fatalf("%+v", refused)
		}
		t.Fatal(err)
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.ended = make(chan error, 1)
	r.stop = sync.OnceValue(func() *event.Account {
		r.Run()
		r.cancel()
		if err := <-r.ended; err != nil {
			t.Error(err)
		}
		a, err := r.Session.Account()
		if err != nil {
			t.Fatal(err)
		}
		r.Session.Close()
		return a
	})
	t.Cleanup(func() { r.stop() })
	return r
}

// skipTier skips a test of a kind of hook that this kernel does not have.
func (r *Recorder) skipTier(err error) {
	r.TB.Helper()
	tier := r.opts.Tier
	switch {
	case tier == kernel.Tracepoint && r.silent:
		r.TB.Skipf("this kernel tells too little by tracepoints (6.3): %v", err)
	case tier != 0 && tier != kernel.Tracepoint && !kit.Emulated():
		r.TB.Skipf("functions cannot be hooked here, other kernels are tested by make test-kernels: %v", err)
	}
}

// AllTiers runs a test once for each kind of hook.
func AllTiers(t *testing.T, test func(t *testing.T, tier kernel.Tier)) {
	for _, tier := range []kernel.Tier{kernel.Function, kernel.Kprobe, kernel.Tracepoint} {
		t.Run(tier.String(), func(t *testing.T) { test(t, tier) })
	}
}

// Tiers is AllTiers for a test that the oldest kernel runs, too. Only that one runs kprobes: they run the same bodies as
// functions do, and what is new on the newest, that tracepoints are preempted, never happens to them.
func Tiers(t *testing.T, test func(t *testing.T, tier kernel.Tier)) {
	AllTiers(t, func(t *testing.T, tier kernel.Tier) {
		if tier == kernel.Kprobe {
			kit.Needs(t, kit.OldestKernel)
		}
		test(t, tier)
	})
}

// Buffers runs a test once for each kind of buffer.
func Buffers(t *testing.T, test func(t *testing.T, buffer kernel.Buffer)) {
	for _, buffer := range []kernel.Buffer{kernel.BufferRing, kernel.BufferPerf} {
		t.Run(buffer.String(), func(t *testing.T) { test(t, buffer) })
	}
}

// A watcher learns what a tracer is told.
type watcher struct {
	session.Tracer
	recorder *Recorder
}

func (w *watcher) Plan(types *kernel.Types, opts *session.Options) (kernel.Plan, error) {
	w.recorder.preempts = types.Preempts()
	w.recorder.silent = callsMatter[w.recorder.probe] && !types.Has("btf_trace_sock_send_length")
	return w.Tracer.Plan(types, opts)
}

func (w *watcher) Attached(h *session.Host) error {
	w.recorder.Host = h
	return w.Tracer.Attached(h)
}

// callsMatter are the probes that need to know of calls that move bytes.
var callsMatter = map[string]bool{"traffic": true, "http": true}

// Run lets the session run.
func (r *Recorder) Run() {
	r.run.Do(func() { go func() { r.ended <- r.Session.Run(r.ctx, r) }() })
}

// Stop ends the session when all that has happened was taken, and returns its account.
func (r *Recorder) Stop() *event.Account { return r.stop() }

// Start is Open and Run. Nothing may be lost but what [Tolerated] allows: that is
// checked when the session has ended.
func Start(t testing.TB, p session.Probe, opts session.Options, args ...string) *Recorder {
	t.Helper()
	r := Open(t, p, opts, args...)
	r.Clean(nil)
	r.Run()
	return r
}

// Clean makes it an error if something is lost that neither [Tolerated] allows nor the
// test, which may say how much of a cause it knows of when the session has ended.
func (r *Recorder) Clean(known func() map[string]uint64) {
	stop := r.stop
	r.stop = sync.OnceValue(func() *event.Account {
		a := stop()
		lost, incomplete := r.Tolerated(a)
		if known != nil {
			for cause, n := range known() {
				if a.LostBy[cause] == n {
					lost -= n
				}
			}
		}
		if lost != 0 || incomplete != 0 {
			r.TB.Errorf("lost %d %v, %d details", a.Lost, a.LostBy, a.Incomplete)
		}
		return a
	})
	r.TB.Cleanup(func() { r.stop() })
}

// Preempts reports whether this kernel preempts programs.
func (r *Recorder) Preempts() bool { return r.preempts }

// Tier is the kind of hook of a feature.
func (r *Recorder) Tier(feature string) kernel.Tier { return r.Host.Tier(feature) }

// KernelObjects counts this process's descriptors of programs, maps and links.
func KernelObjects(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		switch to, _ := os.Readlink("/proc/self/fd/" + e.Name()); to {
		case "anon_inode:bpf-prog", "anon_inode:bpf-map", "anon_inode:bpf_link", "anon_inode:bpf-link", "anon_inode:bpf-stats":
			n++
		}
	}
	return n
}
