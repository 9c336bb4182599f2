package http2

import (
	"bytes"

	"golang.org/x/net/http2/hpack"
)

// A name is what a field is about, as far as that matters.
type name uint8

const (
	unknown name = iota // it refers to what was not seen
	other               // known, and of no interest
	method
	scheme
	authority
	path
	protocol // :protocol (RFC 8441)
	status
	contentType
	hostField
	grpcStatus
	grpcMessage
	traceparent
	names
)

// named are the names that are of interest, plain and as Huffman code. A string has one
// code only (RFC 7541, 5.2), so that names need not be decoded to be compared.
var named = func() (list [names]struct{ plain, coded []byte }) {
	for n, s := range [names]string{
		method: ":method", scheme: ":scheme", authority: ":authority", path: ":path", protocol: ":protocol", status: ":status",
		contentType: "content-type", hostField: "host", grpcStatus: "grpc-status", grpcMessage: "grpc-message", traceparent: "traceparent",
	} {
		list[n].plain, list[n].coded = []byte(s), hpack.AppendHuffmanString(nil, s)
	}
	return list
}()

// nameOf returns what a name that is spelled out is about.
func nameOf(s text) name {
	for n := method; n < names; n++ {
		is := named[n].plain
		if s.coded {
			is = named[n].coded
		}
		if bytes.Equal(s.b, is) {
			return n
		}
	}
	return other
}

// static is the static table (RFC 7541, A): what is of interest of it.
var static = func() (t [staticEntries + 1]entry) {
	for i := range t {
		t[i].name = other
	}
	for i, e := range map[int]struct {
		name  name
		value string
	}{
		1: {authority, ""},
		2: {method, "GET"}, 3: {method, "POST"},
		4: {path, "/"}, 5: {path, "/index.html"},
		6: {scheme, "http"}, 7: {scheme, "https"},
		8: {status, "200"}, 9: {status, "204"}, 10: {status, "206"}, 11: {status, "304"},
		12: {status, "400"}, 13: {status, "404"}, 14: {status, "500"},
		31: {contentType, ""}, 38: {hostField, ""},
	} {
		t[i] = entry{e.name, []byte(e.value)}
	}
	return t
}()

const (
	staticEntries = 61
	entryOverhead = 32 // RFC 7541, 4.1: no entry is smaller
	defaultTable  = 4096
)

// A table is the dynamic table of one direction, as far as it is known: what was
// inserted since the place in the stream was found. An index counts from the newest
// entry, so that all these are found whatever was before them. What is evicted, and
// when, need not be known, as no encoder refers to that. Sizes only bound the memory.
type table struct {
	ring  []entry // a power of two
	newer int     // where the next one goes
	n     int
	bytes int // of values
	limit uint32
}

// An entry has a value if its name is of interest.
type entry struct {
	name  name
	value []byte
}

// allow lets the table grow as SETTINGS_HEADER_TABLE_SIZE of the other side allows
// (RFC 9113, 6.5.2). It never shrinks: what is beyond is not referred to.
func (t *table) allow(size uint32) {
	t.limit = max(t.limit, defaultTable, min(size, maxTable))
}

// forget is called where some insertions may have been missed.
func (t *table) forget() {
	if len(t.ring) > minRing {
		t.ring = nil
	}
	t.n, t.bytes = 0, 0
}

// entry returns what an index refers to; its name is unknown if it was not seen.
func (t *table) entry(index uint32) *entry {
	if index <= staticEntries {
		return &static[index]
	}
	if i := index - staticEntries; i <= uint32(t.n) {
		return &t.ring[(t.newer-int(i))&(len(t.ring)-1)]
	}
	return &unseen
}

var unseen entry

// insert adds an entry. It copies the value.
func (t *table) insert(n name, value []byte) {
	t.allow(0)
	if t.n == int(t.limit/entryOverhead) {
		t.evict()
	}
	if t.n == len(t.ring) {
		t.grow()
	}
	e := &t.ring[t.newer&(len(t.ring)-1)]
	if cap(e.value) > maxSpareValue && len(value) <= maxSpareValue {
		e.value = nil
	}
	e.name, e.value = n, append(e.value[:0], value...)
	t.newer++
	t.n++
	for t.bytes += len(value); t.bytes > int(t.limit); {
		t.evict() // so it is at the other end: all that is kept is there, and more
	}
}

func (t *table) evict() {
	e := &t.ring[(t.newer-t.n)&(len(t.ring)-1)]
	t.bytes -= len(e.value)
	if cap(e.value) > maxSpareValue {
		e.value = nil
	}
	t.n--
}

func (t *table) grow() {
	ring := make([]entry, max(minRing, 2*len(t.ring)))
	for i := range t.n {
		at := t.newer - t.n + i
		ring[at&(len(ring)-1)] = t.ring[at&(len(t.ring)-1)]
	}
	t.ring = ring
}

// A text is a string as it was sent.
type text struct {
	b     []byte
	coded bool // by Huffman code
}

// A block reads a header block (RFC 7541, 6).
type block struct {
	b   []byte
	bad bool
}

// integer reads one whose first byte has so many bits for it (RFC 7541, 5.1).
func (r *block) integer(bits int) uint32 {
	most := uint32(1)<<bits - 1
	v := uint64(uint32(r.b[0]) & most)
	r.b = r.b[1:]
	if uint32(v) < most {
		return uint32(v)
	}
	for shift := 0; shift < 32 && len(r.b) > 0; shift += 7 {
		c := r.b[0]
		r.b = r.b[1:]
		if v += uint64(c&0x7f) << shift; v > 1<<32-1 {
			break
		}
		if c < 0x80 {
			return uint32(v)
		}
	}
	r.fail()
	return 0
}

// text reads a string (RFC 7541, 5.2).
func (r *block) text() (s text) {
	if len(r.b) == 0 {
		r.fail()
		return s
	}
	s.coded = r.b[0]&0x80 != 0
	n := r.integer(7)
	if uint64(n) > uint64(len(r.b)) {
		r.fail()
		return text{}
	}
	s.b, r.b = r.b[:n], r.b[n:]
	return s
}

func (r *block) fail() { r.b, r.bad = nil, true }

// A field is a line of a header block.
type field struct {
	index   uint32 // of an entry that is the whole field, or has its name; 0: none
	whole   bool   // it is the whole field
	insert  bool
	name    text // if there is no index
	value   text // unless whole
	resizes bool // it is none, but a dynamic table size update
}

// next reads the next field, false at the end.
func (r *block) next() (f field, ok bool) {
	if len(r.b) == 0 {
		return f, false
	}
	switch c := r.b[0]; {
	case c&0x80 != 0:
		f.index, f.whole = r.integer(7), true
		if f.index == 0 {
			r.fail()
		}
		return f, !r.bad
	case c&0xc0 == 0x40:
		f.index, f.insert = r.integer(6), true
	case c&0xe0 == 0x20:
		f.resizes = true
		r.integer(5)
		return f, !r.bad
	default: // not indexed, or never
		f.index = r.integer(4)
	}
	if f.index == 0 && !r.bad {
		f.name = r.text()
	}
	if !r.bad {
		f.value = r.text()
	}
	return f, !r.bad
}

// parses reports whether b is a whole header block.
func parses(b []byte) bool {
	r := block{b: b}
	fields := 0
	for {
		f, ok := r.next()
		if !ok {
			return !r.bad && fields > 0
		}
		if f.resizes && fields > 0 { // RFC 7541, 4.2: only at the beginning
			return false
		}
		if !f.resizes {
			fields++
		}
	}
}
