package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/proc"
	"tracer/trace/replay"
)

// A Replayer is a Tracer that also takes what it has told before, from a recording. Its
// methods are called in place of Plan, Attached, Decode, Detaching and End.
type Replayer interface {
	Tracer
	// Replaying is called once, before the first event.
	Replaying(h *Host)
	// Replay takes an event of a host, by the host's number. It reports false for one of
	// a kind that it does not show, and an error if events like this one cannot be shown
	// in the way that is wanted. It must not keep e.
	Replay(e event.Event, host int) (bool, error)
	// Replayed tells what is left, at the time of Host.Now.
	Replayed()
}

// A Recording is a session whose events come from files. Except for Run's context, it is
// not safe for concurrent use.
type Recording struct {
	stages
	reader  *replay.Reader
	tracers []Replayer
	hosts   []*Host
	begun   bool
	first   time.Time // when what is read began
	told    time.Time // when losses were looked at last
	notices map[string]bool
	runs    map[runID]*run
	of      map[string]*run // the one that a file is at
	unseen  []string
	reason  string
}

// A runID tells one run of tracer from others, also where its recording is in several
// files, each of which begins with its start.
type runID struct {
	boot string
	pid  int
	time time.Time
	file string // where there is no start
}

// A run is what one run of tracer tells of itself.
type run struct {
	host    string
	ended   bool
	lostBy  map[string]uint64
	details uint64
	dropped uint64 // by listeners
	shown   uint64 // events, as it says at its end
	read    uint64 // events
	summed  bool   // it has sums of events
}

const (
	// chunkLines and chunkBytes are how much is read before sinks are waited for.
	chunkLines, chunkBytes = 64, 1 << 20
	// maxNotices bounds the warnings of a recording that are told again, maxRuns what is
	// known of runs: those behind them count as one.
	maxNotices, maxRuns = 200, 10000
)

// OpenRecording opens the files of Options.Read for some tracers. Errors are sentences for
// people.
func OpenRecording(of []Tracer, opts Options) (*Recording, error) {
	r := &Recording{
		stages:  newStages(opts, &kernel.Clock{}, proc.NewUsers("/nonexistent")),
		notices: map[string]bool{}, runs: map[runID]*run{}, of: map[string]*run{},
	}
	r.recorded = newRecorded(&r.opts)
	for _, t := range tracersOf(of) {
		replayer, ok := t.(Replayer)
		if !ok {
			return nil, errors.New("--read: this command cannot show a recording")
		}
		r.tracers = append(r.tracers, replayer)
		r.hosts = append(r.hosts, &Host{Options: &r.opts, Clock: r.clock, Ledger: r.ledger, stages: &r.stages, tracer: t})
	}
	var err error
	if r.reader, err = replay.Open(opts.Read, replay.Options{Follow: opts.Follow}); err != nil {
		return nil, err
	}
	r.recorded.now = r.start()
	return r, nil
}

// A Running is a session of any kind, as whoever runs one sees it: see [Session] and
// [Recording].
type Running interface {
	Confine()
	Start() *event.Start
	Notices() []event.Notice
	Run(ctx context.Context, sinks ...Sink) error
	Account() (*event.Account, error)
	Close()
}

// Confine does nothing: reading has taken no privileges.
func (r *Recording) Confine() {}

// Start says what is read: where that is of one host, it is that host's. Its time is the
// recording's, as those of all that is told, so that what is written of it can be read again.
func (r *Recording) Start() *event.Start {
	s := &event.Start{Time: r.start(), Format: event.Format}
	if hosts := r.reader.Hosts(); len(hosts) == 1 && hosts[0].Start != nil {
		from := hosts[0].Start
		s.Hostname, s.BootID, s.Kernel, s.Addresses = from.Hostname, from.BootID, from.Kernel, from.Addresses
	}
	return s
}

// start is when the recording begins; now, if it does not tell.
func (r *Recording) start() time.Time {
	at := time.Time{}
	for _, h := range r.reader.Hosts() {
		if s := h.Start; s != nil && (at.IsZero() || s.Time.Before(at)) {
			at = s.Time
		}
	}
	if at.IsZero() {
		at = time.Now().UTC()
	}
	return at
}

// Notices are what a user has to know from the start: who has recorded this, and with
// which filters.
func (r *Recording) Notices() (list []event.Notice) {
	for _, h := range r.reader.Hosts() {
		if s := h.Start; s != nil {
			text := fmt.Sprintf("recorded on %s at %s", h.Name, s.Time.Format(time.RFC3339))
			if len(s.Args) > 0 {
				text += " by tracer " + strings.Join(s.Args, " ")
			}
			list = append(list, event.Notice{Time: r.start(), Kind: event.KindNote, Message: text})
		}
	}
	return list
}

// Run reads events and passes them on to the sinks until the recording is at its end, ctx
// ends, as many were shown as were asked for, or the first sink fails. Then it closes the
// sinks. It must be called once.
func (r *Recording) Run(ctx context.Context, sinks ...Sink) error {
	r.sinks = newFanout(r.ledger, sinks)
	stop := context.AfterFunc(ctx, r.reader.Stop)
	defer stop()
	ended := make(chan struct{})
	go func() { // nothing may come that Flush would be called for
		select {
		case <-sinks[0].Broken():
			r.reader.Stop()
		case <-ended:
		}
	}()
	err := r.pipeline(ctx)
	close(ended)
	r.begin(time.Time{})
	for _, t := range r.tracers {
		t.Replayed()
	}
	r.tellUnread()
	for _, text := range r.recorded.missing() {
		r.notice(&event.Notice{Kind: event.KindNote, Message: text})
	}
	r.tellEnds()
	if flushErr := r.sinks.flush(); err == nil {
		err = flushErr
	}
	r.sinks.wait(ctx.Done())
	if closeErr := r.sinks.close(); err == nil {
		err = closeErr
	}
	if err != nil {
		r.reason = event.EndedError
	}
	return err
}

// pipeline passes on lines until there is a reason to end.
func (r *Recording) pipeline(ctx context.Context) error {
	lines, bytes := 0, 0
	for !r.enough() {
		ok, err := r.reader.Wait(0)
		if err == nil && !ok {
			lines, bytes = 0, 0
			if err := r.pass(ctx); err != nil {
				return err
			}
			ok, err = r.reader.Wait(r.patience())
		}
		switch {
		case err == io.EOF:
			return r.why(ctx)
		case err != nil:
			return err
		case !ok:
			continue
		}
		line, err := r.reader.Next()
		if err != nil {
			return err
		}
		if r.begin(line.Ended()); r.opts.Duration > 0 && line.Ended().Sub(r.first) > r.opts.Duration {
			r.recorded.now = r.first.Add(r.opts.Duration)
			r.reason = event.EndedDuration
			return nil
		}
		if r.recorded.now.Before(line.Ended()) {
			r.recorded.now = line.Ended()
		}
		if err := r.take(line); err != nil {
			return err
		}
		lines, bytes = lines+1, bytes+len(line.Raw)
		if lines >= chunkLines || bytes >= chunkBytes {
			lines, bytes = 0, 0
			if err := r.pass(ctx); err != nil {
				return err
			}
		}
	}
	r.reason = event.EndedCount
	return nil
}

// pass passes on to the sinks what was taken, and does what is due.
func (r *Recording) pass(ctx context.Context) error {
	if r.opts.Follow {
		r.timers.run(kernel.Now())
	}
	if time.Since(r.told) > time.Second {
		r.told = time.Now()
		r.tellLosses()
	}
	if err := r.sinks.flush(); err != nil {
		return err
	}
	r.sinks.wait(ctx.Done())
	return nil
}

// patience is how long to wait for a line when there is none.
func (r *Recording) patience() time.Duration {
	if wait, ok := r.timers.next(kernel.Now()); ok && r.opts.Follow {
		return min(wait, time.Second)
	}
	return time.Second
}

// why notes for what reason the reader has nothing more.
func (r *Recording) why(ctx context.Context) error {
	var ended Ended
	switch cause := context.Cause(ctx); {
	case cause == nil:
		r.reason = event.EndedRecording
	case errors.As(cause, &ended):
		r.reason = string(ended)
	default:
		r.reason = event.EndedInterrupted
	}
	return r.sinks.flush()
}

// begin tells the tracers that the first line has come.
func (r *Recording) begin(at time.Time) {
	if r.begun {
		return
	}
	r.begun = true
	if at.IsZero() {
		at = r.start()
	}
	r.first, r.recorded.now = at, at
	for i, t := range r.tracers {
		t.Replaying(r.hosts[i])
	}
}

// take takes a line of any kind.
func (r *Recording) take(line *replay.Line) error {
	switch o := line.Object.(type) {
	case *event.Start:
		r.took(line, o)
	case *event.Account:
		r.end(line, o)
	case *event.Notice:
		r.retell(line, o)
	case event.Event:
		u := r.current(line)
		u.read++
		switch o.(type) {
		case *event.ExecSummary, *event.ConnSummary, *event.HTTPSummary:
			u.summed = true
		}
		return r.replay(line, o)
	}
	return nil
}

func (r *Recording) replay(line *replay.Line, e event.Event) error {
	r.recorded.observe(e, line.Host.Number)
	for _, t := range r.tracers {
		if took, err := t.Replay(e, line.Host.Number); took || err != nil {
			if err != nil {
				err = fmt.Errorf("read %s: %w", line.File, err)
			}
			return err
		}
	}
	r.ledger.Skipped(e.Head().Kind)
	return nil
}

// took notes that a run begins, or goes on in another file.
func (r *Recording) took(line *replay.Line, s *event.Start) {
	r.runOf(line, runID{boot: s.BootID, pid: s.PID, time: s.Time})
	for _, text := range s.Misses {
		if text = r.onHost(line, text); !slices.Contains(r.unseen, text) {
			r.unseen = append(r.unseen, text)
		}
	}
}

func (r *Recording) runOf(line *replay.Line, id runID) *run {
	if len(r.runs) >= maxRuns && r.runs[id] == nil {
		id = runID{}
	}
	u := r.runs[id]
	if u == nil {
		u = &run{host: line.Host.Name}
		r.runs[id] = u
	}
	r.of[line.File] = u
	return u
}

// current is the run that a file is at.
func (r *Recording) current(line *replay.Line) *run {
	if u := r.of[line.File]; u != nil {
		return u
	}
	return r.runOf(line, runID{file: line.File})
}

// end takes over what a run says at its end: what it has lost is lost here, too.
func (r *Recording) end(line *replay.Line, a *event.Account) {
	u := r.current(line)
	u.ended, u.lostBy, u.details, u.dropped = true, a.LostBy, a.Incomplete, a.Overflows
	if there := a.Undelivered["recording"]; a.Shown > there {
		u.shown = a.Shown - there
	}
	for _, one := range a.Unreadable {
		r.ledger.Unreadable(one)
	}
	r.sumLosses()
}

// retell tells what was told when this was recorded.
func (r *Recording) retell(line *replay.Line, n *event.Notice) {
	switch n.Kind {
	case event.KindLost:
		r.current(line).lostBy = n.LostBy
		r.sumLosses()
	case event.KindOverflow:
		r.current(line).dropped += n.Dropped
		r.again(line, n)
	case event.KindWarning, event.KindNote:
		if text := r.onHost(line, n.Message); text != "" && !r.notices[text] && len(r.notices) < maxNotices {
			r.notices[text] = true
			r.again(line, n)
		}
	}
}

// again tells a notice of the recording.
func (r *Recording) again(line *replay.Line, n *event.Notice) {
	again := *n
	again.Message = r.onHost(line, n.Message)
	if r.opts.Notice != nil {
		r.opts.Notice(&again)
	}
}

// onHost names the host that a sentence is about, where there are several.
func (r *Recording) onHost(line *replay.Line, text string) string {
	if text == "" || len(r.reader.Hosts()) < 2 {
		return text
	}
	return line.Host.Name + ": " + text
}

// sumLosses counts what all runs have lost.
func (r *Recording) sumLosses() {
	sum, details := map[string]uint64{}, uint64(0)
	for _, u := range r.runs {
		details += u.details
		for cause, n := range u.lostBy {
			sum[cause] += n
		}
	}
	r.ledger.InKernel(sum, details)
}

// tellLosses says what was lost when this was recorded, since it was told last.
func (r *Recording) tellLosses() {
	more, sum, all := r.ledger.News()
	if more == 0 {
		return
	}
	r.notice(&event.Notice{
		Kind:    event.KindLost,
		Message: fmt.Sprintf("%s were lost when this was recorded, %d in all", plural(more, "event"), sum),
		Lost:    sum,
		LostBy:  all,
	})
}

// tellUnread says what of the files could not be read.
func (r *Recording) tellUnread() {
	stats := r.reader.Stats()
	r.ledger.Unread(stats.Unread)
	for _, problem := range stats.Problems {
		r.notice(&event.Notice{Kind: event.KindWarning, Message: problem})
	}
	var sum uint64
	var by []string
	for _, why := range slices.Sorted(maps.Keys(stats.Unread)) {
		sum += stats.Unread[why]
		by = append(by, fmt.Sprintf("%s %d", why, stats.Unread[why]))
	}
	if sum > 0 {
		r.notice(&event.Notice{Kind: event.KindWarning, Message: fmt.Sprintf("%s of the recording could not be read (%s)", plural(sum, "line"), strings.Join(by, ", "))})
	}
}

// tellEnds says which runs have no end, if all was read: what they have lost is not known.
func (r *Recording) tellEnds() {
	r.tellLosses()
	if r.reason != event.EndedRecording {
		return
	}
	open, read, shown := map[string]bool{}, uint64(0), uint64(0)
	for id, u := range r.runs {
		if u.ended && !u.summed && u.read < u.shown {
			read, shown = read+u.read, shown+u.shown
		}
		if !u.ended && id.file == "" {
			open[u.host] = true
		}
	}
	for _, host := range slices.Sorted(maps.Keys(open)) {
		r.notice(&event.Notice{Kind: event.KindNote, Message: "the recording of " + host + " has no end, as if tracer was killed: what was lost since its last message is not known"})
	}
	if shown > 0 {
		r.notice(&event.Notice{Kind: event.KindWarning, Message: fmt.Sprintf("%d of %s that were recorded are in what was read: other files of the recording are missing, or lines were taken out", read, plural(shown, "event"))})
	}
}

// Account says what was read, shown and lost and what it cost. It is complete after Run.
func (r *Recording) Account() (*event.Account, error) {
	a := r.ledger.Account(r.recorded.now.Sub(r.first))
	a.Time, a.Reason = r.recorded.now, r.reason
	a.Unseen = r.unseen
	for _, u := range r.runs {
		a.Overflows += u.dropped
	}
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err == nil {
		a.CPU = time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
	}
	return a, nil
}

// Close ends reading.
func (r *Recording) Close() { r.reader.Stop() }
