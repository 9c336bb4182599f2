package replay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"tracer/trace/event"
)

// Why a line could not be read: keys of Stats.Unread.
const (
	UnreadCut     = "cut"      // it is no JSON: most often half a line
	UnreadTooLong = "too_long" // longer than event.MaxLine
	UnreadForeign = "foreign"  // JSON that tracer did not write
	UnreadNewer   = "newer"    // of a kind that this version does not know
)

const (
	// chunkBytes is how much of a file is read at once, if there is so much.
	chunkBytes = 128 << 10
	// batchesAhead is how many chunks are decoded before they are asked for.
	batchesAhead = 2
)

// A source reads one file in a goroutine of its own: batches have what it reads.
type source struct {
	name    string // of the file, in messages
	host    string // what its host is called if the file does not tell
	batches chan *batch
	free    chan *batch // to be used again
	wake    chan<- struct{}
	stop    <-chan struct{}
	follow  *follower // nil: what comes is not waited for

	readable bool // something in the file was one of tracer's
}

// A batch is what one chunk of a file has.
type batch struct {
	lines   []Line // whose Raw are parts of text
	text    []byte
	unread  map[string]uint64 // nil: nothing
	problem string            // why the rest of the file cannot be read, as a sentence; empty: it can
	err     error             // the same, and that is a failure
}

// open begins to read a file.
func (s *source) open(path string, stdin io.Reader, follow bool) error {
	s.name = path
	s.host = filepath.Base(path)
	s.batches, s.free = make(chan *batch, batchesAhead), make(chan *batch, batchesAhead+2)
	if path == Stdin {
		s.name, s.host = "stdin", "stdin"
		go s.run(func() (io.Reader, error) { r := stdin; stdin = nil; return r, nil })
		return nil
	}
	f, err := openFile(path)
	if err != nil {
		return err
	}
	if st, err := f.Stat(); follow && err == nil && st.Mode().IsRegular() {
		s.follow = &follower{path: path, file: f, stop: s.stop, idle: s.tell}
		go s.run(s.follow.next)
		return nil
	}
	read := false
	go s.run(func() (io.Reader, error) {
		if read {
			return nil, f.Close()
		}
		read = true
		return f, nil
	})
	return nil
}

// tell says that there is something new to know of the source.
func (s *source) tell() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// stopped reports whether nothing more is wanted.
func (s *source) stopped() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// run reads what next gives, one after the other, until there is nothing more.
func (s *source) run(next func() (io.Reader, error)) {
	defer s.tell()
	defer close(s.batches)
	for !s.stopped() {
		r, err := next()
		if err == nil && r == nil {
			break
		}
		if err == nil {
			err = s.read(r)
		}
		if err != nil && !s.send(s.failed(err)) {
			return
		}
		if err != nil && s.follow == nil {
			break
		}
	}
	if !s.readable && !s.stopped() {
		s.send(&batch{err: fmt.Errorf("read %s: there is no line of tracer's in it", s.name)})
	}
}

// failed tells an error of reading.
func (s *source) failed(err error) *batch {
	if errors.Is(err, errDamaged) {
		return &batch{unread: map[string]uint64{UnreadCut: 1}, problem: fmt.Sprintf("the rest of %s could not be read: %v", s.name, err)}
	}
	if path := new(os.PathError); errors.As(err, &path) {
		err = path.Err
	}
	return &batch{err: fmt.Errorf("read %s: %w", s.name, err)}
}

// send passes on a batch. It reports false if nobody wants it.
func (s *source) send(b *batch) bool {
	select {
	case s.batches <- b:
		s.tell()
		return true
	case <-s.stop:
		return false
	}
}

// read reads a file to its end.
func (s *source) read(r io.Reader) error {
	z, err := decompress(r)
	if err != nil {
		return err
	}
	defer z.Close()
	b := s.batch()
	kept := 0 // bytes of a line that is not whole yet, at the beginning of text
	long := false
	for {
		if kept == len(b.text) {
			b.text = append(b.text, make([]byte, len(b.text))...)
		}
		n, err := z.Read(b.text[kept:])
		text := b.text[:kept+n]
		end := bytes.LastIndexByte(text[kept:], '\n') + 1
		if end > 0 {
			end += kept
		}
		whole, rest := text[:end], text[end:]
		if long && end > 0 {
			_, whole, _ = bytes.Cut(whole, newline)
			long = false
		}
		if errors.Is(err, errDamaged) {
			rest = nil // what the error says is missing
		}
		if err != nil && !long && len(rest) > 0 { // the last line has no end
			whole, rest = text[len(text)-len(rest)-len(whole):], nil
		}
		for len(whole) > 0 {
			var line []byte
			line, whole, _ = bytes.Cut(whole, newline)
			s.take(b, line)
		}
		if long {
			rest = nil
		} else if len(rest) > event.MaxLine {
			b.miss(UnreadTooLong)
			long, rest = true, nil
		}
		next := b
		if len(b.lines) > 0 || b.unread != nil || err != nil {
			next = s.batch()
			for len(next.text) < len(rest) {
				next.text = append(next.text, make([]byte, len(next.text))...)
			}
		}
		kept = copy(next.text, rest)
		if next != b && !s.send(b) {
			return nil
		}
		if b = next; err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

var newline = []byte{'\n'}

// take decodes a line.
func (s *source) take(b *batch, line []byte) {
	if len(bytes.TrimSpace(line)) == 0 {
		return
	}
	o, err := event.DecodeRecorded(line)
	switch {
	case err == nil:
		s.readable = true
		b.lines = append(b.lines, Line{Raw: line, Object: o})
	case errors.Is(err, event.ErrNewer):
		s.readable = true
		b.miss(UnreadNewer)
	case errors.Is(err, event.ErrForeign):
		b.miss(UnreadForeign)
	case errors.Is(err, event.ErrTooLong):
		b.miss(UnreadTooLong)
	default:
		b.miss(UnreadCut)
	}
}

func (b *batch) miss(why string) {
	if b.unread == nil {
		b.unread = map[string]uint64{}
	}
	b.unread[why]++
}

// batch is an empty one.
func (s *source) batch() *batch {
	select {
	case b := <-s.free:
		*b = batch{lines: b.lines[:0], text: b.text}
		return b
	default:
		return &batch{text: make([]byte, chunkBytes)}
	}
}

// release gives a batch back, of which nothing is needed any more.
func (s *source) release(b *batch) {
	if len(b.text) > 4*chunkBytes {
		return // a long line's
	}
	clear(b.lines) // the objects may be kept elsewhere
	select {
	case s.free <- b:
	default:
	}
}
