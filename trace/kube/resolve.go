package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A source answers for one container at a time, over a socket or port. It is
// called by one goroutine only, with a context that ends after askTime. Having
// nothing is no error, or fs.ErrNotExist.
type source struct {
	name string
	find func(context.Context, target) (names, error)
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
	fn     func(id uint64, match bool)
	told   map[uint64]bool // ids of which fn was told that they match
}

// queue is work for the worker, the first level first.
type queue struct {
	mu     sync.Mutex
	levels [3][]func()
	wake   chan struct{} // holds one: there is work
}

const (
	askedFor = iota // somebody waits for it
	fresh           // a container not seen before
	rest
)

// do queues work. It does not wait: at the bound it gives up f, and reports so.
func (r *Resolver) do(level int, f func()) bool {
	q := &r.queue
	q.mu.Lock()
	full := len(q.levels[level]) >= maxQueue
	if !full {
		q.levels[level] = append(q.levels[level], f)
	}
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return !full
}

func (q *queue) next() func() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, l := range q.levels {
		if len(l) > 0 {
			f := l[0]
			l[0] = nil
			if q.levels[i] = l[1:]; len(l) == 1 {
				q.levels[i] = nil
			}
			return f
		}
	}
	return nil
}

// work runs all that changes what is known of containers, one after the other.
func (r *Resolver) work() {
	for r.ctx.Err() == nil {
		if f := r.queue.next(); f != nil {
			f()
			continue
		}
		select {
		case <-r.queue.wake:
		case <-r.ctx.Done():
		}
	}
}

func (r *Resolver) after(d time.Duration, f func()) {
	time.AfterFunc(d, func() { r.do(rest, f) })
}

// onWorker runs f on the worker and waits until it has.
func (r *Resolver) onWorker(f func()) {
	done := make(chan struct{})
	if !r.do(rest, func() { f(); close(done) }) {
		return
	}
	select {
	case <-done:
	case <-r.ctx.Done():
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
	o.ids = slices.DeleteFunc(o.ids, func(x uint64) bool { return x == id })
	if len(o.ids) == 0 {
		delete(r.owners, o.target)
	}
	if r.watched {
		r.do(rest, func() { r.tell([]uint64{id}) })
	}
}

// learn takes in the path of a cgroup. It does not wait, for any goroutine.
func (r *Resolver) learn(id uint64, path string) {
	podUID, containerID, runtime := Identify(path)
	t := target{podUID, containerID, runtime}

	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.cgroups[id]
	if c == nil {
		c = &cgroup{}
		r.insert(id, c)
	}
	if c.known {
		return
	}
	c.known = true
	if c.ready != nil {
		close(c.ready)
		c.ready = nil
	}
	if podUID != "" || containerID != "" {
		o := r.owners[t]
		if o == nil {
			o = &owner{target: t, ready: make(chan struct{})}
			o.place = o.newPlace()
			r.owners[t] = o
			if !r.do(fresh, func() { r.resolve(o, 0) }) {
				r.dropped++
			}
		}
		o.ids = append(o.ids, id)
		c.owner = o
	}
	if r.watched {
		r.do(rest, func() { r.tell([]uint64{id}) })
	}
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

// The worker's own functions follow.

// resolve reads the names of o from files, and has others asked for what they
// lack. It does nothing unless this try is due.
func (r *Resolver) resolve(o *owner, try int) {
	if o.tries != try {
		return
	}
	o.tries++
	n, errs := r.files.find(o.target)
	for source, err := range errs {
		r.problem(source, err)
	}
	if r.publish(o, n) {
		return
	}
	if o.podUID != "" {
		select {
		case r.questions <- o:
			return
		default:
		}
	}
	r.retry(o)
}

// retry tries again later, as long as there is a cgroup to try for.
func (r *Resolver) retry(o *owner) {
	r.mu.RLock()
	alive := slices.ContainsFunc(o.ids, func(id uint64) bool { return !r.cgroups[id].gone })
	r.mu.RUnlock()
	if try := o.tries; alive && try < maxTries {
		r.after(retryTime<<(2*(try-1)), func() { r.resolve(o, try) })
	}
}

// publish adds to what is known of o, tells all who wait for it, and reports
// whether nothing is missing now.
func (r *Resolver) publish(o *owner, n names) bool {
	o.names.add(n)
	place, final := o.newPlace(), o.names.complete(o.target)
	r.mu.Lock()
	o.place, o.final = place, final
	if o.ready != nil {
		close(o.ready)
		o.ready = nil
	}
	ids := slices.Clone(o.ids)
	r.mu.Unlock()
	r.tell(ids)
	return final
}

// tell tells the watches how it stands with ids, where that is new to them.
func (r *Resolver) tell(ids []uint64) {
	for _, w := range r.worker.watches {
		for _, id := range ids {
			r.mu.RLock()
			c := r.cgroups[id]
			place, _, _ := c.state()
			r.mu.RUnlock()
			match := c != nil && c.known && w.filter.Match(place)
			switch {
			case match == w.told[id]:
				continue
			case match:
				w.told[id] = true
			default:
				delete(w.told, id)
			}
			w.fn(id, match)
		}
	}
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

// locate finds the path of a cgroup that nobody told of: by a process in it,
// else in the tree.
func (r *Resolver) locate(id uint64, pid int) {
	if path, ok := r.pathOf(id, pid); ok {
		r.learn(id, path)
		return
	}
	if r.worker.lost = append(r.worker.lost, id); len(r.worker.lost) > maxLost {
		r.giveUp(r.worker.lost[:1])
		r.worker.lost = r.worker.lost[1:]
	}
	if r.worker.idle { // a walk that runs will do, else one that is not too soon: there may be nothing to find
		r.worker.idle = false
		r.after(time.Until(r.worker.nextScan), r.scan)
	}
}

// pathOf reads a process's cgroup path, and takes it only where the directory
// has that id: the process may have moved on, or the pid be another's by now.
// A path that cannot be looked at, as it is outside of this cgroup namespace or
// removed, is taken if it names a container.
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
		info, err := os.Lstat(filepath.Join(r.hierarchy.Dir, path))
		switch {
		case strings.HasPrefix(path, "/.."), err != nil && i == 0:
			unseen = cmp.Or(unseen, path)
		case err == nil && inode(info) == id:
			return path, true
		}
	}
	podUID, containerID, _ := Identify(unseen)
	return unseen, podUID != "" || containerID != ""
}

// scan starts a walk of the whole tree. It is the worker's, and New's.
func (r *Resolver) scan() {
	r.running.Go(func() {
		start, total := time.Now(), 0
		batch := make(map[uint64]string)
		hand := func() {
			found := maps.Clone(batch)
			clear(batch)
			r.do(rest, func() {
				for id, path := range found {
					r.learn(id, path)
				}
			})
		}
		err := walk(r.ctx, r.hierarchy.Dir, func(id uint64, path string) bool {
			if batch[id] = path; len(batch) == 256 {
				hand()
			}
			total++
			return total < maxCgroups
		})
		hand()
		if err == nil && total == maxCgroups {
			err = fmt.Errorf("read no more than %d directories", total)
		}
		r.problem(tree, err)
		took := time.Since(start)
		r.do(rest, func() {
			r.worker.idle = true
			r.worker.nextScan = time.Now().Add(max(scanTime, 20*took))
			r.giveUp(r.worker.lost)
			r.worker.lost = nil
			select {
			case <-r.scanned:
			default:
				close(r.scanned)
			}
		})
	})
}

// giveUp ends the waiting for those of ids that are not known. They are looked
// for again where they are met again later.
func (r *Resolver) giveUp(ids []uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var lost []uint64
	for _, id := range ids {
		if c := r.cgroups[id]; c != nil && !c.known {
			if lost = append(lost, id); c.ready != nil {
				close(c.ready)
				c.ready = nil
			}
		}
	}
	if len(lost) == 0 {
		return
	}
	r.after(lostTime, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, id := range lost {
			if c := r.cgroups[id]; c != nil && !c.known {
				r.remove(id)
			}
		}
	})
}

// ask is the goroutine that asks sockets and ports, so that a slow one holds
// up nothing but other such questions.
func (r *Resolver) ask() {
	for {
		select {
		case <-r.ctx.Done():
			return
		case o := <-r.questions:
			var n names
			for _, s := range r.remote {
				ctx, cancel := context.WithTimeout(r.ctx, askTime)
				m, err := s.find(ctx, o.target)
				cancel()
				if errors.Is(err, context.Canceled) {
					return
				}
				r.problem(s.name, err)
				if n.add(m); n.complete(o.target) {
					break
				}
			}
			r.do(rest, func() {
				if !r.publish(o, n) {
					r.retry(o)
				}
			})
		}
	}
}
