package draw

import (
	"fmt"
	"time"
)

// A moment is what --from and --to say: a time, or a time of the recording's day.
type moment struct {
	at    time.Time     // zero: none
	clock time.Duration // since midnight, if ofDay
	ofDay bool
}

func parseMoment(s string) (m moment, err error) {
	if s == "" {
		return m, nil
	}
	if m.at, err = time.Parse(time.RFC3339, s); err == nil {
		return m, nil
	}
	for _, layout := range []string{time.TimeOnly, "15:04"} { // a fraction may follow the seconds
		if t, err := time.Parse(layout, s); err == nil {
			return moment{ofDay: true, clock: t.Sub(t.Truncate(24 * time.Hour))}, nil
		}
	}
	return moment{}, fmt.Errorf("invalid time %q (for example 15:04:05, or 2006-01-02T15:04:05Z)", s)
}

// in is the time that is meant in a recording: on the day on which it began, in the zone
// of first, or on the next one, if it goes on until then and had not begun at that time.
func (m moment) in(first, last time.Time) time.Time {
	if !m.ofDay {
		return m.at
	}
	on := func(days int) time.Time {
		y, month, d := first.Date()
		return time.Date(y, month, d+days, 0, 0, 0, int(m.clock%time.Second), first.Location()).Add(m.clock.Truncate(time.Second))
	}
	if t := on(0); !t.Before(first) || on(1).After(last) {
		return t
	}
	return on(1)
}
