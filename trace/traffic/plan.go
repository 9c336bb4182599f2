package traffic

import (
	"fmt"
	"slices"

	"tracer/bpf"
	"tracer/trace/kernel"
	"tracer/trace/session"
)

const (
	// trafficRing is the size of the ring, in bytes: the last readings of some
	// 20,000 sockets, for a reader that is woken when a quarter of it waits.
	trafficRing = 4 << 20
	// callCopies is the number of programs that see each call, where one may
	// miss it.
	callCopies = 3
)

func (t *tracer) Plan(types *kernel.Types, opts *session.Options) (kernel.Plan, error) {
	t.recvArgs = types.Parameters("tcp_recvmsg")
	t.preempts = types.Preempts()
	flags := uint32(3)
	if t.recvArgs == 6 {
		flags = 4
	}
	flows := opts.Limits.Socks
	if flows == 0 && t.by != byConnection && t.by != byPeer {
		flows = 8192 // a process each
	}
	return kernel.Plan{
		Name: Probe.Name, Load: bpf.LoadTraffic, Ring: bpf.TrafficMapEvents,
		Maps: map[string]kernel.Size{
			bpf.TrafficMapEvents: {Entries: trafficRing},
			bpf.TrafficMapFlows:  {Entries: flows},
			bpf.TrafficMapSocks:  {Entries: opts.Limits.Socks},
			bpf.TrafficMapShares: {Entries: opts.Limits.Socks},
		},
		Knobs: map[string]any{
			bpf.TrafficVarHasCopies:    t.preempts,
			bpf.TrafficVarByConnection: t.by == byConnection,
			bpf.TrafficVarByPeer:       t.by == byPeer,
			bpf.TrafficVarRecvFlagsArg: flags,
		},
		Features:  t.features(),
		Overlooks: t.preempts,
	}, nil
}

func (t *tracer) features() []kernel.Feature {
	calls := []kernel.Door{{Tier: kernel.Tracepoint, Programs: t.copies(bpf.TrafficProgTrafficSendLength, bpf.TrafficProgTrafficRecvLength)}}
	calls = append(calls, t.functions()...)
	if t.by == byConnection || t.by == byPeer {
		// Functions know whom a UDP socket speaks to that is not connected.
		calls = append(calls[1:], calls[0])
	}
	// One copy for the packet that interrupts a program, wherever that is.
	states := []string{
		bpf.TrafficProgTrafficSetState, bpf.TrafficProgTrafficSetStateCopy1,
		bpf.TrafficProgTrafficDestroy, bpf.TrafficProgTrafficDestroyCopy1,
	}
	if t.preempts {
		states = append(states, bpf.TrafficProgTrafficSetStateCopy2, bpf.TrafficProgTrafficSetStateCopy3,
			bpf.TrafficProgTrafficDestroyCopy2)
	}
	return []kernel.Feature{
		{Name: "TCP sockets", Doors: []kernel.Door{{Tier: kernel.Tracepoint, Programs: states}}},
		{Name: "readings of sockets", Doors: []kernel.Door{{Tier: kernel.Tracepoint, Programs: []string{
			bpf.TrafficProgTrafficReadSocks, bpf.TrafficProgTrafficReadShares,
			bpf.TrafficProgTrafficReadFlows, bpf.TrafficProgTrafficLook,
		}}}},
		{
			Name:    "UDP, and who uses a socket of several processes",
			Doors:   calls,
			Without: "UDP is left out, and the traffic of a TCP socket that several processes use is that of one of them: this kernel tells neither",
		},
	}
}

// functions are the doors to calls by hooks of functions. Not every kernel has
// IPv6, nor functions of their own for sendfile.
func (t *tracer) functions() []kernel.Door {
	var doors []kernel.Door
	recvmsg := map[int]string{
		4: bpf.TrafficProgTrafficTcpRecvmsgFexit4,
		5: bpf.TrafficProgTrafficTcpRecvmsgFexit5,
		6: bpf.TrafficProgTrafficTcpRecvmsgFexit6,
	}[t.recvArgs]
	if recvmsg != "" {
		base := t.copies(bpf.TrafficProgTrafficUdpSendmsgFexit, bpf.TrafficProgTrafficUdpConsumeFentry)
		base = append(base, bpf.TrafficProgTrafficTcpSendmsgFexit, recvmsg, bpf.TrafficProgTrafficTcpSpliceReadFexit)
		ipv6 := t.copies(bpf.TrafficProgTrafficUdpv6SendmsgFexit)
		// Of the programs on a function the last one runs first.
		slices.Reverse(base)
		slices.Reverse(ipv6)
		page := []string{bpf.TrafficProgTrafficTcpSendpageFexit}
		doors = append(doors,
			kernel.Door{Tier: kernel.Function, Programs: slices.Concat(base, ipv6, page)},
			kernel.Door{Tier: kernel.Function, Programs: slices.Concat(base, ipv6)},
			kernel.Door{Tier: kernel.Function, Programs: slices.Concat(base, page)},
			kernel.Door{Tier: kernel.Function, Programs: base},
		)
	}
	base := []string{
		bpf.TrafficProgTrafficTcpSendmsgKprobe, bpf.TrafficProgTrafficTcpSendmsgKretprobe,
		bpf.TrafficProgTrafficTcpRecvmsgKprobe, bpf.TrafficProgTrafficTcpRecvmsgKretprobe,
		bpf.TrafficProgTrafficUdpSendmsgKprobe, bpf.TrafficProgTrafficUdpSendmsgKretprobe,
		bpf.TrafficProgTrafficUdpConsumeKprobe,
	}
	ipv6 := []string{bpf.TrafficProgTrafficUdpv6SendmsgKprobe, bpf.TrafficProgTrafficUdpv6SendmsgKretprobe}
	return append(doors, kernel.Door{Tier: kernel.Kprobe, Programs: slices.Concat(base, ipv6)}, kernel.Door{Tier: kernel.Kprobe, Programs: base})
}

// copies are the programs that do what these do: see enum mark in
// bpf/traffic.bpf.c.
func (t *tracer) copies(programs ...string) []string {
	if !t.preempts {
		return programs
	}
	var all []string
	for _, p := range programs {
		for i := range callCopies {
			all = append(all, fmt.Sprintf("%s_copy%d", p, i))
		}
	}
	return all
}

// Missed is the number of calls that copies have seen and none has counted.
func (t *tracer) Missed() uint64 {
	if !t.preempts {
		return 0
	}
	var seen [callCopies + 1]uint64
	for i := range seen {
		var err error
		if seen[i], err = t.host.Sum(bpf.TrafficMapRuns, uint32(i)); err != nil {
			return 0
		}
	}
	counted := seen[callCopies]
	return max(slices.Max(seen[:]), counted) - counted
}
