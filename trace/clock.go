package trace

import (
	"time"

	"golang.org/x/sys/unix"
)

// A clock turns the kernel's boot time (bpf_ktime_get_boot_ns, which goes on
// while the machine sleeps) into wall time. The distance between the two
// changes when the wall clock is set or slewed, so it is measured again and
// again while tracing runs.
type clock struct {
	offset int64 // wall − boot, ns
}

// clockTolerance is how far the measured distance may be off by the time that
// measuring takes; smaller differences are not taken over, so that events do
// not jump about.
const clockTolerance = 20 * time.Microsecond

func newClock() *clock {
	c := &clock{}
	c.anchor()
	return c
}

// anchor measures the distance anew. The narrowest of a few looks counts: one
// that was interrupted says little.
func (c *clock) anchor() {
	var best, offset int64
	for i := range 5 {
		var before, wall, after unix.Timespec
		// These two clocks cannot fail on a kernel that runs eBPF.
		_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &before)
		_ = unix.ClockGettime(unix.CLOCK_REALTIME, &wall)
		_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &after)
		width := after.Nano() - before.Nano()
		if i == 0 || width < best {
			best = width
			offset = wall.Nano() - before.Nano() - width/2
		}
	}
	if d := offset - c.offset; d > int64(clockTolerance) || d < -int64(clockTolerance) {
		c.offset = offset
	}
}

// wall is the wall time of a moment of the boot clock, in ns.
func (c *clock) wall(boot uint64) time.Time {
	return time.Unix(0, int64(boot)+c.offset).UTC()
}

// bootNow is the boot clock, in ns.
func bootNow() uint64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return uint64(ts.Nano())
}
