package kernel

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestClockAgreesWithTheWall(t *testing.T) {
	c := NewClock()
	before := time.Now()
	got := c.Wall(Now())
	after := time.Now()
	const off = 5 * time.Millisecond // the tolerance, and a machine that is busy
	if got.Before(before.Add(-off)) || got.After(after.Add(off)) {
		t.Errorf("%v is not between %v and %v", got, before, after)
	}
	// Somebody set the clock: the next look takes it over.
	c.offset -= int64(time.Hour)
	c.Anchor()
	if d := time.Since(c.Wall(Now())); d > off || d < -off {
		t.Errorf("an hour off before, %v after", d)
	}
}

// What programs add to the kernel's own stamps must not make them lie in the future.
func TestAsleepIsNeverTooLong(t *testing.T) {
	for range 10_000 {
		var mono, boot unix.Timespec
		_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono)
		_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot)
		if most, got := boot.Nano()-mono.Nano(), Asleep(); got > uint64(most) {
			t.Fatalf("%d, and it is at most %d", got, most)
		}
	}
}

func TestTimeNamespaceOffsets(t *testing.T) {
	for text, want := range map[string]offsets{
		"monotonic           0         0\nboottime            0         0\n": {},
		"monotonic       -5000         0\nboottime       100000 500000000\n": {mono: -5000e9, boot: 100000e9 + 5e8},
		"": {},
		"monotonic x 0\nboottime 1\nboottime 99999999999999 0\nother 1 2\n": {},
	} {
		if got := parseOffsets(text); got != want {
			t.Errorf("%q: %+v, want %+v", text, got, want)
		}
	}
}
