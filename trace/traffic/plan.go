package traffic

import (
	"slices"
	"unsafe"

	"tracer/bpf"
	"tracer/trace/kernel"
	"tracer/trace/session"
)

const (
	// trafficRing is the size of the ring, in bytes: the last readings of some
	// 20,000 sockets, for a reader that is woken when a quarter of it waits.
	trafficRing = 4 << 20
)

const (
	name         = "traffic"
	callsFeature = "UDP, and who uses a socket of several processes"
)

func (t *tracer) Plan(types *kernel.Types, opts *session.Options) (kernel.Plan, error) {
	t.recvArgs = types.Parameters("tcp_recvmsg")
	flags := uint32(3)
	if t.recvArgs == 6 {
		flags = 4
	}
	flows := opts.Limits.Socks
	if flows == 0 && !t.byAddress() && t.by != byPeer {
		flows = 8192 // a process each
	}
	return kernel.Plan{
		Name: name, Ring: bpf.TrafficMapEvents,
		Maps: map[string]kernel.Size{
			bpf.TrafficMapEvents: {Entries: trafficRing},
			bpf.TrafficMapFlows:  {Entries: flows},
			bpf.TrafficMapSocks:  {Entries: opts.SocketRoom(uint32(unsafe.Sizeof(bpf.TrafficTcp{})))},
			bpf.TrafficMapShares: {Entries: opts.Limits.Socks},
			bpf.TrafficMapMovers: {Entries: opts.Limits.LeastSocks},
		},
		Knobs: map[string]any{
			bpf.TrafficVarByConnection: t.byAddress(),
			bpf.TrafficVarByPeer:       t.by == byPeer,
			bpf.TrafficVarRecvFlagsArg: flags,
		},
		Features: t.features(),
	}, nil
}

func (t *tracer) features() []kernel.Feature {
	calls := []kernel.Door{{Tier: kernel.Tracepoint, Programs: []string{bpf.TrafficProgTrafficSendLength, bpf.TrafficProgTrafficRecvLength}}}
	calls = append(calls, t.functions()...)
	if t.byAddress() || t.by == byPeer {
		// Functions know whom a UDP socket speaks to that is not connected.
		calls = append(calls[1:], calls[0])
	}
	states := []string{bpf.TrafficProgTrafficSetState, bpf.TrafficProgTrafficDestroy}
	return []kernel.Feature{
		{Name: "TCP sockets", Doors: []kernel.Door{{Tier: kernel.Tracepoint, Programs: states}}},
		{Name: "readings of sockets", Doors: []kernel.Door{{Tier: kernel.Tracepoint, Programs: []string{
			bpf.TrafficProgTrafficReadSocks, bpf.TrafficProgTrafficReadMovers,
			bpf.TrafficProgTrafficReadShares, bpf.TrafficProgTrafficReadFlows, bpf.TrafficProgTrafficLook,
		}}}},
		{
			Name:    callsFeature,
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
		base := []string{
			bpf.TrafficProgTrafficUdpSendmsgFexit, bpf.TrafficProgTrafficUdpConsumeFentry,
			bpf.TrafficProgTrafficTcpSendmsgFexit, recvmsg, bpf.TrafficProgTrafficTcpSpliceReadFexit,
		}
		ipv6 := []string{bpf.TrafficProgTrafficUdpv6SendmsgFexit}
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
