package http1

import "bytes"

const (
	maxRouteDepth = 10
	maxRoutePart  = 64
	minHexID      = 8
	minMixedID    = 16
	minSwitches   = 4 // between letters and digits, in an identifier of both
)

// Route appends to dst the route that a request target belongs to: the path
// without query, where segments that look like identifiers are {id}. What lies
// deeper than ten segments is …, as is a segment of more than 64 bytes.
func Route(dst, target []byte) []byte {
	if i := bytes.IndexAny(target, "?#"); i >= 0 {
		target = target[:i]
	}
	if i := schemeEnd(target); i > 0 {
		target = target[i:]
		if i = bytes.IndexByte(target, '/'); i < 0 {
			return append(dst, '/')
		}
		target = target[i:]
	}
	if len(target) == 0 {
		return append(dst, '/')
	}
	if target[0] != '/' { // * and authority
		return append(dst, target...)
	}
	for depth := 0; len(target) > 0; depth++ {
		dst = append(dst, '/')
		part := target[1:]
		if i := bytes.IndexByte(part, '/'); i >= 0 {
			part = part[:i]
		}
		target = target[1+len(part):]
		if i := bytes.IndexByte(part, ';'); i > 0 { // as in ;jsessionid=…
			part = part[:i]
		}
		switch {
		case depth == maxRouteDepth && len(part) > 0:
			return append(dst, "…"...)
		case isID(part):
			dst = append(dst, "{id}"...)
		case len(part) > maxRoutePart:
			dst = append(dst, "…"...)
		default:
			if i := bytes.LastIndexByte(part, '.'); i > 0 && isID(part[:i]) && hasLetter(part[i:]) {
				dst = append(dst, "{id}"...)
				part = part[i:]
			}
			dst = append(dst, part...)
		}
	}
	return dst
}

// isID reports whether a segment is a number (or several, as in a date), a
// UUID, eight or more hexadecimal digits that are no word, or a longer mixture
// of letters and digits.
func isID(part []byte) bool {
	if n := len(part); n > 2 && part[0] == '{' && part[n-1] == '}' {
		part = part[1 : n-1]
	}
	digits, hex, dashes, others, switches := 0, 0, 0, 0, 0
	var was byte // 'd'igit, 'l'etter or 0
	for _, ch := range part {
		is := byte(0)
		switch {
		case '0' <= ch && ch <= '9':
			is = 'd'
			digits++
		case 'a' <= ch|0x20 && ch|0x20 <= 'f':
			is = 'l'
			hex++
		case 'g' <= ch|0x20 && ch|0x20 <= 'z':
			is = 'l'
			others++
		case ch == '-' || ch == '_' || ch == ',':
			dashes++
		default:
			return false
		}
		if is != was && is != 0 && was != 0 {
			switches++
		}
		was = is
	}
	switch {
	case digits == 0:
		return false
	case hex+others == 0:
		return true
	case others == 0 && dashes == 0:
		return len(part) >= minHexID
	case others == 0 && dashes == 4 && len(part) == 36:
		return true
	}
	return len(part) >= minMixedID && switches >= minSwitches
}

func hasLetter(b []byte) bool {
	for _, ch := range b {
		if 'a' <= ch|0x20 && ch|0x20 <= 'z' {
			return true
		}
	}
	return false
}
