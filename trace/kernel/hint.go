package kernel

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// An explained error is another one in plain words, with what to do about it.
type explained struct {
	error
	text, hint string
}

func (e explained) Error() string { return e.text }
func (e explained) Unwrap() error { return e.error }

// Hint says what to do, for the line below the error; empty if there is nothing.
func (e explained) Hint() string { return e.hint }

// Hint adds to an error what to do about it.
func Hint(err error, hint string) error { return explained{err, err.Error(), hint} }

// Errno is the symbol of an error, as ENOENT.
func Errno(e unix.Errno) string {
	if name := unix.ErrnoName(e); name != "" {
		return name
	}
	return "E" + strconv.Itoa(int(e))
}
