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

// maxSpent is how many calls of HTTP/2 a connection remembers that lay in the socket.
const maxSpent = 16

// A spentList has what was said of requests whose exchanges are to come.
type spentList []spent

// note adds what was said of an answer that begins, or of a call of HTTP/2.
func (l *spentList) note(s spent, framed bool) {
	list := *l
	switch {
	case !framed:
		*l = append(list[:0], s)
	case s.Accept|s.Queue == 0 || len(list) > 0 && list[len(list)-1].read == s.read:
	case len(list) == maxSpent:
		copy(list, list[1:])
		list[maxSpent-1] = s
	default:
		*l = append(list, s)
	}
}

// on is what was said of an exchange.
func (l spentList) on(x *message.Exchange) message.Spent {
	for i := range l {
		if s := &l[i]; s.isOf(x) {
			return s.Spent
		}
	}
	return message.Spent{}
}

// isOf reports whether it is about this exchange: its request began with that call of
// HTTP/2; or its answer is the one, and the last that was read before belongs to it. A
// client that does not wait for answers has sent a further request by then.
func (s *spent) isOf(x *message.Exchange) bool {
	switch {
	case x.Role != message.Server:
		return false
	case x.Stream != 0:
		return x.RequestStart == s.read
	}
	return s.answer != 0 && x.ResponseStart == s.answer && x.RequestStart <= s.read && s.read <= x.RequestEnd
}
