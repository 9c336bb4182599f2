package draw

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"tracer/render"
)

// target is what is drawn of a request target: the path, without query, fragment,
// path parameters and the authority of a proxy's request, all of which may be secret.
func target(s string) string {
	if i := strings.IndexAny(s, "?#"); i >= 0 {
		s = s[:i]
	}
	if i := strings.Index(s, "://"); i > 0 {
		s = s[i+len("://"):]
		if i = strings.IndexByte(s, '/'); i < 0 {
			return "/"
		}
		s = s[i:]
	}
	if s == "" || s[0] != '/' { // of CONNECT, or *
		return s[strings.LastIndexByte(s, '@')+1:]
	}
	if !strings.Contains(s, ";") {
		return s
	}
	parts := strings.Split(s, "/")
	for i, p := range parts {
		parts[i], _, _ = strings.Cut(p, ";")
	}
	return strings.Join(parts, "/")
}

// duration is d as people read it.
func duration(d time.Duration) string { return string(render.AppendDuration(nil, d)) }

func size(n uint64) string { return string(render.AppendSize(nil, n)) }

// count is a number of things: 1 program, 2 programs.
func count(n int, thing string) string {
	switch {
	case n == 1:
	case strings.HasSuffix(thing, "s"):
		thing += "es"
	default:
		thing += "s"
	}
	return strconv.Itoa(n) + " " + thing
}

// list joins parts as a sentence does.
func list(parts []string) string {
	if n := len(parts); n > 1 {
		return strings.Join(parts[:n-1], ", ") + " and " + parts[n-1]
	}
	return strings.Join(parts, "")
}

// shorten cuts text in the middle to so many characters.
func shorten(s string, most int) string {
	n := utf8.RuneCountInString(s)
	if n <= most {
		return s
	}
	r := []rune(s)
	head := (most - 1) * 2 / 3
	return string(r[:head]) + "…" + string(r[n-(most-1-head):])
}

// visible is text of which each character can be shown: what a terminal would obey, and
// what reorders or hides text, is escaped, as \x1b.
func visible(s string) string { return string(render.AppendText(nil, s)) }

// ascii is text of our own and of strangers in printable ASCII.
func ascii(s string) string {
	var b []byte
	for _, r := range s {
		switch {
		case r == 'µ':
			b = append(b, 'u')
		case r == '…':
			b = append(b, ".."...)
		case r >= ' ' && r < 0x7f:
			b = append(b, byte(r))
		default:
			for _, c := range []byte(string(r)) {
				b = append(b, '\\', 'x')
				b = strconv.AppendUint(b, uint64(c>>4), 16)
				b = strconv.AppendUint(b, uint64(c&15), 16)
			}
		}
	}
	return string(b)
}

// appendMermaid appends text of which Mermaid shows every character and obeys none.
// All but a few are written as #NN;. What is longer than most bytes then is cut.
func appendMermaid(b []byte, s string, most int) []byte {
	const cut = "#8230;"
	start, fits := len(b), len(b)
	if strings.TrimSpace(s) == "" {
		s += "?" // an empty name would be a mistake in the language
	}
	for _, r := range s {
		if len(b)-start <= most-len(cut) {
			fits = len(b)
		}
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune(" /._=?-", r):
			b = append(b, byte(r))
		default:
			b = append(b, '#')
			b = strconv.AppendInt(b, int64(r), 10)
			b = append(b, ';')
		}
		if len(b)-start > most {
			return append(b[:fits], cut...)
		}
	}
	return b
}
