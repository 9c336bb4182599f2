package kernel

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"tracer/bpf"
	"tracer/trace/kernel/attach"
)

// Load creates the maps of an object and opens its features.
func (k *Kernel) Load(p Plan) (*Object, error) {
	o, err := k.loadMaps(p)
	if err != nil {
		return nil, Explain(err)
	}
	k.objects = append(k.objects, o.Object)
	if err := k.openFeatures(o, p.Features); err != nil {
		return nil, err
	}
	for _, part := range p.Parts {
		if err := k.loadPart(o.Object, part); err != nil {
			return nil, err
		}
	}
	return o.Object, nil
}

func (k *Kernel) openFeatures(o *loading, features []Feature) error {
	for _, f := range features {
		if err := k.openFeature(o, f); err != nil {
			return Explain(err)
		}
	}
	return nil
}

// A loading is one file of an object on its way, with its maps.
type loading struct {
	*Object
	spec *ebpf.CollectionSpec
	maps map[string]*ebpf.Map
}

func (k *Kernel) loadMaps(p Plan) (_ *loading, err error) {
	spec, err := k.opts.Cache.object(p.Name, p.Load)
	if err != nil {
		return nil, fmt.Errorf("read object %q: %w", p.Name, err)
	}
	if k.Types.err != nil {
		return nil, fmt.Errorf("read the kernel's types: %w", k.Types.err)
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
	if err := k.prepare(spec, p.Name, p.Maps, p.Knobs); err != nil {
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
	return &loading{o, spec, o.maps}, nil
}

// loadPart adds a further file to an object.
func (k *Kernel) loadPart(o *Object, p Part) error {
	spec, err := k.opts.Cache.object(p.Name, p.Load)
	if err != nil {
		return Explain(fmt.Errorf("read object %q: %w", p.Name, err))
	}
	if err := k.prepare(spec, p.Name, p.Maps, p.Knobs); err != nil {
		return Explain(err)
	}
	common := maps.Clone(o.maps)
	for _, section := range ownSections {
		delete(common, section)
	}
	c, err := k.makeMaps(spec, common)
	if err != nil {
		return Explain(err)
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
	return k.openFeatures(&loading{o, spec, c.Maps}, p.Features)
}

// ownSections are the maps of variables that each file has for itself: constants, and
// what is not SHARED in read.h.
var ownSections = []string{".rodata", ".bss", ".data"}

// prepare sets what is to be known before a file's maps are created.
func (k *Kernel) prepare(spec *ebpf.CollectionSpec, name string, sizes map[string]Size, own map[string]any) error {
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
	maps.Copy(knobs, own)
	if err := setKnobs(spec, knobs); err != nil {
		return err
	}
	forget(spec)
	if err := k.size(spec, name, sizes); err != nil {
		return err
	}
	return nil
}

// makeMaps creates a file's maps, but for those that are there already.
func (k *Kernel) makeMaps(spec *ebpf.CollectionSpec, there map[string]*ebpf.Map) (*ebpf.Collection, error) {
	k.buffer.fit(spec)
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
			spec.Maps[name].Key, spec.Maps[name].Value = nil, nil
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
func (k *Kernel) size(spec *ebpf.CollectionSpec, object string, sizes map[string]Size) error {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return err
	}
	for name, size := range sizes {
		m := spec.Maps[name]
		if m == nil {
			return fmt.Errorf("size map %q: object %q has none", name, object)
		}
		if size.Entries > 0 {
			m.MaxEntries = size.Entries
		}
		if size.PerCPU {
			m.MaxEntries *= uint32(cpus)
		}
		if size.Value > 0 && size.Value != m.ValueSize {
			m.ValueSize = size.Value
			m.Key, m.Value = nil, nil // the type has another length
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

// openFeature loads and attaches the programs of a feature by the first of its
// doors that this kernel lets it through.
func (k *Kernel) openFeature(o *loading, f Feature) error {
	var failed error
	for _, d := range f.Doors {
		if k.opts.Tier != 0 && len(f.Doors) > 1 && d.Tier.inKernel() && d.Tier != k.opts.Tier {
			continue
		}
		if err := k.openDoor(o, d); err != nil {
			if outOfFiles(err) {
				return fmt.Errorf("%s: %w", f.Name, err) // no door of the kernel's
			}
			if len(f.Doors) > 1 {
				err = fmt.Errorf("by %s: %w", d.Tier, err)
			}
			if failed == nil {
				failed = fmt.Errorf("%s: %w", f.Name, err)
			} else {
				failed = fmt.Errorf("%w; %w", failed, err)
			}
			continue
		}
		o.features = append(o.features, OpenFeature{f, d.Tier})
		return nil
	}
	if failed == nil {
		failed = fmt.Errorf("%s: not possible by %s", f.Name, k.opts.Tier)
	}
	if f.Without != "" && (k.opts.Tier == 0 || len(f.Doors) == 1) {
		o.features = append(o.features, OpenFeature{Feature: f})
		k.warnings = append(k.warnings, f.Without)
		return nil
	}
	return failed
}

// openDoor loads and attaches some programs, all or none of them.
func (k *Kernel) openDoor(o *loading, d Door) (err error) {
	programs := bpf.Expand(k.Types.Preempts(), d.Programs...)
	switch {
	case d.Tier == Kprobe && !haveKprobes():
		return fmt.Errorf("attach %s: this kernel has none: %w", d.Tier, ebpf.ErrNotSupported)
	case d.Tier == UprobeMulti:
		if has, err := attach.HaveMulti(); err != nil || !has {
			return fmt.Errorf("attach %s: this kernel has none: %w", d.Tier, cmp.Or(err, ebpf.ErrNotSupported))
		}
	}
	own := *o.spec
	own.Programs = nil // most are not needed
	spec := own.Copy()
	spec.Programs = map[string]*ebpf.ProgramSpec{}
	for _, name := range programs {
		p := o.spec.Programs[name]
		if p == nil {
			return fmt.Errorf("load program %q: the object has none", name)
		}
		spec.Programs[name] = p.Copy()
		if k.castless {
			dropCasts(spec.Programs[name].Instructions)
		}
		if !d.Tier.inKernel() {
			spec.Programs[name].KernelVersion = attach.AnyKernel
		}
		if d.Tier == UprobeMulti {
			spec.Programs[name].AttachType = ebpf.AttachTraceUprobeMulti
		}
	}
	opts := k.load
	opts.MapReplacements = map[string]*ebpf.Map{}
	for name, m := range o.maps {
		if spec.Maps[name] != nil {
			spec.Maps[name].MaxEntries = m.MaxEntries()
			opts.MapReplacements[name] = m
		}
	}
	c, err := ebpf.NewCollectionWithOptions(spec, opts)
	if err != nil {
		return fmt.Errorf("load programs: %w", err)
	}
	defer c.Close()
	if !d.Tier.inKernel() {
		return k.openLater(o.Object, c, d)
	}
	var links []link.Link
	defer func() {
		if err != nil {
			for _, l := range links {
				_ = l.Close() // it is not used
			}
		}
	}()
	for _, name := range programs {
		l, err := attachTo(spec.Programs[name], c.Programs[name])
		if err != nil {
			return fmt.Errorf("attach %s %q: %w", d.Tier, spec.Programs[name].AttachTo, err)
		}
		if l != nil {
			links = append(links, l)
		}
	}
	o.links = append(o.links, links...)
	for _, name := range programs {
		o.programs[name] = c.DetachProgram(name)
	}
	return nil
}

// openLater gives programs to the process that attaches. There is one such process, and
// it takes them once.
func (k *Kernel) openLater(o *Object, c *ebpf.Collection, d Door) error {
	if k.attacher == nil {
		return errors.New("attach to files: the process that does so was not started")
	}
	l := &later{attacher: k.attacher, numbers: map[string]int{}, links: map[*Attached]struct{}{}}
	var list []attach.Program
	for _, name := range bpf.Expand(k.Types.Preempts(), d.Programs...) {
		l.numbers[name] = len(list)
		p := attach.Program{Program: c.Programs[name], Multi: d.Tier == UprobeMulti}
		list = append(list, p, attach.Program{Program: p.Program, Multi: p.Multi, Return: true})
	}
	k.attacher = nil
	if err := l.attacher.Give(list); err != nil {
		_ = l.attacher.Close() // it has ended
		return err
	}
	o.later = l
	for name := range l.numbers {
		o.programs[name] = c.DetachProgram(name)
	}
	return nil
}

// dropCasts takes casts out of a program that does not reach them. They are calls
// of a function of the kernel, which would be looked for in all its modules.
func dropCasts(program asm.Instructions) {
	for i, ins := range program {
		if ins.IsKfuncCall() {
			program[i] = asm.Mov.Imm(asm.R0, 0).WithSource(ins.Source())
		}
	}
}

// attachTo attaches a program to what its section names. Iterators are run, not
// attached: they have no link.
func attachTo(spec *ebpf.ProgramSpec, p *ebpf.Program) (link.Link, error) {
	switch {
	case spec.Type == ebpf.RawTracepoint:
		return link.AttachRawTracepoint(link.RawTracepointOptions{Name: spec.AttachTo, Program: p})
	case spec.Type == ebpf.Kprobe && strings.HasPrefix(spec.SectionName, "kretprobe/"):
		return link.Kretprobe(spec.AttachTo, p, nil)
	case spec.Type == ebpf.Kprobe:
		return link.Kprobe(spec.AttachTo, p, nil)
	case spec.AttachType == ebpf.AttachTraceIter:
		return nil, nil
	case spec.Type == ebpf.Tracing:
		return link.AttachTracing(link.TracingOptions{Program: p})
	}
	return nil, fmt.Errorf("program type %s: %w", spec.Type, ebpf.ErrNotSupported)
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
