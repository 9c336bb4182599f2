package event

import (
	"iter"
	"time"
)

// A Page is a look at all rows of a table whose rows are things (processes,
// routes) and not happenings. It is told after the events of its interval,
// which are the rows that have changed; JSON needs no more than those.
type Page struct {
	Interval time.Duration // since the page before
	Elapsed  time.Duration // since tracing began
	Closing  bool          // the last one: it tells of the whole run
	Rows     iter.Seq[Event]
	Total    int   // number of Rows
	Sum      Event // of all rows; nil if there is no such thing
	// Below are single events that the page ends with, because they stand out.
	Below []Event
}
