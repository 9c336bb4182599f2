package recording

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tracer/render"
	"tracer/trace/event"
)

const (
	// queueBytes bounds what waits for a file that is slower than events.
	queueBytes = 16 << 20
	// syncInterval is how long a line waits at most until it is safe, in a file that is
	// compressed.
	syncInterval = time.Second
	// syncBytes is how many bytes of lines wait for that at most.
	syncBytes = 256 << 10
	// patience is how long the end waits for a file that takes nothing.
	patience = 2 * time.Second
	// telling is how long after one the next notice of events that found no room is.
	telling = time.Second
)

// Options say what is to be recorded where.
type Options struct {
	Path   string
	Rotate uint64 // bytes of lines in a file, beyond which a new one begins; 0: never
	Keep   uint64 // files in all; 0: all
	Owner  *Owner // whose the files are to be; nil: tracer's own user's
}

// A Target is where a recording will be: made ready, and not touched yet.
type Target struct {
	opts      Options
	dir, name string
	special   bool // a pipe or a device
	rotator   *rotator
}

// Prepare finds out whether there can be a recording. It starts the process that
// rotates, and so comes before privileges are dropped and before tracing begins. An
// error is a sentence that may have a Hint.
func Prepare(o Options) (*Target, error) {
	t := &Target{opts: o}
	var err error
	if t.dir, t.name, err = split(o.Path); err != nil {
		return nil, err
	}
	if _, err := os.Stat(t.dir); err != nil {
		return nil, &os.PathError{Op: "open", Path: o.Path, Err: without(err)}
	}
	switch st, err := os.Lstat(o.Path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case st.IsDir():
		return nil, &os.PathError{Op: "open", Path: o.Path, Err: unix.EISDIR}
	case st.Mode().IsRegular():
		if same(st, os.Stdout) || same(st, os.Stderr) {
			return nil, fmt.Errorf("open %s: stdout or stderr goes there already", o.Path)
		}
	case st.Mode().Type() == fs.ModeSymlink:
		if t.special, err = leadsElsewhere(o.Path); err != nil {
			return nil, err
		}
	default:
		t.special = true
	}
	if o.Rotate == 0 {
		return t, nil
	}
	if t.special {
		return nil, fmt.Errorf("rotate %s: it is no regular file", o.Path)
	}
	if t.rotator, err = startRotator(t.dir, t.name, o.Keep, o.Owner); err != nil {
		return nil, err
	}
	return t, nil
}

// leadsElsewhere reports whether a link leads to a pipe or a device, as /dev/stdout may.
// One to a file is refused: to replace the link is hardly what was meant, and to write
// through it is what an attacker may have meant.
func leadsElsewhere(path string) (bool, error) {
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && st.Mode().IsRegular():
		return false, fmt.Errorf("open %s: it is a symbolic link; name the file that it leads to", path)
	case err == nil && st.IsDir():
		return false, &os.PathError{Op: "open", Path: path, Err: unix.EISDIR}
	}
	return true, err
}

// same reports whether a file is the one that is open as f.
func same(st fs.FileInfo, f *os.File) bool {
	other, err := f.Stat()
	return err == nil && os.SameFile(st, other)
}

// Close ends what Prepare has started, where Open was not called.
func (t *Target) Close() {
	if t != nil {
		_ = t.rotator.close()
	}
}

// Open replaces the file and starts writing. It comes before privileges are dropped, but
// after whatever else may fail: until then an older recording is still there. tell is
// told of what goes wrong later, by any goroutine.
func (t *Target) Open(tell func(*event.Notice)) (*Recording, error) {
	var file *os.File
	var err error
	if t.special {
		file, err = open(t.opts.Path)
	} else {
		var dir *os.Root
		if dir, err = os.OpenRoot(t.dir); err == nil {
			file, err = replace(dir, t.name, t.opts.Owner)
			_ = dir.Close()
		}
	}
	if err != nil {
		if hinted := (*Unread)(nil); errors.As(err, &hinted) {
			return nil, err
		}
		return nil, &os.PathError{Op: "open", Path: t.opts.Path, Err: without(err)}
	}
	s, err := newStream(file, compressionOf(t.name))
	if err != nil {
		return nil, err
	}
	r := &Recording{
		target: t, tell: tell, stream: s,
		broken: make(chan struct{}), drained: make(chan struct{}), done: make(chan struct{}), wake: make(chan struct{}, 1), room: make(chan struct{}, 1),
		progress: time.Now(),
	}
	go r.write()
	return r, nil
}

// A Recording is a sink. Its methods are called by one goroutine at a time, but for Line
// and Broken, which anybody may call.
type Recording struct {
	target *Target
	tell   func(*event.Notice)

	// Of the goroutine that writes.
	stream *stream
	size   uint64    // bytes of lines in the file
	events uint64    // in the file
	unsafe uint64    // of those, not safe yet
	since  time.Time // when the first of what is not safe was written; zero: all is safe
	behind int       // bytes of lines that are not safe

	mu       sync.Mutex
	start    []byte // the first line of each file
	pending  queue  // not yet taken by the writer
	writing  int    // bytes that the writer has taken
	accepted uint64 // events
	safe     uint64 // of those
	refused  uint64 // that found no room
	said     uint64 // of those, told
	saidAt   time.Time
	err      error // of writing; the first one stays
	ending   bool  // no more events come
	closed   bool  // nothing comes any more
	progress time.Time

	broken  chan struct{} // closed when err is set
	drained chan struct{} // closed when all events are safe
	done    chan struct{} // the writer has ended
	wake    chan struct{}
	room    chan struct{} // the writer has written something
}

// A queue is lines that wait.
type queue struct {
	text  []byte
	lines []line
}

type line struct {
	end   int // in text
	event bool
}

func (q *queue) add(event bool) { q.lines = append(q.lines, line{len(q.text), event}) }

// Name is what the account calls it.
func (r *Recording) Name() string { return "recording" }

// Each: it takes each event, also where stdout sums them up.
func (r *Recording) Each() {}

// Event takes e, unless too much waits already or the file cannot be written.
func (r *Recording) Event(e event.Event) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return false
	}
	if len(r.pending.text)+r.writing > queueBytes {
		r.refused++
		return false
	}
	r.pending.text = append(event.AppendJSON(r.pending.text, e), '\n')
	r.pending.add(true)
	r.accepted++
	return true
}

// Line takes a line that is no event: the first one is the object start.
func (r *Recording) Line(text []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil || r.closed {
		return
	}
	if r.start == nil {
		r.start = append([]byte(nil), text...)
	}
	r.pending.text = append(r.pending.text, text...)
	r.pending.add(false)
	r.signal()
}

// Wait waits until there is room for much more, or until stop is closed: for events that
// can wait.
func (r *Recording) Wait(stop <-chan struct{}) {
	for {
		r.mu.Lock()
		full := r.err == nil && len(r.pending.text)+r.writing > queueBytes/2
		r.mu.Unlock()
		if !full {
			return
		}
		select {
		case <-r.room:
		case <-r.broken:
			return
		case <-stop:
			return
		}
	}
}

// Flush passes on what was taken.
func (r *Recording) Flush() error {
	r.mu.Lock()
	if len(r.pending.lines) > 0 {
		r.signal()
	}
	tell, err := r.refused > r.said && time.Since(r.saidAt) >= telling, r.err
	r.mu.Unlock()
	if tell {
		r.tellRefused()
	}
	return err
}

// tellRefused says that events found no room, if that was not said yet.
func (r *Recording) tellRefused() {
	r.mu.Lock()
	n, said := r.refused, r.said
	r.said, r.saidAt = n, time.Now()
	r.mu.Unlock()
	switch {
	case n == said:
	case n == 1:
		r.warn("1 event is not in the recording: " + r.target.opts.Path + " is too slow")
	default:
		r.warn(fmt.Sprintf("%d events are not in the recording so far: %s is too slow", n, r.target.opts.Path))
	}
}

// warn tells something, and returns when it was told.
func (r *Recording) warn(text string) {
	r.tell(&event.Notice{Time: time.Now().UTC(), Kind: event.KindWarning, Message: text})
}

// Broken is closed when the file cannot be written any more.
func (r *Recording) Broken() <-chan struct{} { return r.broken }

func (r *Recording) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Close waits until all events are safe, as long as the file takes any of it. It returns
// the number of events that Event accepted and that are not. What went wrong was told:
// that is no error of the session. Lines may still come, until Finish.
func (r *Recording) Close() (undelivered uint64, _ error) {
	r.mu.Lock()
	r.ending = true
	r.progress = time.Now()
	r.signal()
	r.mu.Unlock()
	r.tellRefused()
	if !r.await(r.drained) && r.target.special && r.stream.file.SetWriteDeadline(time.Now()) == nil {
		<-r.done // how much a write under way has written is known when it ends
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil && r.accepted > r.safe {
		r.fail(errStuck)
	}
	return r.accepted - r.safe, nil
}

// Finish ends the file. It returns why the recording is not whole: nil if it is.
func (r *Recording) Finish() error {
	r.mu.Lock()
	r.closed = true
	r.progress = time.Now()
	r.signal()
	failed := r.err != nil
	r.mu.Unlock()
	if !failed {
		r.await(r.done)
	}
	_ = r.target.rotator.close()
	return r.Failed()
}

// Failed is why the recording is not whole, as far as that is known; nil: it is.
func (r *Recording) Failed() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil && r.refused > 0 {
		return fmt.Errorf("record: %s is too slow: %d events are not there", r.target.opts.Path, r.refused)
	}
	return r.err
}

// errStuck is why a file is given up that does not fail either.
var errStuck = errors.New("it takes nothing any more")

// await waits for c, and reports false if nothing has been written for too long.
func (r *Recording) await(c <-chan struct{}) bool {
	look := time.NewTicker(patience / 10)
	defer look.Stop()
	for {
		select {
		case <-c:
			return true
		case <-r.done:
			return true
		case <-look.C:
		}
		r.mu.Lock()
		stuck := time.Since(r.progress) > patience
		r.mu.Unlock()
		if stuck {
			return false
		}
	}
}

// fail keeps the first error. The caller holds the lock.
func (r *Recording) fail(err error) {
	if r.err == nil {
		r.err = fmt.Errorf("record: %w", render.FileError(r.target.opts.Path, err))
		close(r.broken)
	}
}

// write is the goroutine that writes.
func (r *Recording) write() {
	defer close(r.done)
	err := r.run()
	if err == nil {
		err = r.stream.finish()
	}
	if err == nil {
		return
	}
	r.stream.giveUp()
	if errors.Is(err, os.ErrDeadlineExceeded) { // that of Close
		err = errStuck
	}
	r.mu.Lock()
	told := r.err != nil
	r.fail(err)
	text := r.err.Error()
	r.pending = queue{}
	r.mu.Unlock()
	if !told {
		r.warn(text + "; nothing more is recorded")
	}
}

// run writes until nothing comes any more, or something goes wrong.
func (r *Recording) run() error {
	var q queue
	due := time.NewTimer(0)
	defer due.Stop()
	for {
		r.mu.Lock()
		q.text, q.lines = q.text[:0], q.lines[:0]
		q, r.pending = r.pending, q
		r.writing = len(q.text)
		ending, closed, err := r.ending, r.closed, r.err
		r.mu.Unlock()
		select {
		case r.room <- struct{}{}:
		default:
		}
		if err != nil {
			return err
		}
		if len(q.lines) > 0 {
			if err := r.writeLines(&q); err != nil {
				return err
			}
			if cap(q.text) > queueBytes/8 {
				q = queue{} // a storm is over
			}
			continue
		}
		if closed {
			return nil
		}
		if ending {
			if err := r.sync(); err != nil {
				return err
			}
			select {
			case <-r.drained:
			default:
				close(r.drained)
			}
		}
		if r.since.IsZero() {
			<-r.wake
			continue
		}
		due.Reset(time.Until(r.since.Add(syncInterval)))
		select {
		case <-r.wake:
		case <-due.C:
			if err := r.sync(); err != nil {
				return err
			}
		}
	}
}

// writeLines writes what was queued, as much at once as may be.
func (r *Recording) writeLines(q *queue) error {
	from, at, events := 0, 0, uint64(0)
	pass := func() error {
		if at == from {
			return nil
		}
		err := r.pass(q, from, at, events)
		from, events = at, 0
		return err
	}
	for _, l := range q.lines {
		n := l.end - at
		if limit := r.target.opts.Rotate; limit > 0 && l.event && r.events+events > 0 && r.size+uint64(at-from)+uint64(n) > limit {
			if err := pass(); err != nil {
				return err
			}
			if err := r.turn(); err != nil {
				return err
			}
		}
		if at-from+n > atOnce {
			if err := pass(); err != nil {
				return err
			}
		}
		at = l.end
		if l.event {
			events++
		}
	}
	return pass()
}

// pass writes some lines.
func (r *Recording) pass(q *queue, from, to int, events uint64) error {
	if r.since.IsZero() {
		r.since = time.Now()
	}
	r.unsafe += events
	n, err := r.stream.write(q.text[from:to])
	switch {
	case r.stream.pack != nil:
	case err == nil:
		r.stream.safe(n)
		r.settled(r.unsafe)
	default: // some of them may be there
		whole, kept := from, uint64(0)
		for _, l := range q.lines {
			if l.end > from && l.end <= from+n {
				if whole = l.end; l.event {
					kept++
				}
			}
		}
		r.stream.safe(whole - from)
		r.settled(kept)
	}
	if err != nil {
		return err
	}
	r.size += uint64(to - from)
	r.events += events
	if r.behind += to - from; r.stream.pack != nil && (r.behind >= syncBytes || time.Since(r.since) >= syncInterval) {
		return r.sync()
	}
	r.moved()
	return nil
}

// moved says that the file still takes something.
func (r *Recording) moved() {
	r.mu.Lock()
	r.progress = time.Now()
	r.mu.Unlock()
}

// settled counts events that are safe now.
func (r *Recording) settled(n uint64) {
	r.unsafe -= n
	if r.unsafe == 0 {
		r.since = time.Time{}
	}
	r.mu.Lock()
	r.safe += n
	r.mu.Unlock()
}

// sync makes safe what was written.
func (r *Recording) sync() error {
	if err := r.stream.sync(); err != nil {
		return err
	}
	r.settled(r.unsafe)
	r.since, r.behind = time.Time{}, 0
	r.moved()
	return nil
}

// turn ends the file and begins the next one.
func (r *Recording) turn() error {
	if err := r.sync(); err != nil {
		return err
	}
	if err := r.stream.finish(); err != nil {
		return err
	}
	file, err := r.target.rotator.next()
	if err != nil {
		return err
	}
	s, err := newStream(file, compressionOf(r.target.name))
	if err != nil {
		return err
	}
	r.stream, r.size, r.events = s, 0, 0
	r.mu.Lock()
	start := r.start
	r.mu.Unlock()
	if start == nil {
		return nil
	}
	first := queue{text: start}
	first.add(false)
	return r.pass(&first, 0, len(start), 0)
}
