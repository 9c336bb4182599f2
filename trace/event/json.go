package event

import (
	"bytes"
	"time"
	"unicode/utf8"
)

// appendTime appends t as RFC 3339 in UTC, always with nine digits after the
// point: lines sort by it as text.
func appendTime(b []byte, t time.Time) []byte {
	b = t.UTC().AppendFormat(b, time.RFC3339) // which the library is quick at
	b = append(b[:len(b)-1], ".000000000Z"...)
	for i, ns := len(b)-2, t.Nanosecond(); ns > 0; i, ns = i-1, ns/10 {
		b[i] = byte('0' + ns%10)
	}
	return b
}

const hex = "0123456789abcdef"

// plain are the bytes that stand for themselves in a string.
var plain = func() (is [256]bool) {
	for c := ' '; c < 0x7f; c++ {
		is[c] = c != '"' && c != '\\'
	}
	return is
}()

// appendString appends s as a JSON string (RFC 8259 section 7). Bytes that are
// no UTF-8 become U+FFFD; control characters are escaped, DEL and the C1
// controls too, so that a line is harmless on a terminal.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if plain[c] {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if (r != utf8.RuneError || n != 1) && r > 0x9f && !isBidi(r) {
				i += n
				continue
			}
			b = append(b, s[start:i]...)
			if r == utf8.RuneError {
				b = append(b, "\ufffd"...)
			} else {
				b = append(b, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
			}
			i += n
			start = i
			continue
		}
		b = append(b, s[start:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		start = i
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

// AppendWithHostname appends a line, of an event that has no hostname, with one as its last
// key.
func AppendWithHostname(dst, line []byte, name string) []byte {
	line = bytes.TrimRight(line, " \t\r\n")
	dst = append(dst, line[:len(line)-1]...)
	dst = append(dst, `,"hostname":`...)
	return append(appendString(dst, name), '}')
}

// isBidi tells the characters that reorder or break a line of text, with which
// a name can pretend to be another.
func isBidi(r rune) bool {
	return r == 0x061c || r == 0x200e || r == 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}
