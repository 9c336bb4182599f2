package main

import (
	"errors"
	"os"

	"tracer/render"
)

// Exit statuses.
const (
	exitFailed = 1 // could not trace
	exitUsage  = 2 // the command line is wrong
)

// stdout is for texts of commands that trace nothing. It keeps the first error,
// which is not the fault of the command line. A reader that left is no error.
type stdout struct{ err error }

func (s *stdout) Write(b []byte) (int, error) {
	if _, err := os.Stdout.Write(b); err != nil {
		if err = render.WriteError(err); s.err == nil && !errors.Is(err, render.ErrReaderGone) {
			s.err = err
		}
	}
	return len(b), nil
}

// complain writes to stderr why tracer ends.
func complain(err error) { _, _ = os.Stderr.Write(appendError(nil, err)) }

// appendError appends an error and what the user can do about it, a line each.
// Stand-in for render.AppendError, until there is one.
func appendError(b []byte, err error) []byte {
	b = append(render.AppendMessage(b, "tracer: error: "+err.Error()), '\n')
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		b = append(render.AppendMessage(b, "tracer: hint: "+hinted.Hint()), '\n')
	}
	return b
}
