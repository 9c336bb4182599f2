package http2

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2/hpack"

	"tracer/trace/message"
)

// A side makes header blocks for one side of a connection.
type side struct {
	buf bytes.Buffer
	enc *hpack.Encoder
}

func newSide() *side {
	p := &side{}
	p.enc = hpack.NewEncoder(&p.buf)
	return p
}

// block encodes "name: value" lines. One that begins with ! is never indexed.
func (p *side) block(lines ...string) string {
	for _, l := range lines {
		l, never := strings.CutPrefix(l, "!")
		at := 1 + strings.Index(l[1:], ":")
		if err := p.enc.WriteField(hpack.HeaderField{Name: l[:at], Value: strings.TrimPrefix(l[at+1:], " "), Sensitive: never}); err != nil {
			panic(err)
		}
	}
	s := p.buf.String()
	p.buf.Reset()
	return s
}

func (p *side) headers(id uint32, end bool, lines ...string) string {
	return rawHeaders(id, end, p.block(lines...))
}

func rawHeaders(id uint32, end bool, block string) string {
	flags := byte(flagEndHeaders)
	if end {
		flags |= flagEndStream
	}
	return rawFrame(frameHeaders, flags, id, block)
}

func rawFrame(kind, flags byte, id uint32, payload string) string {
	b := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	return string(binary.BigEndian.AppendUint32(b, id)) + payload
}

func data(id uint32, end bool, n int) string {
	return rawFrame(frameData, b2f(end), id, strings.Repeat("d", n))
}

func b2f(end bool) byte {
	if end {
		return flagEndStream
	}
	return 0
}

func rst(id uint32, code Code) string {
	return rawFrame(frameReset, 0, id, string(binary.BigEndian.AppendUint32(nil, uint32(code))))
}

func goAway(last uint32, code Code, text string) string {
	b := binary.BigEndian.AppendUint32(nil, last)
	return rawFrame(frameGoAway, 0, 0, string(binary.BigEndian.AppendUint32(b, uint32(code)))+text)
}

func settings(pairs ...uint32) string {
	var b []byte
	for i := 0; i < len(pairs); i += 2 {
		b = binary.BigEndian.AppendUint16(b, uint16(pairs[i]))
		b = binary.BigEndian.AppendUint32(b, pairs[i+1])
	}
	return rawFrame(frameSettings, 0, 0, string(b))
}

const (
	noError Code = 0
	cancel  Code = 8
	calm    Code = 11
)

var (
	ping   = rawFrame(framePing, 0, 0, "12345678")
	window = rawFrame(frameWindow, 0, 0, "\x00\x00\x10\x00")
	grease = rawFrame(0xb, 0xff, 77, "grease")
)

// get is the fields of a plain request, as browsers send them.
func get(path string, more ...string) []string {
	return append([]string{":method: GET", ":scheme: http", ":authority: h", ":path: " + path}, more...)
}

func post(path string, more ...string) []string {
	return append([]string{":method: POST", ":scheme: http", ":path: " + path, ":authority: h"}, more...)
}

// grpcCall is the fields of a request of gRPC, as grpc-go sends them.
func grpcCall(path string, more ...string) []string {
	return append(append(post(path), "content-type: application/grpc", "user-agent: grpc-go/1.85.0", "te: trailers"), more...)
}

var grpcHead = []string{":status: 200", "content-type: application/grpc"}

// A tape feeds a connection, as its client sees it, and writes down what comes out. Each
// call is one later.
type tape struct {
	t    *testing.T
	c    Conn
	to   Sink
	role Role
	cl   *side
	sv   *side
	now  int64
	off  [2]uint64
	rows []string
}

func newTape(t *testing.T) *tape {
	p := &tape{t: t, cl: newSide(), sv: newSide()}
	p.c.Reset(false)
	p.to.Exchange = func(x *Exchange) { p.rows = append(p.rows, row(x)) }
	p.to.Stuck = func(x *Exchange) { p.rows = append(p.rows, "stuck "+row(x)) }
	p.to.GaveUp = func(x *Exchange) { p.rows = append(p.rows, "gave up "+row(x)) }
	return p
}

// begun is a tape behind the beginning of a connection: at time 2.
func begun(t *testing.T) *tape {
	p := newTape(t)
	p.out(preface + settings())
	p.in(settings())
	return p
}

func (p *tape) out(data ...string) { p.feed(Sent, strings.Join(data, ""), 0) }
func (p *tape) in(data ...string)  { p.feed(Received, strings.Join(data, ""), 0) }
func (p *tape) miss(dir Direction, data string) {
	p.off[dir] += uint64(len(data))
}

func (p *tape) feed(dir Direction, data string, more uint64) {
	p.now++
	b := []byte(data)
	s := Segment{Dir: dir ^ Direction(p.role), Offset: p.off[dir], Size: uint64(len(b)) + more, Data: b, Time: p.now, Last: p.now}
	p.off[dir] += s.Size
	p.c.Feed(&s, &p.to)
	for i := range b { // it is the caller's again
		b[i] = '#'
	}
}

func (p *tape) close(why Ending) {
	p.now++
	p.c.Close(p.now, why, &p.to)
}

// want compares what was told since it was called last.
func (p *tape) want(rows ...string) {
	p.t.Helper()
	if diff := cmp.Diff(rows, p.rows); diff != "" {
		p.t.Errorf("exchanges (-want +got):\n%s\n%q", diff, p.rows)
	}
	p.rows = nil
}

func (p *tape) counts(want Counts) {
	p.t.Helper()
	if p.to.Counts != want {
		p.t.Errorf("counted %+v, not %+v", p.to.Counts, want)
	}
}

func row(x *Exchange) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d", x.Role, x.Stream)
	or := func(s []byte) string {
		if len(s) == 0 {
			return "-"
		}
		if len(s) > 100 {
			return fmt.Sprintf("%s…%d", s[:10], len(s))
		}
		return string(s)
	}
	fmt.Fprintf(&b, " %s %s at %s", or(x.Method), or(x.Target), or(x.Host))
	if x.TargetTruncated {
		b.WriteString(" cut")
	}
	if x.Status != 0 {
		fmt.Fprintf(&b, " %d", x.Status)
	}
	if x.GRPC {
		fmt.Fprintf(&b, " grpc %d %q", x.GRPCStatus, x.GRPCMessage)
	}
	if x.Ending != Complete {
		fmt.Fprintf(&b, " %s", x.Ending)
	}
	if x.WasReset {
		fmt.Fprintf(&b, " %s", x.Code)
	}
	if x.ClosedBy != message.Neither {
		fmt.Fprintf(&b, " by %s", x.ClosedBy)
	}
	fmt.Fprintf(&b, " %d@%d-%d %d@%d-%d", x.RequestBytes, x.RequestStart, x.RequestEnd, x.ResponseBytes, x.ResponseStart, x.ResponseEnd)
	for i, s := range []string{"request", "response", "time"} {
		if x.Inexact&(1<<i) != 0 {
			fmt.Fprintf(&b, " ~%s", s)
		}
	}
	return b.String()
}

func rowf(format string, args ...any) string { return fmt.Sprintf(format, args...) }
