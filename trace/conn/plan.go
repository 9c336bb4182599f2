package conn

import (
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"tracer/bpf"
	"tracer/trace/kernel"
	"tracer/trace/session"
)

const (
	// connRing is the size of the ring, in bytes: some 20,000 records, for a
	// reader that is woken when a quarter of it waits.
	connRing = 4 << 20
	// resultArguments is what io_uring_complete hands over at least where it has
	// results as numbers, and not what they are in.
	resultArguments = 5
	// queuedMost bounds what --open tells of connections that nobody has accepted.
	queuedMost = 64 << 10
	// callsMost bounds calls under way that kretprobes will see return.
	callsMost = 8192
)

func (t *tracer) Plan(types *kernel.Types, opts *session.Options) (kernel.Plan, error) {
	t.uring = []string{bpf.ConnProgConnResultIoUring, bpf.ConnProgConnCqeIoUring}
	if n := types.Arguments("io_uring_complete"); n >= resultArguments {
		t.uring = t.uring[:1]
	} else if n > 0 {
		t.uring = t.uring[1:]
	}
	if t.slow > t.stuck && t.stuck > 0 {
		t.stuck = t.slow
	}
	ports := kernel.Size{Entries: uint32(max(len(t.ports), 1))}
	for _, port := range t.ports {
		ports.Keys = append(ports.Keys, port)
	}
	t.recvArgs = types.Parameters("tcp_recvmsg")
	flags := uint32(3)
	if t.recvArgs == 6 {
		flags = 4
	}
	talks, calls := kernel.Size{Entries: 1}, kernel.Size{Entries: 1}
	if t.turns {
		talks.Entries, calls.Entries = opts.SocketRoom(uint32(unsafe.Sizeof(bpf.ConnTalk{}))), callsMost
	}
	queued := kernel.Size{Entries: 1}
	if t.older {
		queued.Entries = queuedMost
	}
	looking := uint32(1)
	if t.slow > 0 {
		looking = 0 // what is older is of no interest: see features
	}
	return kernel.Plan{
		Name: Probe.Name, Ring: bpf.ConnMapEvents,
		Maps: map[string]kernel.Size{
			bpf.ConnMapEvents:    {Entries: connRing},
			bpf.ConnMapSocks:     {Entries: opts.SocketRoom(uint32(unsafe.Sizeof(bpf.ConnConn{})))},
			bpf.ConnMapPorts:     ports,
			bpf.ConnMapQueued:    queued,
			bpf.ConnMapTalks:     talks,
			bpf.ConnMapDataCalls: calls,
		},
		Knobs: map[string]any{
			bpf.ConnVarFilterPorts:  len(t.ports) > 0,
			bpf.ConnVarOnlyFailed:   t.failed,
			bpf.ConnVarTellOpen:     t.older,
			bpf.ConnVarCountTurns:   t.turns,
			bpf.ConnVarRecvFlagsArg: flags,
			bpf.ConnVarOnlySlow:     t.slow > 0,
			bpf.ConnVarSlowNs:       uint64(t.slow),
			bpf.ConnVarHasCasts:     types.Casts(),
			bpf.ConnVarTellFirst:    t.tellsStuck() && t.stuck < firstRetry,
			bpf.ConnVarLooking:      looking,
			bpf.ConnVarNrAccept:     int32(unix.SYS_ACCEPT),
			bpf.ConnVarNrAccept4:    int32(unix.SYS_ACCEPT4),
			bpf.ConnVarNrConnect:    int32(unix.SYS_CONNECT),
		},
		Features: t.features(),
	}, nil
}

func (t *tracer) tellsStuck() bool { return t.stuck > 0 && !t.failed }

func (t *tracer) features() []kernel.Feature {
	states := []string{bpf.ConnProgConnSetState, bpf.ConnProgConnDestroy}
	f := []kernel.Feature{{Name: "connections", Doors: []kernel.Door{{Tier: kernel.Tracepoint, Programs: states}}}}
	if t.tellsStuck() {
		f = append(f, kernel.Feature{
			Name:    "connects without an answer",
			Doors:   []kernel.Door{{Tier: kernel.Tracepoint, Programs: []string{bpf.ConnProgConnRetransmit}}},
			Without: "connects without an answer are shown at their end only: this kernel does not tell of SYNs that are sent again",
		})
	}
	older := kernel.Feature{
		Name:    "connections older than tracing",
		Doors:   []kernel.Door{{Tier: kernel.Tracepoint, Programs: []string{bpf.ConnProgConnOpenBefore, bpf.ConnProgConnEndedUnseen, bpf.ConnProgConnListeners}}},
		Without: "connections that are open already stay unknown: this kernel cannot list them",
	}
	if t.older {
		programs := &older.Doors[0].Programs
		*programs = append(*programs, bpf.ConnProgConnQueued)
	}
	if t.slow == 0 {
		return append(append(f, accepts(t.uring), older), t.turnsFeatures()...)
	}
	// No accept, and nothing that fails at once, is slow.
	if t.older {
		f = append(f, older)
	}
	return f
}

// accepts is the feature of accepts and of connects that fail at once; uring are the
// programs of which one may fit the kernel's io_uring.
func accepts(uring []string) kernel.Feature {
	ipv4 := []string{bpf.ConnProgConnAcceptFentry, bpf.ConnProgConnConnect4Fexit}
	ipv6 := []string{bpf.ConnProgConnConnect6Fexit}
	kprobe4 := []string{bpf.ConnProgConnAcceptKprobe, bpf.ConnProgConnConnect4Kprobe, bpf.ConnProgConnConnect4Kretprobe}
	kprobe6 := []string{bpf.ConnProgConnConnect6Kprobe, bpf.ConnProgConnConnect6Kretprobe}
	// Without IPv6 there is no tcp_v6_connect, with an older io_uring no
	// tracepoint that fits, and without types of the kernel's own only the
	// plain tracepoint.
	doors := []kernel.Door{
		{Tier: kernel.Function, Programs: slices.Concat(ipv4, ipv6)},
		{Tier: kernel.Function, Programs: ipv4},
		{Tier: kernel.Kprobe, Programs: slices.Concat(kprobe4, kprobe6)},
		{Tier: kernel.Kprobe, Programs: kprobe4},
	}
	for _, exits := range [][]string{{bpf.ConnProgConnSysExit}, {bpf.ConnProgConnSysExitRaw}} {
		for _, p := range uring {
			doors = append(doors, kernel.Door{Tier: kernel.Tracepoint, Programs: slices.Concat(exits, []string{p})})
		}
		doors = append(doors, kernel.Door{Tier: kernel.Tracepoint, Programs: exits})
	}
	return kernel.Feature{
		Name:  "accepts, and connects that fail at once",
		Doors: doors,
		Misses: map[kernel.Tier]string{
			kernel.Tracepoint: "immediate failures of fast open and io_uring, and what 32-bit programs accept (and every system call of the host takes a little longer)",
		},
	}
}
