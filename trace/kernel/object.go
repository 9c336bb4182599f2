package kernel

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"tracer/bpf"
)

// An Object is one that is loaded: its maps, and the programs of the features that
// could be opened. It belongs to its Kernel.
type Object struct {
	name     string
	number   int                  // among those of its Kernel
	maps     map[string]*ebpf.Map // those of Kernel.shared, too
	more     []*ebpf.Map          // variables that further files have for themselves
	vars     map[string]*ebpf.Variable
	programs map[string]*ebpf.Program
	links    []link.Link // kept: a link that nothing refers to is closed
	features []OpenFeature
	records  source  // of its ring, nil: it has none
	reader   *reader // of records; nil: they are rare
	later    *later  // what attaches to files, nil: no program is for that

	lost, before losses   // as read last, and when the session began
	missed       uint64   // events that no copy of a program was run for, at most
	sparse       uint64   // the same, of programs that are sparse
	preempts     bool     // the kernel preempts programs
	perCPU       []uint64 // scratch for reading a counter
	ended        bool     // what is noticed as missed does not count any more
}

// losses are what an object's programs have counted as lost, by cause.
type losses [len(bpf.LossNames)]uint64

// Number tells the object from the others of its Kernel: see [Batch.Object].
func (o *Object) Number() int { return o.number }

// Map is one of the object's maps, nil if it has none of this name.
func (o *Object) Map(name string) *ebpf.Map { return o.maps[name] }

// Set sets a variable of an object that is loaded.
func (o *Object) Set(variable string, value any) error {
	if err := o.vars[variable].Set(value); err != nil {
		return fmt.Errorf("set variable %q: %w", variable, err)
	}
	return nil
}

// Get reads a variable of an object that is loaded.
func (o *Object) Get(variable string, value any) error {
	if err := o.vars[variable].Get(value); err != nil {
		return fmt.Errorf("get variable %q: %w", variable, err)
	}
	return nil
}

// Loaded reports whether a program is loaded: the feature that it is for is open.
func (o *Object) Loaded(program string) bool { return o.programs[program] != nil }

// Tier is the kind of hook of a feature, 0 if it is not open.
func (o *Object) Tier(feature string) Tier {
	i := slices.IndexFunc(o.features, func(f OpenFeature) bool { return f.Name == feature })
	if i < 0 {
		return 0
	}
	return o.features[i].Tier
}

// An Iterator runs a program once for each object of a kind: socket, task, element
// of a map. It is detached with its Object.
type Iterator struct {
	name string
	it   *link.Iter
}

// Iterator attaches a program that is loaded, to the elements of a map if one is
// named.
func (o *Object) Iterator(program, mapName string) (*Iterator, error) {
	it, err := link.AttachIter(link.IterOptions{Program: o.programs[program], Map: o.maps[mapName]})
	if err != nil {
		return nil, fmt.Errorf("attach iterator %q: %w", program, err)
	}
	o.links = append(o.links, it)
	return &Iterator{program, it}, nil
}

// errStopped ends an iterator early.
var errStopped = errors.New("stopped")

// Run runs the program for all objects and discards what it writes.
func (i *Iterator) Run() error { return i.Read(func(r io.Reader) error { return nil }) }

// Read runs the program for all objects. What it writes is read by f, and discarded
// where f stops.
func (i *Iterator) Read(f func(io.Reader) error) error {
	file, err := i.it.Open()
	if err != nil {
		return fmt.Errorf("open iterator %q: %w", i.name, err)
	}
	defer file.Close()
	if err = f(file); err == nil {
		_, err = io.Copy(io.Discard, file)
	}
	if err != nil && !errors.Is(err, errStopped) {
		return fmt.Errorf("run iterator %q: %w", i.name, err)
	}
	return nil
}

// RunUntil runs the program for all objects, or until stop is closed. The program
// writes a byte every now and then, which is where it can be stopped.
func (i *Iterator) RunUntil(stop <-chan struct{}) error {
	return i.Read(func(r io.Reader) error {
		var step [1]byte
		for {
			select {
			case <-stop:
				return errStopped
			default:
			}
			if _, err := r.Read(step[:]); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
		}
	})
}

// Records reads records of one type, calling f with each, in r.
func Records[T any](from io.Reader, r *T, f func()) error {
	record := unsafe.Slice((*byte)(unsafe.Pointer(r)), unsafe.Sizeof(*r))
	for {
		if _, err := io.ReadFull(from, record); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		f()
	}
}

// Attach attaches a program, which is loaded by the tier Uprobe or UprobeMulti, to
// offsets in a file, or on the return of the functions there. A pid other than 0: only
// that process is probed; see [attach.Attacher.Attach]. It is safe for concurrent use,
// and needs no privileges.
func (o *Object) Attach(program string, onReturn bool, file *os.File, pid int, offsets ...uint64) (*Attached, error) {
	return o.later.attach(program, onReturn, file, pid, offsets...)
}

// detach stops the programs. What they have sent stays in the ring.
func (o *Object) detach() {
	for _, l := range o.links {
		_ = l.Close() // closing a link cannot fail but by misuse
	}
	o.links = nil
	o.later.detach()
}

func (o *Object) close() {
	o.detach()
	o.later.close()
	for _, m := range o.more {
		_ = m.Close()
	}
	if o.records != nil {
		_ = o.records.close()
	}
	for _, p := range o.programs {
		_ = p.Close()
	}
	for _, m := range o.maps {
		_ = m.Close()
	}
}

// Horizon is a moment of the boot clock: whatever the object's programs sent before
// has been decoded. It only grows. It is for who calls [Kernel.Decode].
func (o *Object) Horizon() uint64 { return o.reader.horizon() }

// EachRare calls f with each rare record as it comes, until FlushRare is called. It
// is for a goroutine of its own.
func (o *Object) EachRare(f func(record []byte)) {
	if o.records == nil {
		return
	}
	var record []byte
	for {
		err := o.records.begin(true)
		for err == nil {
			if record, err = o.records.next(record); err == nil {
				f(record)
			}
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
	}
}

// FlushRare ends EachRare.
func (o *Object) FlushRare() error { return o.records.flush() }

// Behind reports whether there are rare records that EachRare has not told. Of perf
// buffers that is not known: then it reports false.
func (o *Object) Behind() bool {
	r, ok := o.records.(*ring)
	return ok && r.idle(1) == 0
}
