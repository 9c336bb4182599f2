package session

import (
	"flag"
	"slices"
	"time"

	"tracer/trace/account"
	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/proc"
)

// A Probe is a row of the table of what can be traced: one subcommand.
type Probe struct {
	Name    string // of the subcommand, and of its columns in package render
	Short   string // one line
	Long    string // what it reports, from which hooks, what it misses
	Example string
	// Full are flags that make it use every feature that it has.
	Full []string
	// New makes a tracer with its options at their defaults.
	New func() Tracer
}

// View is the name of the view that shows what t reports, which may depend on
// its options.
func (p *Probe) View(t Tracer) string {
	if v, ok := t.(interface{ View() string }); ok {
		return v.View()
	}
	return p.Name
}

// A Tracer is what a probe does, between its options and its events. Its methods
// are called by one goroutine at a time, in the order in which they stand here.
type Tracer interface {
	// Flags declares the probe's own flags.
	Flags(fs *flag.FlagSet)
	// Plan says what to load into a kernel with these types.
	Plan(types *kernel.Types, opts *Options) (kernel.Plan, error)
	// Attached is called once, when the programs run.
	Attached(h *Host) error
	// Decode turns a record into events, by Host.Emit. It reports false for a
	// record that is none.
	Decode(record []byte) bool
	// Detaching is called before the programs are detached, for last readings.
	Detaching()
	// End tells what is left. All that was sent has been decoded.
	End()
}

// A Several is a Tracer that stands for others: of its own methods only Flags is called,
// and of those of the others all but that.
type Several interface {
	Tracers() []Tracer
}

// Tracers are those that t stands for, or t itself.
func Tracers(t Tracer) []Tracer {
	if s, ok := t.(Several); ok {
		return s.Tracers()
	}
	return []Tracer{t}
}

// tracersOf are all that some tracers stand for.
func tracersOf(of []Tracer) (list []Tracer) {
	for _, t := range of {
		list = append(list, Tracers(t)...)
	}
	return list
}

// A Host is a tracer's way to its session: its object in the kernel, the time, names,
// and where events go. It is for the methods of the tracer alone.
type Host struct {
	*kernel.Object
	Options *Options
	Clock   *kernel.Clock
	Ledger  *account.Ledger

	kernel *kernel.Kernel // nil: offline
	stages *stages
	tracer Tracer
}

// Beside runs f in a goroutine of its own while the session runs: it must touch nothing
// of the tracer's, and return soon after stop is closed, which is before Detaching. Its
// error is told as a warning then. It is for Attached.
func (h *Host) Beside(f func(stop <-chan struct{}) error) {
	h.stages.beside = append(h.stages.beside, f)
}

// Notice tells a warning or a note on stderr.
func (h *Host) Notice(n *event.Notice) { h.stages.notice(n) }

// Emit passes an event on to the sinks, if it passes the filters that user space
// decides. The event may be used again when Emit returns.
func (h *Host) Emit(e event.Event) {
	s := h.stages
	if s.enough() {
		return
	}
	s.ledger.Saw(e.Head().Kind)
	h.offer(e)
}

// Passes is for a tracer that has filters of its own, of which own is the one that e does
// not pass; empty: it passes them. It counts e as seen, and reports whether it passes all.
// Who shows it calls Show or TakeJudged then.
func (h *Host) Passes(e event.Event, own string) bool {
	s := h.stages
	if s.enough() {
		return false
	}
	s.ledger.Saw(e.Head().Kind)
	r := s.judgeEvent(e)
	if r == (Refusal{}) {
		r.Filter = own
	}
	if r == (Refusal{}) {
		return true
	}
	h.Refuse(r, 1)
	return false
}

// Now is the boot clock as programs in the kernel read it, in ns: when tracing has ended, at
// its end. While a recording is read it is how far that has been read, in the time that
// Clock takes.
func (h *Host) Now() uint64 {
	if r := h.stages.recorded; r != nil {
		return uint64(r.now.UnixNano())
	}
	if end := h.stages.ending; end != 0 {
		return end
	}
	return kernel.Now()
}

// Locate fills in the place where an event happened, for who has judged it already.
func (h *Host) Locate(e *event.Common) { h.stages.locate(e) }

// JudgeOwner says whether events of a process pass the filters that user space decides.
func (h *Host) JudgeOwner(p *event.Process) Refusal {
	if !h.Options.DecidesLate() {
		return Refusal{}
	}
	return h.stages.judge(&event.Common{Process: *p})
}

// offer is Emit for what was counted.
func (h *Host) offer(e event.Event) {
	s := h.stages
	if r := s.judgeEvent(e); r != (Refusal{}) {
		h.Refuse(r, 1)
		return
	}
	h.Show(e)
}

// Take is Emit for an event that a row sums up: it reports whether that is wanted, and
// counts it as shown then. The row comes by ShowRow.
func (h *Host) Take(e event.Event) bool {
	s := h.stages
	if s.enough() {
		return false
	}
	s.ledger.Saw(e.Head().Kind)
	if r := s.judgeEvent(e); r != (Refusal{}) {
		h.Refuse(r, 1)
		return false
	}
	s.sinks.summed(e)
	return true
}

// TakeJudged is Take for an event that was counted as seen and judged. Where it happened
// is filled in for sinks that show it, and Located says whether there are any.
func (h *Host) TakeJudged(e event.Event) bool {
	s := h.stages
	if s.enough() {
		return false
	}
	if h.Located() {
		s.locate(e.Head())
	}
	s.sinks.summed(e)
	return true
}

// Located reports whether TakeJudged fills in where events happened.
func (h *Host) Located() bool { return slices.Contains(h.stages.sinks.each, true) }

// Show passes on an event that is wanted.
func (h *Host) Show(e event.Event) {
	if s := h.stages; !s.enough() {
		s.pass(e)
	}
}

// ShowRow passes on a row that sums up n events, which were counted as shown when they
// came.
func (h *Host) ShowRow(e event.Event, n uint64) { h.stages.sinks.row(e, n) }

// Page shows all rows of a table whose rows are things, where a sink can; the events
// of the interval were shown before.
func (h *Host) Page(p *event.Page) { h.stages.sinks.page(p) }

// Judge fills in the place where an event happened, and says whether it passes the
// filters that user space decides.
func (h *Host) Judge(e *event.Common) Refusal { return h.stages.judge(e) }

// Refuse counts events that are not shown.
func (h *Host) Refuse(r Refusal, n uint64) {
	if r.Cause != "" {
		h.Ledger.Lost(r.Cause, n)
	} else {
		h.Ledger.Filtered(r.Filter, n)
	}
}

// Counts are what the programs have left out, by flag, and what sockets speak.
func (h *Host) Counts() (leftOut, kinds map[string]uint64, err error) {
	return h.kernel.Counts()
}

// Comm is the text of a kernel's name; equal names share their memory.
func (h *Host) Comm(c [16]int8) string { return h.stages.comm(c) }

// User is the name of a user, empty if it has none.
func (h *Host) User(uid uint32) string { return h.stages.users.Name(uid, time.Now()) }

// Timer returns a timer that calls f, in the goroutine that calls the tracer's other
// methods.
func (h *Host) Timer(f func()) *Timer { return h.stages.timers.add(f) }

// Offline returns a host without a kernel, for records and events that come from
// elsewhere than a program of this session.
func Offline(t Tracer, opts Options, sinks ...Sink) *Host {
	s := newStages(opts, &kernel.Clock{}, proc.NewUsers("/nonexistent"))
	s.sinks = newFanout(s.ledger, sinks)
	return &Host{Options: &s.opts, Clock: s.clock, Ledger: s.ledger, stages: &s, tracer: t}
}
