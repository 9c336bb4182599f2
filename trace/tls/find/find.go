package find

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tracer/trace/tls/library"
)

// Options are where to look. The zero value is right but in tests.
type Options struct {
	Proc   string        // where proc is mounted; /proc
	Root   string        // of the host's own libraries; /
	Budget time.Duration // what Scan may take; 100 ms
	// Quiet leaves the kernel's events alone, for who only wants a Scan.
	Quiet bool
}

// A File is one with a TLS library: one inode, whatever names it has.
type File struct {
	Path    string   // as a process saw it, for people
	Handle  *os.File // open for reading until Gone has returned
	Library library.Library
	First   uint32 // a process that has it mapped; 0: none was seen

	id    identity
	users map[uint32]bool // that had it mapped, some of them
	roots map[root]uint32 // of whom it was seen, and a process of each
	freed bool            // no name leads to it any more
	since time.Time       // when a process was last seen to map it
}

// A root is a process's root folder. The zero value is one that could not be looked at.
type root struct{ device, inode uint64 }

// A Sink is told which files there are. Its methods are called one at a time, by the
// goroutine that is in Scan or Run.
type Sink interface {
	// Found tells a file, once for each inode. What is to be attached is best attached before
	// it returns: the process that mapped it goes on meanwhile.
	Found(*File)
	// Gone tells that no process can use the file any more: it is deleted and nobody has it
	// mapped, or no process is left that sees its folders. Its handle is closed afterwards.
	Gone(*File)
}

// A Finder looks for files. Scan and Run are for one goroutine, one after the other; all
// else is safe for concurrent use.
type Finder struct {
	host
	options Options
	pool    pool
	events  *events // nil if the kernel does not tell
	reading chan struct{}
	why     error // why not
	hints   chan uint32
	wake    chan struct{} // something is in outcomes

	mu       sync.Mutex
	seen     map[fileKey]*sighting
	refused  refused
	files    []*File
	roots    map[root]bool // whose folders were looked through
	own      root
	outcomes []outcome
	pending  int
	scanning bool
	later    []mapping          // what Scan has left to Run
	unusable map[string]error   // by path, files with a library that cannot be read
	marked   map[fileKey]string // see why.go
	rescan   bool               // something was not told
	census   bool               // one is under way
}

// A sighting is what is known of a file by the kernel's name for it.
type sighting struct {
	file    *File // nil if it has nothing
	pending bool
	at      time.Time
}

// An outcome is what a job has to say to the goroutine that tells the sink.
type outcome func(Sink)

// stale is the age from which a file that had nothing is looked for again: its number may
// have become another file's. Looking is cheap, as its identity is remembered, too.
const stale = time.Minute

const (
	maxSeen     = 1 << 16
	maxRoots    = 1 << 12
	maxUsers    = 64 // of a file that are remembered
	maxUnusable = 256
	interval    = time.Second
)

// New opens the kernel's events of mappings, as long as this process may. Where it may
// not, HasEvents says so: then Hint is the only word of what is new.
func New(o Options) (*Finder, error) {
	if o.Proc == "" {
		o.Proc = "/proc"
	}
	if o.Root == "" {
		o.Root = "/"
	}
	if o.Budget == 0 {
		o.Budget = 100 * time.Millisecond
	}
	f := &Finder{
		host: host(o.Proc), options: o, pool: pool{patience: patience}, hints: make(chan uint32, 1024), wake: make(chan struct{}, 1),
		seen: map[fileKey]*sighting{}, refused: refused{}, roots: map[root]bool{}, unusable: map[string]error{}, marked: map[fileKey]string{},
	}
	if _, err := os.Stat(filepath.Join(o.Proc, "self")); err != nil {
		return nil, fmt.Errorf("look for TLS libraries: %w", err)
	}
	// What this program does itself is nobody's traffic.
	if self, err := openRegular(filepath.Join(o.Proc, "self", "exe")); err == nil {
		if id, _, err := identify(self); err == nil {
			f.refused.add(&id, library.ErrNone)
		}
		_ = self.Close()
	}
	f.own = rootAt(o.Root)
	if !o.Quiet {
		if f.events, f.why = openEvents(); f.why == nil {
			f.reading = make(chan struct{})
			go func() {
				defer close(f.reading)
				f.events.read(f.consider, f.lost)
			}()
		}
	}
	return f, nil
}

// HasEvents tells whether the kernel says what is mapped, and else why not.
func (f *Finder) HasEvents() (bool, error) { return f.events != nil, f.why }

// Close ends the events. Run must have returned. Handles of files stay open.
func (f *Finder) Close() {
	if f.events != nil {
		f.events.end()
		<-f.reading
		f.events.close()
		f.events = nil
	}
}

// Capabilities are what Run needs: to see mappings and roots of other users' processes
// (CAP_SYS_PTRACE), to open files that only their users may, and files through
// /proc/PID/map_files (CAP_DAC_READ_SEARCH, CAP_CHECKPOINT_RESTORE), as 1<<CAP_….
func Capabilities() uint64 {
	return 1<<unix.CAP_SYS_PTRACE | 1<<unix.CAP_DAC_READ_SEARCH | 1<<unix.CAP_CHECKPOINT_RESTORE
}

// Scan finds what processes have mapped and what is in the host's usual folders: files
// that are named as TLS libraries, and programs. It returns when all of them were told,
// or its time is over. What is left, among it all files with other names, and the folders
// of containers, Run looks at first.
func (f *Finder) Scan(sink Sink) {
	deadline := time.NewTimer(f.options.Budget)
	defer deadline.Stop()
	f.mu.Lock()
	f.scanning = true
	f.mu.Unlock()
	f.lookThrough(f.options.Root, f.own, 0)
	f.lookAtAll()
	for !f.tell(sink) {
		select {
		case <-f.wake:
			continue
		case <-deadline.C:
		}
		break
	}
	f.mu.Lock()
	f.scanning = false
	f.mu.Unlock()
}

// Run goes on with it until ctx ends.
func (f *Finder) Run(ctx context.Context, sink Sink) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	f.mu.Lock()
	later := f.later
	f.later = nil
	f.mu.Unlock()
	for _, m := range later {
		f.consider(m)
	}
	f.visitAll()
	for {
		f.tell(sink)
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
		case pid := <-f.hints:
			f.lookAtProcess(pid, true)
		case <-tick.C:
			f.keepHouse()
		}
	}
}

// Hint says that a process may have mapped something new. It never blocks.
func (f *Finder) Hint(pid uint32) {
	select {
	case f.hints <- pid:
	default:
		f.lost()
	}
}

// lost makes keepHouse look at all processes again.
func (f *Finder) lost() {
	f.mu.Lock()
	f.rescan = true
	f.mu.Unlock()
}

// do runs a job, and what it returns in the goroutine that tells the sink. Scan does not
// wait for a job that is kept waiting; what it returns in the end counts all the same.
func (f *Finder) do(urgent bool, run func() outcome) {
	f.mu.Lock()
	f.pending++
	f.mu.Unlock()
	f.pool.do(urgent, func() {
		if o := run(); o != nil {
			f.mu.Lock()
			f.outcomes = append(f.outcomes, o)
			f.mu.Unlock()
			f.ring()
		}
	}, func() {
		f.mu.Lock()
		f.pending--
		f.mu.Unlock()
		f.ring()
	})
}

// ring wakes who tells the sink.
func (f *Finder) ring() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// tell runs what jobs have left to it. It reports whether no job is under way, but for
// those that are kept waiting.
func (f *Finder) tell(sink Sink) bool {
	for {
		f.mu.Lock()
		list, none := f.outcomes, f.pending == 0
		f.outcomes = nil
		f.mu.Unlock()
		if len(list) == 0 {
			return none
		}
		for _, o := range list {
			o(sink)
		}
	}
}

// lookAtAll looks at the mappings of all processes.
func (f *Finder) lookAtAll() {
	pids, err := f.pids()
	if err != nil {
		return
	}
	for _, pid := range pids {
		f.lookAtProcess(pid, false)
	}
}

func (f *Finder) lookAtProcess(pid uint32, urgent bool) {
	f.do(urgent, func() outcome {
		list, err := f.maps(pid)
		if err != nil {
			return nil // it has ended, or may not be looked at
		}
		for _, m := range list {
			f.sort(m)
		}
		return nil
	})
}

// sort leaves what is less likely to have TLS to Run, while Scan is under way.
func (f *Finder) sort(m mapping) {
	f.mu.Lock()
	wait := f.scanning && !m.program && !isLibrary(filepath.Base(m.path))
	if wait && f.seen[m.file] == nil {
		f.later = append(f.later, m)
		f.seen[m.file] = &sighting{} // the others that have it mapped have nothing to add
	}
	f.mu.Unlock()
	if !wait {
		f.consider(m)
	}
}

// consider looks at a file that is mapped, unless it is known.
func (f *Finder) consider(m mapping) {
	f.mu.Lock()
	s := f.seen[m.file]
	if s != nil {
		if s.file != nil {
			s.file.used(m.pid)
		}
		if s.pending || s.file != nil || time.Since(s.at) < stale {
			f.mu.Unlock()
			return
		}
	}
	if len(f.seen) >= maxSeen {
		for key, s := range f.seen {
			if s.file == nil && !s.pending {
				delete(f.seen, key)
			}
		}
	}
	f.seen[m.file] = &sighting{pending: true}
	f.mu.Unlock()
	f.do(!m.program || isLibrary(filepath.Base(m.path)), func() outcome {
		var s sight
		if file, err := f.openMapped(&m); err == nil {
			s = lookAt(file, f.nothingIn)
		}
		r := rootAt(f.rootOf(m.pid))
		return func(sink Sink) { f.settle(sink, &s, m.path, m.pid, r, &m.file) }
	})
}

// nothingIn tells whether a file is known to have nothing, and why.
func (f *Finder) nothingIn(id *identity) (error, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.refused.find(id)
}

// mark notes what is known of a file that is mapped.
func (f *Finder) mark(key fileKey, file *File) {
	f.mu.Lock()
	f.seen[key] = &sighting{file: file, at: time.Now()}
	f.mu.Unlock()
}

// lookThrough looks at the libraries in the usual folders below a root.
func (f *Finder) lookThrough(dir string, r root, pid uint32) {
	f.mu.Lock()
	if len(f.roots) >= maxRoots {
		clear(f.roots)
	}
	f.roots[r] = true
	f.mu.Unlock()
	f.do(r == f.own, func() outcome {
		for _, path := range inFolders(dir) {
			f.do(r == f.own, func() outcome {
				file, err := openBelow(dir, path)
				if err != nil {
					return nil
				}
				s := lookAt(file, f.nothingIn)
				return func(sink Sink) { f.settle(sink, &s, path, pid, r, nil) }
			})
		}
		return nil
	})
}

// visitAll looks through the folders of all containers that run now. Those that come later
// map files that are not known.
func (f *Finder) visitAll() {
	f.do(false, func() outcome {
		pids, _ := f.pids()
		for _, pid := range pids {
			f.visit(pid, rootAt(f.rootOf(pid)))
		}
		return nil
	})
}

// visit looks through the folders of a process whose root is a new one.
func (f *Finder) visit(pid uint32, r root) {
	f.mu.Lock()
	known := r == root{} || r == f.own || f.roots[r]
	f.mu.Unlock()
	if !known {
		f.lookThrough(f.rootOf(pid), r, pid)
	}
}

// settle takes note of a file that was looked at, and tells the sink if it is new.
func (f *Finder) settle(sink Sink, s *sight, path string, pid uint32, r root, key *fileKey) {
	if key != nil {
		f.visit(pid, r)
	}
	if !s.opened { // the process has ended, or the file is nobody's to read
		s.close()
		if key != nil {
			f.mu.Lock()
			delete(f.seen, *key)
			f.mu.Unlock()
		}
		return
	}
	if s.err != nil {
		f.mu.Lock()
		f.refused.add(&s.id, s.err)
		if !errors.Is(s.err, library.ErrNone) && len(f.unusable) < maxUnusable {
			f.unusable[pathname(path)] = s.err
		}
		f.mu.Unlock()
		s.close()
		if key != nil {
			f.mark(*key, nil)
		}
		return
	}
	file, isNew := f.same(s), false
	if file == nil {
		file, isNew = &File{Path: pathname(path), Handle: s.file, Library: s.library, id: s.id, users: map[uint32]bool{}, roots: map[root]uint32{}}, true
	} else {
		s.close()
	}
	f.mu.Lock()
	file.roots[r] = pid
	if key != nil {
		file.used(pid)
		if isNew {
			file.First = pid
		}
	}
	if isNew {
		f.files = append(f.files, file)
	}
	f.mu.Unlock()
	if key != nil {
		f.mark(*key, file)
	}
	if isNew {
		sink.Found(file)
	}
}

// used notes that a process has the file mapped. The caller holds the lock.
func (file *File) used(pid uint32) {
	if len(file.users) < maxUsers {
		file.users[pid] = true
	}
	file.since = time.Now()
}

// same is the known file that is the same inode.
func (f *Finder) same(s *sight) *File {
	f.mu.Lock()
	files := slices.Clone(f.files)
	f.mu.Unlock()
	for _, file := range files {
		if file.id.size != s.id.size {
			continue // nobody writes to what is mapped as code
		}
		if now, _, err := file.id.again(file.Handle); err == nil && now.same(&s.id) {
			return file
		}
	}
	return nil
}

// rootAt is which folder that is.
func rootAt(dir string) root {
	var st unix.Stat_t
	if err := unix.Stat(dir+"/.", &st); err != nil {
		return root{}
	}
	return root{uint64(st.Dev), st.Ino}
}

// keepHouse looks for files that are gone, and at all processes if something was missed.
func (f *Finder) keepHouse() {
	f.mu.Lock()
	rescan, busy := f.rescan, f.census
	f.rescan = false
	files := slices.Clone(f.files)
	f.census = f.census || len(files) > 0
	f.mu.Unlock()
	if rescan {
		f.lookAtAll()
	}
	if busy || len(files) == 0 {
		return
	}
	began := time.Now()
	f.do(false, func() outcome {
		gone := f.take(files)
		return func(sink Sink) {
			f.mu.Lock()
			f.census = false
			f.mu.Unlock()
			for _, file := range gone {
				f.forget(sink, file, began)
			}
		}
	})
}

// take finds the files that no process can use any more.
func (f *Finder) take(files []*File) (gone []*File) {
	all := &processes{f: f}
	for _, file := range files {
		_, names, err := file.id.again(file.Handle)
		if err != nil {
			continue
		}
		f.mu.Lock()
		isNew := names == 0 && !file.freed
		file.freed = names == 0
		roots := make(map[root]uint32, len(file.roots))
		for r, pid := range file.roots {
			roots[r] = pid
		}
		f.mu.Unlock()
		if isNew { // another one has taken its place
			for r, pid := range roots {
				dir := f.options.Root
				if r != f.own {
					dir = f.rootOf(pid)
				}
				f.lookThrough(dir, r, pid)
			}
		}
		if names > 0 && all.sees(roots) || names == 0 && all.maps(file) {
			continue
		}
		gone = append(gone, file)
	}
	return gone
}

// forget tells that a file is gone, unless it was used since.
func (f *Finder) forget(sink Sink, file *File, began time.Time) {
	f.mu.Lock()
	i := slices.Index(f.files, file)
	used := i < 0 || file.since.After(began)
	if !used {
		f.files = slices.Delete(f.files, i, i+1)
		for key, s := range f.seen {
			if s.file == file {
				delete(f.seen, key)
			}
		}
		for r := range file.roots {
			if r != f.own {
				delete(f.roots, r)
			}
		}
	}
	f.mu.Unlock()
	if !used {
		sink.Gone(file)
		_ = file.Handle.Close()
	}
}

// processes are all that there are, looked at once at most.
type processes struct {
	f     *Finder
	roots map[root]bool
	files map[fileKey]bool
}

// sees tells whether a process has one of these roots.
func (p *processes) sees(roots map[root]uint32) bool {
	for r, pid := range roots {
		switch {
		case r == p.f.own:
			return true
		case r == (root{}): // it may not be looked at, but whether it runs
			if _, err := os.Stat(p.f.process(pid)); err == nil {
				return true
			}
		case rootAt(p.f.rootOf(pid)) == r:
			return true
		}
	}
	if p.roots == nil {
		p.roots = map[root]bool{}
		pids, _ := p.f.pids()
		for _, pid := range pids {
			p.roots[rootAt(p.f.rootOf(pid))] = true
		}
	}
	for r := range roots {
		if r != (root{}) && p.roots[r] {
			return true
		}
	}
	return false
}

// maps tells whether a process has a file mapped.
func (p *processes) maps(file *File) bool {
	p.f.mu.Lock()
	keys := map[fileKey]bool{}
	for key, s := range p.f.seen {
		if s.file == file {
			key.generation = 0
			keys[key] = true
		}
	}
	users := make([]uint32, 0, len(file.users))
	for pid := range file.users {
		users = append(users, pid)
	}
	p.f.mu.Unlock()
	for _, pid := range users {
		list, _ := p.f.maps(pid)
		if slices.ContainsFunc(list, func(m mapping) bool { return keys[m.file] }) {
			return true
		}
		p.f.mu.Lock()
		delete(file.users, pid)
		p.f.mu.Unlock()
	}
	if p.files == nil {
		p.files = map[fileKey]bool{}
		pids, _ := p.f.pids()
		for _, pid := range pids {
			list, _ := p.f.maps(pid)
			for _, m := range list {
				p.files[m.file] = true
			}
		}
	}
	for key := range keys {
		if p.files[key] {
			return true
		}
	}
	return false
}

// pathname is a path without what the kernel puts behind that of a deleted file.
func pathname(path string) string { return strings.TrimSuffix(path, " (deleted)") }
