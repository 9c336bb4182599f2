package event

import (
	base16 "encoding/hex"
	"errors"
)

// A TraceID names a trace (W3C Trace Context). The zero value is none.
type TraceID [16]byte

// A SpanID names a span of a trace. The zero value is none.
type SpanID [8]byte

// IsZero reports whether it is none.
func (id TraceID) IsZero() bool { return id == TraceID{} }

// IsZero reports whether it is none.
func (id SpanID) IsZero() bool { return id == SpanID{} }

// String is its 32 hexadecimal digits.
func (id TraceID) String() string { return base16.EncodeToString(id[:]) }

// String is its 16 hexadecimal digits.
func (id SpanID) String() string { return base16.EncodeToString(id[:]) }

var (
	errTraceID = errors.New("not 32 hexadecimal digits, not all of them 0")
	errSpanID  = errors.New("not 16 hexadecimal digits, not all of them 0")
)

// ParseTraceID reads what String gives, in capitals too.
func ParseTraceID(s string) (id TraceID, err error) {
	if len(s) != base16.EncodedLen(len(id)) {
		return TraceID{}, errTraceID
	}
	if _, err := base16.Decode(id[:], []byte(s)); err != nil || id.IsZero() {
		return TraceID{}, errTraceID
	}
	return id, nil
}

// traceID is the name of a trace; left out if there is none.
func (t *table) traceID(key string, p *TraceID) {
	switch {
	case t.in == nil && *p == TraceID{}:
	case t.writes(key, true):
		t.out = append(base16.AppendEncode(append(t.out, '"'), p[:]), '"')
	case t.reads(key):
		t.in.identifier(p[:], errTraceID)
		t.in.next()
	}
}

// spanID is the name of a span; left out if there is none.
func (t *table) spanID(key string, p *SpanID) {
	switch {
	case t.in == nil && *p == SpanID{}:
	case t.writes(key, true):
		t.out = append(base16.AppendEncode(append(t.out, '"'), p[:]), '"')
	case t.reads(key):
		t.in.identifier(p[:], errSpanID)
		t.in.next()
	}
}

// identifier reads the digits of one that is not zero.
func (r *scanner) identifier(id []byte, wrong error) {
	s := r.text()
	if len(s) != base16.EncodedLen(len(id)) {
		r.foreign(wrong.Error())
		return
	}
	some := byte(0)
	if _, err := base16.Decode(id, []byte(s)); err == nil {
		for _, b := range id {
			some |= b
		}
	}
	if some == 0 {
		r.foreign(wrong.Error())
	}
}
