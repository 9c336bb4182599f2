package place

import "time"

// patience is how long Lookup may still wait.
type patience struct {
	left  time.Duration
	since time.Time
	timer *time.Timer
}

// wait waits for ready, and reports whether it came in time.
func (p *patience) wait(ready, stopped <-chan struct{}, most time.Duration) bool {
	now := p.restore(most)
	defer func() { p.since = time.Now() }() // what was waited brings nothing back
	if p.left <= 0 {
		return false
	}
	if p.timer == nil {
		p.timer = time.NewTimer(p.left)
	} else {
		p.timer.Reset(p.left)
	}
	defer func() { p.timer.Stop(); p.left -= time.Since(now) }()
	select {
	case <-ready:
		return true
	case <-p.timer.C:
	case <-stopped:
	}
	return false
}

// restore gives back a quarter of the time that was not waited, and says what
// time it is.
func (p *patience) restore(most time.Duration) time.Time {
	now := time.Now()
	if !p.since.IsZero() {
		p.left = min(most, p.left+now.Sub(p.since)/4)
	}
	return now
}

// pause waits for a moment, and reports false instead if there is no time left.
func (p *patience) pause(most time.Duration) bool {
	now := p.restore(most)
	if p.left > 0 {
		time.Sleep(time.Millisecond)
		p.left -= time.Since(now)
	}
	p.since = time.Now()
	return p.left > 0
}
