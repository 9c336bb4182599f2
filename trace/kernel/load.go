package kernel

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cilium/ebpf"

	"tracer/bpf"
)

// A Loading is an object on its way: see [Kernel.Begin].
type Loading struct {
	kernel *Kernel
	plan   Plan
	files  []*file
}

// A file is one of an object's.
type file struct {
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

// Load creates the maps of an object and opens its features. The programs of all of
// them are loaded side by side, as verifying them is most of what a start takes, and
// attached one after the other, in the order of the plan.
func (l *Loading) Load() (*Object, error) {
	k, p := l.kernel, l.plan
	if k.Types.err != nil {
		return nil, Explain(fmt.Errorf("read the kernel's types: %w", k.Types.err))
	}
	o, err := k.loadMaps(p, l.files[0])
	if err != nil {
		return nil, Explain(err)
	}
	k.objects = append(k.objects, o.Object)
	list := l.files[0].openings
	for i, part := range p.Parts {
		if err := k.loadPart(o.Object, part, l.files[i+1]); err != nil {
			return nil, Explain(err)
		}
		list = append(list, l.files[i+1].openings...)
	}
	k.begin(list)
	for i, n := range list {
		if err := k.openFeature(n); err != nil {
			k.abandon(list[i+1:])
			return nil, Explain(err)
		}
	}
	return o.Object, nil
}

// read begins to read a file, for the first door of each feature.
func (k *Kernel) read(name string, features []Feature) *file {
	type result struct {
		spec *ebpf.CollectionSpec
		err  error
	}
	f := &file{openings: k.openings(features)}
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

// programs are those of a door, with the copies that they need.
func (k *Kernel) programs(d Door) []string { return bpf.Expand(k.Types.Preempts(), d.Programs...) }

// A loading is one file of an object on its way, with its maps.
type loading struct {
	*Object
	part part
	spec *ebpf.CollectionSpec
	maps map[string]*ebpf.Map
}

// A part is what is to be done to a file before its maps are created.
type part struct {
	name  string
	maps  map[string]Size
	knobs map[string]any
}

func (k *Kernel) loadMaps(p Plan, f *file) (_ *loading, err error) {
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
	l := &loading{o, own, spec, maps.Clone(o.maps)}
	f.belongsTo(l)
	return l, nil
}

// loadPart adds a further file to an object.
func (k *Kernel) loadPart(o *Object, p Part, f *file) error {
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
	f.belongsTo(&loading{o, own, spec, c.Maps})
	return nil
}

// ownSections are the maps of variables that each file has for itself: constants, and
// what is not SHARED in read.h.
var ownSections = []string{".rodata", ".bss", ".data"}

// prepare sets what is to be known before a file's maps are created.
func (k *Kernel) prepare(spec *ebpf.CollectionSpec, p part) error {
	knobs := map[string]any{
		bpf.ExecVarFilterPids:    len(k.opts.PIDs) > 0,
		bpf.ExecVarFilterUid:     k.opts.UID != nil,
		bpf.ExecVarFilterCgroups: k.opts.Places,
		bpf.ExecVarPerfBuffers:   k.buffer == BufferPerf,
	}
	var hidden [16]uint32
	copy(hidden[:], k.opts.Hidden)
	knobs[bpf.ExecVarHidden] = hidden
	if k.opts.UID != nil {
		knobs[bpf.ExecVarWantedUid] = *k.opts.UID
	}
	knobs[bpf.ExecVarHasCopies] = k.Types.Preempts()
	for name := range knobs {
		if spec.Variables[name] == nil {
			delete(knobs, name) // the object has no use for it
		}
	}
	maps.Copy(knobs, p.knobs)
	if err := setKnobs(spec, knobs); err != nil {
		return err
	}
	forget(spec)
	if err := k.size(spec, p); err != nil {
		return err
	}
	return nil
}

// makeMaps creates a file's maps, but for those that are there already.
func (k *Kernel) makeMaps(spec *ebpf.CollectionSpec, there map[string]*ebpf.Map) (*ebpf.Collection, error) {
	k.buffer.fit(spec)
	for _, m := range spec.Maps {
		m.Key, m.Value = nil, nil // to describe each to the kernel takes longer than to make it
	}
	programs := spec.Programs
	spec.Programs = nil
	defer func() { spec.Programs = programs }()
	opts := k.load
	opts.MapReplacements = map[string]*ebpf.Map{}
	for name, m := range there {
		if spec.Maps[name] == nil {
			continue
		}
		opts.MapReplacements[name] = m
		spec.Maps[name].MaxEntries = m.MaxEntries()
		if size := m.ValueSize(); size != spec.Maps[name].ValueSize && name[0] != '.' {
			spec.Maps[name].ValueSize = size // as another file was told: see size
		}
	}
	c, err := ebpf.NewCollectionWithOptions(spec, opts)
	if err != nil {
		return nil, fmt.Errorf("create maps: %w", err)
	}
	return c, nil
}

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

// forget takes out the maps that no program refers to: those of headers.
func forget(spec *ebpf.CollectionSpec) {
	used := map[string]bool{}
	for _, p := range spec.Programs {
		for _, ins := range p.Instructions {
			if ins.IsLoadFromMap() {
				used[ins.Reference()] = true
			}
		}
	}
	maps.DeleteFunc(spec.Maps, func(name string, _ *ebpf.MapSpec) bool {
		return !used[name] && !strings.HasPrefix(name, ".")
	})
}

// size gives maps the sizes that are wanted.
func (k *Kernel) size(spec *ebpf.CollectionSpec, p part) error {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return err
	}
	for name, size := range p.maps {
		m := spec.Maps[name]
		if m == nil {
			continue // it is for programs that are not loaded
		}
		if size.Entries > 0 {
			m.MaxEntries = size.Entries
		}
		if size.PerCPU {
			m.MaxEntries *= uint32(cpus)
		}
		if size.Value > 0 {
			m.ValueSize = size.Value
		}
		for _, key := range size.Keys {
			m.Contents = append(m.Contents, ebpf.MapKV{Key: key, Value: uint8(1)})
		}
	}
	for _, m := range spec.Maps {
		if m.Type == ebpf.RingBuf && k.opts.Limits.RingBytes > 0 {
			m.MaxEntries = k.opts.Limits.RingBytes
		}
	}
	return nil
}

// setKnobs sets variables of an object before it is loaded.
func setKnobs(spec *ebpf.CollectionSpec, knobs map[string]any) error {
	for name, value := range knobs {
		v := spec.Variables[name]
		if v == nil {
			return fmt.Errorf("set variable %q: the object has none", name)
		}
		if err := v.Set(value); err != nil {
			return fmt.Errorf("set variable %q: %w", name, err)
		}
	}
	return nil
}
