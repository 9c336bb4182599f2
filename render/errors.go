package render

import "errors"

// A Hinter is an error that knows what can be done about it. Any package can define
// one.
type Hinter interface {
	error
	// Hint is a sentence without its end, "" if there is nothing to do.
	Hint() string
}

// AppendError appends an error as lines for people: what failed and why, and below
// it the hint of the first error in its tree that has one.
func AppendError(b []byte, err error) []byte {
	b = append(AppendMessage(append(b, "tracer: error: "...), err.Error()), '\n')
	if h := Hinter(nil); errors.As(err, &h) && h.Hint() != "" {
		b = append(AppendMessage(append(b, "tracer: hint: "...), h.Hint()), '\n')
	}
	return b
}
