package conn

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"

	"tracer/bpf"
	"tracer/testdata/kit"
	"tracer/testdata/kit/record"
	"tracer/testdata/kit/work"
	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/session"
)

// bucketWidth is how wrong a time may be that comes out of buckets, at the most.
func bucketWidth(d time.Duration) time.Duration { return d/25 + time.Microsecond }

// tellsOfCalls reports whether this kernel has tracepoints where bytes are sent and received.
func tellsOfCalls(t *testing.T) bool {
	types, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	_, err = types.AnyTypeByName("btf_trace_sock_send_length")
	return err == nil
}

// Both ends say how often was asked, and the times are those of the client's own clock.
// Where it is not clear what is an answer to what, nothing is said.
func TestKernelTurnsAreMeasured(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	record.Tiers(t, func(t *testing.T, tier kernel.Tier) {
		if tier == kernel.Tracepoint && !tellsOfCalls(t) {
			t.Skip("left to other kernels: the tracepoints of this one do not tell of calls (6.3)")
		}
		c := start(t, session.Options{Tier: tier}, "--turns")
		for how, n := range map[string]int{"plain": 41, "greeting": 23, "pieces": 17} {
			t.Run(how, func(t *testing.T) {
				c.t = t
				w := work.Start(t, "turns", how, fmt.Sprint(n))
				p50, longest := time.Duration(w.HearInt())*time.Microsecond, time.Duration(w.HearInt())*time.Microsecond
				w.Hear()
				cl, sv := c.ends(w.PID)
				for _, e := range []*event.Close{cl, sv} {
					if e.Turns != uint64(n) {
						t.Errorf("want %d turns of the %s: %s", n, e.Role, describe(e))
					}
					// The server does not know how late a busy machine wakes the client, which
					// for its part has begun to wait before it looked at its clock.
					early := time.Millisecond
					if kit.Emulated() {
						early = longest / 10
					}
					least50, leastMax := p50-early, longest-early
					if e.Role == event.RoleServer {
						least50, leastMax = 10*time.Millisecond, 60*time.Millisecond
					}
					if late := kit.Within(kit.Overslept); e.TurnP50 < least50-bucketWidth(p50) || e.TurnP50 > p50+bucketWidth(p50)+late/10 || e.TurnMax < leastMax || e.TurnMax > longest+late {
						t.Errorf("want a median of %s, and %s: %s", p50, longest, describe(e))
					}
				}
			})
			c.t = t
		}
		for _, how := range []string{"pipelined", "window", "both"} {
			t.Run(how, func(t *testing.T) {
				c.t = t
				w := work.Start(t, "turns", how, "29")
				w.Hear()
				cl, sv := c.ends(w.PID)
				for _, e := range []*event.Close{cl, sv} {
					if e.Turns != 0 || e.TurnP50 != 0 || e.TurnMax != 0 {
						t.Errorf("both sides have talked at once: %s", describe(e))
					}
				}
			})
			c.t = t
		}
		kit.Eventually(t, "what is left in the map of talks", func() error {
			if n := c.talks(); n != 0 {
				return fmt.Errorf("%d connections", n)
			}
			return nil
		})
	})
}

// talks is how many entries the map of talks has of connections that have ended.
func (c *conns) talks() (n int) {
	c.t.Helper()
	var key uint64
	var talk bpf.ConnTalk
	var conn bpf.ConnConn
	iter := c.Host.Map(bpf.ConnMapTalks).Iterate()
	for iter.Next(&key, &talk) {
		if c.Host.Map(bpf.ConnMapSocks).Lookup(&key, &conn) != nil {
			n++
		}
	}
	if err := iter.Err(); err != nil {
		c.t.Fatal(err)
	}
	return n
}

func TestBucketsOfTurnsKeepTimesToThreePercent(t *testing.T) {
	last := -1
	for d := time.Microsecond; d < 17*time.Minute; d += d/100 + time.Microsecond {
		i := bucketOf(d)
		if i < last || i >= turnBuckets {
			t.Fatalf("%s is in bucket %d, behind %d", d, i, last)
		}
		last = i
		if got := bucketTime(i); got < d-bucketWidth(d) || got > d+bucketWidth(d) {
			t.Fatalf("%s comes out as %s", d, got)
		}
	}
	if got := bucketOf(1000 * time.Hour); got != turnBuckets-1 {
		t.Errorf("the longest is in bucket %d, of %d", got, turnBuckets)
	}
}

func turnsLike(times ...time.Duration) *turns {
	t := &turns{}
	for _, d := range times {
		t.count++
		t.buckets[bucketOf(d)]++
		t.max = max(t.max, d)
	}
	return t
}

func TestQuantilesOfTurns(t *testing.T) {
	all := turnsLike()
	if all.quantile(50) != 0 {
		t.Error("nothing has a median")
	}
	for i := range 100 {
		all.add(turnsLike(time.Duration(i+1)*time.Millisecond), nil, 1)
	}
	for percent, want := range map[int64]time.Duration{1: time.Millisecond, 50: 50 * time.Millisecond, 99: 99 * time.Millisecond, 100: 100 * time.Millisecond} {
		if got := all.quantile(percent); got < want-bucketWidth(want) || got > want+bucketWidth(want) {
			t.Errorf("%d %% took %s, want %s", percent, got, want)
		}
	}
	if all.max != 100*time.Millisecond {
		t.Errorf("the longest took %s", all.max)
	}
}

// Turns are told while a connection is open, each once, and follow it where its result
// changes.
func TestTurnsAreSummedUpOnce(t *testing.T) {
	shown := &sums{}
	x := offline(shown)
	s := newSummary(0)
	head := event.Common{Time: time.Unix(1000, 0), Process: event.Process{PID: 7, Comm: "x"}}
	c := event.Connection{Role: event.RoleClient, Dst: netip.MustParseAddrPort("10.0.0.9:5432")}
	turned := func() (got []string) {
		for e := range s.page.Rows {
			e := e.(*event.ConnSummary)
			got = append(got, fmt.Sprintf("%s %d: %d, %s", e.Result, e.Count, e.Turns, e.TurnMax))
		}
		return got
	}
	const ms = time.Millisecond
	for n := range uint64(3) {
		s.add(&event.Connect{Common: head, Connection: c, Latency: ms}, wait{n, n})
		s.turns(wait{n, n}, turnsLike(ms, 2*ms))
	}
	s.turns(wait{9, 9}, turnsLike(ms)) // is not known
	s.tell(x.host, 1e9, time.Unix(1001, 0), false)
	first := turned()
	s.turns(wait{0, 0}, turnsLike(ms, 2*ms, 3*ms))
	s.closed(&event.Close{Common: head, Connection: c, Reason: event.ReasonClosed}, wait{0, 0}, turnsLike(ms, 2*ms, 3*ms, 4*ms))
	s.closed(&event.Close{Common: head, Connection: c, Reason: event.ReasonReset}, wait{1, 1}, turnsLike(ms, 2*ms, 2*ms))
	s.closed(&event.Close{Common: head, Connection: c, Reason: event.ReasonTimeout}, wait{2, 2}, nil)
	s.add(&event.Close{Common: head, Connection: c, Reason: event.ReasonTimeout, Turns: 100, TurnMax: 9 * ms}, wait{3, 3})
	var rows []string
	for _, row := range s.active {
		rows = append(rows, fmt.Sprint(row.result, row.now.turns.count))
	}
	s.tell(x.host, 2e9, time.Unix(1002, 0), true)
	got := [][]string{first, rows, turned()}
	if diff := cmp.Diff([][]string{
		{"connected 3: 6, 2ms"},
		{"connected2", "reset3", "ETIMEDOUT102"},
		{"ETIMEDOUT 2: 102, 9ms", "connected 1: 4, 4ms", "reset 1: 3, 2ms"},
	}, got); diff != "" {
		t.Error(diff)
	}
}

// Turns of a connection that is open are in the rows of the interval in which they were.
func TestKernelTurnsOfOpenConnectionsAreSummedUp(t *testing.T) {
	kit.Needs(t, kit.EndsKernel)
	const n = 101
	r := kit.Start(t, "conn", "--summary", "--turns")
	w := work.Start(t, "turns", "plain", fmt.Sprint(n))
	w.HearInt()
	w.HearInt()
	w.Hear()
	r.Stop()
	sum, told := map[string]float64{}, map[string]int{}
	for _, e := range r.Of("conn_summary", w.PID) {
		if turns, ok := e["turns"].(float64); ok {
			role := e["role"].(string)
			sum[role] += turns
			told[role]++
		}
	}
	if diff := cmp.Diff(map[string]float64{"client": n, "server": n}, sum); diff != "" {
		t.Error(diff)
	}
	if told["client"] < 2 || told["server"] < 2 {
		t.Errorf("turns of a connection that was open for longer than an interval were told at its end only: %v", told)
	}
}
