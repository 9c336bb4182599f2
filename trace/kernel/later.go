package kernel

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/cilium/ebpf"

	"tracer/bpf"
	"tracer/trace/kernel/attach"
)

// Spawn starts the process that attaches to files after privileges were dropped, and
// hides it from the programs: call it before Load, if a plan has programs for that.
func (k *Kernel) Spawn() error {
	a, err := attach.Spawn()
	if err != nil {
		return err
	}
	k.attacher = a
	if len(k.opts.Hidden) > 0 {
		k.opts.Hidden = append(k.opts.Hidden, uint32(a.PID()))
	}
	return nil
}

// Later reports whether a plan has programs that are attached to files later.
func (p *Plan) Later() bool {
	later := func(features []Feature) bool {
		for _, f := range features {
			for _, d := range f.Doors {
				if !d.Tier.inKernel() {
					return true
				}
			}
		}
		return false
	}
	for _, part := range p.Parts {
		if later(part.Features) {
			return true
		}
	}
	return later(p.Features)
}

// A later attaches an object's programs to files.
type later struct {
	attacher *attach.Attacher
	numbers  map[string]int // of the programs; of their second use, on return, that and one

	mu    sync.Mutex
	ended bool // nothing is attached any more
	links map[*Attached]struct{}
}

// openLater gives programs to the process that attaches. There is one such process, and
// it takes them once.
func (k *Kernel) openLater(o *Object, c *ebpf.Collection, d Door) error {
	if k.attacher == nil {
		return errors.New("attach to files: the process that does so was not started")
	}
	l := &later{attacher: k.attacher, numbers: map[string]int{}, links: map[*Attached]struct{}{}}
	var list []attach.Program
	for _, name := range bpf.Expand(k.Types.Preempts(), d.Programs...) {
		l.numbers[name] = len(list)
		p := attach.Program{Program: c.Programs[name], Multi: d.Tier == UprobeMulti}
		list = append(list, p, attach.Program{Program: p.Program, Multi: p.Multi, Return: true})
	}
	k.attacher = nil
	if err := l.attacher.Give(list); err != nil {
		_ = l.attacher.Close() // it has ended
		return err
	}
	o.later = l
	for name := range l.numbers {
		o.programs[name] = c.DetachProgram(name)
	}
	return nil
}

// Attached is a program that is attached to places in a file. Close takes it off; the
// end of the session does so, too.
type Attached struct {
	later *later
	link  *attach.Link
}

// Attach attaches a program, which is loaded by the tier Uprobe or UprobeMulti, to
// offsets in a file, or on the return of the functions there. A pid other than 0: only
// that process is probed; see [attach.Attacher.Attach]. It is safe for concurrent use,
// and needs no privileges.
func (o *Object) Attach(program string, onReturn bool, file *os.File, pid int, offsets ...uint64) (*Attached, error) {
	l := o.later
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
	for a := range l.links {
		_ = a.link.Close() // closing a link cannot fail but by misuse
	}
	clear(l.links)
}

func (l *later) close() {
	if l != nil {
		_ = l.attacher.Close() // it may have ended
	}
}
