package kernel

import (
	"fmt"
	"strings"

	"github.com/cilium/ebpf"

	"tracer/bpf"
)

// What the programs count as lost, in the order of enum lost_cause of the C
// headers, by the names that the account has.
const (
	lostNot    = 3 // no loss: a copy of a program has seen what the first one missed
	lostDetail = 2 // no event, but something that a later one would have told
)

var lostNames = []string{"ring_full", "map_full", "detail", "not", "accept_missed", "step_missed"}

// noticed are losses that a program takes note of when it finds out that another
// program did not run.
var noticed = map[string]bool{"accept_missed": true, "step_missed": true}

// What the programs leave out, by filter, and what sockets speak, in the order of
// enum counted of the C headers.
var countNames = []string{"pid", "uid", "place", "self", "port", "failed", "slow", "http1", "http2", "tls", "other", "unread"}

// firstKind is where in countNames the kinds begin.
const firstKind = 7

// Lost is what all programs have lost since the session began, by cause, and how
// many details, without which an event lacks a key. Events that the kernel did not
// run a program for are among them.
func (k *Kernel) Lost() (by map[string]uint64, details uint64, err error) {
	by = map[string]uint64{}
	for _, o := range k.objects {
		var lost [8]uint64
		for cause, name := range lostNames {
			if o.ended && noticed[name] {
				lost[cause] = o.last[cause]
			} else if lost[cause], err = k.sum(o.maps[bpf.ExecMapLost], uint32(cause)); err != nil {
				return nil, 0, fmt.Errorf("read map %q of %q: %w", bpf.ExecMapLost, o.name, err)
			}
			o.last[cause] = lost[cause]
			lost[cause] -= o.before[cause]
			if cause != lostNot && cause != lostDetail && lost[cause] > 0 {
				by[name] += lost[cause]
			}
		}
		if !o.ended {
			o.lastMissed, o.lastSparse = o.missed(lost[lostNot])
		}
		if o.lastMissed > 0 {
			by["program_missed"] += o.lastMissed
		}
		details += lost[lostDetail] + o.lastSparse
	}
	return by, details, nil
}

// Counts are what programs have left out, by filter, and what the sockets that they
// saw speak.
func (k *Kernel) Counts() (leftOut, kinds map[string]uint64, err error) {
	leftOut, kinds = map[string]uint64{}, map[string]uint64{}
	for _, o := range k.objects {
		m := o.maps[bpf.ExecMapCounts]
		if m == nil {
			continue
		}
		for i, name := range countNames {
			n, err := k.sum(m, uint32(i))
			switch {
			case err != nil:
				return nil, nil, fmt.Errorf("read map %q of %q: %w", bpf.ExecMapCounts, o.name, err)
			case n == 0:
			case i >= firstKind:
				kinds[name] += n
			default:
				leftOut[name] += n
			}
		}
	}
	return leftOut, kinds, nil
}

// sum reads a counter that each CPU has for itself. Counters only grow: they are
// never set back.
func (k *Kernel) sum(m *ebpf.Map, i uint32) (sum uint64, err error) {
	if m == nil {
		return 0, nil
	}
	err = m.Lookup(i, k.perCPU)
	for _, n := range k.perCPU {
		sum += n
	}
	return sum, err
}

// beginCounters leaves out what programs lost while they were attached one by one.
func (o *Object) beginCounters() error {
	if _, _, err := o.kernel.Lost(); err != nil {
		return err
	}
	o.before = o.last
	return nil
}

// endCounters leaves out what programs notice as missed while they are detached.
func (o *Object) endCounters() error {
	_, _, err := o.kernel.Lost()
	o.ended = true
	return err
}

// missed is how many events an object's programs missed because the kernel did not
// run them, of which other copies saw some, and how many details may have been.
//
// Where the kernel preempts programs a task may go to another CPU between two
// copies: one of them then takes an event for missed that another saw, if who saw
// it is remembered by CPU. Of such a program counts what all copies missed, which is
// at most the least of what each did.
func (o *Object) missed(seenByCopies uint64) (events, details uint64) {
	least := map[string]uint64{} // by a program and its copies together
	for name, p := range o.programs {
		st, err := p.Stats()
		if err != nil || name == bpf.FollowProgFollowProcessFree {
			continue // a kernel that does not tell; what only takes room
		}
		first, _, _ := strings.Cut(name, "_copy")
		n, known := least[first]
		switch {
		case isSparse(first):
			if name == first {
				details += st.RecursionMisses
			}
		case !known || st.RecursionMisses < n:
			least[first] = st.RecursionMisses
		}
		if name == first && !isSparse(first) {
			events += st.RecursionMisses
		}
	}
	if !o.overlooks {
		return events - min(events, seenByCopies), details
	}
	events = 0
	for _, n := range least {
		events += n
	}
	return events, details
}

// IsCopy tells the programs that see what the first of their kind has missed.
func IsCopy(program string) bool { return strings.Contains(program, "_copy") }

// isSparse tells the programs to which little of what they see matters: any
// system call's return, of which few are failed execs or accepts; connects, of
// which few fail at once; any call on a TCP socket, of which few are shared by
// several processes.
func isSparse(program string) bool {
	return strings.HasSuffix(program, "_sys_exit") || strings.HasSuffix(program, "_io_uring") ||
		strings.Contains(program, "_connect") || strings.HasPrefix(program, "traffic_tcp_")
}
