package conn

import (
	"errors"
	"flag"
	"hash/maphash"
	"time"

	"tracer/bpf"
	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/option"
	"tracer/trace/session"
)

// firstRetry is when a SYN without an answer is sent again. The kernel tells of
// that, and of the first SYN only if it must: a connect that waits is noticed
// without a cost for those that do not.
const firstRetry = time.Second

// tracer reports TCP connections.
type tracer struct {
	ports  []uint16
	failed bool
	stuck  time.Duration
	slow   time.Duration
	older  bool // those that are open already are rows, too
	summed bool
	turns  bool

	host     *session.Host
	tick     time.Duration    // of the kernel's timer; 0 if unknown
	recvArgs int              // number of parameters of tcp_recvmsg
	uring    []string         // programs of which one may fit the kernel's io_uring
	unseen   *kernel.Iterator // counts connections whose end was missed; nil where there are no iterators

	// Connects without an answer yet, until their end.
	waits  map[wait]*waiter
	untold int            // of those
	due    *session.Timer // the next of them may be told

	talks   map[wait]*turns  // of connections whose close comes next
	talking *kernel.Iterator // reads those of open ones; nil: they are not told

	listening listeners
	queues    *session.Queues // of listeners; nil: they are not watched

	sum     *summary // nil: there is none
	order   option.Order
	summing *session.Timer
	names   [2]maphash.Seed // of what a recording names

	// Reused for every event of its kind.
	connect       event.Connect
	connectFailed event.ConnectFailed
	connectStuck  event.ConnectStuck
	accept        event.Accept
	close         event.Close
	open          event.Open
}

type waiter struct {
	record bpf.ConnConnRecord // the last one
	told   bool
}

func (t *tracer) Flags(fs *flag.FlagSet) {
	t.stuck = firstRetry
	fs.Var(option.Ports(&t.ports), "port", "`N[,N…]` only connections from or to one of these ports")
	fs.BoolVar(&t.failed, "failed", false, "only connections that could not be opened or were reset")
	fs.Var(option.Duration(&t.stuck, 0), "stuck", "`1s` report a connect unanswered this long; 0: off")
	fs.Var(option.Duration(&t.slow, 0), "slow", "`50ms` only connects that took at least this long")
	fs.BoolVar(&t.older, "open", false, "first a row for each connection that is open now")
	fs.BoolVar(&t.summed, "summary", false, "one row per process, destination and result")
	fs.BoolVar(&t.turns, "turns", false, "times from request to answer, of any protocol")
	fs.Var(t.order.Flag(summaryKeys...), "sort", t.order.Usage())
}

// Validate says what is wrong with the flags together.
func (t *tracer) Validate() error {
	if t.turns && t.slow > 0 {
		return errors.New("--turns is told with closes, which --slow leaves out")
	}
	return t.order.Validate(t.summed)
}

// Order is what the rows of a summary are sorted by.
func (t *tracer) Order() *option.Order {
	if !t.summed {
		return nil
	}
	return &t.order
}

// Reorder shows the summary once more: in another order.
func (t *tracer) Reorder() { t.sum.reorder(t.host) }

// View is another one with --summary.
func (t *tracer) View() string {
	switch {
	case t.summed && t.turns:
		return "conn-summary turns"
	case t.summed:
		return "conn-summary"
	}
	return "conn"
}
