package tls

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"tracer/bpf"
	"tracer/trace/kernel"
	"tracer/trace/tls/library"
)

// A Source attaches programs to the TLS libraries that it is told of. Its methods are safe
// for concurrent use.
type Source struct {
	object  *kernel.Object
	returns bool // return probes may be used: see selfTest

	mu    sync.Mutex
	files map[any]*file
}

// A file is one that programs are attached to.
type file struct {
	kind     library.Kind
	attached []*kernel.Attached
}

// NewSource returns the source of an object with [Part].
func NewSource(o *kernel.Object, returns bool) *Source {
	return &Source{object: o, returns: returns, files: map[any]*file{}}
}

// Attach attaches programs to the functions of a file's library, all or none. key tells
// the file from others; Detach takes it.
func (s *Source) Attach(key any, handle *os.File, l *library.Library) (err error) {
	f := &file{kind: l.Kind}
	functions := l.Functions
	if !s.returns && l.Kind != library.Go {
		functions = l.ByRets
	}
	if len(functions) > 0 { // of an executable with all in it: else they are another file's
		functions = append(functions[:len(functions):len(functions)], l.Later...)
	}
	defer func() {
		if err != nil {
			f.detach()
		}
	}()
	if err := s.announce(functions); err != nil {
		return err
	}
	// Returns first: a call that is noted must find it.
	for _, add := range []func(*file, *os.File, *library.Function, int) error{s.attachReturn, s.attachEntry} {
		for i := range functions {
			if err := add(f, handle, &functions[i], 0); err != nil {
				return err
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[key] = f
	return nil
}

// AttachLater attaches what only some processes need, to one of them.
func (s *Source) AttachLater(key any, handle *os.File, l *library.Library, pid int) error {
	f := &file{kind: l.Kind}
	if err := s.announce(l.Later); err != nil {
		return err
	}
	for i := range l.Later {
		if err := s.attachEntry(f, handle, &l.Later[i], pid); err != nil {
			f.detach()
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[key] = f
	return nil
}

// announce tells the programs what they have to look for.
func (s *Source) announce(functions []library.Function) error {
	var err error
	for _, f := range functions {
		switch f.Use {
		case library.GoRead, library.GoWrite:
			err = errors.Join(err, s.object.Set(bpf.HttpVarGoProbed, uint32(1)))
		case library.BIOWrite:
			err = errors.Join(err, s.object.Set(bpf.HttpVarBioProbed, uint32(1)))
		}
	}
	return err
}

func (s *Source) attachEntry(f *file, handle *os.File, fn *library.Function, pid int) error {
	p, ok := programs[fn.Use]
	if !ok {
		return fmt.Errorf("attach to %q: no program is for it", fn.Name)
	}
	at := fn.Entry.Offset
	if s.returns && fn.Return.Offset != 0 && p.returned != "" {
		at = fn.Return.Offset // a return probe and its entry at one place cost less than at two
	}
	return s.add(f, p.entry, false, handle, pid, at)
}

func (s *Source) attachReturn(f *file, handle *os.File, fn *library.Function, pid int) error {
	switch p := programs[fn.Use]; {
	case p.returned == "":
		return nil
	case s.returns && fn.Return.Offset != 0:
		return s.add(f, p.returned, true, handle, pid, fn.Return.Offset)
	default:
		return s.add(f, p.returned, false, handle, pid, fn.Rets...)
	}
}

func (s *Source) add(f *file, program string, onReturn bool, handle *os.File, pid int, offsets ...uint64) error {
	a, err := s.object.Attach(program, onReturn, handle, pid, offsets...)
	if err != nil {
		return err
	}
	f.attached = append(f.attached, a)
	return nil
}

// Detach takes the programs off a file.
func (s *Source) Detach(key any) {
	s.mu.Lock()
	f := s.files[key]
	delete(s.files, key)
	s.mu.Unlock()
	f.detach()
}

func (f *file) detach() {
	if f == nil {
		return
	}
	for _, a := range f.attached {
		_ = a.Close() // closing a link cannot fail but by misuse
	}
}
