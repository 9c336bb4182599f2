package bpf

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
)

// files are the objects as they are embedded.
var files = map[string][]byte{
	"exec": _ExecBytes, "follow": _FollowBytes, "place": _PlaceBytes, "conn": _ConnBytes,
	"traffic": _TrafficBytes, "http": _HttpBytes, "tls": _TlsBytes,
}

// Read reads an object with the maps that its programs refer to (headers have others), its
// variables, and of its programs at least these. Most are for kernels of another kind, and each is read with all functions that it
// calls: without them it takes a fraction of the time. So it does without the lines of the
// source, which only messages of the verifier would name.
func Read(object string, programs ...string) (*ebpf.CollectionSpec, error) {
	file := files[object]
	if file == nil {
		return nil, fmt.Errorf("read object %q: there is none", object)
	}
	file, used, err := leaveOut(file, programs)
	if err != nil {
		return nil, fmt.Errorf("read object %q: %w", object, err)
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(file))
	if err != nil {
		return nil, fmt.Errorf("read object %q: %w", object, err)
	}
	maps.DeleteFunc(spec.Maps, func(name string, _ *ebpf.MapSpec) bool {
		return !used[name] && !strings.HasPrefix(name, ".")
	})
	return spec, nil
}

// leaveOut returns a file without the lines of the source, in whose list of sections those
// are marked as unused that have no other programs than these; and to what code refers, of
// all programs.
func leaveOut(file []byte, programs []string) (_ []byte, used map[string]bool, err error) {
	f, err := elf.NewFile(bytes.NewReader(file))
	if err != nil {
		return nil, nil, err
	}
	symbols, err := f.Symbols()
	if err != nil {
		return nil, nil, err
	}
	wanted := map[uint32]bool{}
	for _, s := range symbols {
		if slices.Contains(programs, s.Name) {
			wanted[uint32(s.Section)] = true
		}
	}
	code := func(i uint32) bool {
		s := f.Sections[i]
		return s.Type == elf.SHT_PROGBITS && s.Flags&elf.SHF_EXECINSTR != 0
	}
	unused := func(i uint32) bool { return code(i) && f.Sections[i].Name != ".text" && !wanted[i] }
	used = map[string]bool{}
	file = slices.Clone(file)
	// Where the list is, and the type in an entry of it: elf.Header64, elf.Section64.
	list := binary.LittleEndian.Uint64(file[40:])
	size := uint64(binary.LittleEndian.Uint16(file[58:]))
	for i, s := range f.Sections {
		if s.Type == elf.SHT_REL && code(s.Info) {
			references, err := s.Data()
			if err != nil {
				return nil, nil, err
			}
			for ; len(references) >= 16; references = references[16:] { // elf.Rel64
				n := int(binary.LittleEndian.Uint32(references[12:])) - 1 // the first symbol is none
				if n >= 0 && n < len(symbols) {
					used[symbols[n].Name] = true
				}
			}
		}
		if unused(uint32(i)) || (s.Type == elf.SHT_REL && unused(s.Info)) {
			binary.LittleEndian.PutUint32(file[list+uint64(i)*size+4:], uint32(elf.SHT_NULL))
		}
		if s.Name == ".BTF.ext" {
			// No lines, only how long each would be: struct btf_ext_header.
			binary.LittleEndian.PutUint32(file[s.Offset+20:], 4)
		}
	}
	return file, used, nil
}
