package place

import "sync"

// queue is work for the worker: first what somebody waits for, then the rest,
// each in order.
type queue struct {
	mu    sync.Mutex
	first []func()
	rest  []func()
	wake  chan struct{} // holds one: there is work
}

// do queues work. It does not wait.
func (q *queue) do(f func()) {
	q.mu.Lock()
	q.rest = append(q.rest, f)
	q.mu.Unlock()
	q.ring()
}

// doFirst queues work that somebody waits for.
func (q *queue) doFirst(f func()) {
	q.mu.Lock()
	q.first = append(q.first, f)
	q.mu.Unlock()
	q.ring()
}

func (q *queue) ring() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// full is for work that comes from outside, of which there may be any amount.
func (q *queue) full() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.first)+len(q.rest) >= maxQueue
}

func (q *queue) next() (f func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, l := range []*[]func(){&q.first, &q.rest} {
		if len(*l) > 0 {
			f, (*l)[0] = (*l)[0], nil
			if *l = (*l)[1:]; len(*l) == 0 {
				*l = nil
			}
			return f
		}
	}
	return nil
}
