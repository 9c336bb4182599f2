package replay

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"tracer/trace/event"
)

// Options say how a recording is read.
type Options struct {
	Stdin io.Reader // what the file "-" stands for; nil: standard input
	// Follow has the reader wait for more at the end of a file, also if it was replaced
	// or cut meanwhile, as tail -F does.
	Follow bool
}

// openPatience is how long Open waits for the first line of what is no file, to know which
// hosts there are.
const openPatience = time.Second

// idlePatience is how long lines wait for another host's while nothing comes at all.
const idlePatience = time.Second

// A Reader reads the files of a recording as one. But for Stop it is not safe for
// concurrent use. It holds one chunk of each file, some more that are decoded beside it
// and, of several hosts, what waits for its other end: memory does not grow with the files.
type Reader struct {
	merge
	join   *join
	hosts  []*Host
	byBoot map[string]*Host // by boot id
	byName map[string]*Host // those that only lines name
	stats  Stats
	wake   chan struct{}
	stop   chan struct{}
	end    func() // closes stop

	next    *Line     // that was looked for
	passing bool      // next is in the merge: it goes on when next was taken
	text    []byte    // of a line with a hostname
	idle    time.Time // since when nothing comes; zero: something does
}

// Open opens all files. Hosts are known when it returns, as far as the files begin with
// them. Errors name the file.
func Open(files []string, o Options) (*Reader, error) {
	if o.Stdin == nil {
		o.Stdin = os.Stdin
	}
	r := &Reader{
		byBoot: map[string]*Host{}, byName: map[string]*Host{},
		stats: Stats{Unread: map[string]uint64{}},
		wake:  make(chan struct{}, 1), stop: make(chan struct{}),
	}
	r.merge.stats = &r.stats
	r.end = sync.OnceFunc(func() { close(r.stop) })
	r.join = newJoin(&r.stats)
	if twice := namedTwice(files); twice != "" {
		return nil, fmt.Errorf("read: %s is there twice", twice)
	}
	for i, file := range files {
		in := &input{source: &source{wake: r.wake, stop: r.stop}, ordinal: i}
		if err := in.open(file, o.Stdin, o.Follow); err != nil {
			r.Stop()
			return nil, fmt.Errorf("read: %w", err)
		}
		r.sources = append(r.sources, in)
	}
	r.await(openPatience)
	for _, in := range r.sources {
		if in.inHeap {
			r.settle(in, in.line())
		}
	}
	return r, nil
}

// Stop has Next return io.EOF, now and later. It may be called at any time by anyone.
func (r *Reader) Stop() { r.end() }

// Hosts are those that were met so far. Lines tell their host's name if there are several.
func (r *Reader) Hosts() []*Host { return r.hosts }

// Stats says what was read so far.
func (r *Reader) Stats() Stats {
	s := r.stats
	s.Unread = maps.Clone(s.Unread)
	s.Problems = slices.Clone(s.Problems)
	return s
}

// Next returns the next line. At the end it returns io.EOF, or the first error that there
// was, if a file could not be read or has nothing of tracer's in it. A line of a format
// that this version would misread is an error at once.
func (r *Reader) Next() (*Line, error) {
	for {
		ok, err := r.Wait(time.Hour)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		l := r.next
		r.next = nil
		return l, nil
	}
}

// Wait looks for the next line for so long, and reports whether Next will return at once.
func (r *Reader) Wait(most time.Duration) (bool, error) {
	if r.next != nil {
		return true, nil
	}
	if r.passing {
		r.passing = false
		r.pass()
	}
	until := time.Time{}
	for {
		select {
		case <-r.stop:
			return false, io.EOF
		default:
		}
		for r.fill() {
			in := r.first()
			if in == nil {
				break
			}
			r.idle = time.Time{}
			if err := r.place(in); err != nil {
				return false, err
			}
			if r.next != nil {
				return true, nil
			}
		}
		waits := most
		switch {
		case r.over():
			if r.next = r.join.pop(len(r.hosts), true); r.next != nil {
				return true, nil
			}
			if r.merge.err != nil {
				return false, r.merge.err
			}
			return false, io.EOF
		case r.join.empty():
		case r.idle.IsZero():
			r.idle = time.Now()
			waits = min(waits, idlePatience)
		case time.Since(r.idle) >= idlePatience:
			if r.next = r.join.pop(len(r.hosts), true); r.next != nil {
				return true, nil
			}
		default:
			waits = min(waits, idlePatience-time.Since(r.idle))
		}
		if until.IsZero() {
			until = time.Now().Add(most)
		}
		if waits = min(waits, time.Until(until)); waits <= 0 {
			return false, nil
		}
		r.sleep(waits)
	}
}

// sleep waits until there is something new to know of a source.
func (r *Reader) sleep(most time.Duration) {
	alarm := time.NewTimer(most)
	defer alarm.Stop()
	select {
	case <-r.wake:
	case <-r.stop:
	case <-alarm.C:
	}
}

// await waits until the first lines of all sources are there.
func (r *Reader) await(most time.Duration) {
	until := time.Now().Add(most)
	for !r.fill() && time.Now().Before(until) {
		r.sleep(time.Until(until))
	}
}

// place takes the next line of an input: to next, or where it waits for another one.
func (r *Reader) place(in *input) error {
	l := in.line()
	l.ended, l.File = in.ended, in.name
	if l.Host == nil { // else Open has looked at it
		r.settle(in, l)
	}
	if s, ok := l.Object.(*event.Start); ok && s.Format > event.Format {
		return fmt.Errorf("read %s: it has format %d, and this version reads %d: use a newer tracer", in.name, s.Format, event.Format)
	}
	several := len(r.hosts) > 1
	e, isEvent := l.Object.(event.Event)
	if isEvent {
		if head := e.Head(); several && head.Hostname == "" {
			head.Hostname = l.Host.Name
			r.text = event.AppendWithHostname(r.text[:0], l.Raw, l.Host.Name)
			l.Raw = r.text
			head.Recorded = string(r.text)
		}
	}
	if several || !r.join.empty() {
		r.join.push(l)
		r.pass()
		r.next = r.join.pop(len(r.hosts), false)
	} else {
		r.next, r.passing = l, true
	}
	return nil
}

// settle says which host a line of an input is of.
func (r *Reader) settle(in *input, l *Line) {
	switch o := l.Object.(type) {
	case *event.Start:
		if in.host = r.byBoot[o.BootID]; in.host == nil || o.BootID == "" {
			in.host = r.add(cmp.Or(o.Hostname, in.source.host), o.BootID)
			if in.host.BootID == o.BootID {
				in.host.Start = o
			}
			if o.BootID != "" && len(r.byBoot) < maxHosts {
				r.byBoot[o.BootID] = in.host
			}
		}
	case event.Event:
		if name := o.Head().Hostname; name != "" { // it was told when several were read as one
			if l.Host = r.byName[name]; l.Host == nil {
				l.Host = r.add(name, "")
				if len(r.byName) < maxHosts {
					r.byName[name] = l.Host
				}
			}
			return
		}
	}
	if in.host == nil {
		in.host = r.add(in.source.host, "")
	}
	l.Host = in.host
}

// maxHosts bounds what is remembered of hosts: those behind them count as one.
const maxHosts = 1000

func (r *Reader) add(name, boot string) *Host {
	if len(r.hosts) > maxHosts {
		return r.hosts[maxHosts]
	}
	if len(r.hosts) == maxHosts {
		name, boot = "(other)", ""
	}
	h := &Host{Name: name, BootID: boot, Number: len(r.hosts)}
	r.hosts = append(r.hosts, h)
	return h
}
