// Package http reports HTTP exchanges, and requests that wait for too long: the
// records of bpf/http.bpf.c become segments of connections, a parser finds messages in
// them, and both ends of an exchange become one event.
//
//	options.go  the flags, and what they leave out
//	plan.go     what is loaded into the kernel
//	conn.go     the connections, each seen from one end: segments → exchanges
//	frames.go   the same of HTTP/2
//	event.go    exchanges → events
//	wait.go     what waits: answers for their requests, requests for their answers
//	unlinked.go plaintext of TLS of which no socket is known yet
//	dark.go     connections of TLS that cannot be read
//	http.go     the probe: puts these together, and sets their timers
//	spent.go    where the time of a request went
//	recorded.go what waits in a recording
//	replay.go   the same events, of a recording
//	decode.go   records → segments
//
// A file uses those above it only. The package does not know how a protocol is read:
// that is a row of the table protocols. Start with [Probe] and tracer.Decode.
package http

import (
	"fmt"
	"strings"
	"time"

	"tracer/bpf"
	"tracer/trace/event"
	"tracer/trace/exchange"
	"tracer/trace/kernel"
	"tracer/trace/session"
	"tracer/trace/tls"
)

// Probe is the row of `tracer http`.
var Probe = session.Probe{Name: name,
	Short: "every HTTP exchange with its latency, and those that never got an answer",
	Long: `Show every HTTP/1, HTTP/2 and gRPC exchange, and requests that get no answer.

A row has the method, path, status and sizes, and how long the exchange took, as
the kernel saw the process send and receive. LATENCY is the time from the first byte
of the request to the first byte of the answer; of a gRPC stream that is its first
message. TOTAL is the time to the last byte of the answer; --slow judges by it. If both
ends are on this host, the exchange is one row: SERVER is the server's part of LATENCY,
PEER who asked. WHERE says where 10ms and more of that went: until the connection
was accepted, in the socket until the request was read, and what the thread that read
and answered it did: on a processor (cpu), waiting for one (run queue), or blocked.
Without an answer STATUS says why, and who ended it: "closed by client"
(on a narrow terminal "by client"), "reset by server", "timeout", "not_http" if the
answer was something else. "200 gone": the client never read the answer. "200 slow":
LATENCY was 1s or more. STATUS of a call
of gRPC that failed is its code, as grpc 14; of a stream that was reset why, as
CANCEL. What is not known of an exchange, as a field of HTTP/2 that refers to one
which was sent before tracing began, is ?, and no filter matches it.

With --summary TOTAL TIME is the time spent in all exchanges of a route, also in requests
that still wait. The route with the most stands on top; --sort sorts by something else,
and the key s changes the order of a live screen (where rows that differ by less than 3%
keep their places). Requests that wait are in WAITING and
OLDEST, and not in COUNT. ERRORS are 5xx, unanswered requests, and what gRPC calls a
fault of the server. SRV P50 and SRV P99 are the server's part of P50 and P99: if it is much less,
requests wait in queues. The histogram shows how latencies are spread, from 10µs to
10s. STATE is "waits" if a request waits for 1s or more, and longer than any answer took;
"slow" if half of the answers took 1s or more, or 100ms and ten times as long as half of
all answers; "errors" if there were some in the last interval.

The first --prefix bytes of a message (at most 16KiB), and of HTTP/2 all frames but
DATA, are read when a process hands them to the kernel. So nothing is copied from the
network, and no certificate is needed. HTTPS is read where programs call their TLS
library (OpenSSL, GnuTLS, NSS, Go). Not seen: messages that begin in sendfile or splice.
If the kernel does not allow hooks on functions, messages in io_uring are not seen
either. HTTP over Unix sockets is not traced.`,
	Example: `  tracer http --summary --port 8080  request rates and latencies by route`,
	New:     func() session.Tracer { return &tracer{} },
}

// tracer reports HTTP exchanges, and requests that wait for too long.
type tracer struct {
	options
	session *session.Host
	join    *exchange.Join
	events  *events
	conns   *conns
	pending *pending
	tls     *tls.Source     // nil: plaintext of TLS is not seen
	queues  *session.Queues // of listeners; nil: they are not watched

	joining, looking, summing *session.Timer

	recorded *recorded // nil: events come from this host
	planned  time.Time // when loading began
	unlinked *unlinked
	dark     *dark

	summed bpf.HttpHttpCall // that Decode reads
	spoken bool             // what is spoken at the ports is known
}

// Plan is that of its options.
func (t *tracer) Plan(types *kernel.Types, opts *session.Options) (kernel.Plan, error) {
	t.planned = time.Now()
	return t.options.Plan(types, opts)
}

func (t *tracer) Attached(h *session.Host) error {
	t.session = h
	if t.summary {
		t.stuck = waitAge // whether they are rows of their own or not
	}
	if len(t.ports) == 0 && !h.Options.Filters() {
		// Whose queue was full conn knows.
		t.queues = h.WatchQueues(func(uint32) (*session.Listener, bool) { return nil, true })
	}
	t.events = &events{options: &t.options, session: h}
	t.join = exchange.NewJoin(t.events.reportEnds)
	t.conns = newConns(&t.options, h, t.join)
	t.pending = &pending{options: &t.options, session: h, conns: t.conns, join: t.join, events: t.events}
	t.conns.fed = t.pending.fed
	t.unlinked = newUnlinked(h.Ledger)
	t.dark = &dark{session: h, why: t.askWhy, conns: map[darkKey]*darkConn{}}
	t.dark.asking = t.timer(func() { t.dark.ask(t.conns.now) })
	t.conns.lit = t.dark.lit
	t.conns.now = kernel.Now()
	t.pending.adopting = t.timer(t.pending.adopt)
	t.pending.sticking = t.timer(t.pending.tellStuck)
	t.conns.sweeping = t.timer(t.conns.sweep)
	t.joining = t.timer(t.joinLate)
	t.looking = t.timer(t.look)
	t.conns.sweeping.Next(idleCheck)
	t.looking.Next(t.pending.lookInterval())
	if !t.noTLS && h.Object != nil && h.Object.Tier(tls.Feature) != 0 { // none offline
		var err error
		// A slow machine has taken longer for all else, too.
		if t.tls, err = tls.Open(h.Object, time.Since(t.planned)/2); err != nil {
			return err
		}
	}
	if t.summary {
		t.events.sum = exchange.NewSummary(t.conns.now)
		t.events.sum.Key = t.order.Key
		t.events.sum.Locate = func(e *event.Common) {
			if !h.Located() { // else it was done
				h.Locate(e)
			}
		}
		t.summing = h.Timer(t.tellSummary)
		t.summing.In(exchange.SummaryInterval)
	}
	return nil
}

// timer returns a timer that calls f.
func (t *tracer) timer(f func()) *session.Timer {
	return t.session.Timer(func() {
		t.conns.sure = t.session.Horizon()
		t.conns.advance(t.conns.sure)
		f()
		t.settle()
	})
}

// settle sets the timer for what waits for its other end.
func (t *tracer) settle() {
	if due, ok := t.join.Due(); ok {
		t.joining.At(due)
	}
}

func (t *tracer) joinLate() { t.join.Look(false) }

func (t *tracer) tellSummary() {
	t.summing.In(exchange.SummaryInterval)
	t.events.tellSummary(kernel.Now(), false, t.conns.eachWaiting)
}

// Reorder shows the summary once more: in another order.
func (t *tracer) Reorder() { t.events.sum.Reorder(t.session) }

// Detaching tells what listeners have dropped in the last part of a second.
func (t *tracer) Detaching() {
	if t.queues != nil {
		t.queues.Look()
	}
}

// Close ends what runs beside the session, which may never have run.
func (t *tracer) Close() {
	if t.tls != nil {
		t.tls.Close()
	}
}

// End tells what waits.
func (t *tracer) End() {
	t.conns.sure = kernel.Now()
	t.conns.advance(t.conns.sure)
	t.unlinked.dropAll()
	t.dark.end()
	t.pending.adoptAll()
	t.conns.giveUp()
	t.join.Look(true)
	t.settle()
	if t.summary {
		t.pending.waitAll(t.conns.now - uint64(lastWaitAge))
		t.events.tellSummary(t.session.Now(), true, t.conns.eachWaiting)
	}
}

// askWhy asks why a process cannot be read.
func (t *tracer) askWhy(pid uint32, tell func(string)) {
	if t.tls == nil {
		tell("")
		return
	}
	t.tls.Why(pid, tell)
}

// look does what is to be done every now and then.
func (t *tracer) look() {
	t.looking.Next(t.pending.lookInterval())
	_ = t.session.Set(bpf.HttpVarAsleep, kernel.Asleep()) // it was set before
	if t.stuck > 0 {
		t.pending.lookAtKept()
	}
	if len(t.ports) > 0 && !t.spoken {
		t.tellOther()
	}
}

// tellOther says, once, that what goes on at the chosen ports is nothing that can be read.
func (t *tracer) tellOther() {
	_, kinds, err := t.session.Counts()
	if err != nil {
		return // the account tells
	}
	switch {
	case kinds["http1"]+kinds["http2"] > 0:
		t.spoken = true
		return
	case kinds["tls"] == 0:
		return
	}
	text := "only TLS so far at port %s, which --no-tls leaves alone"
	if !t.noTLS {
		example := t.dark.example()
		if example == "" {
			return // its plaintext may be on its way
		}
		text = "only TLS so far at port %s that cannot be read: " + strings.ReplaceAll(example, "%", "%%")
	}
	t.spoken = true
	ports := strings.Trim(fmt.Sprint(t.ports), "[]")
	t.session.Notice(&event.Notice{Kind: "warning", Message: fmt.Sprintf(text, ports)})
}
