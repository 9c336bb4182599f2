package tls

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"tracer/bpf"
	"tracer/trace/kernel"
	"tracer/trace/tls/find"
	"tracer/trace/tls/library"
)

// A Source finds TLS libraries and attaches programs to them: what is there when it is
// opened, and what comes until it is closed.
type Source struct {
	object  *kernel.Object
	finder  *find.Finder
	returns bool // return probes may be used: see selfTest
	cancel  context.CancelFunc
	done    chan struct{} // Run has returned
	needs   chan uint32   // processes that hand on ciphertext by themselves
	asks    chan ask      // why a process cannot be read

	mu     sync.Mutex
	files  map[*find.File]*file
	failed map[string]error // by path, why nothing is attached
}

// A file is one that programs are attached to.
type file struct {
	*find.File
	attached []*kernel.Attached
	later    map[uint32][]*kernel.Attached // by process, what only some need
}

// An ask is for the reason why a process cannot be read.
type ask struct {
	pid  uint32
	tell func(string)
}

const maxWhys = 1024

// maxLater is how many processes can have what only some need.
const maxLater = 256

// scanLeast is what finding what is there may take at least.
const scanLeast = 100 * time.Millisecond

// Open finds what is there, attaches to it, and begins to wait for more. The object has
// [Part]. What is not found after the given time, or a tenth of a second, is found later.
func Open(o *kernel.Object, budget time.Duration) (*Source, error) {
	s := &Source{
		object: o, done: make(chan struct{}), needs: make(chan uint32, 64), asks: make(chan ask, 64),
		files: map[*find.File]*file{}, failed: map[string]error{},
	}
	lives, err := selfTest(o)
	if err != nil {
		lives = false // safe where it is not known
	}
	s.returns = lives
	if s.finder, err = find.New(find.Options{Budget: max(budget, scanLeast)}); err != nil {
		return nil, err
	}
	s.finder.Scan(s)
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go func() {
		defer close(s.done)
		var serving sync.WaitGroup
		serving.Go(func() { s.serve(ctx) })
		s.finder.Run(ctx, s)
		serving.Wait()
	}()
	return s, nil
}

// Close ends the search. Programs stay attached until the session takes them off.
func (s *Source) Close() {
	s.cancel()
	<-s.done
	s.finder.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for f := range s.files {
		_ = f.Handle.Close() // it was open for reading
	}
	clear(s.files)
}

// Saw says that a process speaks TLS: it may have mapped a library just now.
func (s *Source) Saw(pid uint32) {
	if has, _ := s.finder.HasEvents(); !has {
		s.finder.Hint(pid)
	}
}

// Found is a method of find.Sink.
func (s *Source) Found(f *find.File) {
	functions := s.functions(&f.Library)
	attached, err := s.attach(f, functions, 0)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.failed[f.Path] = err
		return
	}
	s.files[f] = &file{File: f, attached: attached, later: map[uint32][]*kernel.Attached{}}
}

// functions are those of a file that all processes need.
func (s *Source) functions(l *library.Library) (list []library.Function) {
	for _, fn := range l.Functions {
		if s.returns || programs[use{l.Kind, fn.Use}].returned == "" || fn.Use.Go() {
			list = append(list, fn)
		}
	}
	if !s.returns {
		list = append(list, l.ByRets...)
	}
	if reads(l) { // it has all in it: nobody else's is the rest
		list = append(list, l.Later...)
	}
	return list
}

// reads reports whether there is plaintext in a library: not in one that others use for
// ciphers.
func reads(l *library.Library) bool {
	return slices.ContainsFunc(l.Functions, func(fn library.Function) bool { return fn.Use != library.BIOWrite })
}

// Gone is a method of find.Sink.
func (s *Source) Gone(f *find.File) {
	s.mu.Lock()
	gone := s.files[f]
	delete(s.files, f)
	s.mu.Unlock()
	if gone == nil {
		return
	}
	detach(gone.attached)
	for _, later := range gone.later {
		detach(later)
	}
}

// Need says that a process moves the ciphertext of its library by itself. It never blocks.
func (s *Source) Need(pid uint32) {
	select {
	case s.needs <- pid:
	default: // its next connection says so again
	}
}

// Why asks why the plaintext of a process is not seen, and has tell called with that from
// another goroutine; empty if it is not known. It never blocks.
func (s *Source) Why(pid uint32, tell func(string)) {
	select {
	case s.asks <- ask{pid, tell}:
	default: // too many at once
		tell("")
	}
}

// serve attaches what some processes need, and takes it off when they have ended.
func (s *Source) serve(ctx context.Context) {
	whys := map[uint32]string{} // an id may be used again: it is known until the next sweep
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case a := <-s.asks:
			if _, known := whys[a.pid]; !known {
				if len(whys) >= maxWhys {
					clear(whys)
				}
				whys[a.pid] = s.finder.Why(a.pid)
			}
			a.tell(whys[a.pid])
		case pid := <-s.needs:
			s.attachLater(pid)
		case <-tick.C:
			s.sweep()
			clear(whys)
		}
	}
}

func (s *Source) attachLater(pid uint32) {
	for _, f := range s.all() {
		if reads(&f.Library) || len(f.Library.Later) == 0 || len(f.later) >= maxLater || f.later[pid] != nil {
			continue
		}
		attached, err := s.attach(f.File, f.Library.Later, int(pid))
		if err != nil {
			continue // the process has ended
		}
		s.mu.Lock()
		f.later[pid] = attached
		s.mu.Unlock()
	}
}

func (s *Source) all() (list []*file) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.files {
		list = append(list, f)
	}
	return list
}

func (s *Source) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.files {
		for pid, attached := range f.later {
			if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); errors.Is(err, os.ErrNotExist) {
				detach(attached)
				delete(f.later, pid)
			}
		}
	}
}

// attach attaches programs to functions of a file, all or none; pid: in one process.
func (s *Source) attach(f *find.File, functions []library.Function, pid int) (list []*kernel.Attached, err error) {
	defer func() {
		if err != nil {
			detach(list)
			list = nil
		}
	}()
	if err := s.announce(functions); err != nil {
		return nil, err
	}
	add := func(program string, onReturn bool, offsets ...uint64) error {
		a, err := s.object.Attach(program, onReturn, f.Handle, pid, offsets...)
		if err == nil {
			list = append(list, a)
		}
		return err
	}
	// Returns first: a call that is noted must find it.
	for _, fn := range functions {
		p := programs[use{f.Library.Kind, fn.Use}]
		if p.returned == "" {
			continue
		}
		if s.returns && fn.Return.Offset != 0 {
			err = add(p.returned, true, fn.Return.Offset)
		} else {
			err = add(p.returned, false, fn.Rets...)
		}
		if err != nil {
			return list, err
		}
	}
	for _, fn := range functions {
		p, ok := programs[use{f.Library.Kind, fn.Use}]
		if !ok {
			return list, fmt.Errorf("attach to %q: no program is for it", fn.Name)
		}
		at := fn.Entry.Offset
		if s.returns && fn.Return.Offset != 0 && p.returned != "" {
			at = fn.Return.Offset // two at one place cost less than at two
		}
		if err := add(p.entry, false, at); err != nil {
			return list, err
		}
	}
	return list, nil
}

// announce tells the programs what they have to look for.
func (s *Source) announce(functions []library.Function) error {
	for _, f := range functions {
		var err error
		switch {
		case f.Use.Go():
			err = s.object.Set(bpf.HttpVarGoProbed, uint32(1))
		case f.Use == library.BIOWrite:
			err = s.object.Set(bpf.HttpVarBioProbed, uint32(1))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func detach(list []*kernel.Attached) {
	for _, a := range list {
		_ = a.Close() // closing a link cannot fail but by misuse
	}
}
