package exec

import (
	"tracer/trace/event"
	"tracer/trace/session"
)

var _ session.Replayer = (*tracer)(nil)

// Replaying readies the tracer for events of a recording.
func (t *tracer) Replaying(h *session.Host) {
	t.begin(h)
	t.trees = map[int]tree{}
}

// Replay takes an event of a recording. Processes that were only forked are in none: what
// they start stands in a tree as if nobody had started it.
func (t *tracer) Replay(e event.Event, host int) (bool, error) {
	if t.tree {
		if t.depths = t.trees[host]; t.depths == nil {
			t.depths = tree{}
			t.trees[host] = t.depths
		}
	}
	switch e := e.(type) {
	case *event.Exec:
		if t.tree {
			e.Depth = t.depths.started(e.PID, e.PPID)
		}
	case *event.Exit:
		if t.tree {
			e.Depth = t.depths.ended(e.PID, e.PPID)
		}
		if !t.tellsEnds() {
			return false, nil
		}
	case *event.ExecFailed:
		if !t.tellsFailed() {
			return false, nil
		}
		if t.tree {
			e.Depth = t.depths.of(e.PID, e.PPID)
		}
	default:
		return false, nil
	}
	if t.sum == nil {
		t.host.Emit(e)
	} else {
		t.sum.host = host
		t.sumUp(e)
	}
	return true, nil
}

// Replayed tells the summary.
func (t *tracer) Replayed() { t.endSummary() }
