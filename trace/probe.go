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
		Long: `Every program that starts, with all its arguments, and with --exits how it ended.

Seen where the kernel itself records the new program (sched_process_exec), so
that threads, scripts, chroots and processes that live for a millisecond are all
there. With --failed also the execs that failed: that looks at every system call
of the host while it runs. Not seen: failed execs of 32-bit programs.`,
		Example: `  tracer exec --exits                    what runs here, and how it ends
  tracer exec --exits -- make test       what a command starts
  tracer exec --json | jq -r '.args | join(" ")'`,
		Full: []string{"--exits", "--failed"},
		New:  func() Tracer { return &execTracer{} },
	},
	{
		Name:  "conn",
		Short: "every TCP connection: who opened or accepted it, to whom, how long the handshake took, why it failed, what it carried",
		Long: `Every TCP connection: who opened or accepted it, how long the handshake took, why
it failed, and at its end what it carried. Both ends are shown where both are on
this host. Those that were open before tracing began are shown when they end.

Times count from the SYN, or from accept; bytes are payload. A connect without an
answer is shown after --stuck, and again at its end; ECANCELED means that the
process gave up. IPv4, IPv6, MPTCP (its first subflow), fast open and io_uring.

Accepts are seen where the kernel hands a socket to a process. A kernel that
forbids to hook functions tells of them, and of connects that fail before a SYN
is sent, only where system calls return: that looks at every system call of the
host, and misses 32-bit programs, multishot accepts of io_uring, and immediate
failures of fast open and io_uring.`,
		Example: `  tracer conn                            who talks to whom
  tracer conn --failed                   what cannot be opened, or is reset
  tracer conn --port 5432 --slow 50ms    slow handshakes with a database
  tracer conn -- curl -s example.org     the connections of a command`,
		New: func() Tracer { return &connTracer{} },
	},
	{
		Name:  "traffic",
		Short: "bytes per process (or connection, peer, container, pod), refreshed in place, TCP and UDP",
		Long: `Who moves how many bytes by TCP and UDP, in which direction: per process, or as
--by says. Payload, each byte once, however it is moved (sendfile, splice,
io_uring …) and however often it is sent again.

TCP bytes are the kernel's own counts of each socket, read at every interval and
when a socket ends. They belong to the process that moves them: where several
processes use one socket, to each what its calls have moved. Connections that
are older than tracing count from its start. UDP is counted call by call.

The table is refreshed in place on a terminal; the last one, of the whole run,
stays. Elsewhere, and with --json, each interval has a row for each that moved
bytes: the sums of all rows are the totals.

Not seen: other protocols; connections of the kernel itself (NFS …) that are
older than tracing; on kernels before 6.5 UDP by sendfile. Where functions cannot
be hooked the peers of UDP sockets that are not connected stay unknown.`,
		Example: `  tracer traffic                         who uses the network
  tracer traffic --by peer --sort rx     whom from
  tracer traffic -- curl -sO example.org what a command moves
  tracer traffic --json --interval 10s | jq -c '[.comm, .tx_bytes, .rx_bytes]'`,
		New: func() Tracer { return &trafficTracer{} },
	},
	{
		Name:  "http",
		Short: "every HTTP exchange with its latency, and those that never got an answer",
		Long: `Every HTTP/1 exchange on this host, and those that never get an answer.

Of each its method, target, status and sizes, and how long each side took, as the
kernel saw its processes send and receive. An exchange whose two ends are both
here is one row.

The first --prefix bytes of a message (at most 16KiB) are read where a process
hands them to the kernel, so nothing is copied from the network and no certificate
is needed. Not seen: what is inside TLS, HTTP/2, and messages that begin in
sendfile or splice; where the kernel forbids function hooks also those of io_uring.`,
		Example: `  tracer http                            what is asked and answered here
  tracer http --status 5xx --slow 100ms  what fails or is slow
  tracer http --summary --port 8080      rates and percentiles by route`,
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
