package http

import (
	"time"

	"tracer/bpf"
	"tracer/trace/kernel"
	"tracer/trace/message"
)

// spentLeast is from which time on something is said of where it went. The counters of a
// thread are behind by up to a tick, and arrivals are known in ticks, of 10 ms at the most.
const spentLeast = 10 * time.Millisecond

// spent is what the programs said of a request with its answer.
type spent struct {
	message.Spent
	read   int64 // when the request's last piece was read
	answer int64 // when the answer began
}

// jiffy is the kernel's tick; 0: not known, then nothing is said of queues.
var jiffy = kernel.Tick()

// spentOf makes durations of the part of a record whose call is an answer's first.
func spentOf(s *bpf.HttpHttpSpent, answer *bpf.HttpHttpCall) spent {
	known := func(d time.Duration) time.Duration {
		if d < spentLeast {
			return 0
		}
		return d
	}
	of := spent{read: int64(s.Read), answer: int64(answer.Time)}
	of.Accept = known(time.Duration(s.Accept) * jiffy)
	of.Queue = known(time.Duration(s.Queue) * jiffy)
	if s.Thread == 0 {
		return of
	}
	took := time.Duration(of.answer - of.read)
	waited := min(time.Duration(s.Runq), took)
	ran := min(time.Duration(s.Cpu), took-waited)
	of.CPU, of.RunQ, of.Blocked = known(ran), known(waited), known(took-ran-waited)
	return of
}

// on is what it is if it is about this exchange: its answer is the one, and the last that
// was read before belongs to it. A client that does not wait for answers has sent a further
// request by then.
func (s *spent) on(x *message.Exchange) message.Spent {
	if x.Role == message.Server && x.Stream == 0 && s.answer != 0 && x.ResponseStart == s.answer &&
		x.RequestStart <= s.read && s.read <= x.RequestEnd {
		return s.Spent
	}
	return message.Spent{}
}
