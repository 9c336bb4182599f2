package exchange

import "bytes"

const (
	minHex  = 8 // digits of a segment that is {hex}
	uuidLen = 36
)

// Route appends to dst the route that a request target belongs to: its path,
// without query, fragment and path parameters, where a segment that is a number
// is {id}, a UUID {uuid} and a longer hexadecimal number {hex}. Targets without
// a path (CONNECT's and *) stay as they are. It does not keep target.
func Route(dst, target []byte) []byte {
	if i := bytes.IndexAny(target, "?#"); i >= 0 {
		target = target[:i]
	}
	if i := bytes.Index(target, []byte("://")); i > 0 && isScheme(target[:i]) {
		target = target[i+len("://"):]
		if i = bytes.IndexByte(target, '/'); i < 0 {
			return append(dst, '/')
		}
		target = target[i:]
	}
	if len(target) == 0 {
		return append(dst, '/')
	}
	if target[0] != '/' {
		return append(dst, target...)
	}
	for len(target) > 0 {
		part := target[1:]
		if i := bytes.IndexByte(part, '/'); i >= 0 {
			part = part[:i]
		}
		target = target[1+len(part):]
		if i := bytes.IndexByte(part, ';'); i > 0 { // as in ;jsessionid=…
			part = part[:i]
		}
		dst = append(dst, '/')
		if name := identifier(part); name != "" {
			dst = append(dst, name...)
			continue
		}
		// As in 42.json.
		if i := bytes.LastIndexByte(part, '.'); i > 0 {
			if name := identifier(part[:i]); name != "" && identifier(part[i+1:]) == "" {
				dst = append(dst, name...)
				part = part[i:]
			}
		}
		dst = append(dst, part...)
	}
	return dst
}

// isRPC reports whether a path looks like that of a call of gRPC,
// /package.Service/Method: such names stay whole, even if they look like a number.
func isRPC(path []byte) bool {
	if len(path) == 0 || path[0] != '/' {
		return false
	}
	service, method, ok := bytes.Cut(path[1:], []byte("/"))
	if !ok || !isName(method) || !bytes.Contains(service, []byte(".")) {
		return false
	}
	for name := range bytes.SplitSeq(service, []byte(".")) {
		if !isName(name) {
			return false
		}
	}
	return true
}

// isName reports whether b can be a name in a .proto file.
func isName(b []byte) bool {
	for i, ch := range b {
		switch {
		case 'a' <= ch|0x20 && ch|0x20 <= 'z', ch == '_', i > 0 && '0' <= ch && ch <= '9':
		default:
			return false
		}
	}
	return len(b) > 0
}

// isScheme reports whether b can stand before :// in a target (RFC 3986, 3.1).
func isScheme(b []byte) bool {
	for _, ch := range b {
		switch {
		case 'a' <= ch|0x20 && ch|0x20 <= 'z', '0' <= ch && ch <= '9', ch == '+', ch == '-', ch == '.':
		default:
			return false
		}
	}
	return true
}

// identifier returns what stands in a route for a segment that names one of
// many things, "" where it does not look like that. Hexadecimal digits without
// a decimal one may be a word.
func identifier(part []byte) string {
	digits, letters := 0, 0
	for i, ch := range part {
		hex := 'a' <= ch|0x20 && ch|0x20 <= 'f'
		switch {
		case ch >= '0' && ch <= '9':
			digits++
		case hex:
			letters++
		case ch == '-' && len(part) == uuidLen && (i == 8 || i == 13 || i == 18 || i == 23):
		default:
			return ""
		}
	}
	switch n := digits + letters; {
	case n == 0:
		return ""
	case n == uuidLen-4 && len(part) == uuidLen:
		return "{uuid}"
	case letters == 0 && n == len(part):
		return "{id}"
	case digits > 0 && n >= minHex && n == len(part):
		return "{hex}"
	}
	return ""
}
