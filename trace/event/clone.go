package event

import (
	"strings"
	"time"
)

// Clone returns a copy of e that stays valid when e is used again; nil for what sums
// events up, which nobody keeps.
func Clone(e Event) Event {
	switch e := e.(type) {
	case *Exec:
		return copyOf(e)
	case *Exit:
		return copyOf(e)
	case *ExecFailed:
		return copyOf(e)
	case *Connect:
		return copyOf(e)
	case *ConnectFailed:
		return copyOf(e)
	case *ConnectStuck:
		return copyOf(e)
	case *Accept:
		return copyOf(e)
	case *Close:
		return copyOf(e)
	case *Open:
		return copyOf(e)
	case *HTTP:
		c := copyOf(e)
		for _, s := range []*string{&c.Method, &c.Path, &c.Host, &c.GRPCMessage} {
			*s = strings.Clone(*s)
		}
		return c
	}
	return nil
}

func copyOf[T any](e *T) *T {
	c := *e
	return &c
}

// Ended is when e was over: of an exchange its last byte, of a request that waits the
// moment when that was told. All others are over when they happen.
func Ended(e Event) time.Time {
	h := e.Head()
	if x, ok := e.(*HTTP); ok {
		return h.Time.Add(x.Duration + x.Age)
	}
	return h.Time
}
