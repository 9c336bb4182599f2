package http

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"tracer/bpf"
	"tracer/testdata/kit/record"
	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/message"
	"tracer/trace/session"
	"tracer/trace/stream"
)

// A feed makes the records that the kernel sends of connections, for a tracer that
// has no kernel.
type feed struct {
	t      testing.TB
	tracer *tracer
	host   *session.Host
	now    uint64
	ends   uint64
	lost   uint64 // exchanges of ends whose record found no room
}

func newFeed(t testing.TB, opts session.Options, sinks []session.Sink, args ...string) *feed {
	t.Helper()
	f := &feed{t: t, tracer: record.Parse(t, Probe, args...).(*tracer), now: kernel.Now()}
	f.host = session.Offline(f.tracer, opts, sinks...)
	if err := f.tracer.Attached(f.host); err != nil {
		t.Fatal(err)
	}
	return f
}

// A fedEnd is an end of a connection.
type fedEnd struct {
	feed       *feed
	role       message.Role
	comm       string
	record     bpf.HttpHttpRecord
	intro      bpf.HttpHttpIntro
	introduced bool
}

// end returns an end of connection conn.
func (f *feed) end(role message.Role, conn int, comm string) *fedEnd {
	f.ends++
	e := &fedEnd{feed: f, role: role, comm: comm}
	e.record = bpf.HttpHttpRecord{Socket: f.ends << 12, Seen: 1, Requests: bpf.HttpDirection(role)}
	s := &e.intro.Socket
	*s = bpf.HttpHttpSocket{LocalPort: uint16(20000 + conn), RemotePort: 80, Family: unix.AF_INET}
	copy(s.Local[:], []byte{10, 0, 0, 1})
	copy(s.Remote[:], []byte{10, 0, 0, 2})
	if role == message.Server {
		s.Local, s.Remote = s.Remote, s.Local
		s.LocalPort, s.RemotePort = s.RemotePort, s.LocalPort
	}
	e.intro.Owner.Pid = uint32(100 + f.ends)
	for i, c := range []byte(comm) {
		e.intro.Owner.Comm[i] = int8(c)
	}
	return e
}

// call is a call that moves text, of which the kernel captures so much.
func (e *fedEnd) call(way stream.Direction, text string, captured int) bpf.HttpHttpCall {
	e.feed.now += 1000
	c := bpf.HttpHttpCall{
		Time: e.feed.now, Last: e.feed.now, Offset: e.record.Bytes[way], Size: uint32(len(text)),
		Len: uint16(min(captured, len(text))), Dir: bpf.HttpDirection(way),
	}
	e.record.Bytes[way] += uint64(len(text))
	return c
}

func (e *fedEnd) requests() stream.Direction { return stream.Direction(e.role) }
func (e *fedEnd) answers() stream.Direction  { return 1 - stream.Direction(e.role) }

// exchanges moves a request, and then its answer, in a record; an empty text moves
// nothing. With lost records find no room.
func (e *fedEnd) exchange(request, answer string, captured int, lost bool) {
	var kept, call bpf.HttpHttpCall
	var data string
	if request != "" {
		kept = e.call(e.requests(), request, len(request))
	}
	if answer != "" {
		call = e.call(e.answers(), answer, captured)
		data = answer[:call.Len]
	}
	if lost {
		e.record.Lost++ // one turn
		e.feed.lost++
		return
	}
	e.send(bpf.HttpEventDataMoved, call, kept, data+request)
}

func (e *fedEnd) close() {
	e.record.Ending = uint8(stream.Closed)
	e.send(bpf.HttpEventSocketClosed, bpf.HttpHttpCall{}, bpf.HttpHttpCall{}, "")
}

func (e *fedEnd) send(what bpf.HttpEvent, call, kept bpf.HttpHttpCall, data string) {
	e.feed.now += 1000
	r := &e.record
	r.Type, r.Call, r.Kept, r.Time, r.Parts = what, call, kept, e.feed.now, 0
	var b bytes.Buffer
	if !e.introduced {
		r.Parts, e.introduced = uint8(bpf.HttpPartWithIntro), true
	}
	b.Write(unsafe.Slice((*byte)(unsafe.Pointer(r)), unsafe.Sizeof(*r)))
	b.WriteString(data)
	if r.Parts != 0 {
		b.Write(unsafe.Slice((*byte)(unsafe.Pointer(&e.intro)), unsafe.Sizeof(e.intro)))
	}
	aligned := make([]uint64, (b.Len()+7)/8)
	text := unsafe.Slice((*byte)(unsafe.Pointer(&aligned[0])), b.Len())
	copy(text, b.Bytes())
	if !e.feed.tracer.Decode(text) {
		e.feed.t.Fatal("a record was not taken")
	}
	r.Lost = 0
}

// account ends the trace.
func (f *feed) account() *event.Account {
	f.tracer.End()
	if f.lost > 0 {
		f.host.Ledger.InKernel(map[string]uint64{"ring_full": f.lost}, 0)
	}
	return f.host.Ledger.Account(0)
}

// A taker is a sink that takes what it is asked to, and counts it.
type taker struct {
	name     string
	refuses  int // every so manieth event; 0: none
	asked    int
	rows     []string // "role path"
	n        uint64   // exchanges in rows
	refused  uint64
	nRefused uint64 // exchanges in rows that were refused
}

func (s *taker) Event(e event.Event) bool {
	s.asked++
	n, row := uint64(1), ""
	switch e := e.(type) {
	case *event.HTTPSummary:
		n, row = e.Count, fmt.Sprint("summary ", e.Route, " ", e.Count)
	case *event.HTTP:
		row = fmt.Sprint(e.Role, " ", e.Path)
	}
	if s.refuses > 0 && s.asked%s.refuses == 0 {
		s.refused++
		s.nRefused += n
		return false
	}
	s.rows = append(s.rows, strings.Clone(row))
	s.n += n
	return true
}

func (s *taker) Name() string          { return s.name }
func (*taker) Flush() error            { return nil }
func (*taker) Broken() <-chan struct{} { return nil }
func (*taker) Close() (uint64, error)  { return 0, nil }

// sums checks what holds of every account.
func sums(t *testing.T, a *event.Account) {
	t.Helper()
	left := a.Shown + a.Lost
	for _, n := range a.Filtered {
		left += n
	}
	by := uint64(0)
	for _, n := range a.LostBy {
		by += n
	}
	if a.Seen != left || a.Lost != by {
		t.Errorf("%d seen, %d shown, filtered %v, %d lost by %v", a.Seen, a.Shown, a.Filtered, a.Lost, a.LostBy)
	}
}

// Each end of an exchange is judged by itself: one that is wanted is shown, whatever
// the other is, and one row that nobody wants is left out once.
func TestEachEndIsJudgedBeforeTheJoin(t *testing.T) {
	for _, c := range []struct {
		comm     string
		rows     []string
		filtered map[string]uint64
	}{
		{"asks", []string{"client /1", "client /2"}, nil},
		{"serves", []string{"server /1", "server /2"}, nil},
		{"asks,serves", []string{"both /1", "both /2"}, nil},
		{"*s", []string{"both /1", "both /2"}, nil},
		{"else", nil, map[string]uint64{"comm": 2}},
	} {
		for _, first := range []message.Role{message.Client, message.Server} {
			t.Run(fmt.Sprintf("--comm %s, the %s's record comes first", c.comm, first), func(t *testing.T) {
				s := &taker{name: "stdout"}
				f := newFeed(t, session.Options{Filter: session.Filter{Comms: strings.Split(c.comm, ",")}}, []session.Sink{s})
				ends := []*fedEnd{f.end(message.Client, 1, "asks"), f.end(message.Server, 1, "serves")}
				for i := range 2 {
					for _, e := range []*fedEnd{ends[first], ends[1-first]} {
						e.exchange(request("GET", fmt.Sprint("/", i+1), ""), ok5, 100, false)
					}
				}
				a := f.account()
				sums(t, a)
				if diff := cmp.Diff(c.rows, s.rows); diff != "" {
					t.Error(diff)
				}
				if !maps.Equal(c.filtered, a.Filtered) || a.Seen != 2 || a.Lost != 0 {
					t.Errorf("%+v", a)
				}
			})
		}
	}
}

// What one end could not read is no loss where the other end's row tells of it; what
// none could is lost to each.
func TestAnExchangeIsLostWhereNoEndCouldReadIt(t *testing.T) {
	for _, c := range []struct {
		name   string
		client bool // can read the answers
		args   []string
		comms  []string
		want   string
	}{
		{"both read", true, nil, nil, "shown 3, seen 3"},
		{"the server cannot", true, nil, nil, "shown 3, seen 3"},
		{"none can", false, nil, nil, "lost 6, seen 6"},
		{"--role server", true, []string{"--role=server"}, nil, "lost 3, filtered role 3, seen 6"},
		{"--role client", true, []string{"--role=client"}, nil, "shown 3, filtered role 3, seen 6"},
		{"--comm of the server", true, nil, []string{"serves"}, "lost 3, seen 3"},
		{"--comm of the client", true, nil, []string{"asks"}, "shown 3, seen 3"},
		{"--comm of none", false, nil, []string{"x"}, "filtered comm 3, seen 3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFeed(t, session.Options{Filter: session.Filter{Comms: c.comms}}, []session.Sink{&taker{name: "stdout"}}, c.args...)
			ends := []*fedEnd{f.end(message.Client, 1, "asks"), f.end(message.Server, 1, "serves")}
			captured := map[bool]int{true: 100}
			for range 3 {
				ends[1].exchange(get, ok5, captured[c.name == "both read"], false)
				ends[0].exchange(get, ok5, captured[c.client], false)
			}
			a := f.account()
			sums(t, a)
			if got := inWords(a); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// However many records find no room, each exchange is in a row or is lost, and no more
// is lost than exchanges and records: also where an answer is lost whose request was
// told, and the other way round.
func TestWhatFindsNoRoomIsInTheAccount(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 2))
	for try := range 500 {
		s := &taker{name: "stdout"}
		f := newFeed(t, session.Options{}, []session.Sink{s})
		ends := []*fedEnd{f.end(message.Client, 1, "asks"), f.end(message.Server, 1, "serves")}
		const n = 30
		for i := range n {
			ask := request("GET", fmt.Sprint("/", i), "")
			for _, e := range []*fedEnd{ends[1], ends[0]} {
				switch r.IntN(6) {
				case 0: // nothing of it is told
					e.exchange(ask, ok5, 100, true)
				case 1: // its answer is not
					e.exchange(ask, "", 0, false)
					e.exchange("", ok5, 100, true)
				case 2: // its request is not
					e.exchange(ask, "", 0, true)
					e.exchange("", ok5, 100, false)
				default:
					e.exchange(ask, ok5, 100, false)
				}
			}
		}
		for _, e := range ends {
			e.exchange(get, ok5, 100, false) // how many were lost is told
			e.close()
		}
		a := f.account()
		sums(t, a)
		told := uint64(0)
		for _, row := range s.rows {
			told++
			if strings.HasPrefix(row, event.RoleBoth) {
				told++
			}
		}
		// An end that did not see an exchange is in no row of it, and that is no
		// loss if the other end has it: the account may be short of those. What
		// comes behind a gap may be counted beside what was in it.
		if all := uint64(2 * (n + 1)); told+a.Lost < all-uint64(alone(s.rows)) || told+a.Lost > all+f.lost {
			t.Fatalf("try %d: %d ends in rows, lost %v, of %d", try, told, a.LostBy, all)
		}
	}
}

// alone is how many rows are of one end.
func alone(rows []string) (n int) {
	for _, row := range rows {
		if !strings.HasPrefix(row, event.RoleBoth) {
			n++
		}
	}
	return n
}

func inWords(a *event.Account) string {
	var words []string
	if a.Shown > 0 {
		words = append(words, fmt.Sprint("shown ", a.Shown))
	}
	if a.Lost > 0 {
		words = append(words, fmt.Sprint("lost ", a.Lost))
	}
	for _, flag := range slices.Sorted(maps.Keys(a.Filtered)) {
		words = append(words, fmt.Sprintf("filtered %s %d", flag, a.Filtered[flag]))
	}
	return strings.Join(append(words, fmt.Sprint("seen ", a.Seen)), ", ")
}

// An answer whose request was not seen is an exchange that is lost.
func TestAnswersWithoutRequestsAreLost(t *testing.T) {
	f := newFeed(t, session.Options{}, []session.Sink{&taker{name: "stdout"}})
	e := f.end(message.Server, 1, "serves")
	e.exchange(get, ok5, 100, false)
	e.exchange("", ok5, 100, false) // its request never came
	e.exchange(get, ok5, 100, false)
	a := f.account()
	sums(t, a)
	if a.LostBy["unpaired"] != 1 || a.Seen != 3 {
		t.Error(inWords(a))
	}
}

// Whatever passes, is left out, cannot be read or is refused by whichever sink: what
// was seen is what was shown, filtered and lost, and each exchange is in it as the
// units say. The generator knows what became of each.
func TestSeenIsShownFilteredAndLost(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 1))
	comms := [][]string{nil, {"a"}, {"b"}, {"a", "b"}, {"x"}}
	filters := [][]string{nil, {"--status=2xx"}, {"--path=/even*"}, {"--method=POST"}, {"--path=/even*", "--status=2xx"}}
	for _, role := range []string{"", "client", "server"} {
		for _, comm := range comms {
			for _, filter := range filters {
				for _, summary := range []bool{false, true} {
					for sinks := 1; sinks <= 3; sinks++ {
						name := fmt.Sprintf("role %q, comm %v, %v, summary %v, %d sinks", role, comm, filter, summary, sinks)
						t.Run(name, func(t *testing.T) { seenIsAll(t, r, role, comm, filter, summary, sinks) })
					}
				}
			}
		}
	}
}

func seenIsAll(t *testing.T, r *rand.Rand, role string, comms, filter []string, summary bool, n int) {
	args := slices.Clone(filter)
	if role != "" {
		args = append(args, "--role="+role)
	}
	if summary {
		args = append(args, "--summary")
	}
	var sinks []session.Sink
	var takers []*taker
	for i := range n {
		s := &taker{name: fmt.Sprint("sink", i), refuses: []int{0, 3, 7}[r.IntN(3)]}
		sinks, takers = append(sinks, s), append(takers, s)
	}
	f := newFeed(t, session.Options{Filter: session.Filter{Comms: comms}}, sinks, args...)
	passes := func(text string) bool { // the filters of exchanges
		even, ok, post := strings.Contains(text, "/even"), strings.Contains(text, " 200"), strings.HasPrefix(text, "POST")
		for _, arg := range filter {
			if arg == "--status=2xx" && !ok || arg == "--path=/even*" && !even || arg == "--method=POST" && !post {
				return false
			}
		}
		return true
	}
	wants := func(e *fedEnd) bool { return len(comms) == 0 || slices.Contains(comms, e.comm) }
	var rows, filtered, lost uint64
	for conn := range 1 + r.IntN(6) {
		var ends []*fedEnd
		for _, role := range []message.Role{message.Client, message.Server} {
			if r.IntN(5) > 0 {
				ends = append(ends, f.end(role, conn, []string{"a", "b", "c"}[r.IntN(3)]))
			}
		}
		for i := range r.IntN(20) {
			path, method, status := []string{"/even", "/odd"}[i%2], []string{"GET", "POST"}[r.IntN(2)], []string{"200", "404", "500"}[r.IntN(3)]
			ask := request(method, fmt.Sprint(path, i), length(0))
			answer := response(status+" X", length(0))
			readable := map[*fedEnd]bool{}
			r.Shuffle(len(ends), func(i, j int) { ends[i], ends[j] = ends[j], ends[i] })
			for _, e := range ends {
				readable[e] = r.IntN(5) > 0
				captured := len(answer)
				if !readable[e] {
					captured = 0
				}
				e.exchange(ask, answer, captured, false)
			}
			// What becomes of it.
			row, lostEnds, leftOut := false, uint64(0), uint64(0)
			for _, e := range ends {
				switch {
				case role != "" && e.role.String() != role:
					filtered++ // with --role the ends are rows of their own
				case !wants(e):
					leftOut = 1
				case readable[e]:
					row = true
				default:
					lostEnds++
				}
			}
			switch {
			case row && passes(ask+answer):
				rows++
			case row:
				filtered++
			case lostEnds > 0:
				lost += lostEnds
			default:
				filtered += leftOut
			}
		}
		if r.IntN(2) == 0 {
			for _, e := range ends {
				e.close()
			}
		}
	}
	a := f.account()
	sums(t, a)
	all := uint64(0)
	for _, n := range a.Filtered {
		all += n
	}
	first := takers[0]
	if a.Shown != first.n || a.Shown+first.nRefused != rows {
		t.Errorf("%d shown, %d taken and %d refused, want %d", a.Shown, first.n, first.nRefused, rows)
	}
	if all != filtered {
		t.Errorf("filtered %v, want %d", a.Filtered, filtered)
	}
	if a.LostBy["output_full"] != first.nRefused || a.LostBy["unpaired"] != lost {
		t.Errorf("lost %v, want output_full %d, unpaired %d", a.LostBy, first.nRefused, lost)
	}
	if a.Seen != rows+filtered+lost {
		t.Errorf("%d seen, want %d", a.Seen, rows+filtered+lost)
	}
	for _, s := range takers[1:] {
		if a.Undelivered[s.name] != s.refused {
			t.Errorf("%s refused %d: %v", s.name, s.refused, a.Undelivered)
		}
	}
}
