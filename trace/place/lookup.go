package place

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"
)

// Options has a useful zero value.
type Options struct {
	// Wait is the longest that Lookup waits: 0 is 50 ms, negative not at all.
	Wait    time.Duration
	Kubelet Kubelet
	// Behind reports whether Mkdir is still to be told of something: a cgroup
	// that is not known is waited for as long. nil: that is not known.
	Behind func() bool
}

// New starts to read the cgroup tree in the background; Close ends that. It
// fails where no cgroup tree can be read, or where a file that opts names cannot
// be used.
func New(roots Roots, opts Options) (*Resolver, error) {
	trees, err := FindHierarchies(roots)
	if len(trees) == 0 {
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
		files: newFiles(roots),
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
	r.after(renameTime, r.rename)
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

// hierarchy is the tree that a number belongs to.
func (r *Resolver) hierarchy(number uint32) (Hierarchy, bool) {
	for _, h := range r.trees {
		if h.ID == number {
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
	var o *owner
	if c != nil {
		o = c.owner
	}
	r.mu.RUnlock()
	if c == nil || ready != nil {
		return r.lookupSlow(id, pid)
	}
	if o != nil {
		r.meet(o, ok)
	}
	return place, ok
}

// Path is the path of a cgroup, with the mark V1 where it is one of that tree: from
// systemd's unit on, if it is in one. Empty if it is not known (now): Lookup makes it
// known.
func (r *Resolver) Path(id uint64) string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if c := r.cgroups[id]; c != nil {
		return c.path
	}
	return ""
}

// meet takes note that an event has come from o. If its names are not all known they
// are looked for again, the more rarely the longer that was in vain.
func (r *Resolver) meet(o *owner, complete bool) {
	last := o.met.Load()
	if complete && last != 0 {
		return // the usual case: it must not cost a look at the clock
	}
	now := time.Now()
	if last == 0 {
		o.met.Store(now.UnixNano())
	}
	if complete || last == 0 || now.Sub(time.Unix(0, last)) < max(againTime, now.Sub(o.since)/4) || r.queue.full() {
		return
	}
	o.met.Store(now.UnixNano())
	r.queue.do(func() {
		if !o.asked {
			r.resolve(o, o.tries)
		}
	})
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
			if c.owner != nil {
				r.meet(c.owner, ok)
			}
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

// Mkdir tells of a new cgroup, as the tracepoint cgroup_mkdir does: its id,
// the number of its hierarchy and its path. Other hierarchies' are ignored. It
// does not wait: names are read in the background, which is before a
// container's first program starts, as the runtimes write them earlier still.
func (r *Resolver) Mkdir(id uint64, hierarchy uint32, path string) {
	h, ok := r.hierarchy(hierarchy)
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
	h, ok := r.hierarchy(hierarchy)
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

// onWorker runs f on the worker and waits until it has.
func (r *Resolver) onWorker(f func()) {
	done := make(chan struct{})
	r.queue.do(func() { f(); close(done) })
	select {
	case <-done:
	case <-r.ctx.Done():
	}
}
