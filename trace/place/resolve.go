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
	"strconv"
	"strings"
	"time"
)

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

// The worker calls all that follows, but for ask; New calls scan, too.

// learnNow is learn and resolve.
func (r *Resolver) learnNow(id uint64, path string) {
	if o := r.learn(id, path); o != nil {
		r.resolve(o, 0)
	}
}

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
			o.asked = true
			return
		default:
		}
	}
	r.retry(o)
}

// rename looks for names that were changed: at the files that they are from, every
// second or as often as that takes a fiftieth of the time.
func (r *Resolver) rename() {
	r.mu.RLock()
	var list []*owner
	for _, o := range r.owners {
		list = append(list, o)
	}
	r.mu.RUnlock()
	start := time.Now()
	for _, o := range list {
		if o.names.from == (stamp{}) {
			continue
		}
		switch now := stampOf(o.names.from.path); {
		case now == o.names.from:
			continue
		case now == (stamp{}): // the container is gone: it keeps its name
			o.names.from = stamp{}
			continue
		}
		n, _ := r.files.find(o.target) // what fails now leaves the name as it is
		if n.from == (stamp{}) || n.container == "" {
			continue
		}
		changed := n.container != o.names.container
		o.names.from, o.names.container = n.from, n.container
		if changed {
			r.publish(o, names{})
		}
	}
	r.after(max(renameTime, 50*time.Since(start)), r.rename)
}

// retry tries again later, as long as there is a cgroup to try for.
func (r *Resolver) retry(o *owner) {
	r.mu.RLock()
	alive := false
	for id := range o.ids {
		alive = alive || !r.cgroups[id].gone
	}
	r.mu.RUnlock()
	if try := o.tries; alive && try < maxTries {
		r.after(retryTime<<(try-1), func() { r.resolve(o, try) })
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
	ids := slices.Collect(maps.Keys(o.ids))
	r.mu.Unlock()
	r.tell(ids)
	return final
}

// locate finds the path of a cgroup that nobody told of: by a process in it,
// else in the tree.
func (r *Resolver) locate(id uint64, pid int) {
	if path, ok := r.pathOf(id, pid); ok {
		r.learnNow(id, path)
		return
	}
	h := r.tree(id)
	if h == nil { // the next process may live long enough to tell
		r.giveUp([]uint64{id}, retryTime)
		return
	}
	if r.worker.lost = append(r.worker.lost, id); len(r.worker.lost) > maxLost {
		r.giveUp(r.worker.lost[:1], lostTime)
		r.worker.lost = r.worker.lost[1:]
	}
	if r.worker.idle { // a walk that runs will do, else one that is not too soon: there may be nothing to find
		r.worker.idle = false
		r.after(time.Until(r.worker.nextScan), r.scan)
	}
	if h.Part { // it need not be in there, and the next process may tell
		r.after(retryTime, func() { r.giveUp([]uint64{id}, 0) })
	}
}

// pathOf reads a process's cgroup path, and takes it only where the directory
// has that id: the process may have moved on, or the pid be another's by now.
// A path that cannot be looked at, as it is outside of this cgroup namespace or
// removed, is taken if it names a container, and where the tree is not to be
// seen as a whole whatever it names: nothing else will ever tell.
func (r *Resolver) pathOf(id uint64, pid int) (string, bool) {
	if pid <= 0 {
		return "", false
	}
	data, err := readFile(filepath.Join(r.roots.Proc, strconv.Itoa(pid), "cgroup"), maxProc)
	if err != nil {
		return "", false
	}
	h, unseen := r.tree(id), ""
	for i, path := range ParseCgroup(data) {
		if h == nil || strings.HasPrefix(path, "/..") {
			unseen = cmp.Or(unseen, path)
			continue
		}
		switch info, err := os.Lstat(filepath.Join(h.Dir, path)); {
		case err != nil && i == 0:
			unseen = cmp.Or(unseen, path)
		case err == nil && inode(info) == id&^V1:
			return path, true
		}
	}
	return unseen, identify(unseen) != (target{}) || h == nil || h.Part && unseen != ""
}

// tree is the one with this id, nil where it cannot be seen.
func (r *Resolver) tree(id uint64) *Hierarchy {
	for i := range r.trees {
		if r.trees[i].V1 == (id&V1 != 0) {
			return &r.trees[i]
		}
	}
	return nil
}

// scan starts a walk of the trees. It is the worker's, and New's.
func (r *Resolver) scan() {
	r.running.Go(func() {
		start, total := time.Now(), 0
		var err error
		for _, h := range r.trees {
			err = errors.Join(err, walk(r.ctx, h.Dir, func(id uint64, path string) bool {
				// All paths first, which is quick: who needs a name sooner than
				// its turn comes has it read before the others.
				if o := r.learn(h.mark(id), path); o != nil {
					r.queue.do(func() { r.resolve(o, 0) })
				}
				total++
				return total < maxCgroups
			}))
		}
		if err == nil && total >= maxCgroups {
			err = fmt.Errorf("read no more than %d directories", total)
		}
		r.problem(tree, err)
		took := time.Since(start)
		r.queue.do(func() {
			r.worker.idle = true
			r.worker.nextScan = time.Now().Add(max(scanTime, 20*took))
			r.giveUp(r.worker.lost, lostTime)
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
// for again where they are met again after some time.
func (r *Resolver) giveUp(ids []uint64, again time.Duration) {
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
	r.after(again, func() {
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
			for i := range r.remote {
				s, start := &r.remote[i], time.Now()
				if start.Before(s.next) {
					continue
				}
				ctx, cancel := context.WithTimeout(r.ctx, askTime)
				m, err := s.find(ctx, o.target)
				cancel()
				if errors.Is(err, context.Canceled) {
					return
				}
				r.problem(s.name, err)
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					s.next = time.Now().Add(10 * time.Since(start))
				}
				if n.add(m); n.complete(o.target) {
					break
				}
			}
			r.queue.do(func() {
				o.asked = false
				if !r.publish(o, n) {
					r.retry(o)
				}
			})
		}
	}
}
