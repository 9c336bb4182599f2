package replay

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Stdin is the name of a file that stands for standard input.
const Stdin = "-"

// pollInterval is how often a file is looked at that may grow.
const pollInterval = 50 * time.Millisecond

// maxWindow bounds what a zstd stream may ask for to be kept of it.
const maxWindow = 64 << 20

// openFile opens a file of a recording.
func openFile(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	switch {
	case err != nil:
	case st.IsDir():
		err = &os.PathError{Op: "read", Path: path, Err: errors.New("it is a directory")}
	default:
		return f, nil
	}
	f.Close()
	return nil, err
}

// namedTwice is a file that stands twice in a list, by whatever names; empty if none does.
func namedTwice(files []string) string {
	var before []os.FileInfo
	for i, file := range files {
		if file == Stdin {
			if slices.Contains(files[:i], file) {
				return "stdin"
			}
			continue
		}
		st, err := os.Stat(file)
		if err != nil {
			continue // to open it says why
		}
		if slices.ContainsFunc(before, func(o os.FileInfo) bool { return os.SameFile(o, st) }) {
			return file
		}
		before = append(before, st)
	}
	return ""
}

// A follower reads a file as tail -F does: at its end it waits for more, and if another
// file has got its name, or if it was cut, it says that this one is over. One goroutine
// reads; waits may be looked at by others.
type follower struct {
	path  string
	file  *os.File
	at    int64
	stop  <-chan struct{}
	waits atomic.Bool // for more
	idle  func()      // called when it begins to wait
	read  bool        // it has been: what comes next is another file, or the same anew
}

// next is the file that has the name now, from its beginning; nil when stop is closed.
func (f *follower) next() (io.Reader, error) {
	for ; f.read; time.Sleep(pollInterval) {
		select {
		case <-f.stop:
			return nil, f.file.Close()
		default:
		}
		if file, err := openFile(f.path); err == nil {
			f.file.Close()
			f.file, f.at, f.read = file, 0, false
		}
	}
	f.read = true
	return f, nil
}

// Read returns io.EOF if the file is over, or when stop is closed.
func (f *follower) Read(b []byte) (int, error) {
	defer f.waits.Store(false)
	over := false
	for {
		n, err := f.file.Read(b)
		f.at += int64(n)
		switch {
		case n > 0:
			return n, nil
		case err != io.EOF:
			return 0, err
		case over: // and nothing was written to it meanwhile
			return 0, io.EOF
		}
		if over = f.over(); over {
			continue
		}
		if !f.waits.Swap(true) {
			f.idle()
		}
		select {
		case <-f.stop:
			return 0, io.EOF
		case <-time.After(pollInterval):
		}
	}
}

// over reports whether the file has lost its name to another one, or was cut.
func (f *follower) over() bool {
	own, err := f.file.Stat()
	if err != nil {
		return false
	}
	if own.Mode().IsRegular() && own.Size() < f.at {
		return true
	}
	named, err := os.Stat(f.path) // there may be none for a moment
	return err == nil && !os.SameFile(own, named)
}

// errDamaged is of what cannot be decompressed any more.
var errDamaged = errors.New("cut or damaged")

// decompress reads what r has: gzip, zstd or plain, which its first bytes tell.
func decompress(r io.Reader) (io.ReadCloser, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	var first []byte
	for n := 1; n <= 4; n++ { // no more than there is, of what may still grow
		var err error
		if first, err = b.Peek(n); err != nil || !isPrefix(first) {
			break
		}
	}
	switch {
	case bytes.HasPrefix(first, gzipMagic):
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, fmt.Errorf("%w: gzip: %w", errDamaged, err)
		}
		z.Multistream(false)
		return damaged{&members{b, z, false}, z.Close}, nil
	case bytes.HasPrefix(first, zstdMagic):
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errDamaged, err)
		}
		return damaged{z, func() error { z.Close(); return nil }}, nil
	}
	return io.NopCloser(b), nil
}

// members reads the members of a gzip file (RFC 1952 section 2.2). What one has is told
// before the next is waited for.
type members struct {
	file *bufio.Reader
	*gzip.Reader
	over bool // the one that is read
}

func (m *members) Read(b []byte) (int, error) {
	for {
		if m.over {
			if _, err := m.file.Peek(1); err != nil {
				return 0, err // there is no other
			}
			if err := m.Reset(m.file); err != nil {
				return 0, err
			}
			m.Multistream(false)
			m.over = false
		}
		n, err := m.Reader.Read(b)
		if err == io.EOF {
			m.over, err = true, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// First bytes: RFC 1952 section 2.3.1, RFC 8878 section 3.1.1.
var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

// isPrefix reports whether b begins as something compressed may.
func isPrefix(b []byte) bool {
	return bytes.HasPrefix(zstdMagic, b) || bytes.HasPrefix(gzipMagic, b)
}

// damaged marks the errors of what decompresses. Those of the file stay as they are.
type damaged struct {
	io.Reader
	close func() error
}

func (d damaged) Close() error { return d.close() }

func (d damaged) Read(b []byte) (int, error) {
	n, err := d.Reader.Read(b)
	if path := new(os.PathError); err != nil && err != io.EOF && !errors.As(err, &path) {
		err = fmt.Errorf("%w: %w", errDamaged, err)
	}
	return n, err
}
