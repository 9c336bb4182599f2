package http2

import (
	"bytes"

	"golang.org/x/net/http2/hpack"

	"tracer/trace/message"
)

// A head is what matters of a header block.
type head struct {
	has     uint32 // a bit for each name that is in it
	twice   uint32 // the same for those that are in it more than once
	partial bool   // and there are fields whose names are not known
	values  [names]span
	text    []byte // that the values are in
	status  int    // 0: unknown
}

// A span is a part of head.text.
type span struct{ from, to uint32 }

func (h *head) hasName(n name) bool { return h.has&(1<<n) != 0 }

// value is that of a field; it is valid until the next block is read.
func (h *head) value(n name) []byte { return h.text[h.values[n].from:h.values[n].to] }

// asks reports that it is the head of a request, by what is known of it.
func (h *head) asks() bool {
	return h.has&(1<<method|1<<scheme|1<<authority|1<<path|1<<protocol) != 0
}

// answers reports the same for that of a response.
func (h *head) answers() bool { return h.hasName(status) }

// clear makes it one of which nothing is known.
func (h *head) clear() { *h = head{text: h.text[:0], partial: true} }

// read reads a header block by the table of its direction, and brings that up to date.
// It is false where the block is none: the table has forgotten all then.
func (h *head) read(t *table, b []byte) bool {
	*h = head{text: h.text[:0]}
	if cap(h.text) > maxSpareText {
		h.text = nil
	}
	r := block{b: b}
	fields := false
	for {
		f, ok := r.next()
		switch {
		case !ok && r.bad, f.resizes && fields: // RFC 7541, 4.2: only at the beginning
			t.forget()
			return false
		case !ok:
			h.finish()
			return true
		case f.resizes:
			continue
		}
		fields = true
		n := other
		var e *entry
		if f.index != 0 {
			e = t.entry(f.index)
			n = e.name
		} else {
			n = nameOf(f.name)
		}
		at := len(h.text)
		switch {
		case n == unknown:
			h.partial = true
		case n == other:
		case f.whole:
			h.text = append(h.text, e.value...)
		case !f.value.coded:
			h.text = append(h.text, f.value.b...)
		default:
			if _, err := hpack.HuffmanDecode(h, f.value.b); err != nil {
				t.forget()
				return false
			}
		}
		value := h.text[at:]
		if f.insert {
			t.insert(n, value)
		}
		if n > other && !h.hasName(n) {
			h.has |= 1 << n
			h.values[n] = span{uint32(at), uint32(len(h.text))}
		} else {
			h.twice |= 1 << n
			h.text = h.text[:at]
		}
	}
}

// Write is for hpack.HuffmanDecode.
func (h *head) Write(b []byte) (int, error) {
	h.text = append(h.text, b...)
	return len(b), nil
}

// finish reads the status (RFC 9110, 15): three digits.
func (h *head) finish() {
	b := h.value(status)
	if len(b) != 3 || b[0] < '1' || b[0] > '9' {
		return
	}
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return
		}
		n = 10*n + int(c-'0')
	}
	h.status = n
}

// trace is what traceparent says. Where that is there more than once, nobody knows which
// counts (W3C Trace Context 3.2.1).
func (h *head) trace() message.Trace {
	if !h.hasName(traceparent) || h.twice&(1<<traceparent) != 0 {
		return message.Trace{}
	}
	return message.ParseTrace(h.value(traceparent))
}

// A kind is what a body is, as far as it matters.
type kind uint8

const (
	kindUnknown kind = iota
	kindOther
	kindGRPC
)

// kind is what content-type says. That of grpc-web is another one: its status is in the
// body.
func (h *head) kind() kind {
	const grpc = "application/grpc"
	switch b := h.value(contentType); {
	case !h.hasName(contentType) && h.partial:
		return kindUnknown
	case len(b) >= len(grpc) && bytes.EqualFold(b[:len(grpc)], []byte(grpc)) &&
		(len(b) == len(grpc) || b[len(grpc)] == '+' || b[len(grpc)] == ';'):
		return kindGRPC
	}
	return kindOther
}

// grpcStatus is the value of that field, one or two digits of 0 to 16.
func (h *head) grpcStatus() (n uint8, ok bool) {
	b := h.value(grpcStatus)
	if len(b) == 0 || len(b) > 2 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + c - '0'
	}
	return n, n <= maxGRPCStatus
}

const maxGRPCStatus = 16

// appendPercent appends a grpc-message, decoded. What is no code stays as it is:
// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
func appendPercent(dst, b []byte) []byte {
	for i := 0; i < len(b); i++ {
		if b[i] == '%' && i+2 < len(b) {
			if hi, ok := unhex(b[i+1]); ok {
				if lo, ok := unhex(b[i+2]); ok {
					dst = append(dst, hi<<4|lo)
					i += 2
					continue
				}
			}
		}
		dst = append(dst, b[i])
	}
	return dst
}

func unhex(c byte) (digit byte, ok bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10, true
	}
	return 0, false
}
