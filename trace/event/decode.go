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
	o, _, err := decode(line)
	return o, err
}

// DecodeRecorded is DecodeLine for a line without a newline. An event keeps a copy of it:
// what AppendJSON makes of that is the same line, unknown keys included. Only characters
// that would control a terminal, which AppendJSON never writes as they are, are escaped.
func DecodeRecorded(line []byte) (Object, error) {
	o, text, err := decode(line)
	if e, ok := o.(Event); ok {
		e.Head().Recorded = harmless(text)
	}
	return o, err
}

// harmless escapes the characters of a line of JSON that appendString does. They can only
// stand in strings.
func harmless(line string) string {
	ascii := true
	for i := 0; i < len(line) && ascii; i++ {
		ascii = line[i] < 0x7f
	}
	if ascii {
		return line
	}
	var b []byte
	done := 0
	for i, r := range line {
		if r == 0x7f || r > 0x7f && r <= 0x9f || isBidi(r) {
			b = append(b, line[done:i]...)
			b = append(b, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
			done = i + utf8.RuneLen(r)
		}
	}
	if done == 0 {
		return line
	}
	return string(append(b, line[done:]...))
}

// decode also returns the copy of line that the object's strings are parts of.
func decode(line []byte) (Object, string, error) {
	if len(line) > MaxLine {
		return nil, "", ErrTooLong
	}
	if !utf8.Valid(line) {
		return nil, "", ErrSyntax
	}
	r := scanner{line: string(line)}
	o := r.object()
	r.end()
	if r.err == nil {
		return o, r.line, nil
	}
	whole := scanner{line: r.line} // what is wrong may stand before a cut
	whole.skipTo(maxDepth + 1)
	whole.end()
	if whole.err != nil {
		return nil, "", ErrSyntax
	}
	return nil, "", r.err
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
