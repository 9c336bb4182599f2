package http

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"tracer/bpf"
	"tracer/trace/kernel"
	"tracer/trace/session"
	"tracer/trace/tls"
)

const (
	headsBytes = 16 << 20 // of requests that are kept in the kernel, at most
	maxHeads   = 4096
	keptStep   = 64 // KEPT_STEP
	ringBytes  = 8 << 20
)

// kernelFacts are what is known of the kernel before the programs are loaded. A wrong
// number of parameters would load, and read a parameter for the result.
type kernelFacts struct {
	sendpage  bool // it has tcp_sendpage
	recvmsg   int  // how many parameters its tcp_recvmsg has
	graft     bool // it has security_sock_graft
	multipath int  // the same of its mptcp_recvmsg, 0 if it has none
}

func (o *options) Plan(types *kernel.Types, opts *session.Options) (kernel.Plan, error) {
	facts := kernelFacts{
		sendpage: types.Has("tcp_sendpage"),
		recvmsg:  types.Parameters("tcp_recvmsg"),
		graft:    types.Has("security_sock_graft"),
	}
	if types.Parameters("mptcp_sendmsg") == 3 {
		facts.multipath = types.Parameters("mptcp_recvmsg")
	}
	heads := opts.Limits.Heads
	if heads == 0 {
		heads = min(uint32(headsBytes/o.prefix), maxHeads)
	}
	ports := kernel.Size{Entries: uint32(max(len(o.ports), 1))}
	for _, p := range o.ports {
		ports.Keys = append(ports.Keys, p)
	}
	plan := kernel.Plan{
		Name: name, Ring: bpf.HttpMapEvents,
		Maps: map[string]kernel.Size{
			bpf.HttpMapEvents:    {Entries: ringBytes},
			bpf.HttpMapScratches: {PerCPU: true},
			bpf.HttpMapSockets:   {Entries: opts.SocketRoom(uint32(unsafe.Sizeof(bpf.HttpSocketState{})))},
			bpf.HttpMapPorts:     ports,
			bpf.HttpMapHeads: {
				Entries: heads,
				Value:   uint32(unsafe.Offsetof(bpf.HttpHttpHead{}.Data)) + (uint32(o.prefix)+keptStep-1)/keptStep*keptStep,
			},
		},
		Knobs: map[string]any{
			bpf.HttpVarPrefix:      uint32(o.prefix),
			bpf.HttpVarMaxHeads:    heads,
			bpf.HttpVarFilterPorts: len(o.ports) > 0,
			bpf.HttpVarAsleep:      kernel.Asleep(),
			bpf.HttpVarNrRead:      int32(unix.SYS_READ),
			bpf.HttpVarNrWrite:     int32(unix.SYS_WRITE),
			bpf.HttpVarNrReadv:     int32(unix.SYS_READV),
			bpf.HttpVarNrWritev:    int32(unix.SYS_WRITEV),
			bpf.HttpVarNrPreadv2:   int32(unix.SYS_PREADV2),
			bpf.HttpVarNrPwritev2:  int32(unix.SYS_PWRITEV2),
			bpf.HttpVarNrSendto:    int32(unix.SYS_SENDTO),
			bpf.HttpVarNrRecvfrom:  int32(unix.SYS_RECVFROM),
			bpf.HttpVarNrSendmsg:   int32(unix.SYS_SENDMSG),
			bpf.HttpVarNrRecvmsg:   int32(unix.SYS_RECVMSG),
			bpf.HttpVarNrSplice:    int32(unix.SYS_SPLICE),
			bpf.HttpVarReadTls:     !o.noTLS,
			bpf.HttpVarHasTaskRegs: types.Has("bpf_task_pt_regs"),
		},
		Features: features(facts),
	}
	if !o.noTLS {
		plan.Parts = append(plan.Parts, tls.Part(&plan))
	}
	return plan, nil
}

func features(facts kernelFacts) []kernel.Feature {
	recvmsg := map[int]string{6: bpf.HttpProgHttpRecvmsg6, 5: bpf.HttpProgHttpRecvmsg5}[facts.recvmsg]
	recvmsgProbe := bpf.HttpProgHttpK_recvmsg
	if facts.recvmsg == 6 {
		recvmsgProbe = bpf.HttpProgHttpK_recvmsgOld
	}
	if recvmsg == "" {
		recvmsg = bpf.HttpProgHttpRecvmsg4
	}
	function := []string{bpf.HttpProgHttpSendmsg, recvmsg, bpf.HttpProgHttpSpliceRead}
	// The return first: a call that is noted must find it.
	kprobe := []string{
		bpf.HttpProgHttpR_sendmsg, bpf.HttpProgHttpR_recvmsg, bpf.HttpProgHttpR_spliceRead,
		bpf.HttpProgHttpK_sendmsg, recvmsgProbe, bpf.HttpProgHttpK_spliceRead,
	}
	tracepoint := []string{bpf.HttpProgHttpSendLength, bpf.HttpProgHttpRecvLength, bpf.HttpProgHttpSpaceAdjust}
	switch facts.multipath {
	case 6:
		function = append(function, bpf.HttpProgHttpMptcpSendmsg, bpf.HttpProgHttpMptcpRecvmsg6)
		kprobe = append(kprobe, bpf.HttpProgHttpR_mptcpSendmsg, bpf.HttpProgHttpR_mptcpRecvmsg, bpf.HttpProgHttpK_mptcpSendmsg, bpf.HttpProgHttpK_mptcpRecvmsgOld)
	case 5:
		function = append(function, bpf.HttpProgHttpMptcpSendmsg, bpf.HttpProgHttpMptcpRecvmsg5)
		kprobe = append(kprobe, bpf.HttpProgHttpR_mptcpSendmsg, bpf.HttpProgHttpR_mptcpRecvmsg, bpf.HttpProgHttpK_mptcpSendmsg, bpf.HttpProgHttpK_mptcpRecvmsg)
	case 4:
		function = append(function, bpf.HttpProgHttpMptcpSendmsg, bpf.HttpProgHttpMptcpRecvmsg4)
		kprobe = append(kprobe, bpf.HttpProgHttpR_mptcpSendmsg, bpf.HttpProgHttpR_mptcpRecvmsg, bpf.HttpProgHttpK_mptcpSendmsg, bpf.HttpProgHttpK_mptcpRecvmsg)
	}
	if facts.sendpage {
		function = append(function, bpf.HttpProgHttpSendpage)
		kprobe = append(kprobe, bpf.HttpProgHttpR_sendpage, bpf.HttpProgHttpK_sendpage)
	}
	if facts.graft {
		function = append(function, bpf.HttpProgHttpAccept)
		kprobe = append(kprobe, bpf.HttpProgHttpK_accept)
	}
	ends := []string{bpf.HttpProgHttpSetState, bpf.HttpProgHttpDestroySock}
	return []kernel.Feature{
		{Name: "ends of connections", Doors: []kernel.Door{{Tier: kernel.Tracepoint, Programs: ends}}},
		{
			Name: "HTTP messages",
			Doors: []kernel.Door{
				{Tier: kernel.Function, Programs: function},
				{Tier: kernel.Kprobe, Programs: kprobe},
				{Tier: kernel.Tracepoint, Programs: tracepoint},
			},
			Misses: map[kernel.Tier]string{
				kernel.Tracepoint: "messages that go through io_uring, sendmmsg or recvmmsg, those of 32-bit programs, and when connections are accepted",
			},
			Never: "HTTP over Unix sockets is not traced",
		},
	}
}
