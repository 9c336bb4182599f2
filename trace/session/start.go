package session

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
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
	own := own()
	if s.opts.Self || len(own) == 0 || len(s.opts.PIDs) > 0 {
		return list
	}
	text := fmt.Sprintf("tracer itself (process %d)", own[0])
	if len(own) == 1 {
		text += " is left out; --self shows it"
	} else {
		var sshd []string
		for _, pid := range own[1:] {
			sshd = append(sshd, strconv.Itoa(int(pid)))
		}
		text += " and its SSH session (sshd " + strings.Join(sshd, ", ") + ") are left out; --self shows them"
	}
	return append(list, event.Notice{Time: now, Kind: event.KindNote, Message: text})
}
