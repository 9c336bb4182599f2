package find

import (
	"sync"
	"time"
)

// A pool runs jobs side by side. File systems of strangers (FUSE, a network's) may keep a
// job waiting for ever: after a while it counts no more, and others go on.
type pool struct {
	patience time.Duration // for a job
	mu       sync.Mutex
	urgent   []*job
	queue    []*job
	workers  int // that run, without those that are kept waiting
	waiting  int // that are kept waiting
}

const (
	maxWorkers = 4
	maxWaiting = 32 // threads that are given up
	patience   = time.Second
)

type job struct {
	run   func()
	ended func()
	over  bool // done or given up
}

// do queues a job. ended is called once, from another goroutine, when it is done or given
// up; then it may still run.
func (p *pool) do(urgent bool, run, ended func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	j := &job{run: run, ended: ended}
	if urgent {
		p.urgent = append(p.urgent, j)
	} else {
		p.queue = append(p.queue, j)
	}
	p.start()
}

// next takes a job. The caller holds the lock.
func (p *pool) next() *job {
	for _, q := range []*[]*job{&p.urgent, &p.queue} {
		if len(*q) > 0 {
			j := (*q)[0]
			(*q)[0] = nil
			*q = (*q)[1:]
			return j
		}
	}
	return nil
}

// start starts a worker if there is room for one. The caller holds the lock.
func (p *pool) start() {
	if p.workers < maxWorkers && p.waiting < maxWaiting {
		if j := p.next(); j != nil {
			p.workers++
			go p.work(j)
		}
	}
}

func (p *pool) work(j *job) {
	for j != nil {
		this := j
		alarm := time.AfterFunc(p.patience, func() { p.giveUp(this) })
		j.run()
		alarm.Stop()
		p.mu.Lock()
		if j.over { // another worker has taken this one's place
			p.waiting--
			p.start()
			p.mu.Unlock()
			return
		}
		j.over = true
		p.mu.Unlock()
		j.ended()
		p.mu.Lock()
		if j = p.next(); j == nil {
			p.workers--
		}
		p.mu.Unlock()
	}
}

// giveUp lets another worker take the place of one that is kept waiting.
func (p *pool) giveUp(j *job) {
	p.mu.Lock()
	if j.over {
		p.mu.Unlock()
		return
	}
	j.over = true
	p.workers--
	p.waiting++
	p.start()
	p.mu.Unlock()
	j.ended()
}
