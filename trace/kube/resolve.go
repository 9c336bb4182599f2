package kube

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A source answers for one container at a time, over a socket or port. It is
// called by one goroutine only, with a context that ends after askTime. Having
// nothing is no error, or fs.ErrNotExist.
type source struct {
	name string
	find func(context.Context, target) (names, error)
}

// worker is owned by the goroutine of Resolver.work: nobody else reads or
// writes it.
type worker struct {
	watches  []*watch
	lost     []uint64 // ids that only the tree can tell of
	scanning bool
	nextScan time.Time
}

type watch struct {
	filter Filter
	fn     func(id uint64, match bool)
	told   map[uint64]bool // ids of which fn was told that they match
}

// work runs what changes the resolver's knowledge, one after the other.
func (r *Resolver) work() {
	for {
		select {
		case f := <-r.urgent:
			f()
			continue
		default:
		}
		select {
		case f := <-r.urgent:
			f()
		case f := <-r.later:
			f()
		case <-r.stopped:
			return
		}
	}
}

// do queues work without waiting; false where the queue is full.
func (r *Resolver) do(queue chan func(), f func()) bool {
	select {
	case queue <- f:
		return true
	default:
		return false
	}
}

// send queues work and waits for room. Not for the worker itself.
func (r *Resolver) send(f func()) {
	select {
	case r.later <- f:
	case <-r.stopped:
	}
}

func (r *Resolver) after(d time.Duration, f func()) {
	time.AfterFunc(d, func() { r.send(f) })
}

// onWorker runs f on the worker and waits until it has.
func (r *Resolver) onWorker(f func()) {
	done := make(chan struct{})
	r.send(func() { f(); close(done) })
	select {
	case <-done:
	case <-r.stopped:
	}
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
		r.remove(victim)
		r.dropped++
		r.do(r.later, func() { r.tell([]uint64{victim}) })
	}
	r.cgroups[id] = c
}

// remove takes a cgroup out, and its owner with the last one. The caller holds mu.
func (r *Resolver) remove(id uint64) {
	c := r.cgroups[id]
	delete(r.cgroups, id)
	if c == nil || c.owner == nil {
		return
	}
	o := c.owner
	if o.ids = slices.DeleteFunc(o.ids, func(x uint64) bool { return x == id }); len(o.ids) == 0 {
		delete(r.owners, o.target)
	}
}

// forget is remove for the worker.
func (r *Resolver) forget(id uint64) {
	r.mu.Lock()
	r.remove(id)
	r.mu.Unlock()
	r.tell([]uint64{id})
}

// learn takes in what path a cgroup has. It does not wait, for any goroutine.
func (r *Resolver) learn(id uint64, path string) {
	podUID, containerID, runtime := Identify(path)
	t := target{podUID, containerID, runtime}

	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.cgroups[id]
	switch {
	case c == nil:
		c = &cgroup{}
		r.insert(id, c)
	case c.known:
		return
	case c.ready != nil:
		close(c.ready)
		c.ready = nil
	}
	c.known = true
	if podUID == "" && containerID == "" {
		return
	}
	o := r.owners[t]
	if o == nil {
		o = &owner{target: t, ready: make(chan struct{})}
		o.place = placeOf(o)
		r.owners[t] = o
	}
	o.ids = append(o.ids, id)
	c.owner = o
	// Where the queue is full, the first Lookup starts it.
	if !r.do(r.urgent, func() { r.resolve(o, 0); r.tell([]uint64{id}) }) {
		r.dropped++
	}
}

func placeOf(o *owner) *Place {
	p := &Place{
		Container:   o.names.container,
		ContainerID: o.id,
		Pod:         o.names.pod,
		Namespace:   o.names.namespace,
		PodUID:      cmpOr(o.podUID, o.names.podUID),
	}
	if p.Container == "" && !o.names.sandbox {
		p.Container = short(o.id)
	}
	return p
}

// resolve reads the names of o from files. It does nothing unless it is the
// try that is due. Worker only, like all that follows but ask and scan.
func (r *Resolver) resolve(o *owner, try int) {
	if o.tries != try {
		return
	}
	o.tries++
	n, errs := r.files.find(o.target)
	for _, s := range fileSources {
		if err, failed := errs[s.name]; failed {
			r.problem(s.name, err)
		}
	}
	r.publish(o, n)
	if o.names.complete(o.target) {
		return
	}
	if o.podUID != "" && r.do2(o) {
		return
	}
	r.retry(o)
}

func (r *Resolver) do2(o *owner) bool {
	select {
	case r.questions <- o:
		return true
	default:
		return false
	}
}

// retry tries again later, as long as there is somebody to try for.
func (r *Resolver) retry(o *owner) {
	r.mu.RLock()
	alive := len(o.ids) > 0
	r.mu.RUnlock()
	if try := o.tries; alive && try <= maxTries {
		r.after(retryFirst<<(2*(try-1)), func() { r.resolve(o, try) })
	}
}

// publish adds to what is known of o, and tells all who wait for it.
func (r *Resolver) publish(o *owner, n names) {
	o.names.add(n)
	place, final := placeOf(o), o.names.complete(o.target)
	r.mu.Lock()
	o.place, o.final = place, final
	if o.ready != nil {
		close(o.ready)
		o.ready = nil
	}
	ids := slices.Clone(o.ids)
	r.mu.Unlock()
	r.tell(ids)
}

// tell calls the watches that were not yet told how it stands with ids.
func (r *Resolver) tell(ids []uint64) {
	for _, w := range r.watches {
		for _, id := range ids {
			place, _, _ := r.peek(id)
			r.mu.RLock()
			c := r.cgroups[id]
			match := c != nil && c.known && w.filter.Match(place)
			r.mu.RUnlock()
			if match == w.told[id] {
				continue
			}
			if match {
				w.told[id] = true
			} else {
				delete(w.told, id)
			}
			w.fn(id, match)
		}
	}
}

// ask is the goroutine that asks sockets and ports, so that a slow one holds
// up nothing but the rest of those questions.
func (r *Resolver) ask(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case o := <-r.questions:
			n := names{}
			for _, s := range r.asked {
				ctx, cancel := context.WithTimeout(ctx, askTime)
				m, err := s.find(ctx, o.target)
				cancel()
				r.problem(s.name, err)
				if n.add(m); n.complete(o.target) {
					break
				}
			}
			r.send(func() {
				if r.publish(o, n); !o.names.complete(o.target) {
					r.retry(o)
				}
			})
		}
	}
}

// locate finds the path of a cgroup id that nobody told of: by a process in
// it, else in the tree.
func (r *Resolver) locate(id uint64, pid int) {
	if path, ok := r.pathOf(id, pid); ok {
		r.learn(id, path)
		return
	}
	r.lost = append(r.lost, id)
	if !r.scanning {
		r.rescan()
	}
}

// pathOf reads a process's cgroup path, and takes it only where the directory
// has that id: the process may have moved on, or its pid be another's by now.
// A path that cannot be looked at, because it is outside of this cgroup
// namespace or removed, is taken if it names a container.
func (r *Resolver) pathOf(id uint64, pid int) (string, bool) {
	if pid <= 0 {
		return "", false
	}
	data, err := readFile(filepath.Join(r.roots.Proc, strconv.Itoa(pid), "cgroup"), maxProc)
	if err != nil {
		return "", false
	}
	unseen := ""
	for i, path := range ParseCgroup(data) {
		if strings.HasPrefix(path, "/..") {
			unseen = cmpOr(unseen, path)
			continue
		}
		info, err := os.Lstat(filepath.Join(r.hierarchy.Dir, path))
		switch {
		case err == nil && inode(info) == id:
			return path, true
		case os.IsNotExist(err) && i == 0:
			unseen = path
		}
	}
	podUID, containerID, _ := Identify(unseen)
	return unseen, podUID != "" || containerID != ""
}

// rescan reads the tree for lost ids, not too often: there may be none there.
func (r *Resolver) rescan() {
	r.scanning = true
	r.after(time.Until(r.nextScan), func() {
		select {
		case <-r.stopped:
		default:
			r.scan(r.ctx)
		}
	})
}

// scan starts to read the whole tree in the background.
func (r *Resolver) scan(ctx context.Context) {
	r.running.Go(func() {
		start := time.Now()
		batch := make(map[uint64]string)
		flush := func() {
			found := maps.Clone(batch)
			clear(batch)
			r.send(func() {
				for id, path := range found {
					r.learn(id, path)
				}
			})
		}
		total := 0
		err := walk(ctx, r.hierarchy.Dir, func(id uint64, path string) bool {
			if batch[id] = path; len(batch) == 256 {
				flush()
			}
			total++
			return total < maxCgroups
		})
		flush()
		took := time.Since(start)
		r.problem("cgroup tree", err)
		r.send(func() { r.scanDone(took) })
	})
}
