package trace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"tracer/bpf"
	"tracer/trace/event"
	"tracer/trace/proc"
)

const (
	tickInterval = 10 * time.Millisecond // while something waits for its time
	slowInterval = time.Second           // between looks at clock and losses
)

// ownPIDs is what a session misses that runs in a container.
const ownPIDs = "this is a pid namespace of its own, as a container has: processes are reported, and named by --pid, by the host's ids, and what is only to be read in /proc is missing; " +
	"run it in the host's (docker run --pid=host)"

// Options say what a session traces and what of it is wanted.
type Options struct {
	Filter
	Place   Place               // only events in such a container or pod
	Kubelet Kubelet             // who is asked where files and sockets give no names
	Command uint32              // the process that a Command waits in, if any
	Self    bool                // also tracer itself and the SSH session it runs in
	Count   uint64              // stop after so many events shown; 0: never
	BTF     string              // file with the kernel's types, empty: the kernel's own
	Buffer  Buffer              // how records travel
	Notice  func(*event.Notice) // told of warnings and losses; must not block

	// For tests.
	ringBytes  uint32        // size of the ring, or of each perf buffer; 0: the probe's own
	placeWait  time.Duration // the longest that an event waits for a name, 0: as always
	maxFollows uint32        // processes that can be followed, 0: as many as the object says
	maxSocks   uint32        // sockets that can be noted, 0: as many as the object says
	maxHeads   uint32        // requests that can be kept in the kernel, 0: as many as there is room for
	tier       tier          // the only one to use where there is a choice, 0: the best
}

// SetTier makes a session use hooks of one kind only where there is a choice:
// fentry, kprobe or tracepoint. For tests.
func (o *Options) SetTier(name string) error {
	for _, t := range []tier{tierFunction, tierKprobe, tierTracepoint} {
		if t.String() == name {
			o.tier = t
			return nil
		}
	}
	return fmt.Errorf("no tier %q; there are fentry, kprobe and tracepoint", name)
}

// A Sink shows events. Its methods are called by one goroutine.
type Sink interface {
	// Event shows e, or reports false if it cannot because what was shown
	// before is still not taken. It must not block, nor keep e.
	Event(e event.Event) bool
	// Flush passes on what was shown, without blocking. An error ends the
	// session: nothing can be shown any more.
	Flush() error
	// Broken is closed when Flush would return an error.
	Broken() <-chan struct{}
	// Close waits, for a bounded time, until everything is passed on. It
	// returns the number of events that Event took and that were not, and
	// why.
	Close() (unwritten uint64, err error)
}

// A Pager is a Sink that also shows pages.
type Pager interface {
	// Page shows p, or leaves it out if what was shown before is still not
	// taken. It must not block, nor keep p.
	Page(p *event.Page)
}

// A Session is one run of a probe: attached programs, a ring, a pipeline.
// Except for Run's context, it is not safe for concurrent use.
type Session struct {
	opts   Options
	tracer Tracer
	sink   Sink

	spec     *ebpf.CollectionSpec // the probe's object
	objects  *ebpf.Collection     // its maps
	programs map[string]*ebpf.Program
	links    []link.Link // kept: a link that nothing refers to is closed
	cost     cost
	tiers    map[string]tier // of the features that are open
	opened   []openedFeature // all features, in order
	warnings []string        // features that could not be had
	buffer   Buffer          // not BufferAuto
	reader   *reader
	yielder  yielder
	places   *places // nil: not known here
	castless bool    // the kernel has no casts: see LOAD in bpf/include/read.h

	types *btf.Spec // the kernel's, nil: those that cache has
	cache *btf.Cache

	clock *clock
	users *proc.Users
	proc  proc.Dir
	stats *Stats

	started  time.Time
	duration time.Duration
	lostTold uint64
	comms    map[[16]int8]string
}

// Open loads and attaches a probe. When it returns, whatever happens is
// reported once Run is called. Errors are sentences for people.
func Open(t Tracer, opts Options) (_ *Session, err error) {
	if opts.Notice == nil {
		opts.Notice = func(*event.Notice) {}
	}
	s := &Session{
		opts:   opts,
		tracer: t,
		clock:  newClock(),
		users:  proc.NewUsers("/etc/passwd"),
		proc:   "/proc",
		stats:  newStats(),
		comms:  map[[16]int8]string{},

		programs: map[string]*ebpf.Program{},
		tiers:    map[string]tier{},
	}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if opts.Command != 0 && !inFirstNamespace("pid") {
		return nil, errors.New("a command cannot be followed from a pid namespace of its own, as a container has: its id is another one on the host; " +
			"run this in the host's (docker run --pid=host)")
	}
	load := ebpf.CollectionOptions{Cache: typesCache()}
	if load.Programs.KernelTypes, err = kernelTypes(opts.BTF); err != nil {
		return nil, err
	}
	s.types, s.cache = load.Programs.KernelTypes, load.Cache
	// Before 5.11 maps count against this limit. Where it cannot be raised,
	// creating a map fails and says so.
	_ = rlimit.RemoveMemlock()
	if s.buffer, err = opts.Buffer.pick(haveRing); err != nil {
		return nil, err
	}
	if err := s.load(load); err != nil {
		return nil, explain(err)
	}
	if err := t.attached(s); err != nil {
		return nil, err
	}
	if err := s.stats.begin(s.objects.Maps[bpf.ExecMapLost]); err != nil {
		return nil, err
	}
	if !inFirstNamespace("pid") {
		s.warnings = append(s.warnings, ownPIDs)
	}
	if opts.BTF != "" {
		if foreign := foreignTypes(opts.BTF); foreign != "" {
			s.warnings = append(s.warnings, foreign)
		}
	}
	s.started = time.Now()
	s.cost.open()
	s.types, s.cache = nil, nil
	// The kernel's types were most of the memory so far and are not needed
	// any more.
	go debug.FreeOSMemory()
	return s, nil
}

// A library keeps from one session to the next what takes long to read: the
// kernel's types and the objects. For tests, which open hundreds.
type library struct {
	mu      sync.Mutex
	types   *btf.Cache
	objects map[string]*ebpf.CollectionSpec
}

// kept is nil where there is one session, which keeps nothing.
var kept *library

func typesCache() *btf.Cache {
	if kept != nil {
		return kept.types
	}
	return btf.NewCache()
}

// object is what load reads, to be changed at will.
func object(name string, load func() (*ebpf.CollectionSpec, error)) (*ebpf.CollectionSpec, error) {
	if kept == nil {
		return load()
	}
	kept.mu.Lock()
	defer kept.mu.Unlock()
	spec := kept.objects[name]
	if spec == nil {
		var err error
		if spec, err = load(); err != nil {
			return nil, err
		}
		kept.objects[name] = spec
	}
	return spec.Copy(), nil
}

// kernelTypes are the types in a BTF file, or nil for the kernel's own.
func kernelTypes(file string) (*btf.Spec, error) {
	if file == "" {
		if _, err := os.Stat(kernelBTF); errors.Is(err, os.ErrNotExist) {
			return nil, errors.New("this kernel does not describe its types (no " + kernelBTF + "): pass a BTF file made for exactly this kernel with --btf FILE")
		}
		return nil, nil
	}
	spec, err := btf.LoadSpec(file)
	if err != nil {
		return nil, fmt.Errorf("read BTF from %q: %w", file, err)
	}
	return spec, nil
}

// foreignTypes says that a BTF file may be another kernel's, if it may.
func foreignTypes(file string) string {
	own, err := os.ReadFile(kernelBTF)
	if err != nil {
		return "" // there is nothing to compare with
	}
	given, err := os.ReadFile(file)
	if err != nil || bytes.Equal(given, own) {
		return ""
	}
	return fmt.Sprintf("%q is not what this kernel says of its types itself (%s): if it is another kernel's, what is shown is wrong; leave --btf out", file, kernelBTF)
}

// kernelTypes are the types of the kernel's functions and data.
func (s *Session) kernelTypes() (*btf.Spec, error) {
	if s.types != nil {
		return s.types, nil
	}
	return s.cache.Kernel()
}

// load creates the maps of the probe's object and opens its features, then, if
// processes are followed, the object that follows them, which shares its maps.
func (s *Session) load(opts ebpf.CollectionOptions) error {
	spec, err := s.tracer.load(s)
	if err != nil {
		return err
	}
	casts, err := s.hasCasts()
	if err != nil {
		return err
	}
	s.castless = !casts && s.opts.BTF == ""
	knobs := map[string]any{
		bpf.ExecVarFilterPids:    len(s.opts.PIDs) > 0,
		bpf.ExecVarFilterUid:     s.opts.UID != nil,
		bpf.ExecVarFilterCgroups: s.filtersPlaces(),
	}
	if !s.opts.Self {
		var hidden [16]uint32 // sessions within sessions go no deeper
		copy(hidden[:], s.Own())
		knobs[bpf.ExecVarHidden] = hidden
	}
	if s.opts.UID != nil {
		knobs[bpf.ExecVarWantedUid] = *s.opts.UID
	}
	if err := setKnobs(spec, knobs); err != nil {
		return err
	}
	bytes := spec.Maps[bpf.ExecMapEvents].MaxEntries
	if s.opts.ringBytes > 0 {
		bytes = s.opts.ringBytes
		spec.Maps[bpf.ExecMapEvents].MaxEntries = bytes
	}
	if err := s.buffer.fit(spec); err != nil {
		return err
	}
	if len(s.opts.PIDs) == 0 {
		spec.Maps[bpf.ExecMapPids].MaxEntries = 1
	} else if s.opts.maxFollows > 0 {
		spec.Maps[bpf.ExecMapPids].MaxEntries = s.opts.maxFollows
	}
	if !s.filtersPlaces() {
		spec.Maps[bpf.ExecMapCgroups].MaxEntries = 1
	}
	s.spec = spec
	programs := spec.Programs
	spec.Programs = nil
	s.objects, err = ebpf.NewCollection(spec)
	if err != nil {
		return fmt.Errorf("create maps: %w", err)
	}
	spec.Programs = programs
	state := s.objects.Variables[bpf.ExecVarReaderState]
	records, err := s.buffer.open(s.objects.Maps[bpf.ExecMapEvents], s.objects.Maps[bpf.ExecMapBell], state, bytes)
	if err != nil {
		return err
	}
	s.reader = newReader(records, state)
	if err := s.fillPIDs(); err != nil {
		return err
	}
	if err := s.openPlaces(opts); err != nil {
		return err
	}
	for _, f := range s.tracer.features() {
		if err := s.open(spec, opts, f); err != nil {
			return err
		}
	}
	if len(s.opts.PIDs) == 0 {
		return nil
	}
	if spec, err = object("follow", bpf.LoadFollow); err != nil {
		return fmt.Errorf("read object %q: %w", "follow", err)
	}
	preempts, err := s.preempts()
	if err != nil {
		return err
	}
	if err := setKnobs(spec, map[string]any{bpf.FollowVarHasCopies: preempts}); err != nil {
		return err
	}
	return s.open(spec, opts, followFeature(preempts))
}

// open loads and attaches the programs of a feature by the first of its doors
// that this kernel lets it through.
func (s *Session) open(spec *ebpf.CollectionSpec, opts ebpf.CollectionOptions, f feature) error {
	var failed error
	for _, d := range f.doors {
		if s.opts.tier != 0 && len(f.doors) > 1 && d.tier != s.opts.tier {
			continue
		}
		if err := s.openDoor(spec, opts, d); err != nil {
			if len(f.doors) > 1 {
				err = fmt.Errorf("by %s: %w", d.tier, err)
			}
			if failed == nil {
				failed = fmt.Errorf("%s: %w", f.name, err)
			} else {
				failed = fmt.Errorf("%w; %w", failed, err)
			}
			continue
		}
		s.tiers[f.name] = d.tier
		s.opened = append(s.opened, openedFeature{f, d.tier})
		return nil
	}
	if failed == nil {
		failed = fmt.Errorf("%s: not possible by %s", f.name, s.opts.tier)
	}
	if f.without != "" && (s.opts.tier == 0 || len(f.doors) == 1) {
		s.opened = append(s.opened, openedFeature{feature: f})
		s.warnings = append(s.warnings, f.without)
		return nil
	}
	return failed
}

// openDoor loads and attaches some programs, all or none of them.
func (s *Session) openDoor(from *ebpf.CollectionSpec, opts ebpf.CollectionOptions, d door) (err error) {
	if d.tier == tierKprobe && !haveKprobes() {
		return fmt.Errorf("attach %s: this kernel has none: %w", d.tier, ebpf.ErrNotSupported)
	}
	maps := *from
	maps.Programs = nil // most are not needed
	spec := maps.Copy()
	spec.Programs = map[string]*ebpf.ProgramSpec{}
	for _, name := range d.programs {
		p := from.Programs[name]
		if p == nil {
			return fmt.Errorf("load program %q: the object has none", name)
		}
		spec.Programs[name] = p.Copy()
		if s.castless {
			dropCasts(spec.Programs[name].Instructions)
		}
	}
	opts.MapReplacements = map[string]*ebpf.Map{}
	for name, m := range s.objects.Maps {
		if spec.Maps[name] == nil || from != s.spec && !slices.Contains(bpf.SharedMaps, name) {
			continue // another object's own
		}
		spec.Maps[name].MaxEntries = m.MaxEntries()
		opts.MapReplacements[name] = m
	}
	c, err := ebpf.NewCollectionWithOptions(spec, opts)
	if err != nil {
		return fmt.Errorf("load programs: %w", err)
	}
	defer c.Close()
	var links []link.Link
	defer func() {
		if err != nil {
			for _, l := range links {
				_ = l.Close() // it is not used
			}
		}
	}()
	for _, name := range d.programs {
		l, err := attach(spec.Programs[name], c.Programs[name])
		if err != nil {
			return fmt.Errorf("attach %s %q: %w", d.tier, spec.Programs[name].AttachTo, err)
		}
		if l != nil {
			links = append(links, l)
		}
	}
	s.links = append(s.links, links...)
	for name := range spec.Maps {
		if s.objects.Maps[name] == nil && !strings.HasPrefix(name, ".") { // variables are of no use outside
			s.objects.Maps[name] = c.DetachMap(name)
		}
	}
	for _, name := range d.programs {
		s.programs[name] = c.DetachProgram(name)
	}
	return nil
}

// dropCasts takes casts out of a program that does not reach them. They are calls
// of a function of the kernel, which would be looked for in all its modules.
func dropCasts(program asm.Instructions) {
	for i, ins := range program {
		if ins.IsKfuncCall() {
			program[i] = asm.Mov.Imm(asm.R0, 0).WithSource(ins.Source())
		}
	}
}

// attach attaches a program to what its section names. Iterators are run, not
// attached: they have no link.
func attach(spec *ebpf.ProgramSpec, p *ebpf.Program) (link.Link, error) {
	switch {
	case spec.Type == ebpf.RawTracepoint:
		return link.AttachRawTracepoint(link.RawTracepointOptions{Name: spec.AttachTo, Program: p})
	case spec.Type == ebpf.Kprobe && strings.HasPrefix(spec.SectionName, "kretprobe/"):
		return link.Kretprobe(spec.AttachTo, p, nil)
	case spec.Type == ebpf.Kprobe:
		return link.Kprobe(spec.AttachTo, p, nil)
	case spec.AttachType == ebpf.AttachTraceIter:
		return nil, nil
	case spec.Type == ebpf.Tracing:
		return link.AttachTracing(link.TracingOptions{Program: p})
	}
	return nil, fmt.Errorf("program type %s: %w", spec.Type, ebpf.ErrNotSupported)
}

// setKnobs sets variables of an object before it is loaded.
func setKnobs(spec *ebpf.CollectionSpec, knobs map[string]any) error {
	for name, value := range knobs {
		v := spec.Variables[name]
		if v == nil {
			return fmt.Errorf("set variable %q: the object has none", name)
		}
		if err := v.Set(value); err != nil {
			return fmt.Errorf("set variable %q: %w", name, err)
		}
	}
	return nil
}

// fillPIDs tells the kernel which processes are wanted.
func (s *Session) fillPIDs() error {
	for _, pid := range s.opts.PIDs {
		if err := s.objects.Maps[bpf.ExecMapPids].Put(pid, uint8(1)); err != nil {
			return fmt.Errorf("write map %q: %w", "pids", err)
		}
	}
	return nil
}

// Own lists tracer itself, then the processes that carry the SSH session it
// runs in, nearest first. None in a pid namespace of its own: what the kernel
// calls them is not known there.
func (s *Session) Own() []uint32 {
	if !inFirstNamespace("pid") {
		return nil
	}
	self := uint32(os.Getpid())
	pids := []uint32{self}
	for _, p := range s.proc.Ancestors(self) {
		// sshd-session since OpenSSH 9.8. The listener, which serves all
		// sessions, is a child of init or of no one.
		if (p.Comm == "sshd" || p.Comm == "sshd-session") && p.PPID > 1 {
			pids = append(pids, p.PID)
		}
	}
	return pids
}

// Warnings says what this session will miss on this kernel, in sentences.
func (s *Session) Warnings() []string { return s.warnings }

// Run reads events and shows them until ctx ends, as many were shown as were
// asked for, or sink fails. Then it detaches the programs, shows what they had
// sent before, and closes sink. It must be called once.
func (s *Session) Run(ctx context.Context, sink Sink) error {
	s.sink = sink
	go s.reader.run()
	err := s.pipeline(ctx)
	if t, ok := s.tracer.(periodic); ok {
		t.read(s, true)
	}
	s.duration = time.Since(s.started)
	s.cost.close(s.programs)
	if endErr := s.stats.end(s.objects.Maps[bpf.ExecMapLost]); err == nil {
		err = endErr
	}
	s.detach()
	if stopErr := s.reader.stop(); err == nil {
		err = stopErr
	}
	for b := range s.reader.full {
		s.decode(b)
		s.reader.free <- b
	}
	s.tracer.tick(s, bootNow(), true)
	if err == nil {
		err = s.reader.err
	}
	unwritten, sinkErr := sink.Close()
	s.stats.shown -= min(unwritten, s.stats.shown)
	s.stats.lost[lostOutputFull] += unwritten
	if err == nil {
		err = sinkErr
	}
	return err
}

// pipeline handles batches until there is a reason to end.
func (s *Session) pipeline(ctx context.Context) error {
	var tick <-chan time.Time // nil while nothing waits
	slow := time.NewTicker(slowInterval)
	defer slow.Stop()
	periodic, ok := s.tracer.(periodic)
	var period <-chan time.Time
	if ok && periodic.every() > 0 {
		ticker := time.NewTicker(periodic.every())
		defer ticker.Stop()
		period = ticker.C
	}
	var look <-chan time.Time // nil if nobody looks
	looks, ok := s.tracer.(looker)
	if ok {
		ticker := time.NewTicker(looks.lookInterval())
		defer ticker.Stop()
		look = ticker.C
	}
	for !s.enough() {
		select {
		case <-ctx.Done():
			return nil
		case b, ok := <-s.reader.full:
			if !ok {
				return s.reader.err
			}
			s.decode(b)
			s.reader.free <- b
		case <-tick:
			tick = nil
			s.tracer.tick(s, s.reader.horizon(), false)
		case <-period:
			periodic.read(s, false)
			periodic.report(s)
		case <-look:
			looks.look(s, s.reader.horizon())
		case <-s.sink.Broken():
		case <-slow.C:
			s.clock.anchor()
			if time.Since(s.started) > sampleTime {
				s.cost.close(s.programs)
			}
			if err := s.tellLosses(); err != nil {
				return err
			}
			s.tellNameless()
		}
		if err := s.sink.Flush(); err != nil {
			return err
		}
		if tick == nil && s.tracer.waiting() {
			tick = time.After(tickInterval)
		}
	}
	return nil
}

func (s *Session) decode(b *batch) {
	n := uint64(0)
	b.samples(func(record []byte) {
		if n++; n%yieldRecords == 0 && len(s.reader.full) < yieldBehind {
			s.yielder.yield()
		}
		if !s.tracer.decode(s, record) {
			s.stats.lost[lostBadRecord]++
		}
	})
	s.cost.count(n, s.reader.horizon(), s.programs)
}

func (s *Session) enough() bool {
	return s.opts.Count > 0 && s.stats.shown >= s.opts.Count
}

// emit passes an event on to the sink if it is wanted.
func (s *Session) emit(e event.Event) {
	if s.enough() {
		return
	}
	s.stats.kinds[e.Head().Kind]++
	s.offer(e)
}

// offer is emit for what is counted in another way.
func (s *Session) offer(e event.Event) {
	if s.enough() {
		return
	}
	if s.passes(e.Head()) {
		s.show(e)
	} else {
		s.stats.emitted++
	}
}

// passes reports whether an event passes --comm and the place that is wanted.
// That it does not is counted.
func (s *Session) passes(e *event.Common) bool {
	if !s.opts.match(e) {
		s.stats.filtered["comm"]++
		return false
	}
	if !s.locate(e) {
		s.stats.filtered["place"]++
		return false
	}
	return true
}

// show passes an event on that is wanted.
func (s *Session) show(e event.Event) {
	if s.enough() {
		return
	}
	s.stats.emitted++
	if s.sink.Event(e) {
		s.stats.shown++
	} else {
		s.stats.lost[lostOutputFull]++
	}
}

// page shows all rows of a table whose rows are things, where the sink can; the
// events of the interval were emitted before.
func (s *Session) page(p *event.Page) {
	if sink, ok := s.sink.(Pager); ok {
		sink.Page(p)
	}
}

// comm is the text of a kernel's name; equal names share their memory.
func (s *Session) comm(c [16]int8) string {
	if name, ok := s.comms[c]; ok {
		return name
	}
	if len(s.comms) >= 4096 {
		clear(s.comms)
	}
	b := make([]byte, 0, len(c))
	for _, ch := range c {
		if ch == 0 {
			break
		}
		b = append(b, byte(ch))
	}
	name := string(b)
	s.comms[c] = name
	return name
}

// tellLosses says at once what was lost since it was told last.
func (s *Session) tellLosses() error {
	if err := s.stats.readKernel(s.objects.Maps[bpf.ExecMapLost]); err != nil {
		return err
	}
	lost, by := s.stats.total()
	if lost <= s.lostTold {
		return nil
	}
	s.opts.Notice(&event.Notice{
		Kind:    "lost",
		Message: fmt.Sprintf("%d events lost since the last notice, %d in all", lost-s.lostTold, lost),
		Lost:    lost,
		LostBy:  by,
	})
	s.lostTold = lost
	return nil
}

// Account says what was seen, shown and lost and what it cost. It is complete
// after Run; last losses are told before it returns.
func (s *Session) Account() (_ *event.Account, err error) {
	a := &event.Account{Duration: s.duration}
	var missed uint64
	byAll := map[*bpf.Program]uint64{} // by a program and its copies together, at most
	for name, p := range s.programs {
		st, err := p.Stats()
		if err != nil {
			continue // a kernel that does not tell
		}
		row, copy := bpf.Find(name)
		if row == nil || row.Lossless {
			continue
		}
		if n, ok := byAll[row]; !ok || st.RecursionMisses < n {
			byAll[row] = st.RecursionMisses
		}
		if copy == 0 && !row.Sparse {
			missed += st.RecursionMisses
		}
	}
	a.BPF, a.HasBPF = s.cost.whole(s.duration)
	if err := s.stats.readKernel(s.objects.Maps[bpf.ExecMapLost]); err != nil {
		return nil, err
	}
	var most uint64
	for row, n := range byAll {
		if row.Sparse {
			s.stats.lost[lostDetail] += n
		} else {
			most += n
		}
	}
	s.stats.lost[lostMissed] = min(most, missed-min(missed, s.stats.lost[lostNot]))
	if err := s.tellLosses(); err != nil {
		return nil, err
	}
	a.Lost, a.LostBy = s.stats.total()
	a.Incomplete = s.stats.lost[lostDetail]
	a.Shown = s.stats.shown
	if a.Kinds, a.Filtered, err = s.stats.tell(s.objects.Maps[bpf.ExecMapCounts]); err != nil {
		return nil, err
	}
	for _, f := range s.opened {
		if f.tier == 0 {
			a.Unseen = append(a.Unseen, f.without)
		} else if misses := f.misses[f.tier]; misses != "" {
			a.Unseen = append(a.Unseen, misses)
		}
	}
	a.Seen = s.stats.emitted + a.Lost - s.stats.lost[lostOutputFull] - s.stats.lost[lostPlace]
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err == nil {
		a.CPU = time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
	}
	return a, nil
}

// cost takes the time of the programs where the kernel can tell (5.8+). To look
// at the clock before and after each run costs more than most runs do:
// therefore it is done until there is a fair sample, from which the rest is
// reckoned.
type cost struct {
	stats   io.Closer // while it is open the kernel takes the time
	began   time.Time
	taken   time.Duration // for how long
	sample  time.Duration // what it took
	ended   uint64        // boot clock, 0: not yet
	inside  uint64        // records that were sent meanwhile
	records uint64
}

// What a fair sample is.
const (
	sampleRecords = 5000
	sampleTime    = 10 * time.Second // if there are never so many
)

func (c *cost) open() {
	c.stats, _ = ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	c.began = time.Now()
}

// close ends the sample. Somebody else may go on to have the time taken: what
// the programs took by now is all that counts.
func (c *cost) close(programs map[string]*ebpf.Program) {
	if c.stats == nil {
		return
	}
	_ = c.stats.Close() // nothing depends on it
	c.stats = nil
	c.taken = time.Since(c.began)
	c.ended = bootNow()
	for _, p := range programs {
		if st, err := p.Stats(); err == nil { // else a kernel that does not tell
			c.sample += st.Runtime
		}
	}
}

// count takes note of records that came. All that were sent before the time
// seen have come.
func (c *cost) count(n, seen uint64, programs map[string]*ebpf.Program) {
	c.records += n
	switch {
	case c.stats != nil:
		c.inside = c.records
		if c.records >= sampleRecords {
			c.close(programs)
		}
	case seen < c.ended:
		c.inside = c.records // they had been in the ring
	}
}

// whole is how long the programs ran in all of a session, and whether the kernel
// tells.
func (c *cost) whole(session time.Duration) (time.Duration, bool) {
	if c.sample == 0 {
		return 0, c.taken > 0
	}
	factor := float64(session) / float64(max(c.taken, 1))
	if c.inside >= sampleRecords {
		factor = float64(c.records) / float64(c.inside)
	}
	return time.Duration(float64(c.sample) * max(factor, 1)), true
}

// detach stops the programs. What they have sent stays in the ring.
func (s *Session) detach() {
	for _, l := range s.links {
		_ = l.Close() // closing a link cannot fail but by misuse
	}
	s.links = nil
}

// Close releases everything that the session holds in the kernel.
func (s *Session) Close() {
	s.detach()
	s.places.close()
	if s.reader != nil {
		_ = s.reader.close()
	}
	for _, p := range s.programs {
		_ = p.Close()
	}
	if s.objects != nil {
		s.objects.Close()
	}
	s.cost.close(s.programs)
}
