package http

import (
	"bytes"

	"tracer/bpf"
	"tracer/trace/account"
)

// beginnings says whether plaintext may begin with a request, or an answer.
func beginnings(data []byte) (asks, answers bool) {
	if bytes.HasPrefix(data, []byte("HTTP/")) {
		return false, true
	}
	method, rest, ok := bytes.Cut(data, []byte(" "))
	return ok && len(method) > 0 && len(method) < 24 && len(rest) > 0 && bytes.IndexByte([]byte("/*hH"), rest[0]) >= 0, false
}

const (
	maxUnlinked = 1024 // objects of which plaintext is held
	maxHeld     = 8    // calls of each: UNLINKED_CALLS
)

// An object is a library's own of a connection of which the socket is not known yet.
type object struct {
	address, since uint64
	pid            uint32
}

// A heldCall waits for its socket.
type heldCall struct {
	call bpf.HttpHttpCall
	data []byte
}

// unlinked is plaintext of which no socket is known. Where none becomes known nobody
// is told where it went: that would be a guess.
type unlinked struct {
	ledger *account.Ledger
	calls  map[object][]heldCall
	order  []object // the oldest first; some are gone
}

func newUnlinked(l *account.Ledger) *unlinked {
	return &unlinked{ledger: l, calls: map[object][]heldCall{}}
}

// hold keeps a call; the oldest objects give way.
func (u *unlinked) hold(o object, call *bpf.HttpHttpCall, data []byte) {
	calls, known := u.calls[o]
	if !known {
		u.order = append(u.order, o)
		for len(u.order) > maxUnlinked {
			u.drop(u.take(u.order[0]))
			u.order = u.order[1:]
		}
	}
	if len(calls) < maxHeld {
		u.calls[o] = append(calls, heldCall{*call, bytes.Clone(data)})
	}
}

// take returns what was held of an object.
func (u *unlinked) take(o object) []heldCall {
	calls := u.calls[o]
	delete(u.calls, o)
	return calls
}

// drop counts what is not told: one exchange for each request, or else for each answer.
func (u *unlinked) drop(calls []heldCall) {
	var asked, answered uint64
	for _, c := range calls {
		asks, answers := beginnings(c.data)
		if asks {
			asked++
		}
		if answers {
			answered++
		}
	}
	u.ledger.Lost(account.Unlinked, max(asked, answered))
}

// dropAll counts all that is held.
func (u *unlinked) dropAll() {
	for o := range u.calls {
		u.drop(u.take(o))
	}
	u.order = nil
}
