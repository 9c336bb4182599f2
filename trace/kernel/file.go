package kernel

import (
	"fmt"
	"maps"

	"github.com/cilium/ebpf"

	"tracer/bpf"
)

// programs are those of a door, with the copies that they need.
func (k *Kernel) programs(d Door) []string { return bpf.Expand(k.Types.Preempts(), d.Programs...) }

// A file is one of an object, with the maps that its programs use.
type file struct {
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
	return k.size(spec, p)
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

// size gives maps the sizes that are wanted.
func (k *Kernel) size(spec *ebpf.CollectionSpec, p part) error {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return err
	}
	for name, size := range p.maps {
		m := spec.Maps[name]
		if m == nil {
			return fmt.Errorf("size map %q: object %q has none", name, p.name)
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
