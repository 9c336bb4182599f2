package traffic

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"slices"
	"time"

	"tracer/bpf"
	"tracer/trace/kernel"
	"tracer/trace/session"
)

// What a row of traffic is: values of --by.
const (
	byProcess    = "process"
	byConnection = "connection"
	byPeer       = "peer"
	byContainer  = "container"
	byPod        = "pod"
)

// leastInterval is how often sockets are read at most.
const leastInterval = 10 * time.Millisecond

// tracer reports who moves how many bytes.
type tracer struct {
	by       string
	sortBy   string
	interval time.Duration
	top      int

	recvArgs int // number of parameters of tcp_recvmsg

	host  *session.Host
	next  *session.Timer
	reads map[string]*kernel.Iterator // by program
	look  uint32                      // the last one at all files
	buf   *bufio.Reader

	sockets map[socketID]*socketState
	flows   map[bpf.TrafficFlowKey]*flowState
	rows    map[rowKey]*row
	folded  fold
	refused map[rowKey]session.Refusal // rows of this interval that filters leave out
	ended   []bpf.TrafficShareKey      // shares of sockets that are gone

	began, last uint64 // of all, and of this interval: boot clock
}

func (t *tracer) Flags(fs *flag.FlagSet) {
	fs.StringVar(&t.by, "by", byProcess, "`process|connection|peer|container|pod` what a row is")
	fs.DurationVar(&t.interval, "interval", time.Second, "`1s` refresh every")
	fs.IntVar(&t.top, "top", 0, "`N` rows shown; 0: what fits the terminal, else all")
	fs.StringVar(&t.sortBy, "sort", "total", "`tx|rx|total` what rows are sorted by")
}

func (t *tracer) Validate() error {
	switch {
	case !slices.Contains([]string{byProcess, byConnection, byPeer, byContainer, byPod}, t.by):
		return fmt.Errorf("--by: %q is none of process, connection, peer, container, pod", t.by)
	case !slices.Contains([]string{"tx", "rx", "total"}, t.sortBy):
		return fmt.Errorf("--sort: %q is none of tx, rx, total", t.sortBy)
	case t.interval < leastInterval:
		return fmt.Errorf("--interval: must be at least %v", leastInterval)
	case t.top < 0:
		return errors.New("--top: must not be less than 0")
	}
	return nil
}

// View names the view of rows of this kind.
func (t *tracer) View() string {
	if t.by == byProcess {
		return "traffic"
	}
	return "traffic by " + t.by
}
