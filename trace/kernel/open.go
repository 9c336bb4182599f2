package kernel

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"tracer/trace/kernel/attach"
)

// An opening is a feature that is being opened.
type opening struct {
	Feature
	of     *file
	doors  []Door // that may be possible
	failed error  // why the others are not
	loaded chan loaded
}

// A loaded is what came of loading the programs of a feature's first door.
type loaded struct {
	programs map[string]*ebpf.Program
	err      error
}

// openings are those of features, with the doors that are worth trying.
func (k *Kernel) openings(features []Feature) (list []*opening) {
	for _, f := range features {
		n, refused := &opening{Feature: f}, map[Tier]bool{}
		for _, d := range f.Doors {
			if k.opts.Tier != 0 && len(f.Doors) > 1 && d.Tier.inKernel() && d.Tier != k.opts.Tier {
				continue
			}
			if err := k.possible(d.Tier); err != nil {
				if !refused[d.Tier] {
					n.because(d, err)
				}
				refused[d.Tier] = true
				continue
			}
			n.doors = append(n.doors, d)
		}
		list = append(list, n)
	}
	return list
}

// begin begins to load the programs of each first door: those first that are likely to
// take the longest.
func (k *Kernel) begin(list []*opening) {
	var jobs []*job
	for _, n := range list {
		if len(n.doors) == 0 {
			continue
		}
		own := k.jobs(n.of, n.doors[0])
		jobs = append(jobs, own...)
		n.loaded = make(chan loaded, 1)
		go func() { n.loaded <- k.await(n.of, n.doors[0], own) }()
	}
	k.run(jobs)
}

// abandon closes what is being loaded and is not wanted any more.
func (k *Kernel) abandon(list []*opening) {
	for _, n := range list {
		if n.loaded != nil {
			closeAll((<-n.loaded).programs)
		}
	}
}

func closeAll(programs map[string]*ebpf.Program) {
	for _, p := range programs {
		_ = p.Close() // it is not used
	}
}

// because adds why a door is not open.
func (n *opening) because(d Door, err error) {
	if len(n.Doors) > 1 && !outOfFiles(err) {
		err = fmt.Errorf("by %s: %w", d.Tier, err)
	}
	if n.failed == nil || outOfFiles(err) {
		n.failed = fmt.Errorf("%s: %w", n.Name, err)
	} else {
		n.failed = fmt.Errorf("%w; %w", n.failed, err)
	}
}

// openFeature attaches the programs of a feature by the first of its doors that this
// kernel lets it through.
func (k *Kernel) openFeature(n *opening) error {
	for i, d := range n.doors {
		of := n.of
		var l loaded
		if i == 0 {
			l = <-n.loaded
		} else if of, l.err = k.loadOther(n, d); l.err == nil {
			jobs := k.jobs(of, d)
			k.run(jobs)
			l = k.await(of, d, jobs)
		}
		if l.err == nil && d.Tier.inKernel() {
			l.err = k.attachDoor(of, d, l.programs)
		}
		if l.err == nil {
			maps.Copy(of.programs, l.programs)
			of.features = append(of.features, OpenFeature{n.Feature, d.Tier})
			return nil
		}
		closeAll(l.programs)
		if n.because(d, l.err); outOfFiles(l.err) {
			return n.failed // it is not the kernel that refuses
		}
	}
	return k.doWithout(n)
}

// loadOther reads a file once more, for another door than the first one. What it has is
// the object's, but for its maps that others lack.
func (k *Kernel) loadOther(n *opening, d Door) (*file, error) {
	spec, err := k.opts.Cache.read(n.of.part.name, k.programs(d))
	if err != nil {
		return nil, err
	}
	if err := k.prepare(spec, n.of.part); err != nil {
		return nil, err
	}
	c, err := k.makeMaps(spec, n.of.maps)
	if err != nil {
		return nil, err
	}
	for name, m := range c.Maps {
		if n.of.maps[name] == nil {
			n.of.more = append(n.of.more, m)
			continue
		}
		_ = m.Close() // another descriptor of the same
		c.Maps[name] = n.of.maps[name]
	}
	return &file{n.of.Object, n.of.part, spec, c.Maps}, nil
}

// doWithout says what is missed by a feature that no door opens, if tracing is
// possible without it.
func (k *Kernel) doWithout(n *opening) error {
	if n.failed == nil {
		n.failed = fmt.Errorf("%s: not possible by %s", n.Name, k.opts.Tier)
	}
	if n.Without == "" || (k.opts.Tier != 0 && len(n.Doors) > 1) {
		return n.failed
	}
	n.of.features = append(n.of.features, OpenFeature{Feature: n.Feature})
	k.warnings = append(k.warnings, n.Without)
	return nil
}

// possible says why a kernel has no hooks of a kind, nil if it has. To ask is cheap, to
// have all programs verified is not.
func (k *Kernel) possible(t Tier) (err error) {
	if cached, asked := k.tiers[t]; asked {
		return cached
	}
	switch t {
	case Function:
		err = tryFunction(k.load)
	case Kprobe:
		if !haveKprobes() {
			err = ebpf.ErrNotSupported
		}
	case UprobeMulti:
		var has bool
		if has, err = attach.HaveMulti(); err == nil && !has {
			err = ebpf.ErrNotSupported
		}
	}
	if err != nil {
		err = fmt.Errorf("load programs: %w", err)
	}
	k.tiers[t] = err
	return err
}

// tryFunction loads a program for the return of a function that does nothing.
func tryFunction(opts ebpf.CollectionOptions) error {
	// Not by itself: only a collection uses the types that are read already.
	c, err := ebpf.NewCollectionWithOptions(&ebpf.CollectionSpec{Programs: map[string]*ebpf.ProgramSpec{"try": {
		Type: ebpf.Tracing, AttachType: ebpf.AttachTraceFExit, AttachTo: "tcp_sendmsg", License: "Dual BSD/GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	}}}, opts)
	if err != nil {
		return err
	}
	c.Close()
	return nil
}

// A job is to load a program.
type job struct {
	of      *file
	door    Door
	name    string
	program *ebpf.Program
	err     error
	done    chan struct{}
}

// jobs are those for the programs of a door.
func (k *Kernel) jobs(o *file, d Door) (list []*job) {
	for _, name := range k.programs(d) {
		list = append(list, &job{of: o, door: d, name: name, done: make(chan struct{})})
	}
	return list
}

// size is how many instructions the program has.
func (j *job) size() int {
	if p := j.of.spec.Programs[j.name]; p != nil {
		return len(p.Instructions)
	}
	return 0
}

// run does jobs in the background, as many at once as there are processors, the large
// ones first.
func (k *Kernel) run(jobs []*job) {
	jobs = slices.Clone(jobs)
	slices.SortStableFunc(jobs, func(a, b *job) int { return b.size() - a.size() })
	queue := make(chan *job, len(jobs))
	for _, j := range jobs {
		queue <- j
	}
	close(queue)
	for range min(runtime.GOMAXPROCS(0), len(jobs)) {
		go func() {
			for j := range queue {
				j.program, j.err = k.loadProgram(j.of, j.door, j.name)
				close(j.done)
			}
		}()
	}
}

// await waits for the programs of a door: all of them, which belong to the caller, or none.
func (k *Kernel) await(o *file, d Door, jobs []*job) loaded {
	programs := map[string]*ebpf.Program{}
	var failed error
	for _, j := range jobs {
		<-j.done
		if j.program != nil {
			programs[j.name] = j.program
		}
		if failed == nil && j.err != nil { // the first one: all may have failed of the same
			failed = fmt.Errorf("load programs: %w", j.err)
		}
	}
	if failed == nil && !d.Tier.inKernel() {
		// The process that attaches takes its time while others are loaded.
		failed = k.openLater(o, d, programs)
	}
	if failed != nil {
		closeAll(programs)
		return loaded{err: failed}
	}
	return loaded{programs: programs}
}

// loadProgram loads one program of a file. It is safe for concurrent use.
func (k *Kernel) loadProgram(o *file, d Door, name string) (*ebpf.Program, error) {
	p := o.spec.Programs[name]
	if p == nil {
		return nil, fmt.Errorf("load program %q: the object has none", name)
	}
	p = p.Copy()
	// Instructions that do not fit this kernel get a comment, which is a line of the source
	// to it, and it wants all functions to have one then.
	for i, ins := range p.Instructions {
		if name := ins.Symbol(); name != "" && ins.Source() == nil {
			p.Instructions[i] = ins.WithSource(asm.Comment(name))
		}
	}
	if k.castless {
		dropCasts(p.Instructions)
	}
	if !d.Tier.inKernel() {
		p.KernelVersion = attach.AnyKernel
	}
	if d.Tier == UprobeMulti {
		p.AttachType = ebpf.AttachTraceUprobeMulti
	}
	own := *o.spec
	own.Programs = nil // most are not needed
	spec := own.Copy()
	spec.Programs = map[string]*ebpf.ProgramSpec{name: p}
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
		return nil, err
	}
	defer c.Close()
	return c.DetachProgram(name), nil
}

// attachDoor attaches the programs of a door, all or none of them.
func (k *Kernel) attachDoor(o *file, d Door, programs map[string]*ebpf.Program) error {
	var links []link.Link
	for _, name := range k.programs(d) {
		spec := o.spec.Programs[name]
		l, err := attachTo(spec, programs[name])
		if err != nil {
			for _, l := range links {
				_ = l.Close() // it is not used
			}
			return fmt.Errorf("attach %s %q: %w", d.Tier, spec.AttachTo, err)
		}
		if l != nil {
			links = append(links, l)
		}
	}
	o.links = append(o.links, links...)
	return nil
}

// openLater gives programs to the process that attaches. There is one such process, and
// it takes them once.
func (k *Kernel) openLater(o *file, d Door, programs map[string]*ebpf.Program) error {
	if k.attacher == nil {
		return errors.New("attach to files: the process that does so was not started")
	}
	for table, program := range d.Tails {
		if err := o.maps[table].Put(uint32(0), programs[program]); err != nil {
			return fmt.Errorf("write map %q: %w", table, err)
		}
	}
	l := &later{attacher: k.attacher, numbers: map[string]int{}, links: map[*Attached]struct{}{}}
	var list []attach.Program
	for _, name := range k.programs(d) {
		l.numbers[name] = len(list)
		p := attach.Program{Program: programs[name], Multi: d.Tier == UprobeMulti}
		list = append(list, p, attach.Program{Program: p.Program, Multi: p.Multi, Return: true})
	}
	k.attacher = nil
	if err := l.attacher.Give(list); err != nil {
		_ = l.attacher.Close() // it has ended
		return err
	}
	o.later = l
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
