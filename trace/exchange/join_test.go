package exchange

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tracer/trace/message"
	"tracer/trace/stream"
)

// A socket is what the reader of an end's bytes says of it.
type socket struct {
	opaque, busy, closed bool
	streams              map[uint32]bool // of HTTP/2, that are under way
	fetch                func()          // what Fetch brings, nil: nothing
}

func (s *socket) Opaque() bool            { return s.opaque }
func (s *socket) Busy(stream uint32) bool { return s.busy || s.streams[stream] }
func (s *socket) Closed() bool            { return s.closed }

func (s *socket) Fetch() {
	if s.fetch != nil {
		s.fetch()
	}
}

// A joining is a Join whose reports are lines: "client /a, server /a".
type joining struct {
	*Join
	reports []string
	clock   time.Duration
}

func newJoining() *joining {
	j := &joining{}
	j.Join = NewJoin(j.note)
	return j
}

func (j *joining) note(client, server *Half) {
	var sides []string
	if client != nil {
		sides = append(sides, "client "+string(client.Exchange.Target))
	}
	if server != nil {
		sides = append(sides, "server "+string(server.Exchange.Target))
	}
	j.reports = append(j.reports, strings.Join(sides, ", "))
}

// pass lets time pass, and looks at what has waited.
func (j *joining) pass(d time.Duration) {
	j.clock += d
	j.Advance(uint64(j.clock))
	j.Look(false)
}

// want checks what was reported since it was called last.
func (j *joining) want(t *testing.T, what string, reports ...string) {
	t.Helper()
	if diff := cmp.Diff(reports, j.reports); diff != "" {
		t.Errorf("%s: %s", what, diff)
	}
	j.reports = nil
}

// A wired is a connection whose two ends are here.
type wired struct {
	client, server *End
}

// Addresses of tests; host 1 is loopback.
func addresses(host byte) (client, server netip.AddrPort) {
	a := netip.AddrFrom4([4]byte{127, 0, 0, host})
	if host != 1 {
		a = netip.AddrFrom4([4]byte{10, 0, 0, host})
	}
	return netip.AddrPortFrom(a, 40000), netip.AddrPortFrom(a, 80)
}

// end is an end that nobody has connected yet.
func end(role message.Role, host byte, netns uint32) *End {
	client, server := addresses(host)
	e := &End{Source: &socket{}, End: stream.End{Local: client, Remote: server, Netns: netns}}
	if role == message.Server {
		e.Local, e.Remote = server, client
	}
	return e
}

func (j *joining) wire(host byte) wired {
	w := wired{end(message.Client, host, 1), end(message.Server, host, 1)}
	j.Connect(w.client, message.Client)
	j.Connect(w.server, message.Server)
	return w
}

// saw has an end see an exchange, whose text is valid until saw returns.
func (j *joining) saw(e *End, seq uint32, target string, more ...func(*message.Exchange)) {
	text := []byte("GET" + target)
	x := &message.Exchange{Role: e.Role(), Method: text[:3], Target: text[3:], Status: 200}
	for _, f := range more {
		f(x)
	}
	j.Add(e, x, seq)
	clear(text)
}

func noAnswer(x *message.Exchange) { x.Status = 0 }

// empty checks that nothing is kept of connections that have ended.
func (j *joining) empty(t *testing.T) {
	t.Helper()
	if _, waits := j.Due(); waits || len(j.placed)+len(j.named) != 0 {
		t.Errorf("%d connections are kept, and exchanges wait: %v", len(j.placed)+len(j.named), waits)
	}
}

func TestBothEndsAreOneExchange(t *testing.T) {
	for _, first := range []message.Role{message.Client, message.Server} {
		t.Run("the "+first.String()+" comes first", func(t *testing.T) {
			j := newJoining()
			w := j.wire(2)
			ends := []*End{w.client, w.server}
			j.saw(ends[first], 100, "/a")
			j.want(t, "one end")
			j.saw(ends[1-first], 100, "/a")
			j.want(t, "both ends", "client /a, server /a")
			j.pass(time.Hour)
			j.Disconnect(w.client)
			j.Disconnect(w.server)
			j.want(t, "later")
			j.empty(t)
		})
	}
}

// However what two ends saw comes, each end in its order, it is joined; also where TCP's
// numbers wrap around.
func TestBothEndsAreJoinedInAnyOrder(t *testing.T) {
	const n = 31
	random := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		j := newJoining()
		w := j.wire(2)
		start := uint32(1<<32 - 1 - random.IntN(n*100))
		seq := func(i int) uint32 { return start + uint32(i)*100 }
		seen := [2]int{}
		for seen[0] < n || seen[1] < n {
			side := random.IntN(2)
			if seen[side] == n {
				side = 1 - side
			}
			j.saw([]*End{w.client, w.server}[side], seq(seen[side]), fmt.Sprint("/", seen[side]))
			seen[side]++
		}
		var want []string
		for i := range n {
			want = append(want, fmt.Sprintf("client /%d, server /%[1]d", i))
		}
		j.want(t, "all", want...)
		j.pass(time.Hour)
		j.want(t, "later")
		j.Disconnect(w.client)
		j.Disconnect(w.server)
		j.empty(t)
	}
}

// An exchange that one end has missed is told by the other as soon as it is known that
// it was missed: with the next one that both have.
func TestAnExchangeThatOneEndMissedIsToldAlone(t *testing.T) {
	// TCP's numbers may wrap around anywhere.
	for _, first := range []uint32{1000, 1<<32 - 100, 1<<32 - 200, 1<<32 - 300, 1<<31 - 150} {
		j := newJoining()
		w := j.wire(2)
		for i, target := range []string{"/a", "/b", "/c"} {
			j.saw(w.client, first+uint32(100*i), target)
		}
		j.want(t, "the client's")
		j.saw(w.server, first+100, "/b")
		j.want(t, "the server has missed the first", "client /a", "client /b, server /b")
		j.saw(w.server, first+300, "/d")
		j.want(t, "the server has missed the third", "client /c")
		j.saw(w.client, first+300, "/d")
		j.want(t, "the client comes to it", "client /d, server /d")
	}
}

func TestAnEndWhoseOtherIsNotHere(t *testing.T) {
	t.Run("waits once, for a moment", func(t *testing.T) {
		j := newJoining()
		e := end(message.Server, 2, 1)
		j.Connect(e, message.Server)
		j.saw(e, 100, "/a")
		if due, waits := j.Due(); !waits || due != uint64(partnerPatience) {
			t.Errorf("due at %d: %v", due, waits)
		}
		j.pass(partnerPatience - 1)
		j.want(t, "too early")
		j.pass(1)
		j.want(t, "the first", "server /a")
		j.saw(e, 200, "/b")
		j.want(t, "the second, at once", "server /b")
		j.Disconnect(e)
		j.empty(t)
	})
	t.Run("waits again when the other one comes", func(t *testing.T) {
		j := newJoining()
		e, other := end(message.Server, 2, 1), end(message.Client, 2, 1)
		j.Connect(e, message.Server)
		j.saw(e, 100, "/a")
		j.pass(partnerPatience)
		j.want(t, "alone", "server /a")
		j.Connect(other, message.Client)
		j.saw(e, 200, "/b")
		j.want(t, "not alone any more")
		j.saw(other, 200, "/b")
		j.want(t, "both", "client /b, server /b")
	})
	t.Run("is told when the session ends", func(t *testing.T) {
		j := newJoining()
		e := end(message.Client, 2, 1)
		j.Connect(e, message.Client)
		j.saw(e, 100, "/a")
		j.saw(e, 200, "/b")
		j.Disconnect(e)
		j.Look(true)
		j.want(t, "all", "client /a", "client /b")
		j.empty(t)
	})
	t.Run("does not wait for it if it is asked alone", func(t *testing.T) {
		j := newJoining()
		w := j.wire(2)
		j.AddAlone(w.client, &message.Exchange{Target: []byte("/a")}, 100)
		j.want(t, "at once", "client /a")
	})
}

// What becomes of an exchange whose other end is here and has not told it.
func TestAnEndWaitsAsLongAsTheOtherMayTell(t *testing.T) {
	t.Run("not for one that nobody can read", func(t *testing.T) {
		j := newJoining()
		w := j.wire(2)
		w.server.Source.(*socket).opaque = true
		j.saw(w.client, 100, "/a")
		j.pass(partnerPatience)
		j.want(t, "opaque", "client /a")
	})
	t.Run("not for one that has ended", func(t *testing.T) {
		j := newJoining()
		w := j.wire(2)
		w.server.Source.(*socket).closed = true
		j.saw(w.client, 100, "/a")
		j.pass(partnerPatience)
		j.want(t, "closed", "client /a")
	})
	t.Run("for one that may not have come back from sending", func(t *testing.T) {
		j := newJoining()
		w := j.wire(2)
		j.saw(w.client, 100, "/a")
		j.pass(IdlePatience - 1)
		j.want(t, "too early")
		j.pass(partnerPatience)
		j.want(t, "in vain", "client /a")
	})
	t.Run("for one that is at it", func(t *testing.T) {
		j := newJoining()
		w := j.wire(2)
		w.client.Source.(*socket).busy = true // it reads a long answer
		j.saw(w.server, 100, "/a")
		for range 100 {
			j.pass(time.Second)
		}
		j.want(t, "still at it")
		j.saw(w.client, 100, "/a")
		j.want(t, "at last", "client /a, server /a")
	})
	t.Run("until it is fetched", func(t *testing.T) {
		j := newJoining()
		w := j.wire(2)
		j.saw(w.client, 100, "/a")
		w.server.Source.(*socket).fetch = func() { j.saw(w.server, 100, "/a") }
		j.pass(partnerPatience)
		j.want(t, "fetched", "client /a, server /a")
		j.pass(time.Hour)
		j.want(t, "later")
	})
	t.Run("not for an answer after this end has given up", func(t *testing.T) {
		j := newJoining()
		w := j.wire(2)
		w.server.Source.(*socket).busy = true
		j.saw(w.client, 100, "/a", noAnswer)
		j.pass(partnerPatience)
		j.want(t, "both have it", "client /a, server /a")
		j.saw(w.server, 100, "/a")
		j.want(t, "the answer that nobody takes")
		j.saw(w.server, 200, "/b")
		j.saw(w.client, 200, "/b")
		j.want(t, "the next", "client /b, server /b")
	})
}

// Beyond so many exchanges that wait none does.
func TestExchangesThatWaitAreBounded(t *testing.T) {
	j := newJoining()
	w := j.wire(2)
	for i := range maxHalves {
		j.saw(w.client, uint32(i), "/")
	}
	j.want(t, "as many as there may be")
	j.saw(w.client, maxHalves, "/more")
	j.want(t, "one more", "client /more")
	j.Look(true)
	if n := len(j.reports); n != maxHalves {
		t.Errorf("%d of %d are told at the end", n, maxHalves)
	}
}

// The same addresses, one connection after the other: exchanges of the first are not
// joined with those of the second, and the end of the first need not have been told.
func TestAnAddressThatIsUsedAgain(t *testing.T) {
	for _, told := range []bool{false, true} {
		t.Run(fmt.Sprint("the first one's end was told: ", told), func(t *testing.T) {
			j := newJoining()
			old := j.wire(2)
			j.saw(old.client, 1000, "/old") // its other end was lost
			if told {
				j.Disconnect(old.client)
				j.Disconnect(old.server)
			}
			w := j.wire(2)
			if old.client.Connected() || old.server.Connected() {
				t.Error("the ends of the first are connected")
			}
			if j.Partner(w.client) != w.server || j.Partner(w.server) != w.client {
				t.Error("the ends of the second are not each other's")
			}
			j.saw(w.server, 5000, "/new")
			j.saw(w.client, 5000, "/new")
			j.pass(time.Hour)
			slices.Sort(j.reports)
			j.want(t, "each by itself", "client /new, server /new", "client /old")
			j.Disconnect(old.client) // late
			j.Disconnect(w.client)
			j.Disconnect(w.server)
			j.empty(t)
		})
	}
}

// An end whose role was taken for another's gives its place back.
func TestAnEndThatTurnsOutToBeTheOther(t *testing.T) {
	j := newJoining()
	e := end(message.Client, 2, 1)
	j.Connect(e, message.Server)
	j.Connect(e, message.Client)
	other := end(message.Server, 2, 1)
	j.Connect(other, message.Server)
	if e.Role() != message.Client || j.Partner(e) != other {
		t.Error("the ends did not find each other")
	}
	j.Disconnect(e)
	j.Disconnect(other)
	j.empty(t)
}

// Loopback addresses are a network namespace's own; all others are the host's.
func TestNamespacesKeepLoopbackApart(t *testing.T) {
	for host, want := range map[byte][]string{
		1: {"client /a", "server /a"},
		2: {"client /a, server /a"},
	} {
		j := newJoining()
		client, server := end(message.Client, host, 1), end(message.Server, host, 2)
		j.Connect(client, message.Client)
		j.Connect(server, message.Server)
		j.saw(client, 100, "/a")
		j.saw(server, 100, "/a")
		j.pass(partnerPatience)
		j.want(t, client.Local.String(), want...)
	}
}

// stuck has some ends of a connection report their requests that wait since before a
// time, and returns what is told.
func (j *joining) stuck(asked *End, before int64, requests map[*End]map[uint32]int64, join bool) []string {
	for _, e := range []*End{asked, j.Partner(asked)} {
		for _, seq := range []uint32{100, 200, 300} {
			if start, ok := requests[e][seq]; ok {
				j.Age(e, &message.Exchange{Role: e.Role(), Target: fmt.Appendf(nil, "/%d", seq), RequestStart: start}, seq)
			}
		}
	}
	j.Aged(asked, before, join, j.note)
	told := j.reports
	j.reports = nil
	return told
}

func TestAStuckRequestIsToldOnce(t *testing.T) {
	j := newJoining()
	w := j.wire(2)
	// The server has taken the first, in the last moment, and not the second; and the
	// third, which is not old enough.
	requests := map[*End]map[uint32]int64{w.client: {100: 10, 200: 15}, w.server: {100: 21, 300: 30}}
	got := j.stuck(w.client, 20, requests, true)
	if diff := cmp.Diff([]string{"client /100, server /100", "client /200"}, got); diff != "" {
		t.Error(diff)
	}
	if j.Aging() {
		t.Error("something is left to be told")
	}
	if got := j.stuck(w.server, 40, requests, true); !slices.Equal(got, []string{"server /300"}) {
		t.Errorf("from the other end, and later: %q", got)
	}
	if got := j.stuck(w.client, 50, requests, true); len(got) != 0 {
		t.Errorf("once more: %q", got)
	}
}

func TestStuckRequestsOfEndsThatAreNotJoined(t *testing.T) {
	j := newJoining()
	w := j.wire(2)
	requests := map[*End]map[uint32]int64{w.client: {100: 10, 200: 15}}
	got := j.stuck(w.client, 20, requests, false)
	if diff := cmp.Diff([]string{"client /100", "client /200"}, got); diff != "" {
		t.Error(diff)
	}
}

// noteRefusals makes the lines say why halves are not shown.
func (j *joining) noteRefusals() {
	j.Report = func(client, server *Half) {
		var sides []string
		for _, h := range []*Half{client, server} {
			if h == nil {
				continue
			}
			side := fmt.Sprint(h.Exchange.Role, " ", string(h.Exchange.Target))
			if h.Refusal != nil {
				side += " " + h.Refusal.Filter + h.Refusal.Cause
			}
			sides = append(sides, side)
		}
		j.reports = append(j.reports, strings.Join(sides, ", "))
	}
}

// An end that is left out holds up no end that is shown, and its half comes to nothing.
func TestARefusedEndIsNotWaitedFor(t *testing.T) {
	j := newJoining()
	j.noteRefusals()
	w := j.wire(2)
	w.server.Refusal = &Refusal{Filter: "comm"}
	w.server.Source.(*socket).busy = true // for ever
	for i, target := range []string{"/a", "/b"} {
		j.saw(w.client, uint32(100*i), target)
		j.want(t, "at once", "client "+target)
	}
	for i, target := range []string{"/a", "/b"} {
		j.saw(w.server, uint32(100*i), target)
	}
	j.pass(time.Hour)
	j.want(t, "later")

	j.saw(w.server, 300, "/c")
	j.want(t, "the refused end comes first")
	j.saw(w.client, 300, "/c")
	j.want(t, "both", "client /c, server /c comm")

	w.client.Refusal = &Refusal{Filter: "place"}
	j.saw(w.client, 400, "/d")
	j.saw(w.server, 400, "/d")
	j.want(t, "no end is shown: one report", "client /d place, server /d comm")
	j.pass(time.Hour)
	j.Disconnect(w.client)
	j.Disconnect(w.server)
	j.empty(t)
}

// What one end has missed is told with what the other end has of it, whichever comes
// first and in any order.
func TestWhatOneEndMissedIsJoined(t *testing.T) {
	j := newJoining()
	j.noteRefusals()
	w := j.wire(2)
	miss := func(e *End, seq uint32, target string) {
		j.Miss(e, &message.Exchange{Role: e.Role(), Target: []byte(target)}, seq, &Refusal{Cause: "unpaired"})
	}
	miss(w.server, 200, "/b") // those behind are given up first
	j.saw(w.server, 100, "/a")
	j.saw(w.client, 100, "/a")
	j.want(t, "in front", "client /a, server /a")
	j.saw(w.client, 200, "/b")
	j.want(t, "missed", "client /b, server /b unpaired")

	j.saw(w.client, 300, "/c")
	miss(w.server, 300, "/c")
	j.want(t, "the other end came first", "client /c, server /c unpaired")

	miss(w.client, 400, "/d")
	miss(w.server, 400, "/d")
	j.want(t, "both have missed it", "client /d unpaired, server /d unpaired")

	miss(w.server, 500, "/e")
	w.client.Source.(*socket).busy = true
	j.pass(IdlePatience)
	j.want(t, "the other end is still at it")
	w.client.Source.(*socket).busy = false
	j.pass(IdlePatience)
	j.want(t, "the other end does not have it", "server /e unpaired")

	j.saw(w.client, 600, "/f")
	j.pass(partnerPatience)
	j.pass(IdlePatience)
	j.want(t, "the server seems not to have it", "client /f")
	miss(w.server, 600, "/f")
	j.pass(time.Hour)
	j.want(t, "it has missed it, late")
	j.Disconnect(w.client)
	j.Disconnect(w.server)
	j.empty(t)
}

// onStream makes an exchange one of HTTP/2.
func onStream(id uint32) func(*message.Exchange) {
	return func(x *message.Exchange) { x.Stream = id }
}

// In HTTP/2 exchanges are over in any order, at each end in another one. They are joined
// by their streams, whatever TCP's numbers are (what is in TLS has none).
func TestStreamsAreJoinedInAnyOrder(t *testing.T) {
	for round := range uint64(20) {
		random := rand.New(rand.NewPCG(5, round))
		j := newJoining()
		w := j.wire(2)
		const n = 199
		var want []string
		both := [2][]int{random.Perm(n), random.Perm(n)}
		for i := range n {
			for _, e := range []*End{w.client, w.server} {
				at := both[e.Role()][i]
				j.saw(e, random.Uint32(), fmt.Sprintf("/%d", at), onStream(uint32(2*at+1)))
			}
			want = append(want, fmt.Sprintf("client /%d, server /%[1]d", i))
		}
		slices.Sort(want)
		slices.Sort(j.reports)
		j.want(t, "both ends", want...)
		j.pass(time.Hour)
		j.want(t, "later")
		j.Disconnect(w.client)
		j.Disconnect(w.server)
		j.empty(t)
	}
}

// One end is still at one stream for hours: others do not wait for it.
func TestStreamsDoNotWaitForOthers(t *testing.T) {
	j := newJoining()
	w := j.wire(2)
	server := w.server.Source.(*socket)
	server.streams = map[uint32]bool{1: true, 5: true}
	j.saw(w.client, 0, "/lost", onStream(3)) // the server's end of it was lost
	j.saw(w.client, 0, "/slow", onStream(5)) // and is still to come
	j.saw(w.client, 0, "/next", onStream(7))
	j.saw(w.server, 0, "/next", onStream(7))
	j.want(t, "the next", "client /next, server /next")
	j.pass(IdlePatience + partnerPatience)
	j.pass(partnerPatience)
	j.want(t, "the lost", "client /lost")
	j.saw(w.server, 0, "/slow", onStream(5))
	j.want(t, "the slow", "client /slow, server /slow")
}

// A connection that turns to HTTP/2 (h2c) has exchanges of both kinds.
func TestUpgradedConnectionIsJoined(t *testing.T) {
	j := newJoining()
	w := j.wire(2)
	j.saw(w.client, 1, "/one") // TCP's number is that of a stream, by chance
	j.saw(w.server, 0, "/two", onStream(1))
	j.saw(w.client, 0, "/two", onStream(1))
	j.want(t, "the stream", "client /two, server /two")
	j.saw(w.server, 1, "/one")
	j.want(t, "the other", "client /one, server /one")
}

// Many streams of which the other end is filtered: each is one row.
func TestStreamsOfAFilteredEnd(t *testing.T) {
	j := newJoining()
	w := j.wire(2)
	w.server.Refusal = &Refusal{Filter: "pid"}
	const n = 150
	for i := range uint32(n) {
		j.saw(w.client, 0, "/a", onStream(2*i+1))
	}
	if len(j.reports) != n {
		t.Errorf("%d reports", len(j.reports))
	}
	j.reports = nil
	for i := range uint32(n) {
		j.saw(w.server, 0, "/a", onStream(2*(n-i)-1))
	}
	j.pass(time.Hour)
	j.want(t, "the filtered end")
	if len(w.client.link.told) != 0 {
		t.Error(len(w.client.link.told))
	}
	for i := range uint32(10 * maxStreams) { // what the other end has lost is forgotten
		j.saw(w.client, 0, "/a", onStream(1000+2*i+1))
	}
	if len(w.client.link.told) > maxStreams || len(j.reports) != 10*maxStreams {
		t.Error(len(w.client.link.told), len(j.reports))
	}
}

// What an end has to say of gRPC is kept while it waits.
func TestMessageOfGRPCIsKept(t *testing.T) {
	j := newJoining()
	w := j.wire(2)
	var got string
	j.Report = func(client, server *Half) {
		got = string(client.Exchange.GRPCMessage) + " " + string(client.Exchange.Host)
	}
	text := []byte("not found")
	j.saw(w.client, 0, "/a.B/C", onStream(1), func(x *message.Exchange) { x.GRPC, x.GRPCStatus, x.GRPCMessage, x.Host = true, 5, text, text[:3] })
	clear(text)
	j.saw(w.server, 0, "/a.B/C", onStream(1))
	if got != "not found not" {
		t.Errorf("%q", got)
	}
}
