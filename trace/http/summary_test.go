package http

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tracer/testdata/kit/record"
	"tracer/trace/event"
	"tracer/trace/session"
)

// With --summary an exchange that is in a row is one that was shown: seen is what was
// shown and filtered, and --count stops at exactly as many.
func TestSummaryAccountsForEveryExchange(t *testing.T) {
	const exchanges = 7
	for _, c := range []struct {
		name     string
		opts     session.Options
		args     []string
		shown    uint64
		filtered map[string]uint64
	}{
		{name: "all", shown: exchanges},
		{name: "--count", opts: session.Options{Count: 3}, shown: 3},
		{name: "--count of more", opts: session.Options{Count: exchanges + 1}, shown: exchanges},
		{name: "--status", args: []string{"--status=404"}, filtered: map[string]uint64{"status": exchanges}},
		{name: "--comm", opts: session.Options{Filter: session.Filter{Comms: []string{"x"}}}, filtered: map[string]uint64{"comm": exchanges}},
		// Of each exchange the other end is left out.
		{name: "--role", args: []string{"--role=client"}, shown: exchanges, filtered: map[string]uint64{"role": exchanges}},
	} {
		t.Run(c.name, func(t *testing.T) {
			sink := record.New(t)
			f := newExchangeFeed(t, sink, c.opts, append(c.args, "--summary")...)
			for range exchanges - 1 {
				f.exchange()
			}
			f.tracer.End()
			inRows := uint64(0)
			for _, row := range record.All[*event.HTTPSummary](sink) {
				inRows += row.Count
			}
			a := f.tracer.session.Ledger.Account(time.Second)
			if inRows != c.shown || a.Shown != c.shown || a.Lost != 0 {
				t.Errorf("%d exchanges in rows, %d shown, lost %v; want %d", inRows, a.Shown, a.LostBy, c.shown)
			}
			if c.filtered == nil {
				c.filtered = map[string]uint64{}
			}
			if diff := cmp.Diff(c.filtered, a.Filtered); diff != "" {
				t.Error(diff)
			}
			sum := a.Shown
			for _, n := range a.Filtered {
				sum += n
			}
			if a.Seen != sum {
				t.Errorf("%d seen, %d shown and filtered", a.Seen, sum)
			}
		})
	}
}
