package conn

import (
	"fmt"
	"testing"
	"time"

	"tracer/testdata/kit"
	"tracer/testdata/kit/record"
	"tracer/testdata/kit/work"
	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/session"
)

// bucketWidth is how wrong a time may be that comes out of buckets, at the most.
func bucketWidth(d time.Duration) time.Duration { return d/25 + time.Microsecond }

// Both ends say how often was asked, and the times are those of the client's own clock.
// Where it is not clear what is an answer to what, nothing is said.
func TestKernelTurnsAreMeasured(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	record.Tiers(t, func(t *testing.T, tier kernel.Tier) {
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
					least50, leastMax := p50-time.Millisecond, longest-time.Millisecond
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
		if n := c.talks(); n != 0 {
			t.Errorf("%d connections are left in the map of talks", n)
		}
	})
}

// talks is how many entries the map of talks has.
func (c *conns) talks() (n int) {
	c.t.Helper()
	m := c.Host.Map("talks")
	key, value := make([]byte, m.KeySize()), make([]byte, m.ValueSize())
	iter := m.Iterate()
	for iter.Next(key, value) {
		n++
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
