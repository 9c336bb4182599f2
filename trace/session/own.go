package session

import (
	"os"

	"tracer/trace/kernel"
	"tracer/trace/proc"
)

// own lists tracer itself, then the processes that carry the SSH session it
// runs in, nearest first. None in a pid namespace of its own: what the kernel
// calls them is not known there.
func own() []uint32 {
	if !kernel.InFirstNamespace("pid") {
		return nil
	}
	self := uint32(os.Getpid())
	pids := []uint32{self}
	for _, p := range proc.Dir("/proc").Ancestors(self) {
		// sshd-session since OpenSSH 9.8. The listener, which serves all
		// sessions, is a child of init or of no one.
		if (p.Comm == "sshd" || p.Comm == "sshd-session") && p.PPID > 1 {
			pids = append(pids, p.PID)
		}
	}
	return pids
}
