package render

import (
	"bytes"
	"strconv"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// What users do with a live screen by its keys.
//
//	q  ends tracing, as Ctrl-C does
//	s  changes the order of the rows
//	p  keeps the page that is shown, until it is pressed again
//	/  begins a text that rows must have: Enter keeps it, Esc drops it
//	?  shows the keys in the last line, and hides them again

// A look is how a user looks at a page. Its owner's lock guards it.
type look struct {
	paused bool
	keys   bool   // the keys are shown
	typing bool   // filter is being typed
	filter []byte // rows without it are hidden; empty: none is
}

// says reports whether the last line has something to say of it.
func (k *look) says() bool { return k.paused || k.keys || k.typing || len(k.filter) > 0 }

// maxFilter bounds what is typed as a filter, in bytes.
const maxFilter = 100

const (
	keyEscape    = '\x1b'
	keyBackspace = '\x7f'
)

// press does what a key is for, and reports whether the order is to change. quit is called
// to end tracing.
func (k *look) press(key byte, quit func()) (reorder bool) {
	if k.typing {
		k.type1(key)
		return false
	}
	switch key {
	case 'q':
		quit()
	case 's':
		return true
	case 'p':
		k.paused = !k.paused
	case '/':
		k.typing, k.filter = true, nil
	case '?':
		k.keys = !k.keys
	case keyEscape:
		k.filter = nil
	}
	return false
}

// type1 takes a key into the filter.
func (k *look) type1(key byte) {
	switch {
	case key == '\r' || key == '\n':
		k.typing = false
	case key == keyEscape:
		k.typing, k.filter = false, nil
	case key == keyBackspace || key == '\b':
		_, n := utf8.DecodeLastRune(k.filter)
		k.filter = k.filter[:len(k.filter)-n]
	case key >= ' ' && len(k.filter) < maxFilter:
		// A copy: the one before may be being looked for.
		k.filter = append(bytes.Clone(k.filter), key)
	}
}

// endByKey ends tracing as a signal does: whatever ends with that ends now, too. SIGINT may
// be ignored, as by a job that a script has started.
func endByKey() { _ = unix.Kill(unix.Getpid(), unix.SIGTERM) }

// hasText reports whether a row has a text in one of its cells, whatever their case. text
// holds the cells, of which each ends at one of ends; find is in lower case.
func hasText(text []byte, from int, ends []int, find []byte) bool {
	if len(find) == 0 {
		return true
	}
	for _, end := range ends {
		if bytes.Contains(bytes.ToLower(text[from:end]), find) {
			return true
		}
		from = end
	}
	return false
}

// appendLook says how a user looks at a page: what hides rows, and what to press.
func (k *look) appendLook(b []byte, matching int, and func([]byte) []byte) []byte {
	switch {
	case k.typing:
		b = append(append(append(and(b), "filter: /"...), k.filter...), "_ (Enter keeps it, Esc drops it)"...)
	case len(k.filter) > 0:
		b = append(append(append(and(b), "filter /"...), k.filter...), ": "...)
		b = strconv.AppendInt(b, int64(matching), 10)
		if b = append(b, " rows"...); matching == 1 {
			b = b[:len(b)-1]
		}
	}
	if k.paused {
		b = append(and(b), "paused, p goes on"...)
	}
	return b
}

// keysText tells the keys.
func (k *look) keysText(ordered bool) string {
	text := "q ends"
	if ordered {
		text += ", s changes the order"
	}
	text += ", p pauses"
	if k.paused {
		text = text[:len(text)-len("p pauses")] + "p goes on"
	}
	return text + ", / filters, Esc drops the filter, ? hides this"
}
