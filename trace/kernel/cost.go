package kernel

import (
	"io"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// cost takes the time of the programs where the kernel can tell (5.8+). To look
// at the clock before and after each run costs more than most runs do:
// therefore it is done until there is a fair sample, from which the rest is
// reckoned.
type cost struct {
	stats   io.Closer // while it is open the kernel takes the time
	began   time.Time
	taken   time.Duration // for how long
	sample  time.Duration // what it took
	ended   uint64        // boot clock, 0: not yet
	inside  uint64        // records that were sent meanwhile
	records uint64
}

// What a fair sample is.
const (
	sampleRecords = 5000
	sampleTime    = 10 * time.Second // if there are never so many
)

func (c *cost) open() {
	c.stats, _ = ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	c.began = time.Now()
}

// close ends the sample. Somebody else may go on to have the time taken: what
// the programs took by now is all that counts.
func (c *cost) close(each func(func(*ebpf.Program))) {
	if c.stats == nil {
		return
	}
	_ = c.stats.Close() // nothing depends on it
	c.stats = nil
	c.taken = time.Since(c.began)
	c.ended = Now()
	each(func(p *ebpf.Program) {
		if st, err := p.Stats(); err == nil { // else a kernel that does not tell
			c.sample += st.Runtime
		}
	})
}

// count takes note of records that came. All that were sent before the time
// seen have come.
func (c *cost) count(n, seen uint64, each func(func(*ebpf.Program))) {
	c.records += n
	switch {
	case c.stats != nil:
		c.inside = c.records
		if c.records >= sampleRecords {
			c.close(each)
		}
	case seen < c.ended:
		c.inside = c.records // they had been in the ring
	}
}

// whole is how long the programs ran in all of a session, and whether the kernel
// tells.
func (c *cost) whole(session time.Duration) (time.Duration, bool) {
	if c.sample == 0 {
		return 0, c.taken > 0
	}
	factor := float64(session) / float64(max(c.taken, 1))
	if c.inside >= sampleRecords {
		factor = float64(c.records) / float64(c.inside)
	}
	return time.Duration(float64(c.sample) * max(factor, 1)), true
}
