package http2

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"tracer/trace/message"
)

// dice makes choices from a fuzzer's bytes.
type dice struct{ data []byte }

// n returns a number below limit, 0 when the bytes are used up.
func (d *dice) n(limit int) int {
	if len(d.data) == 0 {
		return 0
	}
	n := int(d.data[0])
	d.data = d.data[1:]
	if limit > 256 && len(d.data) > 0 {
		n = n<<8 | int(d.data[0])
		d.data = d.data[1:]
	}
	return n % limit
}

func (d *dice) oneIn(n int) bool { return d.n(n) == n-1 }

func pick[T any](d *dice, list ...T) T { return list[d.n(len(list))] }

// A deal is an exchange that truly takes place.
type deal struct {
	id                   uint32
	method, target, host string
	grpc                 bool // its answers have that type
	connect              bool

	// What was sent, in any order.
	asked, ended     bool // the request, and all of it
	status           int
	over             bool // the answer
	code             string
	message          string
	parts            int // of DATA that are still to come, of the answer
	more             int // the same of the request
	request, answer  uint64
	first, last      place // of the request
	head, read, end  place // of the answer: its head begins and ends, and it ends
	stopped, refused place // by RST_STREAM or GOAWAY
	by               Side
	reset            Code
	crossed          bool // the server has ended the answer before it knew
	after            int  // frames that were on the way when it was over
}

// A place is the number of a byte in a direction, from 1; 0 is none.
type place struct {
	dir Direction
	at  int
}

// A play is what both sides of a connection send.
type play struct {
	*dice
	cl, sv *side
	wire   [2]string // sent by the client, by the server
	turns  []place   // up to where each direction goes, one after the other
	deals  []*deal
	plain  bool   // no body looks like frames
	last   uint32 // GOAWAY has said, 0: it was not sent
}

func (p *play) side(dir Direction) *side {
	if dir == Sent {
		return p.cl
	}
	return p.sv
}

// put sends bytes and returns the places of the first and the last.
func (p *play) put(dir Direction, s string) (first, last place) {
	first = place{dir, len(p.wire[dir]) + 1}
	p.wire[dir] += s
	last = place{dir, len(p.wire[dir])}
	if n := len(p.turns); n > 0 && p.turns[n-1].dir == dir {
		p.turns[n-1] = last
	} else {
		p.turns = append(p.turns, last)
	}
	return first, last
}

// noise is what says nothing of exchanges.
func (p *play) noise(dir Direction) {
	for p.oneIn(4) {
		p.put(dir, pick(p.dice, ping, window, grease, rawFrame(framePriority, 0, 7, "\x00\x00\x00\x01\x01"), rawFrame(frameSettings, flagAck, 0, "")))
	}
}

// frames is a header block in frames.
func (p *play) frames(kind byte, id uint32, end bool, promised string, lines ...string) string {
	s := p.side(Sent)
	if kind == framePromise || strings.HasPrefix(lines[0], ":status") || strings.HasPrefix(lines[0], "t") {
		s = p.sv
	}
	if strings.HasPrefix(lines[0], "tc") {
		s = p.cl
	}
	if p.oneIn(9) {
		s.enc.SetMaxDynamicTableSize(uint32(pick(p.dice, 0, 100, 4096)))
	}
	block := s.block(lines...)
	flags := byte(0)
	if end {
		flags = flagEndStream
	}
	pad := 0
	prefix := promised
	if kind == frameHeaders && p.oneIn(5) {
		flags |= flagPriority
		prefix = "\x80\x00\x00\x01\x10"
	}
	if p.oneIn(5) {
		pad = p.n(20)
		flags |= flagPadded
		prefix = string(rune(pad)) + prefix
	}
	cut := len(block)
	if p.oneIn(5) {
		cut = p.n(len(block) + 1)
	}
	all := rawFrame
	if cut == len(block) {
		return all(kind, flags|flagEndHeaders, id, prefix+block+strings.Repeat("p", pad))
	}
	out := all(kind, flags, id, prefix+block[:cut]+strings.Repeat("p", pad))
	if p.oneIn(2) {
		out += rawFrame(frameContinuation, 0, id, "")
	}
	return out + rawFrame(frameContinuation, flagEndHeaders, id, block[cut:])
}

func (p *play) lines(d *deal) []string {
	lines := []string{":method: " + d.method}
	if d.target != "" {
		lines = append(lines, ":scheme: http", ":path: "+d.target)
	}
	lines = append(lines, ":authority: "+d.host)
	if d.grpc {
		lines = append(lines, "content-type: application/grpc", "te: trailers")
	}
	for p.oneIn(3) {
		lines = append(lines, pick(p.dice, "x: 1", "!cookie: s", "y: "+strings.Repeat("y", p.n(300)), fmt.Sprintf("grpc-timeout: %d", p.n(50)), ""+"empty: "))
	}
	return lines
}

// newDeal invents a request.
func (p *play) newDeal(id uint32) *deal {
	d := &deal{id: id, host: pick(p.dice, "h", "a.example", "b.example:8080")}
	d.method = pick(p.dice, "GET", "POST", "PUT", "HEAD", "M-SEARCH", "CONNECT")
	d.target = pick(p.dice, "/", "/index.html", "/a", "/b/2?q=1", fmt.Sprintf("/n%d", id))
	switch {
	case d.method == "CONNECT" && p.oneIn(2):
		d.target = ""
	case d.method == "POST" && p.oneIn(2):
		d.grpc, d.target = true, pick(p.dice, "/a.B/C", "/a.B/D")
	}
	d.connect = d.method == "CONNECT"
	d.more, d.parts = p.n(3), p.n(4)
	if p.oneIn(40) {
		d.more = 1000 // it does not end
	}
	if p.oneIn(20) {
		d.parts = 1000
	}
	p.deals = append(p.deals, d)
	return d
}

func (d *deal) tunnels() bool { return d.connect && d.status/100 == 2 }

// done reports whether an exchange is over.
func (d *deal) done() bool {
	return d.stopped.at != 0 || d.refused.at != 0 || d.over && (d.ended || !d.tunnels())
}

func (p *play) ask(d *deal) {
	if !d.asked {
		d.asked = true
		end := d.more == 0
		s := p.frames(frameHeaders, d.id, end, "", p.lines(d)...)
		d.first, d.last = p.put(Sent, s)
		d.request, d.ended = uint64(len(s)), end
		if p.last != 0 && d.id > p.last {
			d.refused, d.by = d.last, message.TheServer
		}
		return
	}
	d.more--
	s := ""
	switch {
	case d.more == 0 && p.oneIn(3):
		s = p.frames(frameHeaders, d.id, true, "", "tc: 1")
		d.ended = true
	case d.more == 0 || !p.oneIn(3):
		s = data(d.id, d.more == 0, p.n(3)*p.n(40))
		d.ended = d.more == 0
	default:
		s = rawFrame(frameData, flagPadded, d.id, "\x04"+p.body()+"pppp")
	}
	_, last := p.put(Sent, s)
	if !d.done() || d.ended && d.over && d.tunnels() {
		d.last = last
		d.request += uint64(len(s))
	}
}

// body is some, not seldom like frames.
func (p *play) body() string {
	if p.plain {
		return pick(p.dice, "", "hello")
	}
	return pick(p.dice, "", "hello", rawHeaders(3, true, "\x82\x84\x86"), rawHeaders(1, true, "\x88"), rst(1, 0))
}

func (p *play) respond(d *deal) {
	s := ""
	over, note := false, !d.done()
	first := false
	trailers := func() []string {
		lines := []string{"t: 1"}
		if p.oneIn(2) || d.grpc {
			d.code, d.message = fmt.Sprint(p.n(17)), pick(p.dice, "", "m", "not found")
			lines = append(lines, "grpc-status: "+d.code, "grpc-message: "+d.message)
		}
		return lines
	}
	switch {
	case d.status == 0 && p.oneIn(6):
		s = p.frames(frameHeaders, d.id, false, "", pick(p.dice, ":status: 100", ":status: 103"))
	case d.status == 0:
		status := pick(p.dice, 200, 200, 200, 302, 404, 503, 204, 299)
		lines := []string{fmt.Sprintf(":status: %d", status)}
		if d.grpc && p.oneIn(8) {
			d.grpc = false
			lines = append(lines, "content-type: text/html")
		} else if d.grpc {
			lines = append(lines, "content-type: application/grpc")
		}
		over = d.parts == 0
		if over {
			lines = append(lines, trailers()[1:]...)
		}
		s = p.frames(frameHeaders, d.id, over, "", lines...)
		first = true
		d.status = status
	default:
		d.parts--
		over = d.parts <= 0
		if over && p.oneIn(2) {
			s = p.frames(frameHeaders, d.id, true, "", trailers()...)
		} else if p.oneIn(3) {
			s = rawFrame(frameData, flagPadded|b2f(over), d.id, "\x02"+p.body()+"pp")
		} else {
			s = data(d.id, over, p.n(3)*p.n(90))
		}
	}
	at, last := p.put(Received, s)
	if note {
		d.answer += uint64(len(s))
		d.end = last
		if first {
			d.head, d.read = at, last
		}
		d.over = over
	}
}

// act lets something happen.
func (p *play) act() {
	open := []*deal{}
	for _, d := range p.deals {
		if !d.done() || d.after > 0 {
			open = append(open, d)
		}
	}
	dir := pick(p.dice, Sent, Received)
	p.noise(dir)
	if len(open) == 0 || p.oneIn(4) {
		id := uint32(1)
		for _, d := range p.deals {
			if d.id%2 == 1 {
				id = max(id, d.id+2*uint32(1+p.n(2)*p.n(2)))
			}
		}
		p.ask(p.newDeal(id))
		return
	}
	d := open[p.n(len(open))]
	if d.done() {
		// The other side does not know yet.
		d.after--
		if d.by == message.TheClient && d.asked {
			p.late(d)
		}
		return
	}
	switch {
	case p.oneIn(25):
		d.reset = pick(p.dice, cancel, noError, calm, 0x99)
		dir := pick(p.dice, Sent, Received)
		d.by = message.TheClient
		if dir == Received {
			d.by = message.TheServer
		}
		if !d.over {
			_, d.stopped = p.put(dir, rst(d.id, d.reset))
			d.after = p.n(3)
		}
	case p.oneIn(30) && p.last == 0 && d.id%2 == 1:
		p.last = d.id
		for _, o := range p.deals {
			if o.id%2 == 1 && o.status != 0 { // RFC 9113, 6.8: what it has acted on is not above
				p.last = max(p.last, o.id)
			}
		}
		_, at := p.put(Received, goAway(p.last, noError, "bye"))
		for _, o := range p.deals {
			if o.id%2 == 1 && o.id > p.last && !o.done() && !o.over {
				o.refused, o.by = at, message.TheServer
			}
		}
	case p.oneIn(20) && d.id%2 == 1 && !d.over:
		id := uint32(2)
		for _, o := range p.deals {
			if o.id%2 == 0 {
				id = max(id, o.id+2)
			}
		}
		o := p.newDeal(id)
		o.method, o.target, o.grpc, o.connect, o.more = "GET", fmt.Sprintf("/push%d", id), false, false, 0
		s := p.frames(framePromise, d.id, false, string([]byte{0, 0, 0, byte(id)}), p.lines(o)...)
		o.first, o.last = p.put(Received, s)
		o.asked, o.ended, o.request = true, true, uint64(len(s))
	case d.ended || d.over, p.oneIn(2):
		if !d.over {
			p.respond(d)
		} else if !d.ended {
			p.ask(d)
		}
	default:
		p.ask(d)
	}
}

// late sends something of an answer that was given up, for the table.
func (p *play) late(d *deal) {
	if d.status == 0 {
		p.put(Received, p.frames(frameHeaders, d.id, false, "", ":status: 200", fmt.Sprintf("late: %d", d.id)))
		d.status = -1
	} else {
		p.put(Received, p.frames(frameHeaders, d.id, true, "", "t: 1", fmt.Sprintf("late: %d", d.id)))
		d.after, d.crossed = 0, true
	}
}

// newPlay invents a connection.
func newPlay(d *dice, acts int, plain bool) *play {
	p := &play{dice: d, cl: newSide(), sv: newSide(), plain: plain}
	p.put(Sent, preface+settings(1, 4096, 3, 100))
	if p.oneIn(2) {
		p.noise(Sent)
	}
	p.put(Received, settings())
	for range acts {
		p.act()
	}
	return p
}

// A call is bytes that move at once.
type call struct {
	dir      Direction
	from, to int
	time     int64
}

// calls cuts what both sides send into calls.
func (p *play) calls() (list []call) {
	var at [2]int
	for _, turn := range p.turns {
		for at[turn.dir] < turn.at {
			n := turn.at - at[turn.dir]
			if !p.oneIn(3) {
				n = 1 + p.n(min(n, 1+p.n(200)))
			}
			list = append(list, call{turn.dir, at[turn.dir], at[turn.dir] + n, int64(len(list) + 1)})
			at[turn.dir] += n
		}
	}
	return list
}

// when is the time of a place.
func when(calls []call, at place) int64 {
	if at.at == 0 {
		return 0
	}
	for _, c := range calls {
		if c.dir == at.dir && at.at <= c.to {
			return c.time
		}
	}
	return -1
}

// truth is what a deal is to be told as, by a connection that ended at a time.
func (d *deal) truth(calls []call, role Role, closed int64) *Exchange {
	x := &Exchange{
		Role: role, Stream: d.id, Method: []byte(d.method), Target: []byte(d.target), Host: []byte(d.host), Status: max(d.status, 0),
		RequestStart: when(calls, d.first), RequestEnd: when(calls, d.last), RequestBytes: d.request,
		ResponseStart: when(calls, d.head), ResponseEnd: when(calls, d.end), ResponseBytes: d.answer,
	}
	if d.head.at == 0 {
		x.Status = 0
	}
	switch {
	case d.stopped.at != 0 && !d.over:
		x.Ending, x.WasReset, x.Code, x.ClosedBy, x.ResponseEnd = Reset, true, d.reset, d.by, when(calls, d.stopped)
	case d.refused.at != 0 && !d.over:
		x.Ending, x.ClosedBy, x.ResponseEnd = Closed, d.by, when(calls, d.refused)
	case !d.over:
		x.Ending, x.ResponseEnd = Closed, closed
	case d.tunnels():
		x.ResponseEnd = max(x.ResponseEnd, x.RequestEnd)
		if !d.ended {
			x.Inexact |= InexactResponse
		}
	}
	if d.grpc && d.over && d.code != "" {
		x.GRPC, x.GRPCMessage = true, []byte(d.message)
		fmt.Sscan(d.code, &x.GRPCStatus)
	}
	if !d.ended {
		x.Inexact |= InexactRequest
	}
	return x
}

// segments is what a source gives of calls that does not follow frames.
func (p *play) segments(calls []call, flip Direction) (list []Segment) {
	for _, c := range calls {
		list = append(list, Segment{
			Dir: c.dir ^ flip, Offset: uint64(c.from), Size: uint64(c.to - c.from), Data: []byte(p.wire[c.dir][c.from:c.to]), Time: c.time, Last: c.time,
		})
	}
	return list
}

// A walker is a source that follows frames, as the programs in the kernel do: it knows
// nothing of the parser.
type walker struct {
	at    int // where the frame under way begins
	end   int // and ends; 0: that is not known yet
	told  int // up to where segments go
	runs  []Run
	inner bool  // told is within a frame
	since int64 // the frame under way began
}

// walked is what such a source gives, and of each segment whether it begins with a frame.
func (p *play) walked(calls []call, flip Direction) (list []Segment, aligned []bool) {
	var walkers [2]walker
	// runs tells of what was left out of a direction, up to where its calls are.
	runs := func(dir Direction, to int, now int64) {
		w := &walkers[dir]
		if w.end == 0 || w.at+frameHead > to { // but for a head that is not whole
			to = min(to, w.at)
		}
		if to > w.told {
			list = append(list, Segment{Dir: dir ^ flip, Time: now, Last: now, Framed: true, Runs: w.runs, Offset: uint64(to), Skipped: uint64(to - w.told)})
			aligned = append(aligned, !w.inner)
			w.told, w.runs, w.inner = to, nil, w.at < to
		}
	}
	var moved [2]int
	for _, c := range calls {
		moved[c.dir] = c.to
		w := &walkers[c.dir]
		wire := p.wire[c.dir]
		at := c.from
		kept := -1 // where Data begins
		flush := func(to int) {
			s := Segment{Dir: c.dir ^ flip, Time: c.time, Last: c.time, Framed: true, Runs: w.runs}
			if kept < 0 {
				kept = to
			} else if kept < c.from { // the head of its first frame is in two calls
				s.Time = w.since
			}
			s.Offset, s.Size, s.Data, s.Skipped = uint64(kept), uint64(to-kept), []byte(wire[kept:to]), uint64(kept-w.told)
			list = append(list, s)
			aligned = append(aligned, !w.inner)
			w.told, w.runs, kept = to, nil, -1
		}
		for at < c.to {
			if w.end == 0 && c.dir == Sent && w.at < len(preface) {
				w.end = len(preface)
			}
			if w.at >= c.from {
				w.since = c.time
			}
			head := w.at + frameHead
			isPreface := c.dir == Sent && w.at < len(preface)
			if !isPreface && c.to < head { // the head is not whole: it is kept until it is known what it is
				break
			}
			var f frame
			if !isPreface {
				f = readFrame([]byte(wire[w.at:head]))
				w.end = head + int(f.length)
			}
			to := min(w.end, c.to)
			if isPreface || f.kept() {
				if kept < 0 {
					// What went the other way before is told first.
					runs(c.dir^1, moved[c.dir^1], c.time)
					kept = max(w.at, w.told)
				}
				if to == w.end {
					flushLater := p.oneIn(2) && to < c.to && kept >= c.from
					at = to
					w.at, w.end = to, 0
					if !flushLater {
						flush(to)
						w.inner = false
					}
					continue
				}
				flush(to)
				w.inner = true
				at = to
				continue
			}
			if kept >= 0 {
				flush(w.at)
				w.inner = false
			}
			if f.kind == frameData {
				n := uint64(to - max(at, w.at))
				if at < head {
					n = uint64(to - w.at)
				}
				end := to == w.end && f.has(flagEndStream)
				i := slices.IndexFunc(w.runs, func(r Run) bool { return r.Stream == f.stream })
				if i < 0 {
					w.runs = append(w.runs, Run{Stream: f.stream, First: c.time})
					i = len(w.runs) - 1
				}
				r := &w.runs[i]
				r.Bytes += n
				r.Last = c.time
				r.End = r.End || end
			}
			at = to
			if to == w.end {
				w.at, w.end = to, 0
			}
		}
		if kept >= 0 {
			flush(w.at)
			w.inner = false
		} else if slices.ContainsFunc(w.runs, func(r Run) bool { return r.End }) || p.oneIn(4) {
			runs(c.dir^1, moved[c.dir^1], c.time)
			runs(c.dir, c.to, c.time)
		}
	}
	for dir, to := range moved { // the connection ends
		runs(Direction(dir), to, calls[len(calls)-1].time)
	}
	return list, aligned
}

// told feeds segments and returns what was told of each stream.
type told struct {
	exchanges map[uint32]*Exchange
	rows      map[uint32]string
	gaveUp    map[uint32]int
	stuck     []stuckAt
	to        Sink
}

type stuckAt struct {
	id  uint32
	now int64
}

func feed(t *testing.T, segments []Segment, joined bool, closed int64, stuck func(i int) bool) *told {
	r := &told{exchanges: map[uint32]*Exchange{}, rows: map[uint32]string{}, gaveUp: map[uint32]int{}}
	r.to.Exchange = func(x *Exchange) {
		if r.exchanges[x.Stream] != nil || r.gaveUp[x.Stream] > 0 {
			t.Errorf("%s is told twice", row(x))
		}
		c := *x
		c.Method, c.Target, c.Host, c.GRPCMessage = slices.Clone(x.Method), slices.Clone(x.Target), slices.Clone(x.Host), slices.Clone(x.GRPCMessage)
		r.exchanges[x.Stream] = &c
		r.rows[x.Stream] = row(x)
	}
	r.to.GaveUp = func(x *Exchange) {
		if r.exchanges[x.Stream] != nil || r.gaveUp[x.Stream] > 0 {
			t.Errorf("%s is given up twice", row(x))
		}
		r.gaveUp[x.Stream]++
	}
	now := int64(0)
	r.to.Stuck = func(x *Exchange) { r.stuck = append(r.stuck, stuckAt{x.Stream, now}) }
	var c Conn
	c.Reset(joined)
	for i := range segments {
		s := segments[i]
		s.Data = slices.Clone(s.Data)
		c.Feed(&s, &r.to)
		for i := range s.Data {
			s.Data[i] = '#'
		}
		if now = s.Time; stuck != nil && stuck(i) {
			c.Stuck(now, &r.to)
		}
		check(t, &c)
	}
	c.Close(closed, Closed, &r.to)
	return r
}

// check compares what a connection counts with what it has.
func check(t *testing.T, c *Conn) {
	text, waits, stuck, orphans := 0, 0, 0, 0
	last := uint32(0)
	for _, k := range c.list {
		text += len(k.text)
		if k.waits {
			waits++
			if k.stuck {
				stuck++
			}
		}
		if !k.asked && !k.given {
			orphans++
		}
		if k.id <= last {
			t.Fatal("streams are not in order")
		}
		last = k.id
	}
	if text != c.text || waits != c.waits || stuck != c.stuck || orphans != c.orphans {
		t.Fatalf("it counts text %d, waits %d, orphans %d: there are %d, %d, %d", c.text, c.waits, c.orphans, text, waits, orphans)
	}
}

// roll runs a check on bytes that a fixed generator makes up.
func roll(t *testing.T, rounds int, check func(*testing.T, []byte)) {
	if testing.Short() {
		rounds /= 10
	}
	random := rand.New(rand.NewPCG(13, 9))
	data := make([]byte, 3000)
	for range rounds {
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		check(t, data)
		if t.Failed() {
			return
		}
	}
}

// addSeeds gives a fuzzer enough bytes to begin with.
func addSeeds(f *testing.F) {
	random := rand.New(rand.NewPCG(7, 11))
	for _, size := range []int{0, 100, 1000, 3000} {
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		f.Add(data)
	}
}
