package traffic

import (
	"bufio"
	"flag"
	"time"

	"tracer/bpf"
	"tracer/trace/kernel"
	"tracer/trace/option"
	"tracer/trace/session"
)

// What a row of traffic is: values of --by.
const (
	byProcess    = "process"
	byProgram    = "program"
	byService    = "service"
	byConnection = "connection"
	byPeer       = "peer"
	byContainer  = "container"
	byPod        = "pod"
)

// sortTotal is the order of rows by all bytes.
const sortTotal = "total"

// defaultInterval is the time between refreshes if nothing else is asked for. Rows of a
// recording keep the intervals that they were recorded in then.
const defaultInterval = time.Second

// leastInterval is how often sockets are read at most.
const leastInterval = 10 * time.Millisecond

// tracer reports who moves how many bytes.
type tracer struct {
	by       string
	sortBy   string        // what order says, as rows were sorted last
	order    *option.Order // nil: in tests
	interval time.Duration
	top      uint64

	recvArgs int // number of parameters of tcp_recvmsg

	host  *session.Host
	next  *session.Timer
	reads map[string]*kernel.Iterator // by program
	look  uint32                      // the last one at all files
	buf   *bufio.Reader

	canList bool   // the programs can list sockets that move
	listing bool   // they do, and readings are of those
	passDue uint64 // when the next reading is of all sockets again: boot clock

	sockets map[socketID]*socketState
	active  map[socketID]*socketState // those of which a reading was new, or some bytes are in no row yet
	sharing int                       // sockets that several processes use
	flows   map[bpf.TrafficFlowKey]*flowState
	pairs   map[pairKey]*pair // of which an end is in sockets or flows
	rows    map[rowKey]*row
	folded  fold
	refused map[rowKey]session.Refusal // rows of this interval that filters leave out
	ended   []bpf.TrafficShareKey      // shares of sockets that are gone

	began, last uint64 // of all, and of this interval: boot clock

	recordedAt uint64 // of a recording: the end of the interval that is being read
}

func (t *tracer) Flags(fs *flag.FlagSet) {
	t.by, t.interval, t.sortBy, t.order = byProcess, defaultInterval, sortTotal, &option.Order{}
	fs.Var(option.OneOf(&t.by, byProcess, byProgram, byService, byConnection, byPeer, byContainer, byPod), "by",
		"`process|program|service|connection|peer|container|pod` a row for each")
	fs.Var(option.Duration(&t.interval, leastInterval), "interval", "`1s` time between refreshes")
	fs.Var(option.Number(&t.top, 0), "top", "`N` show at most N rows; 0: as many as fit, or all")
	fs.Var(t.order.Flag(sortTotal, "tx", "rx"), "sort", "`tx|rx|total` order of the rows (default total)")
}

// Order is what rows are sorted by.
func (t *tracer) Order() *option.Order { return t.order }

// Reorder does nothing: the next rows are sorted by what is chosen now.
func (t *tracer) Reorder() {}

// byAddress reports whether of UDP both addresses matter.
func (t *tracer) byAddress() bool { return t.by == byConnection || t.by == byService }

// View names the view of rows of this kind.
func (t *tracer) View() string {
	if t.by == byProcess {
		return "traffic"
	}
	return "traffic by " + t.by
}
