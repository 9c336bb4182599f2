package http1

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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
	number               int
	close                bool // the response ends with the connection
	method, target, host string
	status               int
	request, response    string
	final                int // where the final response begins in response
	requestOffset        uint64
	requestStart         int64
	requestEnd           int64
	responseStart        int64
	responseEnd          int64
}

const (
	fakeRequest  = "GET /fake HTTP/1.1\r\nHost: fake\r\n\r\n"
	fakeResponse = "HTTP/1.1 599 Fake\r\nContent-Length: 3\r\n\r\n"
)

// id is what the target begins with.
func (x *deal) id() string { return strings.TrimRight(x.target, "x") }

// body invents a body, not seldom one that looks like heads. None looks just
// like the end of chunks: where their framing is lost, that is taken for it.
func (d *dice) body() string {
	return pick(d, "x", "", "hello, world", fakeRequest, fakeResponse, fakeResponse+fakeRequest,
		"\r\n0\n", "\r\n\r\n"+fakeRequest, strings.Repeat("0123456789", 1+d.n(40)), strings.Repeat("\n", 1+d.n(9)))
}

// frame puts a body under a head.
func (d *dice) frame(head, body string, close bool) string {
	switch {
	case close:
		return head + "\r\n" + body
	case d.oneIn(3) && body != "":
		var b strings.Builder
		b.WriteString(head + pick(d, "Transfer-Encoding: chunked\r\n", "transfer-encoding:gzip, chunked\r\nContent-Length: 7\r\n") + "\r\n")
		for body != "" {
			n := 1 + d.n(len(body))
			fmt.Fprintf(&b, pick(d, "%x", "%X", "000%x")+pick(d, "\r\n", ";a=b\r\n", "\n")+"%s"+pick(d, "\r\n", "\n"), n, body[:n])
			body = body[n:]
		}
		b.WriteString(pick(d, "0\r\n\r\n", "0\r\n\r\n", "0;x\r\nTrailer: GET / HTTP/1.1\r\n\r\n"))
		return b.String()
	}
	return head + fmt.Sprintf(pick(d, "Content-Length: %d\r\n\r\n", "content-length:%d\r\n\r\n", "X: y\r\nContent-Length: %[1]d, %[1]d\r\n\r\n"), len(body)) + body
}

// deal invents exchange number i; last allows what ends a connection.
func (d *dice) deal(i int, last bool) (x deal) {
	x.number = i
	x.method = pick(d, "GET", "POST", "HEAD", "PUT", "M-SEARCH", "purge", "MKACTIVITY")
	x.target = fmt.Sprintf(pick(d, "/%d", "/%d", "/%d", "?%d", "ftp://h/%d"), i) + strings.Repeat("x", d.n(3)*d.n(60))
	x.host = fmt.Sprintf("h%d", i)
	if strings.HasPrefix(x.target, "ftp:") {
		x.host = "h" // the target's own
	}
	head := x.method + " " + x.target + " HTTP/1.1\r\nHost: " + x.host + "\r\n" + d.fields()
	if x.method == "POST" || x.method == "PUT" {
		x.request = d.frame(head, d.body(), false)
	} else {
		x.request = head + "\r\n"
	}

	x.status = 200 + i%300
	head = fmt.Sprintf("HTTP/1.1 %d %s\r\n", x.status, pick(d, "OK", "", "Not Found")) + d.fields()
	for d.oneIn(6) {
		x.response += pick(d, "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Hints\r\nContent-Length: 9\r\n\r\n")
	}
	x.final = len(x.response)
	switch {
	case x.method == "HEAD" || x.status == 204 || x.status == 304:
		x.response += head + pick(d, "Content-Length: 50\r\n", "Transfer-Encoding: chunked\r\n", "") + "\r\n"
	default:
		x.close = last && d.oneIn(2)
		x.response += d.frame(head, d.body(), x.close)
	}
	return x
}

func (d *dice) fields() string {
	return strings.Repeat(pick(d, "Cookie: abc\r\n", "A: "+fakeRequest[:18]+"\r\n", "B: 1\r\n \tfolded: x\r\n"), d.n(4)*d.n(4))
}

// plan invents batches of exchanges: what a client sends before it waits.
func (d *dice) plan() (batches [][]deal) {
	all := 0
	for range 1 + d.n(5) {
		var batch []deal
		size := 1
		if d.oneIn(3) {
			size += d.n(4)
		}
		for range size {
			batch = append(batch, d.deal(all, false))
			all++
		}
		batches = append(batches, batch)
	}
	last := &batches[len(batches)-1]
	(*last)[len(*last)-1] = d.deal(all-1, true)
	return batches
}

// FuzzSegmentation: however the bytes of a connection are cut into calls, and
// however requests and responses take turns as long as each response begins
// after its request, the exchanges are the same, their sizes are exact, and
// their times are those of the calls in which their first and last bytes moved.
func FuzzSegmentation(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte) { checkSegmentation(t, data) })
}

func TestSegmentation(t *testing.T) { roll(t, 5000, checkSegmentation) }

func checkSegmentation(t *testing.T, data []byte) {
	d := &dice{data}
	p := newTape(d.oneIn(3))
	requests, role := Sent, "client"
	if d.oneIn(2) {
		requests, role = Received, "server"
	}

	// All bytes, and where the messages begin and end in them.
	var deals []deal
	var asked, answered [][2]int
	var wire [2]string
	ahead := !p.c.joined && d.oneIn(2)
	var free []int // how far requests may go before the responses so far
	plan := d.plan()
	// Where a rare method begins in one call and goes on in another it may be the end of
	// something else, to who joined.
	for first := &plan[0][0]; p.c.joined && !common([]byte(first.method)); {
		*first = d.deal(0, first.close)
	}
	for _, batch := range plan {
		for i, x := range batch {
			if i == 0 && (len(deals) > 0 || !p.c.joined) {
				wire[0] += pick(d, "", "", "\r\n", "\n\r\n")
			}
			if len(deals) == 0 && !p.c.joined && wire[0] == "" {
				wire[0] = pick(d, "", "", proxy1, proxy2)
			}
			asked = append(asked, [2]int{len(wire[0]), len(wire[0]) + len(x.request)})
			answered = append(answered, [2]int{len(wire[1]) + x.final, len(wire[1]) + len(x.response)})
			wire[0] += x.request
			wire[1] += x.response
			deals = append(deals, x)
		}
		for range batch {
			free = append(free, len(wire[0]))
		}
	}

	var moved [2]int
	var calls [2][][2]int // end and time of each
	now := int64(0)
	for moved[0] < len(wire[0]) || moved[1] < len(wire[1]) {
		var may [2]int // how far each direction may go
		for i := range deals {
			if moved[0] >= asked[i][1] {
				may[1] = answered[i][1]
			}
		}
		may[0] = len(wire[0])
		for i := len(deals) - 1; i >= 0 && !ahead; i-- {
			if moved[1] < answered[i][1] {
				may[0] = free[i]
			}
		}
		dir := 0
		if moved[0] >= may[0] || moved[1] < may[1] && d.oneIn(2) {
			dir = 1
		}
		n := may[dir] - moved[dir]
		if !d.oneIn(5) {
			n = 1 + d.n(min(n, 1+d.n(90)))
		}
		now++
		p.c.Feed(&Segment{
			Dir: requests ^ Direction(dir), Offset: uint64(moved[dir]), Size: uint64(n),
			Data: []byte(wire[dir][moved[dir] : moved[dir]+n]), Time: now, Last: now,
		}, &p.to)
		moved[dir] += n
		calls[dir] = append(calls[dir], [2]int{moved[dir], int(now)})
	}
	p.c.Close(now, Closed, &p.to)

	at := func(dir, offset int) int {
		i := sort.Search(len(calls[dir]), func(i int) bool { return calls[dir][i][0] > offset })
		return calls[dir][i][1]
	}
	var want []string
	for i, x := range deals {
		want = append(want, fmt.Sprintf("%s %s %s at %s 1.1 %d %d@%d-%d %d@%d-%d", role, x.method, x.target, x.host, x.status,
			len(x.request), at(0, asked[i][0]), at(0, asked[i][1]-1),
			len(x.response), at(1, answered[i][0]), at(1, answered[i][1]-1)))
	}
	for i := range min(len(deals), len(p.offsets)) {
		if p.offsets[i] != uint64(asked[i][0]) {
			t.Fatalf("request %d begins at %d, not %d\n%q", i, p.offsets[i], asked[i][0], wire)
		}
	}
	if diff := cmp.Diff(want, p.rows); diff != "" || p.to.Counts != (Counts{}) {
		t.Fatalf("exchanges (-want +got):\n%s\n%+v\n%q\n%v", diff, p.to.Counts, wire, calls)
	}
}

// addSeeds gives a fuzzer enough bytes to begin with.
func addSeeds(f *testing.F) {
	random := rand.New(rand.NewPCG(7, 11))
	for _, size := range []int{0, 100, 1000, 4000} {
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		f.Add(data)
	}
}

// roll runs a check on bytes that a fixed generator makes up.
func roll(t *testing.T, rounds int, check func(*testing.T, []byte)) {
	if testing.Short() {
		rounds /= 10
	}
	random := rand.New(rand.NewPCG(13, 9))
	data := make([]byte, 4096)
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

// FuzzGarbage: arbitrary segments never crash, take no more memory than the
// limits allow, and bring no exchange whose method and status were not fed.
func FuzzGarbage(f *testing.F) {
	for _, s := range []string{get + ok, fakeRequest + fakeResponse, ch + "\r\n\r\n5\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) { checkGarbage(t, data) })
}

func TestGarbage(t *testing.T) { roll(t, 3000, checkGarbage) }

func checkGarbage(t *testing.T, data []byte) {
	d := &dice{data}
	var c Conn
	c.Reset(d.oneIn(2))
	to := Sink{MaxHead: pick(d, 0, 100, 1)}
	var fed [2]bytes.Buffer
	to.Exchange = func(x *Exchange) {
		requests := Sent
		if x.Role == Server {
			requests = Received
		}
		if !bytes.Contains(fed[requests].Bytes(), append(append([]byte(nil), x.Method...), ' ')) {
			t.Fatalf("method %q was never fed: %s\n%q\n%q", x.Method, row(x), fed[0].Bytes(), fed[1].Bytes())
		}
		if x.Status != 0 && !bytes.Contains(fed[requests^1].Bytes(), fmt.Appendf(nil, " %d", x.Status)) {
			t.Errorf("status %d was never fed", x.Status)
		}
	}
	to.Stuck = to.Exchange
	now := int64(0)
	var off [2]uint64
	for len(d.data) > 0 && !c.Opaque() {
		s := Segment{Dir: pick(d, Sent, Received)}
		piece := pick(d, get, get2, get+get3, ok+"ok", ok, nf, ch+"\r\n\r\n", ch+"\r\n\r\n5\r\nhello\r\n", "5\r\n", "\r\n0\r\n\r\n",
			fakeRequest, fakeResponse, "HTTP/1.1 100 \r\n\r\n", "HTTP/1.1 204 \r\n\r\n", "HTTP/1.0 200 \r\n\r\n", "HEAD / HTTP/1.1\r\nHost:x\r\n\r\n",
			"POST / HTTP/1.1\r\nHost:x\r\nExpect: 100-continue\r\nContent-Length: 30\r\n\r\n", "CONNECT a:1 HTTP/1.1\r\nHost:a:1\r\n\r\n", "HTTP/1.1 407 \r\nContent-Length: 0\r\n\r\n", "\x16")
		switch d.n(6) {
		case 0:
			n := min(d.n(40), len(d.data))
			piece = string(d.data[:n])
			d.data = d.data[n:]
		case 1:
			piece = piece[:d.n(len(piece)+1)]
		case 2:
			piece = piece[d.n(len(piece)+1):]
		}
		s.Data = []byte(piece)
		fed[s.Dir].WriteString(piece)
		s.Size = uint64(len(piece))
		if d.oneIn(3) {
			tail := pick(d, "\r\n0\r\n\r\n", "GET / HT", "HTTP/1.1", "x")
			more := d.n(300)
			s.Tail = []byte(tail)
			fed[s.Dir].WriteString(tail[max(0, len(tail)-more):])
			s.Size += uint64(more)
		}
		now += int64(d.n(3)) - int64(d.n(20)/19)
		s.Time, s.Last = now, now+int64(d.n(2))
		s.Offset = off[s.Dir]
		if d.oneIn(8) {
			s.Offset += uint64(d.n(300)) - uint64(d.n(100))
		}
		off[s.Dir] = s.Offset + s.Size
		c.Feed(&s, &to)
		switch d.n(40) {
		case 1:
			c.Stuck(now, &to)
		case 2:
			c.Settle(now, &to)
		case 3:
			c.Close(now, Reset, &to)
			c.Reset(true)
			off = [2]uint64{}
		}
		if n := footprint(&c); n > 2*DefaultMaxHead+maxHeldData+maxText+DefaultMaxHead {
			t.Fatalf("%d bytes kept", n)
		}
	}
	c.Close(now, Timeout, &to)
	if n := footprint(&c); n != 0 {
		t.Errorf("%d bytes kept after Close", n)
	}
}

// footprint returns how many bytes of others a connection keeps.
func footprint(c *Conn) int {
	n := len(c.dirs[0].buf) + len(c.dirs[1].buf)
	for i := range c.held {
		n += len(c.held[i].Data) + len(c.held[i].Tail)
	}
	text := 0
	for i := range c.queue {
		text += len(c.queue[i].text)
	}
	if text != c.text {
		panic(fmt.Sprint("text is ", text, ", counted ", c.text))
	}
	return n + text
}
