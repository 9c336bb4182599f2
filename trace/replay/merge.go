package replay

import (
	"container/heap"
)

// A merge passes on the lines of several sources in the order in which what they tell
// ended. Of each source the order stays as it is.
type merge struct {
	sources []*input
	heap    inputs // those whose next line is known
	stats   *Stats
	err     error // the first failure of a source: the others are read all the same
	done    int   // sources that are at their end
}

// An input is a source, as far as it was read.
type input struct {
	*source
	host    *Host // of the next line; nil: not known yet
	batch   *batch
	at      int   // in it
	ended   int64 // of the line there
	inHeap  bool
	over    bool
	ordinal int
}

// fill looks for the next line of each source that has none, as far as that has come. It
// reports whether the lines that are there can be passed on: false if one is waited for.
func (m *merge) fill() bool {
	ready := true
	for _, in := range m.sources {
		if in.over || in.inHeap {
			continue
		}
		// In this order: who waits has sent what it had before.
		waits := in.follow != nil && in.follow.waits.Load()
		m.receive(in)
		ready = ready && (in.over || in.inHeap || waits)
	}
	return ready
}

// receive takes batches until one has a line.
func (m *merge) receive(in *input) {
	for {
		select {
		case b, ok := <-in.batches:
			if !ok {
				in.over = true
				m.done++
				return
			}
			m.account(b)
			if len(b.lines) == 0 {
				in.release(b)
				continue
			}
			in.batch, in.at = b, 0
			m.push(in)
			return
		default:
			return
		}
	}
}

// account counts what could not be read.
func (m *merge) account(b *batch) {
	for why, n := range b.unread {
		m.stats.Unread[why] += n
	}
	if b.problem != "" {
		m.stats.Problems = append(m.stats.Problems, b.problem)
	}
	if m.err == nil {
		m.err = b.err
	}
}

// push takes an input into the heap, with its next line.
func (m *merge) push(in *input) {
	in.ended = endOf(in.batch.lines[in.at].Object, in.ended)
	in.inHeap = true
	heap.Push(&m.heap, in)
}

// first is the input whose line comes next; nil: there is none now.
func (m *merge) first() *input {
	if len(m.heap) == 0 {
		return nil
	}
	return m.heap[0]
}

// line is the one that comes next of an input that first has returned.
func (in *input) line() *Line { return &in.batch.lines[in.at] }

// pass goes on to the line behind that of first, whose text may be overwritten then.
func (m *merge) pass() {
	in := m.heap[0]
	m.stats.Lines++
	if in.at++; in.at < len(in.batch.lines) {
		in.ended = endOf(in.line().Object, in.ended)
		heap.Fix(&m.heap, 0)
		return
	}
	heap.Pop(&m.heap)
	in.inHeap = false
	in.release(in.batch)
	in.batch = nil
}

// over reports whether all sources are at their end.
func (m *merge) over() bool { return m.done == len(m.sources) }

// inputs is a heap: what ended first comes first, of the same time in the order of files.
type inputs []*input

func (h inputs) Len() int { return len(h) }
func (h inputs) Less(i, j int) bool {
	if h[i].ended != h[j].ended {
		return h[i].ended < h[j].ended
	}
	return h[i].ordinal < h[j].ordinal
}
func (h inputs) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *inputs) Push(x any)   { *h = append(*h, x.(*input)) }
func (h *inputs) Pop() any {
	last := len(*h) - 1
	in := (*h)[last]
	*h = (*h)[:last]
	return in
}
