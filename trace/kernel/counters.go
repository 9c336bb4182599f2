package kernel

import (
	"fmt"

	"tracer/bpf"
)

// noticed are losses that a program takes note of when it finds out that another
// program did not run.
var noticed = [len(bpf.LossNames)]bool{bpf.ExecLossAcceptMissed: true, bpf.ExecLossStepMissed: true}

// Sum reads a counter that each CPU has for itself; 0 if no program of the object
// counts in this map. Counters only grow: they are never set back.
func (o *Object) Sum(mapName string, i uint32) (sum uint64, err error) {
	m := o.maps[mapName]
	if m == nil {
		return 0, nil
	}
	if err := m.Lookup(i, o.perCPU); err != nil {
		return 0, fmt.Errorf("read map %q of %q: %w", mapName, o.name, err)
	}
	for _, n := range o.perCPU {
		sum += n
	}
	return sum, nil
}

// readCounters takes over what the object's programs and the kernel have counted.
func (o *Object) readCounters() error {
	for cause := range o.lost {
		if o.ended && noticed[cause] {
			continue
		}
		n, err := o.Sum(bpf.ExecMapLost, uint32(cause))
		if err != nil {
			return err
		}
		o.lost[cause] = n
	}
	if !o.ended {
		o.readMissed(o.lost[bpf.ExecLossSeenByCopy] - o.before[bpf.ExecLossSeenByCopy])
	}
	return nil
}

// readMissed adds up what the kernel tells of programs that it did not run. What all
// copies of a program missed is at most the least of what each did. It is also what
// the first missed, without what others have seen and count, where that count is
// exact: a program that is preempted while it takes note of an event may lose the note,
// and a copy then counts what the first has seen. Too little would be told.
func (o *Object) readMissed(seenByCopies uint64) {
	least := map[*bpf.Program]uint64{} // by a program and its copies together
	var first uint64
	for name, p := range o.programs {
		st, err := p.Stats()
		if err != nil {
			continue // a kernel that does not tell
		}
		row, number := bpf.Find(name)
		if row == nil || row.Lossless {
			continue
		}
		if n, known := least[row]; !known || st.RecursionMisses < n {
			least[row] = st.RecursionMisses
		}
		if number == 0 && !row.Sparse {
			first += st.RecursionMisses
		}
	}
	o.missed, o.sparse = 0, 0
	for row, n := range least {
		if row.Sparse {
			o.sparse += n
		} else {
			o.missed += n
		}
	}
	if !o.preempts {
		o.missed = min(o.missed, first-min(first, seenByCopies))
	}
}

// beginCounters leaves out what programs lost while they were attached one by one.
func (o *Object) beginCounters() error {
	err := o.readCounters()
	o.before = o.lost
	return err
}

// endCounters leaves out what programs notice as missed while they are detached.
func (o *Object) endCounters() error {
	err := o.readCounters()
	o.ended = true
	return err
}
