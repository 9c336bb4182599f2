package event

import "unicode/utf8"

// MaxLine is how many bytes of a line are read.
const MaxLine = 16 << 20

// Decode reads one line that AppendJSON made; a newline at its end is allowed.
// Any other object than an event is ErrForeign.
//
// What AppendJSON makes of the result is the same line again. Keys may come in
// any order; unknown ones, as of a newer tracer, are skipped; a known key with
// a value of another type makes the line ErrForeign. Durations have whole
// microseconds, and what the line does not tell is zero.
//
// The event is new, keeps nothing of line, and may be kept. Its strings are
// parts of one copy of the whole line: strings.Clone those that are kept alone.
// Decode is safe for concurrent use.
func Decode(line []byte) (Event, error) {
	o, err := DecodeLine(line)
	if err != nil {
		return nil, err
	}
	e, ok := o.(Event)
	if !ok {
		return nil, ErrForeign
	}
	return e, nil
}

// DecodeLine reads a line as Decode does, of any kind that is written to stdout
// or stderr, but for the result of a check.
func DecodeLine(line []byte) (Object, error) {
	if len(line) > MaxLine {
		return nil, ErrTooLong
	}
	if !utf8.Valid(line) {
		return nil, ErrSyntax
	}
	r := scanner{line: string(line)}
	o := r.object()
	r.end()
	if r.err == nil {
		return o, nil
	}
	whole := scanner{line: r.line} // what is wrong may stand before a cut
	whole.skipTo(maxDepth + 1)
	whole.end()
	if whole.err != nil {
		return nil, ErrSyntax
	}
	return nil, r.err
}

// object reads an object of any kind.
func (r *scanner) object() Object {
	kind := r.find("event")
	o := newReport(kind)
	if o == nil {
		return r.event(kind)
	}
	t := read(r, kind)
	for t.again() {
		t.report(o)
	}
	return o
}
