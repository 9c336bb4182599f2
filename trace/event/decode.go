package event

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// Errors of Decode and DecodeLine, to be tested for with errors.Is.
var (
	// ErrSyntax: the line is no JSON, or was cut.
	ErrSyntax = errors.New("the line is not valid JSON, or was cut")
	// ErrForeign: JSON that tracer did not write.
	ErrForeign = errors.New("the line is not one of tracer's")
	// ErrNewer: an object like tracer's, of a kind that this version does not know.
	ErrNewer = errors.New("the line is of a newer tracer")
	// ErrTooLong: longer than MaxLine.
	ErrTooLong = errors.New("the line is too long")
)

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
	o := r.object(false)
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

// object reads an object of any kind. Within another one it reads only events,
// which hold no objects.
func (r *scanner) object(within bool) Object {
	kind := r.find("event")
	o := newObject(kind)
	if o == nil {
		r.unknown(kind)
		return nil
	}
	if _, ok := o.(Event); within && !ok {
		r.fail(fmt.Errorf("%w: an object of kind %.64q within another", ErrForeign, kind))
		return nil
	}
	outer := r.head
	r.head = head{kind: kind}
	r.members(o)
	if !r.timed {
		r.fail(fmt.Errorf("%w: it has no time", ErrForeign))
	}
	r.head = outer
	return o
}

// unknown says why an object cannot be read: what begins as all of tracer's do
// is a newer tracer's.
func (r *scanner) unknown(kind string) {
	r.head = head{kind: kind}
	r.members(new(unknown))
	if !r.timed {
		r.fail(fmt.Errorf("%w: it has no time", ErrForeign))
	}
	r.fail(fmt.Errorf("%w: kind %.64q", ErrNewer, kind))
}

// find returns the text behind a key and goes back to where the object begins.
func (r *scanner) find(key string) string {
	start := r.at
	for more := r.open(); more; more = r.next() {
		if r.key != key {
			r.skip()
			continue
		}
		s := r.text()
		if r.err == nil {
			r.at = start
		}
		return s
	}
	r.fail(fmt.Errorf("%w: it has no key %q", ErrForeign, key))
	return ""
}

// members reads the members of an object into o. It goes through the table of o
// until all are read: once for a line that has its keys in the table's order, as
// this version writes them.
func (r *scanner) members(o Object) {
	t := table{in: r}
	for more := r.open(); more; more = r.more {
		before := r.at
		t.object(o)
		if r.more && r.at == before {
			r.skip()
			r.next()
		}
	}
}
