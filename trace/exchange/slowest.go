package exchange

import (
	"slices"
	"strings"
	"time"

	"tracer/trace/event"
)

const slowestKept = 3

// slowest are the exchanges that took longest, the first the longest.
type slowest []*event.HTTP

// add keeps a copy of e if few took longer, and returns it; else nil.
func (s *slowest) add(e *event.HTTP) *event.HTTP {
	list := *s
	n := len(list)
	if n == slowestKept && took(e) <= took(list[n-1]) {
		return nil
	}
	c := *e
	c.Recorded = ""
	for _, text := range []*string{&c.Method, &c.Path, &c.Host, &c.GRPCMessage} { // valid as long as e
		*text = strings.Clone(*text)
	}
	at := 0
	for at < n && took(list[at]) >= took(e) {
		at++
	}
	list = slices.Insert(list, at, &c)
	*s = list[:min(n+1, slowestKept)]
	return &c
}

// took is how long an answer, or that there is none, took to come.
func took(e *event.HTTP) time.Duration {
	if e.Latency == 0 {
		return e.Duration
	}
	return e.Latency
}
