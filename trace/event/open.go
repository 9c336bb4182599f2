package event

import "time"

// KindOpen is the kind of Open.
const KindOpen = "open"

// Open is a connection that was open when tracing began, as it was when it was looked at.
type Open struct {
	Common
	Connection
	Idle     time.Duration // since bytes were last moved; 0 if unknown
	Age      time.Duration // since it was established; 0 where that is not exact
	Unread   uint32        // bytes that have come
	Unsent   uint32        // bytes that were written
	Unacked  uint32        // the same, and those that are on their way
	Accepted bool          // false: it waits to be accepted, and the process is the listener's
}

func (e *Open) fields(t *table) {
	t.common(&e.Common)
	t.connection(&e.Connection)
	t.knownMicros("idle_us", &e.Idle)
	t.knownMicros("age_us", &e.Age)
	t.uint32("unread_bytes", &e.Unread, true)
	t.uint32("unsent_bytes", &e.Unsent, true)
	t.uint32("unacked_bytes", &e.Unacked, true)
	t.flag("accepted", &e.Accepted, true)
}
