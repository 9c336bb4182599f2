package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf/btf"
)

// BTFFile is where the kernel describes its types.
const BTFFile = "/sys/kernel/btf/vmlinux"

// Types are the types of the kernel's functions and data, for what a probe must
// know before it is loaded.
type Types struct {
	spec *btf.Spec // from a file, nil: the kernel's own, which cache has
	own  bool      // the kernel describes them itself
	err  error     // of reading the kernel's own
}

// readTypes reads a BTF file, or the kernel's own types if file is empty.
func readTypes(file string, cache *btf.Cache) (*Types, error) {
	if file == "" {
		if _, err := os.Stat(BTFFile); errors.Is(err, os.ErrNotExist) {
			return nil, Hint(errors.New("read the kernel's types: this kernel has no "+BTFFile),
				"pass a BTF file made for exactly this kernel with --btf FILE")
		}
		spec, err := cache.Kernel()
		return &Types{spec: spec, own: true, err: err}, nil
	}
	spec, err := btf.LoadSpec(file)
	if err != nil {
		return nil, fmt.Errorf("read BTF from %q: %w", file, err)
	}
	return &Types{spec: spec}, nil
}

// Has reports whether the kernel has a type or a function of this name.
func (t *Types) Has(name string) bool {
	_, err := t.spec.AnyTypeByName(name)
	return err == nil
}

// Parameters is the number of parameters of a function of the kernel, 0 if it
// has none of this name.
func (t *Types) Parameters(function string) int {
	var f *btf.Func
	if t.spec.TypeByName(function, &f) != nil {
		return 0
	}
	if p, ok := f.Type.(*btf.FuncProto); ok {
		return len(p.Params)
	}
	return 0
}

// Arguments is the number of arguments that a tracepoint hands over, 0 if the
// types have no tracepoint of this name.
func (t *Types) Arguments(tracepoint string) int {
	var def *btf.Typedef
	if t.spec.TypeByName("btf_trace_"+tracepoint, &def) != nil {
		return 0
	}
	pointer, ok := def.Type.(*btf.Pointer)
	if !ok {
		return 0
	}
	f, ok := pointer.Target.(*btf.FuncProto)
	if !ok {
		return 0
	}
	return max(len(f.Params)-1, 0) // the first is the tracepoint's own
}

// Preempts reports whether the kernel may preempt programs at tracepoints. They
// then miss what other tasks do meanwhile on their CPU, and need copies.
func (t *Types) Preempts() bool {
	return t.Has("class_srcu_fast_notrace_t") // the guard of tracepoints since 7.0
}

// Casts reports whether programs can turn a number into a pointer (6.2). That is a
// function of the kernel, which types from a file do not lead to.
func (t *Types) Casts() bool { return t.own && t.Has("bpf_rdonly_cast") }

// ForeignTypes says that a BTF file may be another kernel's, if it may be.
func ForeignTypes(file string) string {
	own, err := os.ReadFile(BTFFile)
	if err != nil {
		return "" // there is nothing to compare with
	}
	given, err := os.ReadFile(file)
	if err != nil || bytes.Equal(given, own) {
		return ""
	}
	return fmt.Sprintf("%q differs from this kernel's own types (%s): if it was made for another kernel, what is shown is wrong; leave --btf out", file, BTFFile)
}
