package http

import (
	"slices"

	"tracer/trace/event"
	"tracer/trace/exchange"
	"tracer/trace/session"
)

var _ session.Replayer = (*tracer)(nil)

// Replaying readies the tracer for events of a recording.
func (t *tracer) Replaying(h *session.Host) {
	t.session = h
	t.events = &events{options: &t.options, session: h}
	t.recorded = &recorded{waits: map[recordedName]*event.HTTP{}}
	if t.summary {
		t.events.sum = exchange.NewSummary(h.Now())
		t.events.sum.Key = t.order.Key
		t.summing = h.Timer(func() {
			t.summing.In(exchange.SummaryInterval)
			t.tellRecorded(false)
		})
		t.summing.In(exchange.SummaryInterval)
	}
}

// Replay takes an event of a recording.
func (t *tracer) Replay(e event.Event, host int) (bool, error) {
	h, ok := e.(*event.HTTP)
	if !ok {
		return false, nil
	}
	stuck := h.Kind == event.KindHTTPStuck
	if !t.session.Passes(h, t.filtersRecorded(h)) {
		return true, nil
	}
	switch {
	case !t.summary:
		t.session.Show(h)
	case t.session.TakeJudged(h):
		name := nameRecorded(h, host)
		if stuck {
			t.recorded.wait(name, h)
		} else {
			delete(t.recorded.waits, name)
			t.events.sum.Add(h)
		}
	}
	return true, nil
}

// filtersRecorded is the first of the probe's own filters that a recorded event does not
// pass; empty if it passes them all.
func (t *tracer) filtersRecorded(h *event.HTTP) string {
	switch {
	case len(t.ports) > 0 && !slices.Contains(t.ports, h.Src.Port()) && !slices.Contains(t.ports, h.Dst.Port()):
		return "port"
	case t.role != "" && h.Role != t.role && h.Role != event.RoleBoth:
		return "role"
	case h.TLS != "" && t.noTLS:
		return "no-tls"
	case h.Kind == event.KindHTTPStuck && (t.stuck == 0 || t.stuck != defaultStuck && h.Age < t.stuck):
		return "stuck"
	}
	return t.filters(h)
}

// Replayed tells the summary.
func (t *tracer) Replayed() {
	if t.summary {
		t.tellRecorded(true)
	}
}

// tellRecorded shows the rows of the summary.
func (t *tracer) tellRecorded(last bool) {
	now := t.session.Now()
	wall := t.session.Clock.Wall(now)
	for _, h := range t.recorded.waits {
		e := *h
		e.Age = max(h.Age, wall.Sub(h.Time))
		t.events.sum.Wait(&e)
	}
	t.events.sum.Tell(t.session, now, wall, last)
}
