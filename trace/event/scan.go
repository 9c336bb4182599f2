package event

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
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

// maxDepth is how deep a value may nest that is skipped.
const maxDepth = 100

// scanner reads a line value by value (RFC 8259). After the first error it
// reads nothing more. It expects valid UTF-8, and hands out parts of its line.
type scanner struct {
	line string
	at   int
	err  error

	key  string // of the member whose value comes next; empty if there is none
	more bool   // there is such a member
}

// fail keeps the first error, and stops.
func (r *scanner) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.at = len(r.line)
	r.key, r.more = "", false
}

// foreign says what is wrong with the value of a key. Whether the line is JSON
// at all is looked at later.
func (r *scanner) foreign(problem string) {
	if r.err == nil {
		r.fail(fmt.Errorf("%w: %.64q is %s", ErrForeign, r.key, problem))
	}
}

// peek returns the next byte that is no space, 0 at the end.
func (r *scanner) peek() byte {
	for r.at < len(r.line) {
		switch c := r.line[r.at]; c {
		case ' ', '\t', '\n', '\r':
			r.at++
		default:
			return c
		}
	}
	return 0
}

// take takes c if it comes next.
func (r *scanner) take(c byte) bool {
	if r.peek() != c {
		return false
	}
	r.at++
	return true
}

// open begins an object and reads its first key. It returns whether there is one.
func (r *scanner) open() bool {
	if !r.take('{') {
		r.foreign("not an object")
		return false
	}
	if r.take('}') {
		r.key, r.more = "", false
		return false
	}
	return r.member()
}

// next reads the next key of an object, or its end.
func (r *scanner) next() bool {
	if r.take(',') {
		return r.member()
	}
	if !r.take('}') {
		r.fail(ErrSyntax)
	}
	r.key, r.more = "", false
	return false
}

func (r *scanner) member() bool {
	if r.peek() != '"' {
		r.fail(ErrSyntax)
	}
	key := r.text()
	if !r.take(':') {
		r.fail(ErrSyntax)
		return false
	}
	r.key, r.more = key, true
	return true
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

// openList begins an array and returns whether it has a value.
func (r *scanner) openList() bool {
	if !r.take('[') {
		r.foreign("not a list")
		return false
	}
	return !r.take(']')
}

// nextOne returns whether an array goes on.
func (r *scanner) nextOne() bool {
	if r.take(',') {
		return true
	}
	if !r.take(']') {
		r.fail(ErrSyntax)
	}
	return false
}

// text reads a string.
func (r *scanner) text() string {
	if !r.take('"') {
		r.foreign("not a string")
		return ""
	}
	start, escaped := r.at, false
	for i := start; i < len(r.line); i++ {
		switch c := r.line[i]; {
		case c == '"':
			r.at = i + 1
			if escaped {
				return r.unescape(r.line[start-1 : r.at])
			}
			return r.line[start:i]
		case c == '\\':
			i++
			escaped = true
		case c < 0x20:
			r.fail(ErrSyntax)
			return ""
		}
	}
	r.fail(ErrSyntax)
	return ""
}

// unescape is for the few strings with escapes.
func (r *scanner) unescape(quoted string) (s string) {
	if json.Unmarshal([]byte(quoted), &s) != nil {
		r.fail(ErrSyntax)
	}
	return s
}

// number reads a number and returns it as it is written.
func (r *scanner) number() string {
	r.peek()
	start := r.at
	r.byte('-', '-')
	if !r.byte('0', '0') {
		r.digits()
	}
	if r.byte('.', '.') {
		r.digits()
	}
	if r.byte('e', 'E') {
		r.byte('-', '+')
		r.digits()
	}
	return r.line[start:r.at]
}

// digits takes digits, at least one.
func (r *scanner) digits() {
	first := r.at
	for r.at < len(r.line) && r.line[r.at]-'0' < 10 {
		r.at++
	}
	if r.at == first {
		r.fail(ErrSyntax)
	}
}

// byte takes a or b if one of them comes next, without a space before it.
func (r *scanner) byte(a, b byte) bool {
	if r.at == len(r.line) || r.line[r.at] != a && r.line[r.at] != b {
		return false
	}
	r.at++
	return true
}

// integer reads a number that should have neither fraction nor exponent.
func (r *scanner) integer() string {
	if c := r.peek(); c != '-' && c-'0' > 9 {
		r.foreign("not a number")
	}
	return r.number()
}

// uint reads an integer from 0 to most.
func (r *scanner) uint(most uint64) uint64 {
	n, err := strconv.ParseUint(r.integer(), 10, 64)
	if err != nil || n > most {
		r.foreign("not an unsigned integer, or too large")
	}
	return n
}

// int reads an integer.
func (r *scanner) int() int64 {
	n, err := strconv.ParseInt(r.integer(), 10, 64)
	if err != nil {
		r.foreign("not an integer, or too large")
	}
	return n
}

// duration reads a number of units.
func (r *scanner) duration(unit time.Duration) time.Duration {
	n := r.int()
	d := time.Duration(n) * unit
	if int64(d/unit) != n {
		r.foreign("too large")
	}
	return d
}

// bool reads true or false.
func (r *scanner) bool() bool {
	switch {
	case r.word("true"):
		return true
	case !r.word("false"):
		r.foreign("not a boolean")
	}
	return false
}

// word takes a word if it comes next.
func (r *scanner) word(w string) bool {
	r.peek()
	if !strings.HasPrefix(r.line[r.at:], w) {
		return false
	}
	r.at += len(w)
	return true
}

// time reads a time in UTC.
func (r *scanner) time() time.Time {
	s := r.text()
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || s[len(s)-1] != 'Z' {
		r.foreign("not a time in UTC")
	}
	return t
}

// address reads an IP address without a zone.
func (r *scanner) address() netip.Addr {
	a, err := netip.ParseAddr(r.text())
	if err != nil || a.Zone() != "" {
		r.foreign("not an IP address")
	}
	return a
}

// connID reads the name of a connection.
func (r *scanner) connID() ConnID {
	id, err := ParseConnID(r.text())
	if err != nil {
		r.foreign(err.Error())
	}
	return id
}

// skip reads a value of any type.
func (r *scanner) skip() { r.skipTo(maxDepth) }

func (r *scanner) skipTo(depth int) {
	switch c := r.peek(); {
	case depth == 0:
		r.fail(ErrSyntax)
	case c == '{':
		key, more := r.key, r.open()
		for ; more; more = r.next() {
			r.skipTo(depth - 1)
		}
		if r.err == nil {
			r.key, r.more = key, true
		}
	case c == '[':
		for more := r.openList(); more; more = r.nextOne() {
			r.skipTo(depth - 1)
		}
	case c == '"':
		r.text()
	case r.word("true"), r.word("false"), r.word("null"):
	default:
		r.number()
	}
}

// end makes sure that nothing follows.
func (r *scanner) end() {
	if r.peek(); r.at < len(r.line) {
		r.fail(ErrSyntax)
	}
}
