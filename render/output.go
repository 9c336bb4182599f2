package render

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tracer/trace/event"
)

// ErrReaderGone is returned when what reads stdout has closed it, as head(1)
// does when it has enough: no failure.
var ErrReaderGone = errors.New("the reader of stdout is gone")

const (
	// queueBytes bounds what waits for a reader that is slower than events.
	queueBytes = 16 << 20
	// keepBytes is how much of an empty buffer is kept for later.
	keepBytes = 1 << 20
	// pieceBytes is written at once, the size of a pipe.
	pieceBytes = 64 << 10
	// patience is how long Close waits for a reader that takes nothing.
	patience = 2 * time.Second
)

// Output writes events to a file, one or more whole lines at a time, without
// ever making its caller wait: a goroutine of its own does the writing. It is a
// trace.Sink. Except for that goroutine, it is not safe for concurrent use.
type Output struct {
	file   *os.File
	own    bool // file is to be closed
	format Format
	buf    []byte // what the next Flush passes on
	events uint64 // in buf; there may be more lines: headers

	mu            sync.Mutex
	pending       []byte // passed on, not yet taken by the writer
	pendingEvents uint64
	writing       int           // bytes that the writer has taken and not written
	writingEvents uint64        // at most this many events are among those
	err           error         // of writing, sticky
	broken        chan struct{} // closed when err is set
	progress      time.Time     // of the last write
	wake          chan struct{} // the writer has something to do
	closed        bool
	done          chan struct{} // the writer has ended
}

// NewOutput starts writing to file.
func NewOutput(file *os.File, format Format) *Output {
	o := &Output{
		file:     file,
		format:   format,
		wake:     make(chan struct{}, 1),
		done:     make(chan struct{}),
		broken:   make(chan struct{}),
		progress: time.Now(),
	}
	if st, err := file.Stat(); err == nil && !st.Mode().IsRegular() {
		go o.watch(int32(file.Fd()))
		if st.Mode()&os.ModeNamedPipe != 0 {
			o.reopen()
		}
	}
	go o.write()
	return o
}

// reopen opens a pipe once more, such that a write to it can be ended by
// Close. The descriptor that was given stays as it is: others share it.
func (o *Output) reopen() {
	f, err := os.OpenFile("/proc/self/fd/"+strconv.Itoa(int(o.file.Fd())), os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err == nil {
		o.file, o.own = f, true
	}
}

// Event formats e, or reports false if too much waits already.
func (o *Output) Event(e event.Event) bool {
	o.mu.Lock()
	waiting := len(o.pending) + o.writing
	o.mu.Unlock()
	if waiting+len(o.buf) > queueBytes {
		return false
	}
	before := len(o.buf)
	o.buf = o.format.AppendEvent(o.buf, e)
	if len(o.buf) > before { // else a page will tell it
		o.events++
	}
	return true
}

// Page shows a page, if the format has any. While the one before is still on
// its way it is left out; not so the last one.
func (o *Output) Page(p *event.Page) {
	f, ok := o.format.(Pager)
	if ok && (p.Closing || o.idle()) {
		o.buf = f.AppendPage(o.buf, p)
	}
}

// idle reports whether all is written.
func (o *Output) idle() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.buf)+len(o.pending)+o.writing == 0
}

// Flush passes what was formatted on to the writer. It returns ErrReaderGone,
// or why stdout cannot be written.
func (o *Output) Flush() error {
	if f, ok := o.format.(screener); ok && o.idle() {
		o.buf = f.appendChanges(o.buf)
	}
	return o.flush()
}

func (o *Output) flush() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil || len(o.buf) == 0 {
		return o.err
	}
	if len(o.pending) == 0 {
		o.pending, o.buf = o.buf, o.pending
	} else {
		o.pending = append(o.pending, o.buf...)
	}
	o.pendingEvents += o.events
	o.buf, o.events = o.buf[:0], 0
	o.signal()
	return nil
}

// Broken is closed when stdout cannot be written any more.
func (o *Output) Broken() <-chan struct{} { return o.broken }

func (o *Output) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// Close writes what is left, as long as the reader takes any of it. It returns
// the number of events that were not written; if the reader has gone, which is
// no failure, nothing was lost by that.
func (o *Output) Close() (unwritten uint64, err error) {
	if f, ok := o.format.(screener); ok {
		o.buf = f.appendEnd(o.buf)
	}
	flushErr := o.flush()
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
			// What a write that is under way has written so far is only
			// known when it ends.
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
	unwritten = o.writingEvents + o.pendingEvents + o.events
	if errors.Is(o.err, ErrReaderGone) {
		return 0, nil
	}
	if flushErr != nil {
		return unwritten, flushErr
	}
	return unwritten, o.err
}

// write is the goroutine that writes.
func (o *Output) write() {
	defer close(o.done)
	var own []byte
	for {
		o.mu.Lock()
		own, o.pending = o.pending, own[:0]
		if cap(o.pending) > keepBytes {
			o.pending = nil
		}
		o.writing, o.writingEvents = len(own), o.pendingEvents
		o.pendingEvents = 0
		closed, err := o.closed, o.err
		o.mu.Unlock()
		if err != nil || len(own) == 0 && closed {
			return
		}
		if len(own) == 0 {
			<-o.wake
			continue
		}
		for rest := own; len(rest) > 0; {
			n, err := o.file.Write(rest[:min(len(rest), pieceBytes)])
			o.mu.Lock()
			o.writing -= n
			o.writingEvents = min(o.writingEvents, lines(rest[n:]))
			o.progress = time.Now()
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				o.fail(err)
			}
			o.mu.Unlock()
			if err != nil {
				return
			}
			rest = rest[n:]
		}
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
		o.err = WriteError(err)
		close(o.broken)
	}
}

// WriteError says what to do about a write that failed.
func WriteError(err error) error {
	switch {
	case errors.Is(err, unix.EPIPE), errors.Is(err, unix.ECONNRESET):
		return ErrReaderGone
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return errors.New("write to stdout: no space left on the device; free some or write elsewhere")
	}
	return err
}

func lines(b []byte) uint64 { return uint64(bytes.Count(b, []byte{'\n'})) }
