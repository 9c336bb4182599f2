// Package place says in which container and pod an event happened: from the
// cgroup id that the kernel puts into every event to the cgroup's path, from
// the path to a pod's uid and a container's id, and from those to names.
//
// It must not know of eBPF, events or how they are shown: it is told ids, and
// answers with a [Place]. It writes nothing anywhere, and what it reads it
// takes as a stranger's: names are cut to a bounded length and handed on as
// they are, for rendering to quote.
//
// Start reading at [Resolver.Lookup], then identify. Who is asked for names
// stands in two tables, the cheapest and most trusted first: fileSources, of
// what runtimes and kubelet leave on disk, and for pods that files do not
// name, Resolver.remote, of sockets and the kubelet's port. A new source is a
// row in one of them.
//
//	cgroup.go   /proc/PID/cgroup, paths, the walk of the tree
//	files.go    names from files
//	sockets.go  names from gRPC over unix sockets
//	kubelet.go  names from the kubelet's HTTP interface
//	resolve.go  the goroutines that do the reading and asking
package place

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"tracer/trace/event"
)

// Bounds of what is kept and how long.
const (
	maxCgroups = 32768 // known at one time
	maxQueue   = 2 * maxCgroups
	maxLost    = 4096                   // ids looked for in the tree at one time
	waitTime   = 50 * time.Millisecond  // Options.Wait, if 0
	keepTime   = time.Minute            // for a removed cgroup
	lostTime   = 10 * time.Second       // before an id that was nowhere is looked for again
	scanTime   = 2 * time.Second        // between two walks of the tree
	askTime    = 5 * time.Second        // for one question to a socket or port
	listAge    = time.Second            // before a list of pods is asked for again
	retryTime  = 100 * time.Millisecond // before the second try, then four times that, and so on
	maxTries   = 6
	tree       = "cgroup tree" // as a source of problems
)

// A Place is where a process runs. Container is the name; the first 12 digits of
// ContainerID until one is known; empty for a pod's sandbox, which has none.
// PodUID is as in the cgroup: of a static pod, not the API server's. It is shared
// between events: do not change it.
type Place = event.Place

// Roots are where the host's files are found, so that tests, and a tracer in
// a container, bring their own.
type Roots struct {
	FS     string // "" is /
	Proc   string // "" is /proc below FS
	Cgroup string // "" is what FindHierarchies finds in the mounts
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
	// Behind reports whether Mkdir is still to be told of something: a cgroup
	// that is not known is waited for as long. nil: that is not known.
	Behind func() bool
}

// A Resolver knows cgroups and the names behind them. Its methods may be
// called from any goroutine, except where they say otherwise.
type Resolver struct {
	roots  Roots
	trees  []Hierarchy
	files  files
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

// cgroup is one directory of the tree. Guarded by Resolver.mu.
type cgroup struct {
	known bool          // its path was seen
	gone  bool          // it was removed
	owner *owner        // nil: not in a container or pod, or not known
	ready chan struct{} // closed once known, or not to be found; nil when there is no use in waiting
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
}

type departed struct {
	id uint64
	at time.Time
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

// New starts to read the cgroup tree in the background; Close ends that. It
// fails where there is no cgroup tree, or where a file that opts names cannot
// be used.
func New(roots Roots, opts Options) (*Resolver, error) {
	trees, err := FindHierarchies(roots)
	if err != nil {
		return nil, err
	}
	tops := make(map[uint64]bool)
	trees = slices.DeleteFunc(trees, func(h Hierarchy) bool { // another mount may hide one
		top, statErr := os.Stat(h.Dir)
		if statErr != nil {
			err = fmt.Errorf("read cgroup tree: %w", statErr)
			return true
		}
		tops[h.mark(inode(top))] = true
		return false
	})
	if len(trees) == 0 {
		return nil, err
	}
	k, err := newKubelet(opts.Kubelet)
	if err != nil {
		return nil, err
	}
	roots = roots.filled()
	r := &Resolver{
		roots: roots,
		trees: trees,
		files: files{roots.FS},
		remote: []source{
			{name: "kubelet's pods socket", find: cached(podsSocket(roots.FS))},
			{name: "runtime's CRI socket", find: cri(roots.FS)},
			{name: "kubelet's port", find: cached(k.list)},
		},
		wait:      cmp.Or(opts.Wait, waitTime),
		behind:    opts.Behind,
		scanned:   make(chan struct{}),
		questions: make(chan *owner, 256),
		queue:     queue{wake: make(chan struct{}, 1)},
		cgroups:   make(map[uint64]*cgroup),
		owners:    make(map[target]*owner),
		problems:  make(map[string]error),
	}
	r.ctx, r.stop = context.WithCancel(context.Background())
	r.patience.left = r.wait
	for id := range tops {
		r.learn(id, "/")
	}
	r.scan()
	r.running.Go(r.work)
	r.running.Go(r.ask)
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

// Hierarchies are the trees whose ids Lookup and Mkdir understand.
func (r *Resolver) Hierarchies() []Hierarchy { return r.trees }

// tree is the one that the number belongs to.
func (r *Resolver) tree(hierarchy uint32) (Hierarchy, bool) {
	for _, h := range r.trees {
		if h.ID == hierarchy {
			return h, true
		}
	}
	return Hierarchy{}, false
}

// Lookup says where the process pid runs, of which the kernel gave cgroup id,
// with the mark V1 where it is one of that tree.
//
//	place, true   all that there is to know
//	place, false  names are missing, for now or for good
//	nil, true     on the host: in no container and no pod
//	nil, false    the cgroup is not known
//
// What is known costs a map access. For what is not, Lookup starts the search
// and waits for it: once for each cgroup and container, at most Options.Wait,
// and in sum not more than a quarter of the time, so that a burst of unknown
// ones cannot hold up events for long. A pid of 0 or less is none.
//
// It is for one goroutine: that which owns the events.
func (r *Resolver) Lookup(id uint64, pid int) (*Place, bool) {
	r.mu.RLock()
	c := r.cgroups[id]
	place, ok, ready := c.state()
	r.mu.RUnlock()
	if c != nil && ready == nil {
		return place, ok
	}
	return r.lookupSlow(id, pid)
}

func (r *Resolver) lookupSlow(id uint64, pid int) (*Place, bool) {
	r.mu.Lock()
	c := r.cgroups[id]
	for c == nil && r.behind != nil && r.behind() {
		r.mu.Unlock()
		more := r.patience.pause(r.wait)
		r.mu.Lock()
		if c = r.cgroups[id]; !more {
			break
		}
	}
	if c == nil {
		if r.queue.full() {
			r.dropped++
			r.mu.Unlock()
			return nil, false
		}
		c = &cgroup{ready: make(chan struct{})}
		r.insert(id, c)
		r.queue.doFirst(func() { r.locate(id, pid) })
	}
	defer r.mu.Unlock()
	for { // wait for the cgroup, then for its container
		place, ok, ready := c.state()
		if ready == nil {
			return place, ok
		}
		if o := c.owner; o != nil {
			r.queue.doFirst(func() { r.resolve(o, 0) }) // its turn may be far off
		}
		r.mu.Unlock()
		came := r.patience.wait(ready, r.ctx.Done(), r.wait)
		r.mu.Lock()
		if _, _, now := c.state(); now == ready && !came {
			if c.ready = nil; c.owner != nil { // no second wait for the same
				c.owner.ready = nil
			}
		}
	}
}

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

// Mkdir tells of a new cgroup, as the tracepoint cgroup_mkdir does: its id,
// the number of its hierarchy and its path. Other hierarchies' are ignored. It
// does not wait: names are read in the background, which is before a
// container's first program starts, as the runtimes write them earlier still.
func (r *Resolver) Mkdir(id uint64, hierarchy uint32, path string) {
	h, ok := r.tree(hierarchy)
	if !ok {
		return
	}
	if o := r.learn(h.mark(id), path); o != nil && !r.queue.full() { // else the first Lookup has it resolved
		r.queue.do(func() { r.resolve(o, 0) })
	}
}

// Rmdir tells that a cgroup was removed (tracepoint cgroup_rmdir). It stays
// known for a minute, for events that are still on their way.
func (r *Resolver) Rmdir(id uint64, hierarchy uint32, path string) {
	h, ok := r.tree(hierarchy)
	if !ok {
		return
	}
	r.Mkdir(id, hierarchy, path) // that may have been missed
	id = h.mark(id)
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.cgroups[id]
	if c == nil || c.gone {
		return
	}
	c.gone = true
	r.gone = append(r.gone, departed{id, time.Now()})
	switch {
	case len(r.gone) == 1:
		r.after(keepTime, r.sweep)
	case len(r.gone) > maxCgroups:
		r.remove(r.gone[0].id)
		r.gone = r.gone[1:]
	}
}

// Watch calls fn with every cgroup id of which f can say whether it is of
// interest, those known now before it returns and later ones as their names are
// found, and with Unknown when that is no longer so or the id is forgotten. The
// calls come one at a time, from one goroutine of r; fn must be quick and not
// call Watch, stop or Close. After stop returns there are no more calls.
func (r *Resolver) Watch(f Filter, fn func(id uint64, v Verdict)) (stop func()) {
	w := &watch{filter: f, fn: fn, told: make(map[uint64]Verdict)}
	r.onWorker(func() {
		r.worker.watches = append(r.worker.watches, w)
		r.mu.Lock()
		r.watched = true
		ids := slices.Collect(maps.Keys(r.cgroups))
		r.mu.Unlock()
		r.tell(ids)
	})
	return func() {
		r.onWorker(func() {
			r.worker.watches = slices.DeleteFunc(r.worker.watches, func(o *watch) bool { return o == w })
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
	var list, some []string
	for source, err := range r.problems {
		if source == tree || n.Named < n.Containers {
			list = append(list, fmt.Sprintf("%s: %v", source, err))
		}
	}
	slices.Sort(list)
	for t, o := range r.owners {
		if !o.final {
			some = append(some, cmp.Or(short(t.id), "pod "+t.podUID))
		}
	}
	slices.Sort(some)
	if len(some) > 3 {
		some = append(some[:3], "…")
	}
	if len(some) > 0 {
		list = append(list, fmt.Sprintf("%d of %d containers lack a name: %s",
			n.Containers-n.Named, n.Containers, strings.Join(some, ", ")))
	}
	if n.Dropped > 0 {
		list = append(list, fmt.Sprintf("cgroups given up %d times: there are too many, or too many new ones at once", n.Dropped))
	}
	return list
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

func short(id string) string { return id[:min(12, len(id))] }
