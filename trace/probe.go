package trace

import (
	"flag"
	"time"

	"github.com/cilium/ebpf"
)

// A Probe is a row of the table of what can be traced: one subcommand.
type Probe struct {
	Name    string // of the subcommand, and of its columns in package render
	Short   string // one line
	Long    string // what it reports, from which hooks, what it misses
	Example string
	// Full are flags that make it use every feature that it has.
	Full []string
	// New makes a tracer with its options at their defaults.
	New func() Tracer
}

// Probes is the table. Adding one touches its bpf/*.bpf.c, its event, its file
// here, and one row each in bpf/gen.go, this table, the columns of package
// render, and README.md.
var Probes = []Probe{
	{
		Name:  "exec",
		Short: "every program that starts, with its arguments, parent and place",
		Long: `Show every program that starts, with all its arguments. With --exits also show how
programs end, with --failed also execs that failed.

The kernel itself reports each new program (tracepoint sched_process_exec). So
scripts, programs in a chroot, programs started by threads, and processes that live
for a millisecond are all seen. With --failed tracer looks at every system call of
the host. Failed execs of 32-bit programs are not seen.`,
		Example: `  tracer exec --exits                    which programs run, and how they end
  tracer exec --exits -- make test       the programs that a command starts
  tracer exec --json | jq -r '.args | join(" ")'`,
		Full: []string{"--exits", "--failed"},
		New:  func() Tracer { return &execTracer{} },
	},
	{
		Name:  "conn",
		Short: "every TCP connection: who opened or accepted it, to whom, how long the handshake took, why it failed, what it carried",
		Long: `Show every TCP connection: who opened or accepted it, how long the handshake took,
why it failed, and at its end how much it carried. If both ends are on this host,
both are shown. A connection that was open before tracing is shown when it ends.

Times count from the SYN or from the accept. Bytes are payload. A connect without
an answer is reported after --stuck, and again when it ends. ECANCELED means that
the process gave up. IPv4, IPv6, MPTCP (the first subflow), TCP fast open and
io_uring are supported.

An accept is seen when the kernel hands the socket to a process. Some kernels do
not allow hooks on functions. There, accepts, and connects that fail before a SYN
is sent, are seen only when system calls return. Then tracer looks at every system
call of the host, and misses 32-bit programs, multishot accepts of io_uring, and
immediate failures of TCP fast open and io_uring.`,
		Example: `  tracer conn                            who talks to whom
  tracer conn --failed                   which connections fail or are reset
  tracer conn --port 5432 --slow 50ms    slow handshakes with a database
  tracer conn -- curl -s example.org     the connections of a command`,
		New: func() Tracer { return &connTracer{} },
	},
	{
		Name:  "traffic",
		Short: "bytes per process (or connection, peer, container, pod), refreshed in place, TCP and UDP",
		Long: `Show how many bytes each process sends and receives by TCP and UDP, or each
connection, peer, container or pod (--by). Bytes are payload. Each byte counts once,
no matter how it moves (sendfile, splice, io_uring …) or how often it is resent.

TCP bytes are the kernel's own counts of each socket, read at each interval and when
the socket ends. They belong to the process that moves them. If several processes
use one socket, each gets what its own calls moved. Connections that are older than
tracing count from its start. UDP bytes are counted at each call.

On a terminal the table is refreshed in place, and the table of the whole run stays.
Elsewhere, and with --json, each interval has a row for everyone who moved bytes:
the rows add up to the total.

Not seen: other protocols; connections of the kernel itself (such as NFS) that are
older than tracing; UDP by sendfile on kernels before 6.5. If functions cannot be
hooked, the peers of unconnected UDP sockets are unknown.`,
		Example: `  tracer traffic                         who uses the network
  tracer traffic --by peer --sort rx     which peers send most to this host
  tracer traffic -- curl -sO example.org how much a command moves
  tracer traffic --json --interval 10s | jq -c '[.comm, .tx_bytes, .rx_bytes]'`,
		New: func() Tracer { return &trafficTracer{} },
	},
	{
		Name:  "http",
		Short: "every HTTP exchange with its latency, and those that never got an answer",
		Long: `Show every HTTP/1 exchange on this host, and requests that get no answer.

A row has the method, path, status and sizes, and how long the exchange took, as
the kernel saw the process send and receive. LATENCY is the time from the first byte
of the request to the first byte of the answer. If both ends are on this host, the
exchange is one row.

The first --prefix bytes of a message (at most 16KiB) are read when a process hands
them to the kernel. So nothing is copied from the network, and no certificate is
needed. Not seen: TLS, HTTP/2, and messages that begin in sendfile or splice. If the
kernel does not allow hooks on functions, messages in io_uring are not seen either.`,
		Example: `  tracer http                            all requests and answers
  tracer http --status 5xx --slow 100ms  server errors that took long
  tracer http --summary --port 8080      request rates and latencies by route`,
		New: func() Tracer { return &httpTracer{} },
	},
}

// View is the name of the view that shows what t reports, which may depend on
// its options.
func (p *Probe) View(t Tracer) string {
	if v, ok := t.(interface{ View() string }); ok {
		return v.View()
	}
	return p.Name
}

// A Tracer is what a probe does, between its options and its events. Its
// methods are called by one goroutine at a time.
type Tracer interface {
	// Flags declares the probe's own flags.
	Flags(fs *flag.FlagSet)
	// Validate says what is wrong with the options, naming the flag.
	Validate() error

	// load returns the probe's object with its knobs set. The session adds
	// what all objects share.
	load(s *Session) (*ebpf.CollectionSpec, error)
	// features says what to open, in this order.
	features() []feature
	// attached is called once, when the programs run.
	attached(s *Session) error
	// decode turns a record into events, by s.emit. It reports false for a
	// record that is none.
	decode(s *Session, record []byte) bool
	// waiting reports whether tick has something to do soon.
	waiting() bool
	// tick is called every tickInterval while waiting, and before the end.
	// What was sent before now (boot clock) has been decoded.
	tick(s *Session, now uint64, last bool)
}

// A Tracer that is periodic reports at intervals.
type periodic interface {
	// every is how long an interval is, 0 if there are none.
	every() time.Duration
	// read takes readings at the end of each interval and, before the
	// programs are detached, for the last time.
	read(s *Session, last bool)
	// report shows an interval, by s.show and s.page. What comes after the
	// last one is for tick.
	report(s *Session)
}

// A Tracer that is a looker looks around every now and then, also when nothing
// waits.
type looker interface {
	lookInterval() time.Duration
	look(s *Session, now uint64)
}
