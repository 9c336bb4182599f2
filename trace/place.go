package trace

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"

	"tracer/bpf"
	"tracer/trace/event"
	"tracer/trace/place"
)

// Place says which containers and pods are wanted; the zero value wants
// everything.
type Place = place.Filter

// PlaceNames lists what Place can ask for now, for a shell to complete.
func PlaceNames() (containers, pods, namespaces []string) { return place.Names(place.Roots{}) }

// Kubelet says how to ask the kubelet for names.
type Kubelet = place.Kubelet

// placeFeature tells of cgroups as they come and go.
var placeFeature = feature{
	name: "containers as they start",
	doors: []door{{tierTracepoint, []string{
		bpf.PlaceProgPlaceCgroupMkdir,
		bpf.PlaceProgPlaceCgroupRmdir,
	}}},
	without: "this kernel does not tell of new cgroups: containers that live shorter than a moment have no name",
}

// namesDue is how long names may be missing before it is said.
const namesDue = 2 * time.Second

// places says in which container and pod events happened, and which of those
// are wanted. Its goroutine only passes on what place.bpf.c sends.
type places struct {
	resolver *place.Resolver
	filter   Place
	records  source        // nil: the kernel does not tell of new cgroups
	stop     func()        // ends what keeps the kernel's filter current
	done     chan struct{} // the goroutine has ended

	nameless time.Time // when the first event with names missing came
	told     bool      // that they are
}

// openPlaces opens the object that tells of cgroups, then begins to read what
// cgroups and containers there are: in this order, so that none is missed.
// Without cgroups in sight events have no place, which is an error only if they
// are chosen by it.
func (s *Session) openPlaces(opts ebpf.CollectionOptions) error {
	trees, err := place.FindHierarchies(place.Roots{})
	switch {
	case err != nil && s.filtersPlaces():
		return fmt.Errorf("tell containers and pods apart: %w", err)
	case err != nil:
		s.warnings = append(s.warnings, fmt.Sprintf("containers and pods are not shown: %v", err))
		return nil
	}
	spec, err := object("place", bpf.LoadPlace)
	if err != nil {
		return fmt.Errorf("read object %q: %w", "place", err)
	}
	for _, h := range trees {
		if !h.V1 {
			continue
		}
		if err := setKnobs(spec, map[string]any{bpf.PlaceVarV1Hierarchy: h.ID}); err != nil {
			return err
		}
	}
	bytes := spec.Maps[bpf.PlaceMapPlaces].MaxEntries
	if err := s.buffer.fit(spec); err != nil {
		return err
	}
	if err := s.open(spec, opts, placeFeature); err != nil {
		return err
	}
	p := &places{filter: s.opts.Place, stop: func() {}, done: make(chan struct{})}
	if p.resolver, err = place.New(place.Roots{}, place.Options{Kubelet: s.opts.Kubelet, Wait: s.opts.placeWait, Behind: p.behind}); err != nil {
		return err
	}
	if m := s.objects.Maps[bpf.PlaceMapPlaces]; m != nil {
		if p.records, err = s.buffer.open(m, nil, nil, bytes); err != nil {
			p.resolver.Close()
			return err
		}
	}
	s.places = p
	go p.read()
	if s.filtersPlaces() {
		m := s.objects.Maps[bpf.ExecMapCgroups]
		p.stop = p.resolver.Watch(p.filter, func(id uint64, v place.Verdict) { judge(m, id, v) })
	}
	return nil
}

func (s *Session) filtersPlaces() bool { return s.opts.Place != Place{} }

// judge tells the kernel's filter of a cgroup. What finds no room in the map
// passes, and is decided here.
func judge(m *ebpf.Map, id uint64, v place.Verdict) {
	switch v {
	case place.Wanted:
		_ = m.Put(id, uint8(1))
	case place.Unwanted:
		_ = m.Put(id, uint8(0))
	default:
		_ = m.Delete(id)
	}
}

// read passes records on until their source is flushed.
func (p *places) read() {
	defer close(p.done)
	if p.records == nil {
		return
	}
	var record []byte
	for {
		err := p.records.begin(true)
		for err == nil {
			if record, err = p.records.next(record); err == nil {
				p.decode(record)
			}
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
	}
}

// behind reports whether there is something to read of cgroups. Of perf buffers
// that cannot be told.
func (p *places) behind() bool {
	r, ok := p.records.(*ring)
	return ok && r.idle(1) == 0
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
	if p.records != nil {
		_ = p.records.flush() // which ends the goroutine
	}
	<-p.done
	if p.records != nil {
		_ = p.records.close()
	}
	p.resolver.Close()
}

// locate fills in where an event happened and reports whether that is wanted.
// An event without a cgroup keeps the place that its probe gave it. For a
// cgroup that was never heard of it waits, for at most 50 ms: place.Options.
func (s *Session) locate(h *event.Common) bool {
	p := s.places
	id := h.CgroupID
	h.CgroupID &^= place.V1
	if p == nil {
		return true
	}
	complete := true
	if id != 0 {
		h.Place, complete = s.place(id, h.PID)
	}
	if p.filter == (Place{}) {
		return true
	}
	var at *place.Place
	if h.Place != (event.Place{}) {
		at = &h.Place
	}
	switch p.filter.Judge(at, complete) {
	case place.Wanted:
		return true
	case place.Unknown:
		s.stats.lost[lostPlace]++
	}
	return false
}

// place is where a process runs of which the kernel's records have this cgroup:
// zero for one that runs on the host. It reports false if something is missing.
func (s *Session) place(cgroup uint64, pid uint32) (event.Place, bool) {
	p := s.places
	if p == nil {
		return event.Place{}, false
	}
	at, complete := p.resolver.Lookup(cgroup, int(pid))
	if !complete && p.nameless.IsZero() {
		p.nameless = time.Now()
	}
	if at == nil {
		return event.Place{}, complete
	}
	return *at, complete
}

// tellNameless says, once, why names are missing.
func (s *Session) tellNameless() {
	p := s.places
	if p == nil || p.told || p.nameless.IsZero() || time.Since(p.nameless) < namesDue {
		return
	}
	p.told = true
	if problems := p.resolver.Problems(); len(problems) > 0 {
		s.opts.Notice(&event.Notice{Kind: "note", Message: strings.Join(problems, "; ")})
	}
}
