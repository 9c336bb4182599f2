package kernel

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/rlimit"
)

// A Buffer says how records travel from programs to the reader.
type Buffer int

const (
	BufferAuto Buffer = iota // a ring, perf buffers where the kernel has none
	BufferRing               // a ring buffer
	BufferPerf               // perf event arrays
)

var bufferNames = []string{BufferAuto: "auto", BufferRing: "ring", BufferPerf: "perf"}

func (b Buffer) String() string { return bufferNames[b] }

// ParseBuffer is the inverse of String.
func ParseBuffer(name string) (Buffer, error) {
	if i := slices.Index(bufferNames, name); i >= 0 {
		return Buffer(i), nil
	}
	return 0, fmt.Errorf("no buffer %q; there are %s", name, strings.Join(bufferNames, ", "))
}

// HaveRing tries whether the kernel has ring buffers: nil if it has, or another
// error than [ebpf.ErrNotSupported] if that cannot be told. Kernels before 5.11 count a map
// against RLIMIT_MEMLOCK, which is raised.
func HaveRing() error {
	_ = rlimit.RemoveMemlock() // what cannot be raised may suffice
	return features.HaveMapType(ebpf.RingBuf)
}

// pick chooses a ring or perf buffers.
func (b Buffer) pick(have func() error) (Buffer, error) {
	if b == BufferPerf {
		return b, nil
	}
	switch missing := errors.Is(have(), ebpf.ErrNotSupported); {
	case !missing:
		return BufferRing, nil
	case b == BufferRing:
		return 0, errors.New("this kernel has no ring buffers (they came with 5.8): leave --buffer out, or pass --buffer perf")
	}
	return BufferPerf, nil
}

// fit makes an object, which is written for a ring, send its records so. The
// sizes of its rings are lost.
func (b Buffer) fit(spec *ebpf.CollectionSpec) {
	for _, m := range spec.Maps {
		if b == BufferPerf && m.Type == ebpf.RingBuf {
			m.Type, m.KeySize = ebpf.PerfEventArray, 4
		}
		if m.Type == ebpf.PerfEventArray {
			m.ValueSize = 4 // as it will have: descriptors
			if b == BufferPerf {
				m.MaxEntries = 0 // as many as there are CPUs
			}
		}
	}
}

// open opens what a map's records come from. If the programs wake the reader only
// when it waits, bell is how. A perf buffer has a share of what a ring would
// have, and not less than a quarter: one CPU may send most of it.
func (b Buffer) open(events, bell *ebpf.Map, state *ebpf.Variable, bytes uint32) (source, error) {
	// A nil pointer in an interface would not be nil.
	if b == BufferRing {
		r, err := newRing(events)
		if err != nil {
			return nil, err
		}
		return r, nil
	}
	p, err := newPerfBuffers(events, bell, state, int(bytes/min(events.MaxEntries(), 4)))
	if err != nil {
		return nil, err
	}
	return p, nil
}
