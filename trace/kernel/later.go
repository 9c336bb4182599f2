package kernel

import (
	"fmt"
	"os"
	"sync"

	"tracer/trace/kernel/attach"
)

// A later attaches an object's programs to files.
type later struct {
	attacher *attach.Attacher
	numbers  map[string]int // of the programs; of their second use, on return, that and one

	mu    sync.Mutex
	ended bool // nothing is attached any more
	links map[*Attached]struct{}
}

// Attached is a program that is attached to places in a file. Close takes it off; the
// end of the session does so, too.
type Attached struct {
	later *later
	link  *attach.Link
}

// attach attaches a program to offsets in a file: see [Object.Attach].
func (l *later) attach(program string, onReturn bool, file *os.File, pid int, offsets ...uint64) (*Attached, error) {
	number, there := 0, false
	if l != nil {
		number, there = l.numbers[program]
	}
	if !there {
		return nil, fmt.Errorf("attach %q: it is not loaded for files", program)
	}
	if onReturn {
		number++
	}
	link, err := l.attacher.Attach(number, file, pid, offsets...)
	if err != nil {
		return nil, fmt.Errorf("attach %q: %w", program, err)
	}
	a := &Attached{l, link}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		_ = link.Close() // it is not used
		return nil, fmt.Errorf("attach %q: %w", program, os.ErrClosed)
	}
	l.links[a] = struct{}{}
	return a, nil
}

// Close takes the program off.
func (a *Attached) Close() error {
	a.later.mu.Lock()
	defer a.later.mu.Unlock()
	if _, there := a.later.links[a]; !there {
		return nil
	}
	delete(a.later.links, a)
	return a.link.Close()
}

func (l *later) detach() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	// Each waits until nobody is in the program any more: all at once they wait no longer
	// than one. Closing a link cannot fail but by misuse.
	var closing sync.WaitGroup
	for a := range l.links {
		closing.Go(func() { _ = a.link.Close() })
	}
	closing.Wait()
	clear(l.links)
}

func (l *later) close() {
	if l != nil {
		_ = l.attacher.Close() // it may have ended
	}
}
