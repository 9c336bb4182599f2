package place

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A Resolver knows cgroups and the names behind them. Its methods may be
// called from any goroutine, except where they say otherwise.
type Resolver struct {
	roots  Roots
	trees  []Hierarchy
	files  *files   // the worker's own
	remote []source // the goroutine of ask's own: whom it asks where files do not name a pod
	wait   time.Duration
	behind func() bool // nil: not known

	ctx       context.Context // ends with Close
	stop      context.CancelFunc
	running   sync.WaitGroup
	scanned   chan struct{}
	questions chan *owner // for remote
	queue     queue       // for the worker

	mu       sync.RWMutex // guards what follows; never held while reading or asking
	cgroups  map[uint64]*cgroup
	owners   map[target]*owner
	gone     []departed       // removed cgroups, the earliest first
	problems map[string]error // by source, the last one
	dropped  int              // cgroups and work given up at a bound
	watched  bool             // there are watches

	worker   worker   // the worker goroutine's own
	patience patience // the one goroutine's that calls Lookup
}

// worker is what only the goroutine of Resolver.work reads and writes.
type worker struct {
	watches  []*watch
	lost     []uint64 // ids that only the tree can tell of
	nextScan time.Time
	idle     bool // no scan runs or is due
}

type watch struct {
	filter Filter
	fn     func(id uint64, v Verdict)
	told   map[uint64]Verdict // what fn was told, Unknown left out
}

// A source answers for one container at a time, over a socket or port. It is
// called by one goroutine only, with a context that ends after askTime. Having
// nothing is no error, or fs.ErrNotExist.
type source struct {
	name string
	find func(context.Context, target) (names, error)
	// next is when it is asked again after it failed, so that one that is slow
	// to fail takes little of the time.
	next time.Time
}

// cgroup is one directory of the tree. Guarded by Resolver.mu.
type cgroup struct {
	known bool          // its path was seen
	path  string        // of that what people need to see
	gone  bool          // it was removed
	owner *owner        // nil: not in a container or pod, or not known
	ready chan struct{} // closed once known, or not to be found; nil when there is no use in waiting
}

// state is what Lookup answers, and what to wait for, if anything, before it
// does. The caller holds Resolver.mu.
func (c *cgroup) state() (place *Place, ok bool, ready chan struct{}) {
	switch {
	case c == nil:
		return nil, false, nil
	case c.owner != nil:
		return c.owner.place, c.owner.final, c.owner.ready
	default:
		return nil, c.known, c.ready
	}
}

// owner is a container or pod, with the cgroups in it. ids, place, final and
// ready are guarded by Resolver.mu, names and tries are the worker's own.
type owner struct {
	target
	ids   map[uint64]bool // one may have thousands, made by what runs in it
	place *Place          // never nil
	final bool            // nothing is missing
	ready chan struct{}   // closed once files were read; nil when there is no use in waiting
	names names
	tries int
	asked bool // it is with the goroutine of ask

	since time.Time    // when it was learned
	met   atomic.Int64 // when an event of it that lacks something made it be looked for last, Unix ns; 0: none has come
}

func (o *owner) newPlace() *Place {
	p := &Place{
		Container:   o.names.container,
		ContainerID: o.id,
		Pod:         o.names.pod,
		Namespace:   o.names.namespace,
		PodUID:      cmp.Or(o.podUID, o.names.podUID),
	}
	if p.Container == "" && !o.names.sandbox {
		p.Container = short(o.id)
	}
	return p
}

type departed struct {
	id uint64
	at time.Time
}

// learn takes in the path of a cgroup, and returns the container if that was
// not known before: it is for the caller to have it resolved.
func (r *Resolver) learn(id uint64, path string) (fresh *owner) {
	t := identify(path)

	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.cgroups[id]
	if c == nil {
		c = &cgroup{}
		r.insert(id, c)
	}
	if c.known {
		return nil
	}
	c.known, c.path = true, fromUnit(path)
	if c.ready != nil {
		close(c.ready)
		c.ready = nil
	}
	if t != (target{}) {
		o := r.owners[t]
		if o == nil {
			o = &owner{target: t, ids: make(map[uint64]bool, 1), ready: make(chan struct{}), since: time.Now()}
			o.place = o.newPlace()
			r.owners[t] = o
			fresh = o
		}
		o.ids[id] = true
		c.owner = o
	}
	r.tellLater(id)
	return fresh
}

// insert puts c in. At the bound it pushes out one of a few others, that which
// is missed least. The caller holds mu.
func (r *Resolver) insert(id uint64, c *cgroup) {
	if len(r.cgroups) >= maxCgroups {
		victim, worst, tries := uint64(0), -1, 16
		for id, c := range r.cgroups {
			rank := 0
			switch {
			case c.gone:
				rank = 3
			case !c.known:
				rank = 2
			case c.owner == nil:
				rank = 1
			}
			if rank > worst {
				victim, worst = id, rank
			}
			if tries--; tries == 0 {
				break
			}
		}
		r.dropped++
		r.remove(victim)
	}
	r.cgroups[id] = c
}

// remove takes a cgroup out, and with the last one of a container that too.
// The caller holds mu.
func (r *Resolver) remove(id uint64) {
	c := r.cgroups[id]
	delete(r.cgroups, id)
	if c == nil || c.owner == nil {
		return
	}
	o := c.owner
	delete(o.ids, id)
	if len(o.ids) == 0 {
		delete(r.owners, o.target)
	}
	r.tellLater(id)
}

// sweep forgets the cgroups that were removed long enough ago.
func (r *Resolver) sweep() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.gone) > 0 {
		if left := keepTime - time.Since(r.gone[0].at); left > 0 {
			r.after(left, r.sweep)
			return
		}
		r.remove(r.gone[0].id)
		r.gone = r.gone[1:]
	}
	r.gone = nil
}

func (r *Resolver) after(d time.Duration, f func()) {
	time.AfterFunc(d, func() { r.queue.do(f) })
}

// tellLater is tell for other goroutines than the worker. The caller holds mu.
func (r *Resolver) tellLater(id uint64) {
	switch {
	case !r.watched:
	case r.queue.full():
		r.dropped++
	default:
		r.queue.do(func() { r.tell([]uint64{id}) })
	}
}

// tell tells the watches how it stands with ids, where that is new to them.
func (r *Resolver) tell(ids []uint64) {
	for _, w := range r.worker.watches {
		for _, id := range ids {
			r.mu.RLock()
			c := r.cgroups[id]
			place, complete, _ := c.state()
			known := c != nil && c.known
			r.mu.RUnlock()
			v := Unknown
			if known {
				v = w.filter.Judge(place, complete)
			}
			switch {
			case v == w.told[id]:
				continue
			case v == Unknown:
				delete(w.told, id)
			default:
				w.told[id] = v
			}
			w.fn(id, v)
		}
	}
}

// problem keeps the last error of a source, and takes it back for nil. That a
// file or socket does not exist is none: no host has them all.
func (r *Resolver) problem(source string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil || errors.Is(err, fs.ErrNotExist):
		delete(r.problems, source)
	case !errors.Is(err, context.Canceled):
		r.problems[source] = err
	}
}

// Counts is how much a Resolver knows.
type Counts struct {
	Cgroups    int
	Containers int // containers, and pods with processes outside of any
	Named      int // of those, the ones of which nothing is missing
	Dropped    int // what was given up because a bound was reached
}

// Counts counts what is known now.
func (r *Resolver) Counts() Counts {
	r.mu.RLock()
	defer r.mu.RUnlock()
	n := Counts{Cgroups: len(r.cgroups), Containers: len(r.owners), Dropped: r.dropped}
	for _, o := range r.owners {
		if o.final {
			n.Named++
		}
	}
	return n
}

// Problems says in plain sentences why events lack names; nil where none do. What no
// event has come from is nobody's concern.
func (r *Resolver) Problems() []string {
	n := r.Counts()
	r.mu.RLock()
	defer r.mu.RUnlock()
	var list, some []string
	met := 0
	for t, o := range r.owners {
		if o.met.Load() == 0 {
			continue
		}
		met++
		if !o.final {
			some = append(some, cmp.Or(short(t.id), "pod "+t.podUID))
		}
	}
	nameless := len(some)
	for source, err := range r.problems {
		if source == tree || nameless > 0 {
			list = append(list, fmt.Sprintf("%s: %v", source, err))
		}
	}
	slices.Sort(list)
	slices.Sort(some)
	if len(some) > 3 {
		some = append(some[:3], "…")
	}
	if nameless > 0 {
		list = append(list, fmt.Sprintf("%d of %d containers lack a name: %s", nameless, met, strings.Join(some, ", ")))
	}
	if n.Dropped > 0 {
		list = append(list, fmt.Sprintf("cgroups given up %d times: there are too many, or too many new ones at once", n.Dropped))
	}
	return list
}

// maxNamed is how many names a sentence lists.
const maxNamed = 12

// Nobody says that no container or pod that is known now is one that f wants, and which
// there are; empty if there is one. It is not sure before the files with names were read.
func (r *Resolver) Nobody(f Filter) (text string, sure bool) {
	var there [3]map[string]bool // containers, pods, namespaces
	for i := range there {
		there[i] = make(map[string]bool)
	}
	sure = true
	if r.matches(f) {
		return "", true
	}
	r.mu.RLock()
	for _, o := range r.owners {
		sure = sure && o.ready == nil
		for i, name := range []string{o.place.Container, o.place.Pod, o.place.Namespace} {
			if name != "" {
				there[i][name] = true
			}
		}
	}
	r.mu.RUnlock()
	var list []string
	for i, part := range []struct {
		flag, pattern, what string
		alone               Filter
	}{
		{"--container", f.Container, "container", Filter{Container: f.Container}},
		{"--pod", f.Pod, "pod", Filter{Pod: f.Pod}},
		{"--namespace", f.Namespace, "namespace", Filter{Namespace: f.Namespace}},
	} {
		if part.pattern == "" || r.matches(part.alone) {
			continue
		}
		names := slices.Sorted(maps.Keys(there[i]))
		text := fmt.Sprintf("no %s matches %s %q now", part.what, part.flag, part.pattern)
		switch more := len(names) - maxNamed; {
		case len(names) == 0:
			text += "; there are none"
		case more > 0:
			text += fmt.Sprintf("; there are %s and %d more", strings.Join(names[:maxNamed], ", "), more)
		default:
			text += "; there are " + strings.Join(names, ", ")
		}
		list = append(list, text)
	}
	if list == nil {
		list = append(list, "no container or pod matches all of --container, --pod and --namespace now")
	}
	return strings.Join(list, "; ") + ". What starts later is shown", sure
}

// matches reports whether there is a container or pod that f wants.
func (r *Resolver) matches(f Filter) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, o := range r.owners {
		if f.Match(o.place) {
			return true
		}
	}
	return false
}
