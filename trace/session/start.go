package session

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"tracer/trace/event"
	"tracer/trace/kernel"
)

// Start says that the probes are attached, on which host, and what cannot be seen
// there. The caller adds its version, command and arguments.
func (s *Session) Start() *event.Start {
	e := &event.Start{
		Time:      time.Now().UTC(),
		Format:    event.Format,
		Kernel:    kernel.Release(),
		PID:       os.Getpid(),
		Addresses: addresses(),
		Misses:    s.unseen(),
	}
	e.Hostname, _ = os.Hostname()
	if id, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		e.BootID = strings.TrimSpace(string(id))
	}
	return e
}

// addresses are this host's own, without those of loopback, which every host has.
func addresses() (list []netip.Addr) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil // what is unknown is left out
	}
	for _, a := range all {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		if addr, ok := netip.AddrFromSlice(n.IP); ok && !addr.IsLoopback() {
			list = append(list, addr.Unmap())
		}
	}
	return list
}

// Notices are what a user has to know from the start: what the session will miss, and
// that tracer itself is left out.
func (s *Session) Notices() []event.Notice {
	now := time.Now().UTC()
	var list []event.Notice
	for _, w := range s.warnings {
		list = append(list, event.Notice{Time: now, Kind: event.KindWarning, Message: w})
	}
	if len(s.own) == 0 || len(s.opts.PIDs) > 0 {
		return list
	}
	text := fmt.Sprintf("tracer itself (process %d)", s.own[0].PID)
	if len(s.own) == 1 {
		text += " is left out; --self shows it"
	} else {
		var carriers []string
		for _, p := range s.own[1:] {
			carriers = append(carriers, fmt.Sprintf("%s %d", p.Comm, p.PID))
		}
		text += " and its SSH session (" + strings.Join(carriers, ", ") + ") are left out; --self shows them"
	}
	return append(list, event.Notice{Time: now, Kind: event.KindNote, Message: text})
}
