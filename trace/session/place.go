package session

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"time"
	"unsafe"

	"tracer/bpf"
	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/place"
)

// placeFeature tells of cgroups as they come and go.
var placeFeature = kernel.Feature{
	Name: "containers as they start",
	Doors: []kernel.Door{{Tier: kernel.Tracepoint, Programs: []string{
		bpf.PlaceProgPlaceCgroupMkdir,
		bpf.PlaceProgPlaceCgroupRmdir,
	}}},
	Without: "this kernel does not tell of new cgroups: containers that live shorter than a moment have no name",
}

// namesDue is how long names may be missing before it is said.
const namesDue = 2 * time.Second

// places says in which container and pod events happened, and which of those
// are wanted. Its goroutine only passes on what place.bpf.c sends.
type places struct {
	resolver *place.Resolver
	filter   place.Filter
	object   *kernel.Object
	stop     func()        // ends what keeps the kernel's filter current
	done     chan struct{} // the goroutine has ended

	nameless time.Time // when the first event with names missing came
	told     bool      // that they are
	matched  bool      // it was looked whether anything here is wanted
}

// openPlaces opens the object that tells of cgroups, then begins to read what
// cgroups and containers there are: in this order, so that none is missed.
// Without cgroups in sight events have no place (nil), which is an error only if
// they are chosen by it, and else a warning.
func openPlaces(k *kernel.Kernel, opts *Options) (_ *places, warnings []string, err error) {
	trees, err := place.FindHierarchies(place.Roots{})
	switch {
	case len(trees) == 0 && opts.FiltersPlaces():
		return nil, nil, fmt.Errorf("tell containers and pods apart: %w", err)
	case len(trees) == 0:
		return nil, []string{fmt.Sprintf("containers and pods are not shown: %v", err)}, nil
	case err != nil:
		warnings = append(warnings, fmt.Sprintf("some containers and pods may not be known: %v", err))
	}
	if unseen := place.Unseen(trees); unseen != "" {
		warnings = append(warnings, unseen)
	}
	plan := kernel.Plan{
		Name: "place", Ring: bpf.PlaceMapPlaces, Rare: true,
		Knobs:    map[string]any{},
		Features: []kernel.Feature{placeFeature},
	}
	for _, h := range trees {
		if h.V1 {
			plan.Knobs[bpf.PlaceVarV1Hierarchy] = h.ID
		}
	}
	p := &places{filter: opts.Place, stop: func() {}, done: make(chan struct{})}
	if p.object, err = k.Load(plan); err != nil {
		return nil, nil, err
	}
	p.resolver, err = place.New(place.Roots{}, place.Options{
		Kubelet: opts.Kubelet,
		Wait:    opts.Limits.PlaceWait,
		Behind:  p.object.Behind,
	})
	if err != nil {
		return nil, nil, err
	}
	go func() {
		defer close(p.done)
		p.object.EachRare(func(record []byte) { p.decode(record) })
	}()
	if opts.FiltersPlaces() {
		// What finds no room in the kernel's map passes, and is decided here.
		p.stop = p.resolver.Watch(p.filter, func(id uint64, v place.Verdict) {
			switch v {
			case place.Unknown:
				k.Unjudge(id)
			default:
				k.Judge(id, v == place.Wanted)
			}
		})
	}
	return p, warnings, nil
}

// decode reports false for a record that is none. It has the layout of
// bpf.PlacePlaceRecord, up to the end of its path.
func (p *places) decode(record []byte) bool {
	const head = int(unsafe.Offsetof(bpf.PlacePlaceRecord{}.Path))
	if len(record) < head {
		return false
	}
	id := binary.NativeEndian.Uint64(record[unsafe.Offsetof(bpf.PlacePlaceRecord{}.Id):])
	hierarchy := binary.NativeEndian.Uint32(record[unsafe.Offsetof(bpf.PlacePlaceRecord{}.Hierarchy):])
	gone := binary.NativeEndian.Uint32(record[unsafe.Offsetof(bpf.PlacePlaceRecord{}.Gone):]) != 0
	path, _, ok := bytes.Cut(record[head:], []byte{0})
	if !ok {
		return false
	}
	if gone {
		p.resolver.Rmdir(id, hierarchy, string(path))
	} else {
		p.resolver.Mkdir(id, hierarchy, string(path))
	}
	return true
}

func (p *places) close() {
	if p == nil {
		return
	}
	p.stop()
	_ = p.object.FlushRare() // which ends the goroutine
	<-p.done
	p.resolver.Close()
}

// locate is where a process runs of which the kernel's records have this cgroup:
// zero for one that runs on the host. It reports false if something is missing.
func (p *places) locate(cgroup uint64, pid uint32) (event.Place, bool) {
	at, complete := p.resolver.Lookup(cgroup, int(pid))
	if !complete && p.nameless.IsZero() {
		p.nameless = time.Now()
	}
	if at == nil {
		return event.Place{}, complete
	}
	return *at, complete
}

// nameProblems says, once, why names are missing: when they have been for a while, or
// at the end.
func (p *places) nameProblems(end bool) string {
	if p == nil || p.told || p.nameless.IsZero() || !end && time.Since(p.nameless) < namesDue {
		return ""
	}
	p.told = true
	return strings.Join(p.resolver.Problems(), "; ")
}

// nobody says, once, that nothing that is here now has the place that is wanted, and
// what there is: when all cgroups have been read, or at the end.
func (p *places) nobody(end bool) string {
	if p == nil || p.matched || p.filter == (place.Filter{}) {
		return ""
	}
	select {
	case <-p.resolver.Scanned():
	default:
		if !end {
			return ""
		}
	}
	text, sure := p.resolver.Nobody(p.filter)
	p.matched = sure || end
	if !p.matched {
		return "" // some names are being read
	}
	return text
}
