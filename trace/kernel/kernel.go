package kernel

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"tracer/bpf"
	"tracer/trace/kernel/attach"
	"tracer/trace/kernel/confine"
)

// Options say what is wanted of all objects of a session.
type Options struct {
	PIDs   []uint32 // these processes and the children that they start; empty: all
	UID    *uint32  // this real user id; nil: all
	Places bool     // of cgroups only those that [Kernel.Judge] was told to want
	Hidden []uint32 // these processes are left out; 16 at most
	BTF    string   // file with the kernel's types, empty: the kernel's own
	Buffer Buffer   // how records travel
	Tier   Tier     // the only one to use where there is a choice, 0: the best
	Cache  *Cache   // nil: nothing is kept
	Limits Limits
}

// Limits are for tests, which want maps that are soon full. 0: as always.
type Limits struct {
	RingBytes uint32 // size of each ring, or of each perf buffer
	Follows   uint32 // processes that can be followed
}

// A Kernel is what a session holds in the kernel. It is not safe for concurrent
// use. Close it.
type Kernel struct {
	Types *Types

	opts     Options
	load     ebpf.CollectionOptions
	buffer   Buffer // not BufferAuto
	castless bool   // the kernel has no casts: see LOAD in the C headers
	shared   map[string]*ebpf.Map
	objects  []*Object
	attacher *attach.Attacher // that has no programs yet
	tiers    map[Tier]error   // why a kind of hooks is not possible, of those that were tried
	warnings []string
	cost     cost

	full    chan *Batch // of all readers
	failed  chan error  // one of them stopped
	yielder yielder
}

// makeShared creates the maps that all objects of a session share, as
// bpf/include/filter.h has them: which processes and which cgroups are wanted.
func (k *Kernel) makeShared() error {
	pids := ebpf.MapSpec{Name: bpf.ExecMapPids, Type: ebpf.Hash, KeySize: 4, ValueSize: 8, MaxEntries: 1, Flags: unix.BPF_F_NO_PREALLOC}
	cgroups := ebpf.MapSpec{Name: bpf.ExecMapCgroups, Type: ebpf.Hash, KeySize: 8, ValueSize: 1, MaxEntries: 1, Flags: unix.BPF_F_NO_PREALLOC}
	if len(k.opts.PIDs) > 0 {
		pids.MaxEntries = maxFilter
		if k.opts.Limits.Follows > 0 {
			pids.MaxEntries = k.opts.Limits.Follows
		}
	}
	if k.opts.Places {
		cgroups.MaxEntries = maxFilter
	}
	for _, spec := range []*ebpf.MapSpec{&pids, &cgroups} {
		m, err := ebpf.NewMap(spec)
		if err != nil {
			return fmt.Errorf("create map %q: %w", spec.Name, err)
		}
		k.shared[spec.Name] = m
	}
	for _, pid := range k.opts.PIDs {
		if err := k.shared[bpf.ExecMapPids].Put(pid, uint64(0)); err != nil {
			return fmt.Errorf("write map %q: %w", bpf.ExecMapPids, err)
		}
	}
	return nil
}

// maxFilter is how many processes can be followed, and how many cgroups judged.
const maxFilter = 65536

// Open reads what is to be known before objects can be loaded.
func Open(opts Options) (*Kernel, error) {
	if err := Ready(); err != nil {
		return nil, err
	}
	k := &Kernel{opts: opts, shared: map[string]*ebpf.Map{}, full: make(chan *Batch, batchCount), failed: make(chan error, 1),
		tiers: map[Tier]error{}}
	k.load.Cache = opts.Cache.typesCache()
	var err error
	if k.Types, err = readTypes(opts.BTF, k.load.Cache); err != nil {
		return nil, Explain(err)
	}
	if opts.BTF != "" {
		k.load.Programs.KernelTypes = k.Types.spec
		if foreign := ForeignTypes(opts.BTF); foreign != "" {
			k.warnings = append(k.warnings, foreign)
		}
	}
	// A kernel that cannot read its own types fails to load and says so.
	k.castless = k.Types.own && k.Types.err == nil && !k.Types.Casts()
	// Before 5.11 maps count against this limit. Where it cannot be raised,
	// creating a map fails and says so.
	_ = rlimit.RemoveMemlock()
	if k.buffer, err = opts.Buffer.pick(HaveRing); err != nil {
		return nil, err
	}
	if err := k.makeShared(); err != nil {
		k.Close()
		return nil, Explain(err)
	}
	return k, nil
}

// A Cache keeps from one session to the next what takes long to read: the kernel's
// types and the objects. For tests, which open hundreds. It is safe for concurrent
// use; nil keeps nothing.
type Cache struct {
	mu      sync.Mutex
	types   *btf.Cache
	objects map[string]*ebpf.CollectionSpec // by name and programs
}

// NewCache returns an empty Cache.
func NewCache() *Cache {
	return &Cache{types: btf.NewCache(), objects: map[string]*ebpf.CollectionSpec{}}
}

func (c *Cache) typesCache() *btf.Cache {
	if c == nil {
		return btf.NewCache()
	}
	return c.types
}

// read is bpf.Read: what it returns is to be changed at will.
func (c *Cache) read(object string, programs []string) (*ebpf.CollectionSpec, error) {
	if c == nil {
		return bpf.Read(object, programs...)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	key := object + " " + strings.Join(programs, " ")
	spec := c.objects[key]
	if spec == nil {
		var err error
		if spec, err = bpf.Read(object, programs...); err != nil {
			return nil, err
		}
		c.objects[key] = spec
	}
	return spec.Copy(), nil
}

// Spawn starts the process that attaches to files after privileges were dropped, and
// hides it from the programs: call it before Load, if a plan has programs for that.
func (k *Kernel) Spawn() error {
	a, err := attach.Spawn()
	if err != nil {
		return err
	}
	k.attacher = a
	if len(k.opts.Hidden) > 0 {
		k.opts.Hidden = append(k.opts.Hidden, uint32(a.PID()))
	}
	return nil
}

// Warnings says what is missed on this kernel, in sentences.
func (k *Kernel) Warnings() []string { return k.warnings }

// Features are those of all objects, in the order in which they were opened.
func (k *Kernel) Features() (all []OpenFeature) {
	for _, o := range k.objects {
		all = append(all, o.features...)
	}
	return all
}

// Began says that all objects are loaded. What only loading needs is given up.
func (k *Kernel) Began() error {
	k.Types, k.load = nil, ebpf.CollectionOptions{}
	if k.attacher != nil { // nothing of it could be loaded
		_ = k.attacher.Close()
		k.attacher = nil
	}
	k.cost.open()
	for _, o := range k.objects {
		if err := o.beginCounters(); err != nil {
			return err
		}
	}
	return nil
}

// Ending takes the last look at what programs cost and at what they noticed as
// missed: what they notice while they are detached, one after the other, is only
// that the others are gone.
func (k *Kernel) Ending() error {
	k.cost.close(k.eachProgram)
	for _, o := range k.objects {
		if err := o.endCounters(); err != nil {
			return err
		}
	}
	return nil
}

// Read starts the readers, each in a goroutine of its own.
func (k *Kernel) Read() {
	var running sync.WaitGroup
	for _, o := range k.objects {
		if o.reader == nil {
			continue
		}
		running.Go(func() {
			if err := o.reader.run(); err != nil {
				select {
				case k.failed <- err:
				default: // one is enough
				}
			}
		})
	}
	go func() {
		running.Wait()
		close(k.full)
	}()
}

// Batches is where records come from. It is closed when all have come after Flush.
func (k *Kernel) Batches() <-chan *Batch { return k.full }

// Failed tells why records cannot be read any more.
func (k *Kernel) Failed() <-chan error { return k.failed }

// Decode calls f with each record of a batch, and frees it. Between records it gives
// way to others.
func (k *Kernel) Decode(b *Batch, f func(record []byte)) {
	n := uint64(0)
	b.each(func(record []byte) {
		n++
		k.yielder.yield(n, len(k.full))
		f(record)
	})
	k.cost.count(n, b.from.horizon(), k.eachProgram)
	b.from.free <- b
}

// Flush makes the readers read what is there now and end.
func (k *Kernel) Flush() error {
	var err error
	for _, o := range k.objects {
		if o.reader != nil {
			err = errors.Join(err, o.reader.stop())
		}
	}
	return err
}

// Detach stops the programs. What they have sent stays in the rings.
func (k *Kernel) Detach() {
	for _, o := range k.objects {
		o.detach()
	}
}

// Close releases everything that is held.
func (k *Kernel) Close() {
	k.Detach()
	k.cost.close(k.eachProgram)
	for _, o := range k.objects {
		o.close()
	}
	if k.attacher != nil {
		_ = k.attacher.Close()
	}
	for _, m := range k.shared {
		_ = m.Close()
	}
}

// Judge tells the programs whether a cgroup is wanted. One that finds no room
// passes there.
func (k *Kernel) Judge(cgroup uint64, wanted bool) {
	v := uint8(0)
	if wanted {
		v = 1
	}
	_ = k.shared[bpf.ExecMapCgroups].Put(cgroup, v)
}

// Unjudge makes the programs pass a cgroup.
func (k *Kernel) Unjudge(cgroup uint64) { _ = k.shared[bpf.ExecMapCgroups].Delete(cgroup) }

// Confine gives up, for the whole process and for good, what it takes to load and
// attach programs: no other program can be run, and of the capabilities those stay
// that names and files are looked up with (CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE and, if
// programs are attached to files, CAP_CHECKPOINT_RESTORE), CAP_KILL
// where a command was started that may belong to another user, and CAP_BPF where the
// kernel wants it for reading a map (before 5.19).
func (k *Kernel) Confine(command bool) error {
	keep := uint64(1<<unix.CAP_DAC_READ_SEARCH | 1<<unix.CAP_SYS_PTRACE)
	if command {
		keep |= 1 << unix.CAP_KILL
	}
	if slices.ContainsFunc(k.objects, func(o *Object) bool { return o.later != nil }) {
		// To open files as processes have them mapped.
		keep |= 1 << unix.CAP_CHECKPOINT_RESTORE
	}
	if err := confine.Try(keep, k.look); errors.Is(err, unix.EPERM) {
		keep |= 1 << unix.CAP_BPF
	}
	return confine.Confine(keep, confine.Reader())
}

// look reads a map, to find out whether that is permitted.
func (k *Kernel) look() error {
	var start uint64
	err := k.shared[bpf.ExecMapPids].Lookup(uint32(0), &start)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil
	}
	return err
}

// Lost is what all programs have lost since the session began, by cause, and how
// many details, without which an event lacks a key. Events that the kernel did not
// run a program for are among them.
func (k *Kernel) Lost() (by map[string]uint64, details uint64, err error) {
	by = map[string]uint64{}
	for _, o := range k.objects {
		if err := o.readCounters(); err != nil {
			return nil, 0, err
		}
		for cause, name := range bpf.LossNames {
			if n := o.lost[cause] - o.before[cause]; name != "" && n > 0 {
				by[name] += n
			}
		}
		if o.missed > 0 {
			by["program_missed"] += o.missed
		}
		details += o.lost[bpf.ExecLossDetailMissing] - o.before[bpf.ExecLossDetailMissing] + o.sparse
	}
	return by, details, nil
}

// Counts are what programs have left out, by filter, and what the sockets that they
// saw speak.
func (k *Kernel) Counts() (leftOut, protocols map[string]uint64, err error) {
	leftOut, protocols = map[string]uint64{}, map[string]uint64{}
	for _, c := range []struct {
		names map[bpf.ExecCounted]string
		to    map[string]uint64
	}{{bpf.FilterNames, leftOut}, {bpf.ProtocolNames, protocols}} {
		for _, o := range k.objects {
			for what, name := range c.names {
				n, err := o.Sum(bpf.ExecMapCounts, uint32(what))
				if err != nil {
					return nil, nil, err
				}
				if n > 0 {
					c.to[name] += n
				}
			}
		}
	}
	return leftOut, protocols, nil
}

// Cost is how long the programs ran in all of a session of this length, and
// whether the kernel tells.
func (k *Kernel) Cost(session time.Duration) (time.Duration, bool) { return k.cost.whole(session) }

// SampleCost ends the taking of time, which costs more than most programs do, when
// a session has lasted long enough.
func (k *Kernel) SampleCost(session time.Duration) {
	if session > sampleTime {
		k.cost.close(k.eachProgram)
	}
}

func (k *Kernel) eachProgram(f func(*ebpf.Program)) {
	for _, o := range k.objects {
		for _, p := range o.programs {
			f(p)
		}
	}
}
