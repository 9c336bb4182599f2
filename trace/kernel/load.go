package kernel

import (
	"fmt"
	"maps"
	"slices"

	"github.com/cilium/ebpf"

	"tracer/bpf"
)

// A Loading is an object on its way: see [Kernel.Begin].
type Loading struct {
	kernel *Kernel
	plan   Plan
	files  []*pending

	// After Verify.
	object   *Object
	openings []*opening // that are not open yet
}

// A pending is a file of an object that is being read.
type pending struct {
	openings []*opening
	read     func() (*ebpf.CollectionSpec, error) // waits until it is read
}

// Begin begins to load an object, while the caller does something else.
func (k *Kernel) Begin(p Plan) *Loading {
	l := &Loading{kernel: k, plan: p}
	if k.Types.err == nil {
		l.files = append(l.files, k.read(p.Name, p.Features))
		for _, part := range p.Parts {
			l.files = append(l.files, k.read(part.Name, part.Features))
		}
	}
	return l
}

// Load is Begin and Load.
func (k *Kernel) Load(p Plan) (*Object, error) { return k.Begin(p).Load() }

// Verify creates the maps of an object and begins to load its programs: all of them side
// by side, and beside those of other objects, as verifying them is most of what a start
// takes. Load or Abandon follows.
func (l *Loading) Verify() error {
	k, p := l.kernel, l.plan
	if k.Types.err != nil {
		return Explain(fmt.Errorf("read the kernel's types: %w", k.Types.err))
	}
	o, err := k.loadMaps(p, l.files[0])
	if err != nil {
		return Explain(err)
	}
	k.objects = append(k.objects, o.Object)
	list := l.files[0].openings
	for i, part := range p.Parts {
		if err := k.loadPart(o.Object, part, l.files[i+1]); err != nil {
			return Explain(err)
		}
		list = append(list, l.files[i+1].openings...)
	}
	l.object, l.openings = o.Object, list
	k.begin(list)
	return nil
}

// Load opens the features of an object, one after the other, in the order of the plan. It
// is Verify, too, where that was not called.
func (l *Loading) Load() (*Object, error) {
	if l.object == nil {
		if err := l.Verify(); err != nil {
			return nil, err
		}
	}
	for len(l.openings) > 0 {
		n := l.openings[0]
		l.openings = l.openings[1:]
		if err := l.kernel.openFeature(n); err != nil {
			l.Abandon()
			return nil, Explain(err)
		}
	}
	return l.object, nil
}

// Abandon waits for the programs that Verify has begun to load, and closes them.
func (l *Loading) Abandon() {
	l.kernel.abandon(l.openings)
	l.openings = nil
}

// read begins to read a file, for the first door of each feature.
func (k *Kernel) read(name string, features []Feature) *pending {
	type result struct {
		spec *ebpf.CollectionSpec
		err  error
	}
	f := &pending{openings: k.openings(features)}
	var programs []string
	for _, n := range f.openings {
		if len(n.doors) > 0 {
			programs = append(programs, k.programs(n.doors[0])...)
		}
	}
	done := make(chan result, 1)
	go func() {
		spec, err := k.opts.Cache.read(name, programs)
		done <- result{spec, err}
	}()
	f.read = func() (*ebpf.CollectionSpec, error) {
		r := <-done
		return r.spec, r.err
	}
	return f
}

func (k *Kernel) loadMaps(p Plan, f *pending) (_ *file, err error) {
	spec, err := f.read()
	if err != nil {
		return nil, err
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, err
	}
	o := &Object{
		name: p.Name, number: len(k.objects), perCPU: make([]uint64, cpus), preempts: k.Types.Preempts(),
		maps: map[string]*ebpf.Map{}, programs: map[string]*ebpf.Program{},
	}
	defer func() {
		if err != nil {
			o.close()
		}
	}()
	own := part{p.Name, p.Maps, p.Knobs}
	if err := k.prepare(spec, own); err != nil {
		return nil, err
	}
	bytes := uint32(0)
	if p.Ring != "" {
		bytes = spec.Maps[p.Ring].MaxEntries
	}
	c, err := k.makeMaps(spec, k.shared)
	if err != nil {
		return nil, err
	}
	o.maps, o.vars = c.Maps, c.Variables
	if err := k.openRing(o, p, bytes); err != nil {
		return nil, err
	}
	l := &file{o, own, spec, maps.Clone(o.maps)}
	f.belongsTo(l)
	return l, nil
}

// belongsTo says which maps the programs of a file use.
func (f *pending) belongsTo(l *file) {
	for _, n := range f.openings {
		n.of = l
	}
}

// loadPart adds a further file to an object.
func (k *Kernel) loadPart(o *Object, p Part, f *pending) error {
	spec, err := f.read()
	if err != nil {
		return err
	}
	own := part{p.Name, p.Maps, p.Knobs}
	if err := k.prepare(spec, own); err != nil {
		return err
	}
	common := maps.Clone(o.maps)
	for _, section := range ownSections {
		delete(common, section)
	}
	c, err := k.makeMaps(spec, common)
	if err != nil {
		return err
	}
	for name, m := range c.Maps {
		if o.maps[name] == nil {
			o.maps[name] = m
		} else if !slices.Contains(ownSections, name) {
			_ = m.Close() // another descriptor of the same
			c.Maps[name] = o.maps[name]
		} else {
			o.more = append(o.more, m)
		}
	}
	f.belongsTo(&file{o, own, spec, c.Maps})
	return nil
}

// ownSections are the maps of variables that each file has for itself: constants, and
// what is not SHARED in read.h.
var ownSections = []string{".rodata", ".bss", ".data"}

// openRing opens what an object's records come from, before a program can send any.
func (k *Kernel) openRing(o *Object, p Plan, bytes uint32) (err error) {
	switch {
	case p.Ring == "":
		return nil
	case p.Rare:
		o.records, err = k.buffer.open(o.maps[p.Ring], nil, nil, bytes)
		return err
	}
	state := o.vars[bpf.ExecVarReaderState]
	if o.records, err = k.buffer.open(o.maps[p.Ring], o.maps[bpf.ExecMapBell], state, bytes); err != nil {
		return err
	}
	o.reader = newReader(o.number, o.records, state, k.full)
	return nil
}
