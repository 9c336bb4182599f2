package http1

import (
	"bytes"
	"strings"

	"tracer/trace/message"
)

// A head is what framing and pairing need of a message's head. Its slices
// point into the bytes that were read.
type head struct {
	method, target, host []byte
	status               int
	length               int64  // Content-Length, -1 where there is none
	minor                uint8  // of HTTP/1.minor, or noMinor
	field                field  // last field line, for folded ones
	trace                []byte // value of traceparent
	lined                bool   // the first line was whole and right
	coded                bool   // has Transfer-Encoding
	chunked              bool   // and its last coding is chunked
	conflict             bool   // Content-Length that is no number, or several
	expect               bool   // Expect: 100-continue
	truncated            bool   // target is not whole
	incomplete           bool   // the head never ended
	bare                 bool   // its first line names no version: a request only to who answers it like one
	h2c                  bool   // Upgrade: h2c
	traces               uint8  // field lines of traceparent, and folds of them: not more than 2 are told apart
	preface              bool   // not HTTP/1: the client preface of HTTP/2
}

type field uint8

const (
	fieldOther field = iota
	fieldLength
	fieldCoding
	fieldHost
	fieldExpect
	fieldUpgrade
	fieldTrace
)

// A shape is what the first bytes of a message look like.
type shape uint8

const (
	shapeShort    shape = iota // too few bytes to tell
	shapeRequest               // a word and a space
	shapeResponse              // HTTP/1.
	shapeTLS                   // a TLS handshake record
	shapeOther
)

type verdict uint8

const (
	wrong verdict = iota
	partial
	whole
)

const (
	maxMethod   = 32
	maxHost     = 1024
	maxVersion  = 16
	minResponse = len("HTTP/1.1 200")
	noMinor     = 0xff // the version is none of HTTP/1
)

// shapeOf tells a request from a response by as few bytes as possible.
func shapeOf(b []byte) shape {
	const version = "HTTP/1."
	if n := min(len(b), len(version)); string(b[:n]) == version[:n] {
		if n == len(version) {
			return shapeResponse
		}
		return shapeShort
	}
	if len(b) > 0 && b[0] == 0x16 {
		switch {
		case len(b) == 1:
			return shapeShort
		case b[1] == 0x03:
			return shapeTLS
		}
		return shapeOther
	}
	for i, ch := range b {
		if ch == ' ' && i > 0 {
			return shapeRequest
		}
		if ch <= ' ' || ch >= 0x7f || i == maxMethod {
			return shapeOther
		}
	}
	return shapeShort
}

// answerShape tells, where an answer is due, whether it looks like one: also one that
// is not by the letter, as servers send and clients take them.
func answerShape(b []byte) shape {
	for _, word := range [...]string{"http/", "icy "} {
		if n := min(len(b), len(word)); fold(b[:n], word[:n]) {
			if n < len(word) {
				return shapeShort
			}
			return shapeResponse
		}
	}
	return shapeOther
}

// IsMethod reports whether s can be a request's method.
func IsMethod(s string) bool {
	return len(s) > 0 && len(s) <= maxMethod && isToken([]byte(s))
}

func isToken(b []byte) bool {
	for _, ch := range b {
		if !tchar[ch] {
			return false
		}
	}
	return true
}

const (
	proxyWord = "PROXY "
	proxySign = "\r\n\r\n\x00\r\nQUIT\n"
	maxProxy  = 107 // bytes of its line in version 1
)

// preamble returns how long the head of the PROXY protocol at the start of b is, of
// versions 1 (a line) and 2 (16 bytes that tell the length of the rest).
func preamble(b []byte) (n int, v verdict) {
	if n := min(len(b), len(proxyWord)); string(b[:n]) == proxyWord[:n] {
		if end := bytes.IndexByte(b[:min(len(b), maxProxy)], '\n'); end >= 0 {
			return end + 1, whole
		}
		if len(b) < maxProxy {
			return 0, partial
		}
		return 0, wrong
	}
	if n := min(len(b), len(proxySign)); string(b[:n]) != proxySign[:n] {
		return 0, wrong
	}
	if len(b) < 16 {
		return 0, partial
	}
	return 16 + int(b[14])<<8 + int(b[15]), whole
}

// A doubt says how much there is that a head begins where bytes are read.
type doubt uint8

const (
	sure     doubt = iota // all before was read
	doubtful              // the place was lost, and this is a turn
	blind                 // and which way requests go, is not known either
)

// parse reads a head of the given shape from the start of b. Where it is
// whole, n is its length including the empty line. In doubt every line has to
// be well formed. A request whose line names no version is never whole: see bare.
func (h *head) parse(b []byte, as shape, in doubt) (n int, v verdict) {
	*h = head{length: -1}
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		s := shapeOf(b)
		if as == shapeResponse && in == sure {
			s = answerShape(b)
		}
		if s == as || s == shapeShort {
			return 0, partial
		}
		return 0, wrong
	}
	if !h.firstLine(trimCR(b[:end]), as, in) {
		if h.bare {
			return 0, partial
		}
		return 0, wrong
	}
	h.lined = true
	for n = end + 1; ; {
		end = bytes.IndexByte(b[n:], '\n')
		if end < 0 {
			return 0, partial
		}
		line := trimCR(b[n : n+end])
		n += end + 1
		if len(line) == 0 {
			break
		}
		if in > sure && !wellFormed(line) {
			return 0, wrong
		}
		h.read(line)
	}
	h.authority()
	return n, whole
}

// parseOpen reads what has come of a request's head that never ended, or that has a
// line without a version and perhaps an end: then n is its length.
func (h *head) parseOpen(b []byte) (n int, ok bool) {
	if h.parseCut(b, shapeRequest, sure) {
		h.incomplete = true
		return len(b), true
	}
	end := bytes.IndexByte(b, '\n')
	if !h.bare || end < 0 {
		return 0, false
	}
	line := trimRight(trimCR(b[:end]))
	sp := bytes.IndexByte(line, ' ')
	if sp <= 0 || sp > maxMethod || !isToken(line[:sp]) {
		return 0, false
	}
	*h = head{length: -1, minor: noMinor, bare: true, method: line[:sp], target: trim(line[sp:])}
	if last := bytes.LastIndexByte(h.target, ' '); last >= 0 && otherVersion(h.target[last+1:]) {
		h.target = trim(h.target[:last])
	}
	for n = end + 1; ; n += end + 1 {
		if end = bytes.IndexByte(b[n:], '\n'); end < 0 {
			h.incomplete = true
			return len(b), true
		}
		line := trimCR(b[n : n+end])
		if len(line) == 0 {
			return n + end + 1, true
		}
		h.read(line)
	}
}

// parseCut reads what it can of a head that goes on where b ends, and reports
// whether that is enough to speak of a message: a method with some of its
// target, or a status.
func (h *head) parseCut(b []byte, as shape, in doubt) bool {
	if bytes.IndexByte(b, '\n') >= 0 {
		_, v := h.parse(b, as, in)
		h.authority()
		return v == partial && !h.bare
	}
	*h = head{length: -1, truncated: true}
	if as == shapeResponse {
		return len(b) >= minResponse && h.firstLine(trimCR(b), as, in)
	}
	if as != shapeRequest || shapeOf(b) != as {
		return false
	}
	// Without its end the line could be anything. Trust only what looks like
	// nothing else.
	if in == blind {
		return false
	}
	sp := bytes.IndexByte(b, ' ')
	h.method, h.target = b[:sp], b[sp+1:]
	if in > sure && !common(h.method) || !isToken(h.method) {
		return false
	}
	if i := bytes.IndexByte(h.target, ' '); i >= 0 {
		version := h.target[i+1:]
		if n := min(len(version), len("http/")); !fold(version[:n], "http/"[:n]) {
			return false
		}
		h.target, h.truncated = h.target[:i], false
	}
	h.minor = 1
	h.authority()
	return h.targetForm()
}

func (h *head) firstLine(line []byte, as shape, in doubt) bool {
	if as == shapeResponse && in == sure {
		return h.statusLine(line)
	}
	if as == shapeResponse {
		// RFC 9112, 4: the reason may be missing, and with it the space.
		if len(line) < minResponse || !h.version(line[:8]) || line[8] != ' ' ||
			len(line) > minResponse && line[minResponse] != ' ' {
			return false
		}
		for _, ch := range line[9:minResponse] {
			if ch < '0' || ch > '9' {
				return false
			}
			h.status = 10*h.status + int(ch-'0')
		}
		return h.status >= 100
	}
	if string(line) == "PRI * HTTP/2.0" {
		h.preface = true
		return false
	}
	if in == sure {
		line = trimRight(line)
	}
	sp, last := bytes.IndexByte(line, ' '), bytes.LastIndexByte(line, ' ')
	if sp <= 0 || sp > maxMethod {
		return false
	}
	if !h.version(line[last+1:]) && (in > sure || !h.anyVersion(line[last+1:])) {
		h.bare = in == sure && isToken(line[:sp])
		return false
	}
	h.method, h.target = line[:sp], trim(line[sp:last])
	if in == sure {
		return true // as a server would have to answer it
	}
	if !isToken(h.method) {
		return false
	}
	for _, ch := range h.target {
		if ch < ' ' || ch == 0x7f {
			return false
		}
	}
	return common(h.method) || h.targetForm() && bytes.IndexByte(h.target, ' ') < 0 && rare(h.method)
}

// otherVersion reports whether a word at the end of a line names a version of a protocol
// that is like HTTP, as RTSP/1.0.
func otherVersion(word []byte) bool {
	name, number, found := bytes.Cut(word, []byte("/"))
	if !found || len(name) < 3 || len(number) == 0 {
		return false
	}
	for _, ch := range name {
		if ch < 'A' || ch > 'Z' {
			return false
		}
	}
	for _, ch := range number {
		if (ch < '0' || ch > '9') && ch != '.' {
			return false
		}
	}
	return true
}

// statusLine reads the first line of an answer, where one is due: also such as are not
// by the letter and have a status all the same.
func (h *head) statusLine(line []byte) bool {
	sp := bytes.IndexByte(line, ' ')
	if sp <= 0 || answerShape(line) != shapeResponse {
		return false
	}
	if !h.version(line[:sp]) && !h.anyVersion(line[:sp]) {
		h.minor = noMinor // ICY
	}
	line = trimLeft(line[sp:])
	if len(line) < 3 || len(line) > 3 && '0' <= line[3] && line[3] <= '9' {
		return false
	}
	for _, ch := range line[:3] {
		if ch < '0' || ch > '9' {
			return false
		}
		h.status = 10*h.status + int(ch-'0')
	}
	return h.status >= 100
}

// commonMethods are those of RFC 9110 and some that are registered beside.
var commonMethods = [...]string{
	"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY",
	"COPY", "LOCK", "MKCALENDAR", "MKCOL", "MOVE", "PROPFIND", "PROPPATCH", "REPORT", "UNLOCK",
	"M-SEARCH", "NOTIFY", "PURGE", "SUBSCRIBE", "UNSUBSCRIBE",
}

// common reports whether a method is a well-known one.
func common(method []byte) bool {
	for _, m := range commonMethods {
		if string(method) == m {
			return true
		}
	}
	return false
}

// rare reports whether a word that is no well-known method may be one, where it is in
// doubt whether a request begins: "EAD" is more likely the end of one, and "endGET" has
// one behind something else.
func rare(method []byte) bool {
	if len(method) < 3 {
		return false
	}
	for _, m := range commonMethods {
		n := min(len(method), len(m))
		if len(method) != len(m) && strings.EqualFold(string(method[len(method)-n:]), m[len(m)-n:]) {
			return false
		}
	}
	return true
}

// anyVersion reads a version of HTTP that is none of HTTP/1.x, or not by the letter.
func (h *head) anyVersion(word []byte) bool {
	const name = "http/"
	if len(word) <= len(name) || len(word) > maxVersion || !fold(word[:len(name)], name) {
		return false
	}
	h.minor = noMinor
	if number := word[len(name):]; len(number) == len("1.1") && number[0] == '1' && number[1] == '.' && '0' <= number[2] && number[2] <= '9' {
		h.minor = number[2] - '0'
	}
	return true
}

// version reads HTTP/1.x.
func (h *head) version(b []byte) bool {
	if len(b) != 8 || string(b[:7]) != "HTTP/1." || b[7] < '0' || b[7] > '9' {
		return false
	}
	h.minor = b[7] - '0'
	return true
}

// targetForm reports whether the target has one of the forms of RFC 9112, 3.2.
func (h *head) targetForm() bool {
	switch {
	case len(h.target) == 0:
		return false
	case h.target[0] == '/':
		return true
	case string(h.method) == "CONNECT":
		return h.truncated || bytes.IndexByte(h.target, ':') > 0
	case h.target[0] == '*':
		return len(h.target) == 1
	}
	return schemeEnd(h.target) > 0
}

// schemeEnd returns where the authority of an absolute-form target begins, or
// 0 where it has none.
func schemeEnd(target []byte) int {
	for i, ch := range target {
		if ch == ':' {
			if i > 0 && len(target) > i+2 && target[i+1] == '/' && target[i+2] == '/' {
				return i + 3
			}
			return 0
		}
		if !tchar[ch] {
			return 0
		}
	}
	return 0
}

// authority takes the host from the target, where it has one: there it
// outweighs the Host field (RFC 9112, 3.2.2).
func (h *head) authority() {
	if len(h.target) == 0 || h.target[0] == '/' {
		return
	}
	var host []byte
	if string(h.method) == "CONNECT" {
		host = h.target
	} else if i := schemeEnd(h.target); i > 0 {
		host = h.target[i:]
		if end := bytes.IndexAny(host, "/?#"); end >= 0 {
			host = host[:end]
		} else if h.truncated {
			return
		}
		host = host[bytes.LastIndexByte(host, '@')+1:]
	}
	if len(host) > 0 && len(host) <= maxHost && !(h.truncated && len(host) == len(h.target)) {
		h.host = host
	}
}

// read takes from a field line what matters.
func (h *head) read(line []byte) {
	var value []byte
	switch line[0] {
	case ' ', '\t': // obs-fold (RFC 9112, 5.2): the value goes on
		value = line
	case 'c', 'C':
		h.field, value = match(line, "content-length", fieldLength)
	case 't', 'T':
		if h.field, value = match(line, "transfer-encoding", fieldCoding); h.field == fieldOther {
			h.field, value = match(line, "traceparent", fieldTrace)
		}
	case 'h', 'H':
		h.field, value = match(line, "host", fieldHost)
	case 'e', 'E':
		h.field, value = match(line, "expect", fieldExpect)
	case 'u', 'U':
		h.field, value = match(line, "upgrade", fieldUpgrade)
	default:
		h.field = fieldOther
	}
	if h.field == fieldOther {
		return
	}
	value = trim(value)
	switch h.field {
	case fieldLength:
		h.contentLength(value)
	case fieldCoding:
		// The last coding decides (RFC 9112, 6.3). identity is none.
		if i := bytes.LastIndexByte(value, ','); i >= 0 {
			h.coded, h.chunked = true, false
			value = trim(value[i+1:])
		}
		if len(value) > 0 && !fold(value, "identity") {
			h.coded, h.chunked = true, fold(value, "chunked")
		}
	case fieldHost:
		if h.host == nil && len(value) <= maxHost {
			h.host = value[:len(value):len(value)]
		}
	case fieldExpect:
		h.expect = h.expect || fold(value, "100-continue")
	case fieldTrace:
		h.trace, h.traces = value, min(h.traces+1, 2)
	case fieldUpgrade: // RFC 9110, 7.8: a list
		for item := range bytes.SplitSeq(value, []byte(",")) {
			h.h2c = h.h2c || fold(trim(item), "h2c")
		}
	}
}

// traceparent is what that field says. Where it is there more than once, nobody knows
// which counts (W3C Trace Context 3.2.1).
func (h *head) traceparent() message.Trace {
	if h.traces != 1 {
		return message.Trace{}
	}
	return message.ParseTrace(h.trace)
}

// contentLength takes a number, or a list of one and the same number (RFC
// 9110, 8.6).
func (h *head) contentLength(value []byte) {
	for len(value) > 0 {
		item := value
		if i := bytes.IndexByte(value, ','); i >= 0 {
			item, value = value[:i], value[i+1:]
		} else {
			value = nil
		}
		item = trim(item)
		n := int64(0)
		for _, ch := range item {
			if ch < '0' || ch > '9' || n > (1<<62)/10 {
				h.conflict = true
				return
			}
			n = 10*n + int64(ch-'0')
		}
		if len(item) == 0 || h.length >= 0 && h.length != n {
			h.conflict = true
			return
		}
		h.length = n
	}
}

// match returns f and the value if line is the field of that lower-case name.
func match(line []byte, name string, f field) (field, []byte) {
	if len(line) <= len(name) || !fold(line[:len(name)], name) {
		return fieldOther, nil
	}
	rest := line[len(name):]
	if rest[0] != ':' {
		// Space before the colon is forbidden and still read (RFC 9112, 5.1).
		rest = trimLeft(rest)
		if len(rest) == 0 || rest[0] != ':' {
			return fieldOther, nil
		}
	}
	return f, rest[1:]
}

// fold compares b with a lower-case name, whatever the case of b.
func fold(b []byte, name string) bool {
	if len(b) != len(name) {
		return false
	}
	for i, ch := range b {
		if 'A' <= ch && ch <= 'Z' {
			ch |= 0x20
		}
		if ch != name[i] {
			return false
		}
	}
	return true
}

// wellFormed reports whether line is a well-formed field line or a folded one.
func wellFormed(line []byte) bool {
	if line[0] == ' ' || line[0] == '\t' {
		return true
	}
	for i, ch := range line {
		if ch == ':' {
			return i > 0
		}
		if !tchar[ch] {
			return false
		}
	}
	return false
}

// blank reports whether an empty line ends at or after b[from].
func blank(b []byte, from int) bool {
	for {
		i := bytes.IndexByte(b[from:], '\n')
		if i < 0 {
			return false
		}
		i += from
		if i > 0 && b[i-1] == '\n' || i > 1 && b[i-1] == '\r' && b[i-2] == '\n' {
			return true
		}
		from = i + 1
	}
}

func trimCR(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		return line[:n-1]
	}
	return line
}

// trim takes off the white space of RFC 9110, 5.6.3.
func trim(b []byte) []byte { return trimLeft(trimRight(b)) }

func trimLeft(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	return b
}

func trimRight(b []byte) []byte {
	for n := len(b); n > 0 && (b[n-1] == ' ' || b[n-1] == '\t'); n-- {
		b = b[:n-1]
	}
	return b
}

// tchar holds the bytes of a token (RFC 9110, 5.6.2).
var tchar = func() (t [256]bool) {
	for _, ch := range "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" {
		t[ch] = true
	}
	return t
}()
