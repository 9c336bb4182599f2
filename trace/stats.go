package trace

import (
	"fmt"
	"maps"

	"github.com/cilium/ebpf"

	"tracer/bpf"
)

// Causes of loss: the values of "lost_by" in the account. Those that the programs
// count come first.
const (
	lostRingFull = bpf.ExecLossRingFull
	lostMapFull  = bpf.ExecLossMapFull
	lostDetail   = bpf.ExecLossDetailMissing
	lostNot      = bpf.ExecLossSeenByCopy
	lostAccept   = bpf.ExecLossAcceptMissed
	lostStep     = bpf.ExecLossStepMissed
	kernelCauses = len(bpf.LossNames)

	lostBadRecord  = iota + kernelCauses - 7 // a record that could not be decoded
	lostOutputFull                           // the reader of stdout was too slow
	lostMissed                               // the kernel did not run a program
	lostPlace                                // whether its container or pod is wanted was not known in time
	lostReading                              // counters could not be read; a later reading tells what they tell
	lostUnpaired                             // a request that was seen, and not for certain which answer is its own
	lostCauses
)

var causeNames = [lostCauses]string{
	lostRingFull:   bpf.LossNames[lostRingFull],
	lostMapFull:    bpf.LossNames[lostMapFull],
	lostAccept:     bpf.LossNames[lostAccept],
	lostStep:       bpf.LossNames[lostStep],
	lostBadRecord:  "bad_record",
	lostOutputFull: "output_full",
	lostMissed:     "program_missed",
	lostPlace:      "place_unknown",
	lostReading:    "reading_failed",
	lostUnpaired:   "unpaired",
}

// Stats counts what became of events. What the kernel lost is read from its
// counters, which only grow: they are never set back.
type Stats struct {
	emitted uint64 // events that reached the filter
	shown   uint64
	lost    [lostCauses]uint64
	before  [kernelCauses]uint64 // what the kernel had counted when tracing began
	ended   bool                 // what is noticed as missed does not count any more

	kinds    map[string]uint64 // what came, before any filter of tracer's own
	filtered map[string]uint64 // what they kept out, by filter

	perCPU []uint64 // scratch for reading a counter
}

func newStats() *Stats {
	return &Stats{
		perCPU:   make([]uint64, ebpf.MustPossibleCPU()),
		kinds:    map[string]uint64{},
		filtered: map[string]uint64{},
	}
}

// readKernel takes over the counters of the map lost.
func (s *Stats) readKernel(m *ebpf.Map) error {
	for cause := range bpf.ExecLoss(kernelCauses) {
		if s.ended && (cause == lostAccept || cause == lostStep) {
			continue
		}
		sum, err := s.sum(m, uint32(cause))
		if err != nil {
			return fmt.Errorf("read map %q: %w", "lost", err)
		}
		s.lost[cause] = sum - s.before[cause]
	}
	return nil
}

// sum reads a counter.
func (s *Stats) sum(m *ebpf.Map, i uint32) (sum uint64, err error) {
	err = m.Lookup(i, s.perCPU)
	for _, n := range s.perCPU {
		sum += n
	}
	return sum, err
}

// tell adds what the kernel has counted to what was counted here.
func (s *Stats) tell(m *ebpf.Map) (kinds, filtered map[string]uint64, err error) {
	kinds, filtered = maps.Clone(s.kinds), maps.Clone(s.filtered)
	for _, c := range []struct {
		names map[bpf.ExecCounted]string
		to    map[string]uint64
	}{{bpf.ProtocolNames, kinds}, {bpf.FilterNames, filtered}} {
		for what, name := range c.names {
			n, err := s.sum(m, uint32(what))
			if err != nil {
				return nil, nil, fmt.Errorf("read map %q: %w", "counts", err)
			}
			if n != 0 {
				c.to[name] += n
			}
		}
	}
	return kinds, filtered, nil
}

// begin leaves out what the programs lost while they were attached one by one.
func (s *Stats) begin(m *ebpf.Map) error {
	err := s.readKernel(m)
	for cause := range s.before {
		s.before[cause] += s.lost[cause]
		s.lost[cause] = 0
	}
	return err
}

// end leaves out what the programs take for missed while they are detached one by
// one: what those that are gone already would have seen.
func (s *Stats) end(m *ebpf.Map) error {
	err := s.readKernel(m)
	s.ended = true
	return err
}

// total is the number of events lost, and each cause's share.
func (s *Stats) total() (uint64, map[string]uint64) {
	var sum uint64
	by := map[string]uint64{}
	for cause, n := range s.lost {
		if name := causeNames[cause]; n > 0 && name != "" {
			sum += n
			by[name] = n
		}
	}
	return sum, by
}
