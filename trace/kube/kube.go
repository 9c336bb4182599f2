// Package kube says in which container and pod an event happened: from the
// cgroup id that the kernel puts into every event to the cgroup's path, from
// the path to a pod's uid and a container's id, and from those to names.
//
// It must not know of eBPF, events or how they are shown: it is told ids, and
// answers with a [Place]. It writes nothing anywhere, and what it reads it
// takes as a stranger's: names are cut to a bounded length and handed on as
// they are, for rendering to quote.
//
// Start reading at [Resolver.Lookup], then [Identify]. Paths to the names, in
// the order of trust and cost, are the tables fileSources (files that runtimes
// and kubelet leave on the host) and, for pods that files do not name,
// the resolver's asked (sockets of kubelet and runtime, the kubelet's port).
//
//	cgroup.go   /proc/PID/cgroup, paths, the walk of the tree
//	files.go    names from files
//	sockets.go  names from gRPC over unix sockets
//	kubelet.go  names from the kubelet's HTTP interface
//	resolve.go  the goroutines that do the reading and asking
package kube

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Bounds of what is kept and how long.
const (
	maxCgroups = 32768 // cgroups known at one time
	keep       = time.Minute
	forget     = 10 * time.Second // before an id that was nowhere is looked for again
	waitTime   = 50 * time.Millisecond
	askTime    = 2 * time.Second // for one question to a socket or port
	listAge    = time.Second     // before a list of pods is asked for again
	retryFirst = 100 * time.Millisecond
	maxTries   = 5 // each after four times the last one's time
)

// A Place is where a process runs. All are empty where they are not known or
// do not apply. It is shared: do not change it.
type Place struct {
	// Container is the name; the first 12 digits of ContainerID until one is
	// known; empty for a pod's sandbox, which has none.
	Container   string
	ContainerID string // 64 hex digits
	Pod         string
	Namespace   string
	PodUID      string // as in the cgroup: of a static pod, not the API server's
}

// Roots are where the host's files are found, so that tests, and a tracer in
// a container, bring their own.
type Roots struct {
	FS     string // "" is /
	Proc   string // "" is /proc below FS
	Cgroup string // "" is what FindHierarchy finds in the mounts
}

func (r Roots) filled() Roots {
	if r.FS == "" {
		r.FS = "/"
	}
	if r.Proc == "" {
		r.Proc = filepath.Join(r.FS, "proc")
	}
	return r
}

// Options has a useful zero value.
type Options struct {
	// Wait is the longest that Lookup waits: 0 is 50 ms, negative not at all.
	Wait    time.Duration
	Kubelet Kubelet
}

// A Resolver knows cgroups and the names behind them. Its methods may be
// called from any goroutine, except where they say otherwise.
type Resolver struct {
	roots     Roots
	hierarchy Hierarchy
	files     files
	asked     []source
	wait      time.Duration

	urgent, later chan func() // run by the worker, urgent first
	questions     chan *owner // to whoever asks sockets and ports
	scanned       chan struct{}
	stop          context.CancelFunc
	stopped       <-chan struct{}
	running       sync.WaitGroup

	mu       sync.RWMutex // guards what follows; never held while reading or asking
	cgroups  map[uint64]*cgroup
	owners   map[target]*owner
	problems map[string]error // by source, the last one
	dropped  int              // cgroups that pushed out others, and work that found the queue full

	// Owned by the one goroutine that calls Lookup.
	allowance time.Duration
	allowedAt time.Time
	timer     *time.Timer

	worker // state owned by the worker goroutine
}

// cgroup is one directory of the tree. Guarded by Resolver.mu.
type cgroup struct {
	known bool          // its path was seen
	gone  bool          // it was removed
	owner *owner        // nil: not in a container or pod, or not known
	ready chan struct{} // closed once known or not to be found; nil then
}

// owner is a container or pod, with all cgroups in it. What is guarded by
// Resolver.mu: ids, place, final, ready. The rest is the worker's.
type owner struct {
	target
	ids   []uint64
	place *Place        // never nil
	final bool          // nothing is missing
	ready chan struct{} // closed once files were read; nil then
	names names
	tries int
}

// New starts to read the cgroup tree in the background; Close ends that. It
// fails where there is no cgroup tree, or where a file that opts names cannot
// be used.
func New(roots Roots, opts Options) (*Resolver, error) {
	hierarchy, err := FindHierarchy(roots)
	if err != nil {
		return nil, err
	}
	k, err := newKubelet(opts.Kubelet)
	if err != nil {
		return nil, err
	}
	roots = roots.filled()
	ctx, cancel := context.WithCancel(context.Background())
	r := &Resolver{
		roots:     roots,
		hierarchy: hierarchy,
		files:     files{roots.FS},
		asked: []source{
			{"kubelet's pods socket", cached(podsSocket(roots.FS))},
			{"runtime's CRI socket", cri(roots.FS)},
			{"kubelet's port", cached(k.list)},
		},
		wait:      opts.Wait,
		urgent:    make(chan func(), 1024),
		later:     make(chan func(), 1024),
		questions: make(chan *owner, 256),
		scanned:   make(chan struct{}),
		stop:      cancel,
		stopped:   ctx.Done(),
		cgroups:   make(map[uint64]*cgroup),
		owners:    make(map[target]*owner),
		problems:  make(map[string]error),
	}
	if r.wait == 0 {
		r.wait = waitTime
	}
	r.allowance = r.wait
	r.running.Go(r.work)
	r.running.Go(func() { r.ask(ctx) })
	r.scan(ctx)
	return r, nil
}

// Close ends all background work and waits for it. Lookup goes on answering
// from what is known.
func (r *Resolver) Close() {
	r.stop()
	r.running.Wait()
}

// Scanned is closed once every cgroup that was there at New is known, with
// the names that files have.
func (r *Resolver) Scanned() <-chan struct{} { return r.scanned }

// Hierarchy is the tree whose ids Lookup and Mkdir understand.
func (r *Resolver) Hierarchy() Hierarchy { return r.hierarchy }

// Lookup says where the process pid runs, of which the kernel gave cgroup id.
//
//	place, true   all that there is to know
//	place, false  names are missing, for now or for good
//	nil, true     on the host: in no container and no pod
//	nil, false    the cgroup is not known
//
// What is known costs a map access. For what is not, Lookup starts the search
// and waits for it: at most Options.Wait for one cgroup, once for each, and in
// sum at most a quarter of the time, so that a burst of unknown ones delays
// events but never adds up. A pid of 0 or less is none.
//
// It is for one goroutine: that which owns the events.
func (r *Resolver) Lookup(id uint64, pid int) (*Place, bool) {
	place, ok, ready := r.peek(id)
	if ready == nil {
		return place, ok
	}
	return r.lookupSlow(id, pid)
}

// unasked marks, for peek's caller, an id that nobody has asked for yet.
var unasked = make(chan struct{})

func (r *Resolver) peek(id uint64) (place *Place, ok bool, ready <-chan struct{}) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	switch c := r.cgroups[id]; {
	case c == nil:
		return nil, false, unasked
	case c.owner != nil:
		return c.owner.place, c.owner.final, c.owner.ready
	default:
		return nil, c.known, c.ready
	}
}

func (r *Resolver) lookupSlow(id uint64, pid int) (*Place, bool) {
	r.mu.Lock()
	c := r.cgroups[id]
	if c == nil {
		c = &cgroup{ready: make(chan struct{})}
		r.insert(id, c)
		if !r.do(r.urgent, func() { r.locate(id, pid) }) {
			delete(r.cgroups, id) // ask again next time
			r.mu.Unlock()
			return nil, false
		}
	} else if o := c.owner; o != nil {
		r.do(r.urgent, func() { r.resolve(o, 0) }) // before those that nobody asks for
	}
	r.mu.Unlock()

	_, _, ready := r.peek(id)
	if ready != nil && !r.await(ready) {
		r.mu.Lock()
		if c.ready = nil; c.owner != nil { // no second wait for the same
			c.owner.ready = nil
		}
		r.mu.Unlock()
	}
	place, ok, _ := r.peek(id)
	return place, ok
}

// await waits for ready as long as it may, and reports whether it came.
func (r *Resolver) await(ready <-chan struct{}) bool {
	now := time.Now()
	if !r.allowedAt.IsZero() {
		r.allowance = min(r.wait, r.allowance+now.Sub(r.allowedAt)/4)
	}
	r.allowedAt = now
	if r.allowance <= 0 {
		return false
	}
	if r.timer == nil {
		r.timer = time.NewTimer(r.allowance)
	} else {
		r.timer.Reset(r.allowance)
	}
	defer r.timer.Stop()
	defer func() { r.allowance -= time.Since(now) }()
	select {
	case <-ready:
		return true
	case <-r.timer.C:
	case <-r.stopped:
	}
	return false
}

// Mkdir tells of a new cgroup, as the tracepoint cgroup_mkdir does: its id,
// the number of its hierarchy and its path. Other hierarchies' are ignored. It
// does not wait: names are read in the background, before a container's first
// program starts where the runtime wrote them by then.
func (r *Resolver) Mkdir(id uint64, hierarchy uint32, path string) {
	if hierarchy == r.hierarchy.ID {
		r.learn(id, path)
	}
}

// Rmdir tells that a cgroup was removed (tracepoint cgroup_rmdir). It stays
// known for a minute, for events that are still on their way.
func (r *Resolver) Rmdir(id uint64, hierarchy uint32, path string) {
	if hierarchy != r.hierarchy.ID {
		return
	}
	r.learn(id, path)
	r.mu.Lock()
	c := r.cgroups[id]
	first := c != nil && !c.gone
	if first {
		c.gone = true
	}
	r.mu.Unlock()
	if first {
		r.after(keep, func() { r.forget(id) })
	}
}

// Watch calls fn with every cgroup id whose place f matches, those known now
// before it returns and later ones as their names are found, and with false
// when an id matches no longer or is forgotten. The calls come one at a time,
// from one goroutine of r; fn must be quick and not call Watch, stop or Close.
// After stop returns there are no more calls.
func (r *Resolver) Watch(f Filter, fn func(id uint64, match bool)) (stop func()) {
	w := &watch{filter: f, fn: fn, told: make(map[uint64]bool)}
	r.onWorker(func() {
		r.watches = append(r.watches, w)
		r.mu.RLock()
		ids := make([]uint64, 0, len(r.cgroups))
		for id := range r.cgroups {
			ids = append(ids, id)
		}
		r.mu.RUnlock()
		r.tell(ids)
	})
	return func() {
		r.onWorker(func() {
			r.watches = slices.DeleteFunc(r.watches, func(o *watch) bool { return o == w })
		})
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

// Problems says in plain sentences why names are missing; nil where none are.
func (r *Resolver) Problems() []string {
	n := r.Counts()
	r.mu.RLock()
	defer r.mu.RUnlock()
	var list []string
	for source, err := range r.problems {
		list = append(list, fmt.Sprintf("%s: %v", source, err))
	}
	slices.Sort(list)
	if missing := n.Containers - n.Named; missing > 0 {
		var some []string
		for t, o := range r.owners {
			if !o.final {
				some = append(some, cmpOr(short(t.id), "pod "+t.podUID))
			}
		}
		slices.Sort(some)
		if len(some) > 3 {
			some = append(some[:3], "…")
		}
		list = append(list, fmt.Sprintf("%d of %d containers have no name yet: %s", missing, n.Containers, strings.Join(some, ", ")))
	}
	if n.Dropped > 0 {
		list = append(list, fmt.Sprintf("%d cgroups were given up: there are more than %d, or too many new ones at once", n.Dropped, maxCgroups))
	}
	return list
}

// problem keeps the last error of a source, nil to take it back. That a file
// or socket does not exist is none: few hosts have them all.
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

func short(id string) string { return id[:min(12, len(id))] }
