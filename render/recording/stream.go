package recording

import (
	"bufio"
	"compress/gzip"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
)

const (
	atOnce = 64 << 10 // bytes that are written by one call
	// window is how far back the packer looks: a recording is packed beside others'
	// work, and twice as much memory makes it hardly smaller.
	window = 1 << 20
)

// A packer compresses. What it was given before Flush can be unpacked from what it has
// written then, however the file ends.
type packer interface {
	io.WriteCloser
	Flush() error
}

func newPacker(c compression, w io.Writer) (packer, error) {
	switch c {
	case gzipped:
		return gzip.NewWriterLevel(w, gzip.BestSpeed)
	case zstandard:
		return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(window))
	}
	return nil, nil
}

// A stream writes lines to one file. What is safe of them survives the process: the file
// has it, and it can be read.
type stream struct {
	file    *os.File
	regular bool
	end     int64 // of what is safe, in the file

	// Of compressed files.
	pack   packer // nil: there is none
	packed *bufio.Writer
	passed counter
}

// A counter counts what a file has taken.
type counter struct {
	file *os.File
	n    int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.file.Write(b)
	c.n += int64(n)
	return n, err
}

func newStream(file *os.File, c compression) (*stream, error) {
	s := &stream{file: file, passed: counter{file: file}}
	if st, err := file.Stat(); err == nil {
		s.regular = st.Mode().IsRegular()
	}
	// A packer writes some hundred bytes at a time.
	s.packed = bufio.NewWriterSize(&s.passed, atOnce)
	var err error
	s.pack, err = newPacker(c, s.packed)
	return s, err
}

// write writes lines, and says how many bytes of them are safe at once: all where
// nothing is packed, none before sync where it is.
func (s *stream) write(lines []byte) (safe int, err error) {
	if s.pack != nil {
		_, err = s.pack.Write(lines)
		return 0, err
	}
	n, err := s.file.Write(lines)
	return n, err
}

// safe takes over that so many bytes of the file are whole lines.
func (s *stream) safe(n int) { s.end += int64(n) }

// sync makes safe what was written.
func (s *stream) sync() error {
	if s.pack == nil {
		return nil
	}
	if err := s.pack.Flush(); err != nil {
		return err
	}
	return s.settle()
}

func (s *stream) settle() error {
	if err := s.packed.Flush(); err != nil {
		return err
	}
	s.end = s.passed.n
	return nil
}

// finish ends the file: where it is packed it can be unpacked without a complaint.
func (s *stream) finish() error {
	if s.pack != nil {
		if err := s.pack.Close(); err != nil {
			return err
		}
		if err := s.settle(); err != nil {
			return err
		}
	}
	return s.file.Close()
}

// giveUp closes the file after a failure, and takes what is not safe away from its end.
// If something else stands behind it, it stays.
func (s *stream) giveUp() {
	if s.regular {
		if st, err := s.file.Stat(); err == nil && st.Size() > s.end {
			_ = s.file.Truncate(s.end) // then half a line stays
		}
	}
	_ = s.file.Close()
}
