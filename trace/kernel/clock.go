package kernel

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A Clock turns the kernel's boot time (bpf_ktime_get_boot_ns, which goes on
// while the machine sleeps) into wall time. The distance between the two
// changes when the wall clock is set or slewed, so it is measured again and
// again while tracing runs.
type Clock struct {
	offset int64 // wall − boot, ns
}

// clockTolerance is how far the measured distance may be off by the time that
// measuring takes; smaller differences are not taken over, so that events do
// not jump about.
const clockTolerance = 20 * time.Microsecond

// NewClock returns a clock that is set.
func NewClock() *Clock {
	c := &Clock{}
	c.Anchor()
	return c
}

// Anchor measures the distance anew. The narrowest of a few looks counts: one
// that was interrupted says little.
func (c *Clock) Anchor() {
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
			offset = wall.Nano() - (before.Nano() - clockOffsets().boot) - width/2
		}
	}
	if d := offset - c.offset; d > int64(clockTolerance) || d < -int64(clockTolerance) {
		c.offset = offset
	}
}

// Wall is the wall time of a moment of the boot clock, in ns.
func (c *Clock) Wall(boot uint64) time.Time {
	return time.Unix(0, int64(boot)+c.offset).UTC()
}

// Now is the boot clock as programs in the kernel read it, in ns.
func Now() uint64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return uint64(ts.Nano() - clockOffsets().boot)
}

// Since is the time between two moments of the boot clock, 0 if the first one is
// unknown (0) or the later one.
func Since(start, end uint64) time.Duration {
	if start == 0 || end < start {
		return 0
	}
	return time.Duration(end - start)
}

// Asleep is the distance of the boot clock to the monotonic one, in ns. Programs
// add it to the kernel's own stamps, which must not come to lie in the future: what
// passes between the two readings makes it less, never more.
func Asleep() uint64 {
	var longest int64
	for range 5 {
		var boot, mono unix.Timespec
		_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot)
		_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono)
		longest = max(longest, boot.Nano()-mono.Nano())
	}
	o := clockOffsets()
	return uint64(max(longest-o.boot+o.mono, 0))
}

// offsets are what a time namespace adds to the clocks of this process, in ns: those
// that programs in the kernel read are without.
type offsets struct{ mono, boot int64 }

// clockOffsets are this process's own, which cannot change while it runs.
var clockOffsets = sync.OnceValue(func() offsets {
	// The file has those of the namespace that children are born in, which is
	// another one only in a process that has called unshare and goes on by itself.
	own, err := os.Readlink("/proc/self/ns/time")
	if err != nil {
		return offsets{} // before Linux 5.6
	}
	if children, err := os.Readlink("/proc/self/ns/time_for_children"); err != nil || children != own {
		return offsets{}
	}
	text, _ := os.ReadFile("/proc/self/timens_offsets") // if this fails, there are none
	return parseOffsets(string(text))
})

// parseOffsets reads /proc/PID/timens_offsets (time_namespaces(7)): a clock, seconds and
// nanoseconds in each line. What it does not know is no offset.
func parseOffsets(text string) (o offsets) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		sec, err := strconv.ParseInt(f[1], 10, 33) // 2³³ s are 272 years, and no overflow below
		nsec, nerr := strconv.ParseInt(f[2], 10, 32)
		if err != nil || nerr != nil {
			continue
		}
		switch n := sec*int64(time.Second) + nsec; f[0] {
		case "monotonic":
			o.mono = n
		case "boottime":
			o.boot = n
		}
	}
	return o
}
