package kernel

import (
	"time"

	"golang.org/x/sys/unix"
)

// Tick is the length of a tick of the kernel's timer (a jiffy), by which it stamps some
// times: 4 ms with CONFIG_HZ=250. 0 if it cannot be told. The coarse clocks are as
// coarse as that (posix_get_coarse_res in kernel/time/posix-timers.c).
func Tick() time.Duration {
	var resolution unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &resolution); err != nil {
		return 0
	}
	return time.Duration(resolution.Nano())
}
