// Package http reports HTTP exchanges, and requests that wait for too long: the
// records of bpf/http.bpf.c become segments of connections, a parser finds messages in
// them, and both ends of an exchange become one event.
//
//	plan.go    what is loaded into the kernel
//	decode.go  records → segments
//	conn.go    the connections, each seen from one end
//	wait.go    what waits: answers for their requests, requests for their answers
//	event.go   exchanges → events
//
// It does not know how a protocol is read: that is a row of the table protocols. Start
// with [Probe] and tracer.Decode.
package http

import (
	"flag"
	"fmt"
	"strings"
	"time"

	"tracer/bpf"
	"tracer/trace/account"
	"tracer/trace/event"
	"tracer/trace/exchange"
	"tracer/trace/http1"
	"tracer/trace/kernel"
	"tracer/trace/message"
	"tracer/trace/option"
	"tracer/trace/session"
	"tracer/trace/stream"
)

// Probe is the row of `tracer http`.
var Probe = session.Probe{Name: "http",
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
	New: func() session.Tracer { return &tracer{} },
}

const (
	minPrefix = 64
	maxPrefix = 16 << 10

	// lookInterval is how often the kernel is told the time asleep, and looked at for
	// old requests.
	lookInterval = time.Second
)

// protocols is the table of what can be read, by the verdict of the programs.
var protocols = []message.Protocol{http1.Protocol}

// tracer reports HTTP exchanges, and requests that wait for too long.
type tracer struct {
	ports   []uint16
	methods option.Methods
	path    string
	host    string
	status  option.Statuses
	slow    time.Duration
	role    string
	stuck   time.Duration
	prefix  uint64 // bytes
	summary bool

	kernelFacts

	session *session.Host
	parsers []message.Parsers // by row of protocols
	join    *exchange.Join
	sum     *exchange.Summary // nil: there is none
	conns   map[uint64]*conn  // by the address of the kernel's socket
	orphans []orphan
	waits   waits
	head    []byte              // of the map heads, while it is looked at
	state   bpf.HttpSocketState // the same, of the map sockets
	summed  bpf.HttpHttpCall
	kept    [4096]bpf.HttpWaitingRequest // the variable waiting, while it is looked at
	segment stream.Segment               // that is fed

	// What the callbacks of parsers are about.
	conn *conn
	now  uint64 // boot clock, as of the last record or timer
	sure uint64 // what was sent before has been decoded

	gone     uint64 // requests that parsers have given up
	unpaired uint64 // ends of them

	// Timers: what waits looks when it is due.
	adopting, joining, sticking, sweeping, looking, summing *session.Timer

	event  event.HTTP // reused
	spoken bool       // what is spoken at the ports is known
}

func (t *tracer) Flags(fs *flag.FlagSet) {
	t.stuck, t.prefix = 5*time.Second, 1<<10
	fs.Var(option.Ports(&t.ports), "port", "`N[,N…]` only exchanges from or to one of these ports")
	fs.Var(t.methods.Value(), "method", "`M[,M…]` only these methods")
	fs.Var(option.Text(&t.path), "path", "`GLOB` only this path (with its query); * and ? match")
	fs.Var(option.Text(&t.host), "host", "`GLOB` only this host, as in the Host header; * and ? match")
	fs.Var(t.status.Value(), "status", "`5xx,400-499` only these statuses")
	fs.Var(option.Duration(&t.slow, 0), "slow", "`100ms` only exchanges that took at least this long")
	fs.Var(option.OneOf(&t.role, event.RoleClient, event.RoleServer), "role", "`client|server` only the client's or the server's side")
	fs.Var(option.Duration(&t.stuck, 0), "stuck", "`2s` report if unanswered this long; 0: off")
	fs.Var(option.Size(&t.prefix, minPrefix, maxPrefix), "prefix", "`1KiB` capture this much of each head")
	fs.BoolVar(&t.summary, "summary", false, "one row per method, host and route")
}

// View is another one with --summary.
func (t *tracer) View() string {
	if t.summary {
		return "http-summary"
	}
	return "http"
}

func (t *tracer) Attached(h *session.Host) error {
	t.session = h
	t.conns = map[uint64]*conn{}
	for _, p := range protocols {
		t.parsers = append(t.parsers, p.New(t.exchange, t.waited))
	}
	t.join = exchange.NewJoin(t.reportEnds)
	t.now = kernel.Now()
	t.adopting = h.Timer(func() { t.tick(t.adopt) })
	t.joining = h.Timer(func() { t.tick(t.joinLate) })
	t.sticking = h.Timer(func() { t.tick(t.tellStuck) })
	t.sweeping = h.Timer(func() { t.tick(t.sweep) })
	t.looking = h.Timer(func() { t.tick(t.look) })
	t.sweeping.In(idleCheck)
	t.looking.In(t.lookInterval())
	if t.summary {
		t.sum = exchange.NewSummary(t.now)
		t.summing = h.Timer(t.tellSummary)
		t.summing.In(exchange.SummaryInterval)
	}
	return nil
}

// tick calls f when a timer is due.
func (t *tracer) tick(f func()) {
	t.sure = t.session.Horizon()
	t.now = max(t.now, t.sure)
	t.join.Advance(t.now)
	f()
	t.settle()
}

// settle counts what was given up, and sets the timer for what waits for its other
// end.
func (t *tracer) settle() {
	t.session.Ledger.LostInAll(account.Unpaired, (t.unpaired+1)/2)
	if due, ok := t.join.Due(); ok {
		t.joining.At(due)
	}
}

func (t *tracer) joinLate() { t.join.Look(false) }

func (t *tracer) tellSummary() {
	t.summing.In(exchange.SummaryInterval)
	now := kernel.Now()
	t.sum.Tell(t.session, now, t.session.Clock.Wall(now), false)
}

func (t *tracer) Detaching() {}

// End tells what waits.
func (t *tracer) End() {
	t.sure = kernel.Now()
	t.now = max(t.now, t.sure)
	t.join.Advance(t.now)
	t.adoptAll()
	t.join.Look(true)
	t.settle()
	if t.sum != nil {
		t.sum.Tell(t.session, t.now, t.session.Clock.Wall(t.now), true)
	}
}

// look does what is to be done every now and then.
func (t *tracer) look() {
	t.looking.In(t.lookInterval())
	_ = t.session.Set(bpf.HttpVarAsleep, kernel.Asleep()) // it was set before
	if t.stuck > 0 {
		t.lookAtKept()
	}
	if len(t.ports) > 0 && !t.spoken {
		t.tellOther()
	}
}

func (t *tracer) lookInterval() time.Duration {
	if t.stuck > 0 {
		return max(min(t.stuck, lookInterval), leastLook)
	}
	return lookInterval
}

// tellOther says, once, that what goes on at the chosen ports is not HTTP/1.
func (t *tracer) tellOther() {
	_, kinds, err := t.session.Counts()
	if err != nil {
		return // the account tells
	}
	text := ""
	switch {
	case kinds["http1"] > 0:
		t.spoken = true
		return
	case kinds["tls"] > 0 && kinds["http2"] > 0:
		text = "only TLS and HTTP/2 so far at port %s: neither can be looked into"
	case kinds["tls"] > 0:
		text = "only TLS so far at port %s: what is inside cannot be seen; trace where it is plain, as behind the proxy that ends it"
	case kinds["http2"] > 0:
		text = "only HTTP/2 so far at port %s: it cannot be read; HTTP/1 can"
	default:
		return
	}
	t.spoken = true
	ports := strings.Trim(fmt.Sprint(t.ports), "[]")
	t.session.Notice(&event.Notice{Kind: "warning", Message: fmt.Sprintf(text, ports)})
}
