package session

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"tracer/bpf"
	"tracer/trace/account"
	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/proc"
)

// houseInterval is how long after one look at clock and losses the next is.
const houseInterval = time.Second

// OwnPIDs is what a session misses that runs in a container.
const OwnPIDs = "this is a pid namespace of its own, as a container has: processes are reported, and named by --pid, by the host's ids, and what is only to be read in /proc is missing; " +
	"run it in the host's (docker run --pid=host)"

// A Session is one run of some probes: attached programs, rings, a pipeline. Except
// for Run's context, it is not safe for concurrent use.
type Session struct {
	stages
	kernel   *kernel.Kernel
	hosts    []*Host
	byObject map[int]*Host // by the object's number
	warnings []string
	own      []proc.Stat // that is left out: see own
	house    *Timer
	attempts *proc.Attempts // nil: not known

	started  time.Time
	ended    time.Time
	duration time.Duration
	reason   string // why it ended
}

// Open loads and attaches the probes of some tracers, or of those that they stand for. When it returns, whatever
// happens is reported once Run is called. Errors are sentences for people; some have
// a Hint.
func Open(of []Tracer, opts Options) (_ *Session, err error) {
	tracers := tracersOf(of)
	// Most of what loading takes lives until the end of it: to look for what does not
	// takes time that somebody waits for.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	s := &Session{
		stages:   newStages(opts, kernel.NewClock(), proc.NewUsers("/etc/passwd")),
		byObject: map[int]*Host{},
	}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if opts.Command != 0 && !kernel.InFirstNamespace("pid") {
		return nil, kernel.Hint(errors.New("follow the command: this is a pid namespace of its own, as a container has, where its id is not the host's"),
			"run this in the host's pid namespace (docker run --pid=host)")
	}
	if !opts.Self {
		s.own = own()
	}
	var hidden []uint32
	for _, p := range s.own {
		hidden = append(hidden, p.PID)
	}
	s.kernel, err = kernel.Open(kernel.Options{
		PIDs: opts.PIDs, UID: opts.UID, Places: opts.FiltersPlaces(), Hidden: hidden,
		BTF: opts.BTF, Buffer: opts.Buffer, Tier: opts.Tier, Cache: opts.Cache, Limits: opts.Limits.Limits,
	})
	if err != nil {
		return nil, err
	}
	loading := make([]*kernel.Loading, len(tracers))
	later := false
	for i, t := range tracers {
		plan, err := t.Plan(s.kernel.Types, &s.opts)
		if err != nil {
			return nil, err
		}
		loading[i] = s.kernel.Begin(plan)
		later = later || plan.Later()
	}
	var warnings []string
	if s.places, warnings, err = openPlaces(s.kernel, &s.opts); err != nil {
		return nil, err
	}
	s.warnings = append(s.warnings, warnings...)
	if later {
		if err := s.kernel.Spawn(); err != nil {
			return nil, err
		}
	}
	defer func() { // where that fails
		for _, l := range loading {
			l.Abandon()
		}
	}()
	for _, l := range loading {
		if err := l.Verify(); err != nil {
			return nil, err
		}
	}
	for i, t := range tracers {
		if err := s.open(t, loading[i]); err != nil {
			return nil, err
		}
	}
	if err := s.follow(); err != nil {
		return nil, err
	}
	for _, h := range s.hosts {
		if err := h.tracer.Attached(h); err != nil {
			return nil, err
		}
	}
	s.warnings = append(s.warnings, s.kernel.Warnings()...)
	if !kernel.InFirstNamespace("pid") {
		s.warnings = append(s.warnings, OwnPIDs)
	}
	if len(tracers) > 1 {
		s.merge = newMerge(s.showMerged, s.timers.add(func() {}))
	}
	s.house = s.timers.add(s.keepHouse)
	s.attempts = proc.Dir("/proc").OpenAttempts()
	s.started = time.Now()
	if err := s.kernel.Began(); err != nil {
		return nil, err
	}
	// The kernel's types were most of the memory so far and are not needed
	// any more.
	go debug.FreeOSMemory()
	return s, nil
}

// showMerged takes what waited for other probes.
func (s *Session) showMerged(e event.Event) {
	if !s.enough() {
		s.sinks.event(e)
	}
}

// releaseMerged shows what no probe can tell anything from before any more.
func (s *Session) releaseMerged() {
	if s.merge == nil {
		return
	}
	now := kernel.Now()
	told := now
	for _, h := range s.hosts {
		told = min(told, h.Horizon())
	}
	s.merge.release(s.clock.Wall(told), s.clock.Wall(now))
}

// open loads a tracer's object.
func (s *Session) open(t Tracer, loading *kernel.Loading) error {
	o, err := loading.Load()
	if err != nil {
		return err
	}
	h := &Host{Object: o, Options: &s.opts, Clock: s.clock, Ledger: s.ledger, kernel: s.kernel, stages: &s.stages, tracer: t}
	s.hosts = append(s.hosts, h)
	s.byObject[o.Number()] = h
	return nil
}

// follow keeps track of the processes behind --pid.
func (s *Session) follow() error {
	if len(s.opts.PIDs) == 0 {
		return nil
	}
	programs := []string{bpf.FollowProgFollowProcessFork, bpf.FollowProgFollowProcessFree}
	_, err := s.kernel.Load(kernel.Plan{
		Name:     "follow",
		Features: []kernel.Feature{{Name: "descendants", Doors: []kernel.Door{{Tier: kernel.Tracepoint, Programs: programs}}}},
	})
	return err
}

// Confine gives up, for the whole process and for good, what it takes to load and
// attach programs.
func (s *Session) Confine() {
	if err := s.kernel.Confine(s.opts.Command != 0); err != nil {
		s.warnings = append(s.warnings, fmt.Sprintf("privileges are kept while tracing: %v", err))
	}
}

// Warnings says what this session will miss on this kernel, in sentences.
func (s *Session) Warnings() []string { return s.warnings }

// Features are what the session sees, and by which hooks.
func (s *Session) Features() []kernel.OpenFeature { return s.kernel.Features() }

// Run reads events and passes them on to the sinks until ctx ends, as many were shown
// as were asked for, or the first sink fails. Then it detaches the programs, passes on
// what they had sent before, and closes the sinks. It must be called once.
func (s *Session) Run(ctx context.Context, sinks ...Sink) error {
	s.sinks = newFanout(s.ledger, sinks)
	s.kernel.Read()
	s.house.Next(houseInterval)
	stop := s.runBeside()
	err := s.pipeline(ctx)
	s.reason = s.why(ctx, err)
	stop()
	for _, h := range s.hosts {
		h.tracer.Detaching()
	}
	s.ending = kernel.Now()
	s.ended = s.clock.Wall(s.ending)
	s.duration = time.Since(s.started)
	if endErr := s.kernel.Ending(); err == nil {
		err = endErr
	}
	s.kernel.Detach()
	if flushErr := s.kernel.Flush(); err == nil {
		err = flushErr
	}
	for b := range s.kernel.Batches() {
		s.decode(b)
	}
	select {
	case readErr := <-s.kernel.Failed():
		if err == nil {
			err = readErr
		}
	default:
	}
	for _, h := range s.hosts {
		h.tracer.End()
	}
	if s.merge != nil {
		s.merge.end()
	}
	s.tellPlaces(true)
	if sinkErr := s.sinks.close(); err == nil {
		err = sinkErr
	}
	return err
}

// runBeside runs what the tracers have asked for beside the pipeline. Whoever calls stop
// waits for it to end.
func (s *Session) runBeside() (stop func()) {
	stopped := make(chan struct{})
	errs := make(chan error, len(s.beside))
	for _, f := range s.beside {
		go func() { errs <- f(stopped) }()
	}
	return func() {
		close(stopped)
		for range s.beside {
			if err := <-errs; err != nil {
				s.notice(&event.Notice{Kind: event.KindWarning, Message: err.Error()})
			}
		}
	}
}

// why says for what reason tracing ends.
func (s *Session) why(ctx context.Context, err error) string {
	var ended Ended
	switch cause := context.Cause(ctx); {
	case err != nil:
		return event.EndedError
	case s.enough():
		return event.EndedCount
	case errors.As(cause, &ended):
		return string(ended)
	case errors.Is(cause, context.DeadlineExceeded):
		return event.EndedDuration
	}
	return event.EndedInterrupted
}

// ordered is the first tracer that has an order, and the channel that tells that it has
// changed; nil if none has.
func (s *Session) ordered() (Ordered, <-chan struct{}) {
	for _, h := range s.hosts {
		if order := OrderOf(h.tracer); order != nil {
			return h.tracer.(Ordered), order.Changed()
		}
	}
	return nil, nil
}

// pipeline decodes batches and runs timers until there is a reason to end.
func (s *Session) pipeline(ctx context.Context) error {
	alarm := time.NewTimer(0)
	defer alarm.Stop()
	ordered, reordered := s.ordered()
	for !s.enough() {
		if wait, ok := s.timers.next(kernel.Now()); ok {
			alarm.Reset(wait)
		}
		select {
		case <-ctx.Done():
			return nil
		case b, ok := <-s.kernel.Batches():
			if !ok {
				return <-s.kernel.Failed() // all readers have stopped
			}
			s.decode(b)
		case err := <-s.kernel.Failed():
			return err
		case <-alarm.C:
		case <-s.sinks.wake():
		case <-reordered:
			ordered.Reorder()
		case <-s.sinks.sinks[0].Broken():
		}
		s.timers.run(kernel.Now())
		s.releaseMerged()
		if err := s.sinks.flush(); err != nil {
			return err
		}
	}
	return nil
}

func (s *Session) decode(b *kernel.Batch) {
	h := s.byObject[b.Object()]
	s.kernel.Decode(b, func(record []byte) {
		if !h.tracer.Decode(record) {
			s.ledger.Lost(account.BadRecord, 1)
		}
	})
}

// keepHouse looks at clock and losses.
func (s *Session) keepHouse() {
	s.house.Next(houseInterval)
	s.clock.Anchor()
	s.kernel.SampleCost(time.Since(s.started))
	_ = s.tellLosses() // the account tries again, and says why
	s.tellPlaces(false)
}

// tellPlaces says what is known by now of names that are missing, and of places that
// nothing has.
func (s *Session) tellPlaces(end bool) {
	if text := s.places.nobody(end); text != "" {
		s.notice(&event.Notice{Kind: event.KindWarning, Message: text})
	}
	if text := s.places.nameProblems(end); text != "" {
		s.notice(&event.Notice{Kind: event.KindNote, Message: text})
	}
}

// tellLosses says at once what was lost since it was told last.
func (s *Session) tellLosses() error {
	by, details, err := s.kernel.Lost()
	if err != nil {
		return err
	}
	s.ledger.InKernel(by, details)
	more, sum, all := s.ledger.News()
	if more == 0 {
		return nil
	}
	s.notice(&event.Notice{
		Kind:    "lost",
		Message: fmt.Sprintf("%s lost since the last notice, %d in all", plural(more, "event"), sum),
		Lost:    sum,
		LostBy:  all,
	})
	return nil
}

// Account says what was seen, shown and lost and what it cost. It is complete
// after Run; last losses are told before it returns.
func (s *Session) Account() (*event.Account, error) {
	if err := s.tellLosses(); err != nil {
		return nil, err
	}
	leftOut, sockets, err := s.kernel.Counts()
	if err != nil {
		return nil, err
	}
	s.ledger.LeftOut(leftOut, sockets)
	a := s.ledger.Account(s.duration)
	a.BPF, a.HasBPF = s.kernel.Cost(s.duration)
	a.Time, a.Reason = s.ended, s.reason
	a.Unseen = s.unseen()
	a.Unopened = s.attempts.Failed()
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err == nil {
		a.CPU = time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
	}
	return a, nil
}

// plural is a number of things.
func plural(n uint64, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

// Close releases everything that the session holds in the kernel.
func (s *Session) Close() {
	for _, h := range s.hosts {
		if c, ok := h.tracer.(interface{ Close() }); ok {
			c.Close()
		}
	}
	if s.kernel != nil {
		s.kernel.Detach()
	}
	s.places.close()
	s.attempts.Close()
	if s.kernel != nil {
		s.kernel.Close()
	}
}

// unseen is what this kernel does not let the session see, as sentences.
func (s *Session) unseen() (list []string) {
	for _, f := range s.kernel.Features() {
		if f.Tier == 0 {
			list = append(list, f.Without)
		} else if misses := f.Misses[f.Tier]; misses != "" {
			list = append(list, misses)
		}
		if f.Never != "" {
			list = append(list, f.Never)
		}
	}
	return list
}

// An Ended is the cause of a context's end, for [Session.Run]: why tracing ends.
type Ended string

func (e Ended) Error() string { return string(e) }
