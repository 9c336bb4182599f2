package render

import (
	"errors"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tracer/trace/event"
)

// ErrReaderGone is returned when the reader of a pipe has closed it, as head(1)
// does when it has enough. That is no failure.
var ErrReaderGone = errors.New("the reader of the output is gone")

const (
	// queueBytes bounds what waits for a reader that is slower than events.
	queueBytes = 16 << 20
	// fileBytes is the most that is written to a file at once, if lines are
	// shorter.
	fileBytes = 64 << 10
	// pipeBytes is the same for a pipe. Up to so many bytes a pipe takes all or
	// nothing: PIPE_BUF of pipe(7).
	pipeBytes = 4 << 10
	// patience is how long Close waits for a reader that takes nothing.
	patience = 2 * time.Second
)

// Output is a sink that writes events to a file. It never makes its caller wait: a
// goroutine of its own does the writing. It writes whole lines, so that a file ends
// with one even if the disk is full, and a pipe even if the process is killed
// (unless a line is longer than pipeBytes). Its methods are not safe for concurrent
// use, except for Broken.
type Output struct {
	name   string
	label  string // of the file, in errors
	file   *os.File
	own    bool // file is to be closed
	atOnce int  // bytes
	format Format
	queue  queue // what the next Flush passes on

	mu       sync.Mutex
	pending  queue         // passed on, not yet taken by the writer
	writing  int           // bytes that the writer has taken and not written
	unsaid   uint64        // events among those
	dropped  uint64        // events that came after err
	err      error         // of writing; the first one stays
	broken   chan struct{} // closed when err is set
	progress time.Time     // of the last write
	wake     chan struct{} // the writer has something to do
	room     chan struct{} // the writer has written something
	closed   bool
	done     chan struct{} // the writer has ended
}

// NewOutput starts writing to file, as the sink "stdout".
func NewOutput(file *os.File, format Format) *Output {
	return newOutput("stdout", "stdout", file, format)
}

// NewFileOutput starts writing to file, as a sink of another name. Errors name the
// file. Close does not close it.
func NewFileOutput(name string, file *os.File, format Format) *Output {
	return newOutput(name, file.Name(), file, format)
}

func newOutput(name, label string, file *os.File, format Format) *Output {
	o := &Output{
		name:     name,
		label:    label,
		file:     file,
		atOnce:   fileBytes,
		format:   format,
		wake:     make(chan struct{}, 1),
		room:     make(chan struct{}, 1),
		done:     make(chan struct{}),
		broken:   make(chan struct{}),
		progress: time.Now(),
	}
	if st, err := file.Stat(); err == nil && !st.Mode().IsRegular() {
		go o.watch(int32(file.Fd()))
		if st.Mode()&os.ModeNamedPipe != 0 {
			o.atOnce = pipeBytes
			o.reopen()
		}
	}
	go o.write()
	return o
}

// reopen opens a pipe once more, so that Close can end a write to it. The
// descriptor that was given stays as it is: other processes share it.
func (o *Output) reopen() {
	f, err := os.OpenFile("/proc/self/fd/"+strconv.Itoa(int(o.file.Fd())), os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err == nil {
		o.file, o.own = f, true
	}
}

// Name is what the sink is called.
func (o *Output) Name() string { return o.name }

// Event formats e. It reports false if too much waits already: then e is lost.
func (o *Output) Event(e event.Event) bool {
	o.mu.Lock()
	waiting := len(o.pending.text) + o.writing
	o.mu.Unlock()
	if waiting+len(o.queue.text) > queueBytes {
		return false
	}
	before := len(o.queue.text)
	o.queue.text = o.format.AppendEvent(o.queue.text, e)
	o.queue.add(before, true)
	return true
}

// Page shows a page, if the format can. A page is left out while the one before is
// still being written, but never the closing one.
func (o *Output) Page(p *event.Page) {
	f, ok := o.format.(Pager)
	if !ok || !p.Closing && !o.idle() {
		return
	}
	before := len(o.queue.text)
	o.queue.text = f.AppendPage(o.queue.text, p)
	o.queue.addLines(before)
}

// idle reports whether everything is written.
func (o *Output) idle() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.queue.text)+len(o.pending.text)+o.writing == 0
}

// Flush passes what was formatted on to the writer. It returns why the file cannot
// be written: ErrReaderGone, or an error that may have a Hint.
func (o *Output) Flush() error {
	if f, ok := o.format.(screener); ok && o.idle() {
		o.queue.text = f.appendChanges(o.queue.text)
		o.queue.addLines(0)
	}
	return o.flush()
}

func (o *Output) flush() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		o.dropped += o.queue.events
		o.queue = queue{}
		return o.err
	}
	if len(o.queue.text) > 0 {
		o.pending.take(&o.queue)
		o.signal()
	}
	return nil
}

// Broken is closed when the file cannot be written any more.
func (o *Output) Broken() <-chan struct{} { return o.broken }

// Wait waits until there is room for much more, or until stop is closed: for events that
// can wait.
func (o *Output) Wait(stop <-chan struct{}) {
	for {
		o.mu.Lock()
		full := o.err == nil && len(o.pending.text)+o.writing > queueBytes/2
		o.mu.Unlock()
		if !full {
			return
		}
		select {
		case <-o.room:
		case <-o.broken:
			return
		case <-stop:
			return
		}
	}
}

// Wake tells that Flush has something to write, though no event has come: a key was
// pressed. It is nil if that never happens.
func (o *Output) Wake() <-chan struct{} {
	if f, ok := o.format.(screener); ok {
		return f.wake()
	}
	return nil
}

func (o *Output) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// Close writes what is left, as long as the reader takes any of it. It returns the
// number of events that Event accepted and that were not written whole. If the
// reader has gone, nothing counts as unwritten.
func (o *Output) Close() (unwritten uint64, err error) {
	if f, ok := o.format.(screener); ok {
		before := len(o.queue.text)
		o.queue.text = f.appendEnd(o.queue.text)
		o.queue.addLines(before)
	}
	_ = o.flush() // the error stays
	o.mu.Lock()
	o.closed = true
	o.progress = time.Now()
	o.signal()
	o.mu.Unlock()
	look := time.NewTicker(patience / 10)
	defer look.Stop()
	for {
		select {
		case <-o.done:
		case <-look.C:
			o.mu.Lock()
			stuck := time.Since(o.progress) > patience
			o.mu.Unlock()
			if !stuck {
				continue
			}
			// How much a write under way has written is known when it ends.
			if o.own && o.file.SetWriteDeadline(time.Now()) == nil {
				<-o.done
			}
		}
		break
	}
	if o.own {
		_ = o.file.Close()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if errors.Is(o.err, ErrReaderGone) {
		return 0, nil
	}
	return o.dropped + o.unsaid + o.pending.events, o.err
}

// write is the goroutine that writes.
func (o *Output) write() {
	defer close(o.done)
	var buffer, rest queue // rest is the part of buffer that is not written
	for {
		o.mu.Lock()
		buffer.clear()
		buffer, o.pending = o.pending, buffer
		o.writing, o.unsaid = len(buffer.text), buffer.events
		closed, err := o.closed, o.err
		o.mu.Unlock()
		if err != nil || len(buffer.text) == 0 && closed {
			return
		}
		if len(buffer.text) == 0 {
			<-o.wake
			continue
		}
		for rest = buffer; len(rest.text) > 0; {
			n, err := o.file.Write(rest.text[:rest.next(o.atOnce)])
			torn := rest.drop(n)
			if torn > 0 {
				o.takeBack(torn)
			}
			o.mu.Lock()
			o.writing, o.unsaid = len(rest.text), rest.events
			o.progress = time.Now()
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				o.fail(err)
			}
			o.mu.Unlock()
			select {
			case o.room <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}
}

// takeBack removes the last n bytes from a regular file: the beginning of a line
// that could not be written whole. If something stands behind them they stay.
func (o *Output) takeBack(n int) {
	st, err := o.file.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return
	}
	end, err := o.file.Seek(0, io.SeekCurrent)
	if err != nil || st.Size() != end {
		return
	}
	if o.file.Truncate(end-int64(n)) == nil {
		_, _ = o.file.Seek(end-int64(n), io.SeekStart) // others may write to it
	}
}

// watch notices that the reader of a pipe has gone while there is nothing to
// write.
func (o *Output) watch(fd int32) {
	fds := []unix.PollFd{{Fd: fd}}
	for {
		_, err := unix.Poll(fds, -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err == nil && fds[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0 {
			o.mu.Lock()
			o.fail(ErrReaderGone)
			o.signal()
			o.mu.Unlock()
		}
		return
	}
}

// fail keeps the first error. The caller holds the lock.
func (o *Output) fail(err error) {
	if err != nil && o.err == nil {
		o.err = writeError(o.label, err)
		close(o.broken)
	}
}

// WriteError explains an error of writing to stdout: ErrReaderGone, or one that may
// have a Hint.
func WriteError(err error) error { return writeError("stdout", err) }

// FileError explains an error of writing to a file of this name, as [WriteError] does.
func FileError(name string, err error) error { return writeError(name, err) }

func writeError(label string, err error) error {
	if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, ErrReaderGone) {
		return ErrReaderGone
	}
	failed := &writeFailed{File: label, Err: err}
	if path := new(os.PathError); errors.As(err, &path) {
		failed.Err = path.Err
	}
	return failed
}

// writeFailed is an error of writing to a file.
type writeFailed struct {
	File string // its name, or stdout
	Err  error
}

func (e *writeFailed) Error() string { return "write to " + e.File + ": " + e.Err.Error() }
func (e *writeFailed) Unwrap() error { return e.Err }

// Hint says what can be done about it.
func (e *writeFailed) Hint() string {
	switch {
	case errors.Is(e.Err, unix.ENOSPC):
		return "free some space on the device, or write to another one"
	case errors.Is(e.Err, unix.EDQUOT):
		return "free some space of your quota, or write elsewhere"
	}
	return ""
}
