package http1

import (
	"encoding/hex"
	"strings"
	"testing"
)

const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestTraceparentOfAHead(t *testing.T) {
	const field = "traceparent: " + traceparent + "\r\n"
	const known = "4bf92f3577b34da6a3ce929d0e0e4736 00f067aa0ba902b7"
	for _, c := range []struct{ name, head, want string }{
		{"a field", "Host: h\r\n" + field, known},
		{"its name in other letters", "TraceParent:" + traceparent + "  \r\n", known},
		{"behind others that begin alike", "TE: trailers\r\nTransfer: x\r\nTracestate: a=b\r\n" + field, known},
		{"none", "Host: h\r\n", ""},
		{"another field that has it as its value", "x-traceparent: " + traceparent + "\r\n", ""},
		{"a longer name", "traceparents: " + traceparent + "\r\n", ""},
		{"two: nobody knows which counts", field + "traceparent: 00-" + strings.Repeat("1", 32) + "-" + strings.Repeat("2", 16) + "-01\r\n", ""},
		{"three", field + field + field, ""},
		{"a folded one", "traceparent: " + traceparent + "\r\n -more\r\n", ""},
		{"one that is wrong", "traceparent: " + traceparent[:54] + "\r\n", ""},
	} {
		p := newTape(false)
		got := ""
		p.to.Exchange = func(x *Exchange) {
			if x.Trace.ID != [16]byte{} {
				got = hex.EncodeToString(x.Trace.ID[:]) + " " + hex.EncodeToString(x.Trace.Parent[:])
			}
			p.rows = append(p.rows, row(x))
		}
		head := "GET /a HTTP/1.1\r\n" + c.head + "\r\n"
		p.play(append(bytewise(out, head), in(ok+"ab"))...)
		if len(p.rows) != 1 || got != c.want {
			t.Errorf("%s: %q of %q", c.name, got, p.rows)
		}
	}
}

// What stands behind the place where a head was cut is not known, and what was cut
// within is not guessed.
func TestTraceparentThatWasNotCapturedWhole(t *testing.T) {
	head := "GET /a HTTP/1.1\r\nHost: h\r\ntraceparent: " + traceparent + "\r\n\r\n"
	for n := len("GET /a "); n < len(head); n++ {
		p := newTape(false)
		whole, told := false, 0
		p.to.Exchange = func(x *Exchange) { whole, told = x.Trace.ID != [16]byte{}, told+1 }
		p.play(out(head[:n]).cut(uint64(len(head)-n)), in(ok+"ab"), end(Closed))
		if want := n >= strings.Index(head, "-01\r\n")+len("-01\r\n"); told == 0 || whole != want {
			t.Errorf("cut behind %q: told %d times, trace known: %v", head[:n], told, whole)
		}
	}
}

// Each of several requests at once has its own.
func TestTraceparentsOfAPipeline(t *testing.T) {
	p := newTape(false)
	var got []string
	p.to.Exchange = func(x *Exchange) { got = append(got, hex.EncodeToString(x.Trace.Parent[:])) }
	ask := func(parent string) string {
		return "GET / HTTP/1.1\r\ntraceparent: 00-" + strings.Repeat("1", 32) + "-" + parent + "-00\r\n\r\n"
	}
	p.play(out(ask("0000000000000001")+get+ask("0000000000000003")), in(ok+"ab"+ok+"ab"+ok+"ab"))
	if want := "0000000000000001 0000000000000000 0000000000000003"; strings.Join(got, " ") != want {
		t.Errorf("%q, want %q", got, want)
	}
}
