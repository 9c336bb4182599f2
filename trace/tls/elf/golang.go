package elf

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// ErrNotGo is returned by Go for a file that is no Go program.
var ErrNotGo = errors.New("no Go program")

// The magic numbers of pclntab: internal/abi, CurrentPCLnTabMagic.
const (
	magicGo118 = 0xfffffff0
	magicGo120 = 0xfffffff1
)

const (
	maxGoFuncs = 4 << 20
	pclnHeader = 72 // magic, 0, 0, quantum, pointer size, and eight words
)

// Go finds functions by their full names, as "crypto/tls.(*Conn).Write", in the table
// that Go programs of 1.18 and later carry for stack traces, stripped or not. What is
// not there, or was inlined everywhere, is left out. Size includes what pads a function
// to the next.
func (m *Image) Go(names ...string) (map[string]Symbol, error) {
	if !m.isGo() {
		return nil, ErrNotGo
	}
	t, err := m.goTable()
	if err != nil {
		return nil, err
	}
	return t.find(m, names)
}

func (m *Image) isGo() bool {
	for _, s := range m.sections {
		if strings.HasPrefix(s.name, ".go.") || strings.HasPrefix(s.name, ".note.go.") || strings.HasSuffix(s.name, ".gopclntab") {
			return true
		}
	}
	return false
}

// A goTable is pclntab: runtime.pcHeader and what it leads to.
type goTable struct {
	addr  uint64 // of the table
	text  uint64 // what addresses are relative to
	n     int    // functions
	names []byte // their names, each ended by NUL
	funcs []byte // n entries of two words of 4 bytes: address, where in funcs the function is described; then the end of the last
}

// goTable finds the table: in a section of its own, or inside of another, as linkers in
// PIEs and strip leave it.
func (m *Image) goTable() (*goTable, error) {
	var last error
	for _, s := range m.sections {
		if !strings.HasSuffix(s.name, ".gopclntab") {
			continue
		}
		if b, ok := m.bytes(s); ok {
			t, err := m.parseGoTable(b, s.addr)
			if err == nil {
				return t, nil
			}
			last = err
		}
	}
	quantum := byte(1)
	if m.Machine == elf.EM_AARCH64 {
		quantum = 4
	}
	for _, s := range m.sections {
		b, ok := m.bytes(s)
		if !ok || s.kind != elf.SHT_PROGBITS || s.addr == 0 || !strings.HasPrefix(s.name, ".data.rel.ro") && !strings.HasPrefix(s.name, ".rodata") {
			continue
		}
		for _, magic := range []byte{magicGo120 & 0xff, magicGo118 & 0xff} {
			want := []byte{magic, 0xff, 0xff, 0xff, 0, 0, quantum, 8}
			for from, tries := 0, 0; tries < maxNamed; tries++ {
				i := bytes.Index(b[from:], want)
				if i < 0 {
					break
				}
				t, err := m.parseGoTable(b[from+i:], s.addr+uint64(from+i))
				if err == nil {
					return t, nil
				}
				last = err
				from += i + 1
			}
		}
	}
	if last == nil {
		last = errors.New("no table of functions")
	}
	return nil, last
}

// parseGoTable reads the header: after the magic number two zeros, the quantum of
// addresses, the size of pointers, then words: number of functions, of files, start of
// text, and where there are names, compilation units, files, tables of numbers, functions.
func (m *Image) parseGoTable(b []byte, addr uint64) (*goTable, error) {
	le := binary.LittleEndian
	if len(b) < pclnHeader || b[4] != 0 || b[5] != 0 || b[7] != 8 {
		return nil, errors.New("table of functions: not understood")
	}
	if magic := le.Uint32(b); magic != magicGo118 && magic != magicGo120 {
		return nil, fmt.Errorf("table of functions: magic number %#x", magic)
	}
	word := func(i int) uint64 { return le.Uint64(b[8+8*i:]) }
	n, names, units, funcs := word(0), word(3), word(4), word(7)
	size := uint64(len(b))
	if n == 0 || n > maxGoFuncs || names > units || units > size || funcs > size || size-funcs < 8*n+4 {
		return nil, errors.New("table of functions: its parts are not inside of it")
	}
	t := &goTable{addr: addr, text: word(2), n: int(n), names: b[names:units], funcs: b[funcs:]}
	if t.text == 0 {
		// Since Go 1.26, and where a relocation writes it.
		if t.text = m.Pointers(addr + 8 + 8*2)[0]; t.text == 0 {
			t.text = m.goText(addr)
		}
	}
	if _, ok := m.Code(t.text); !ok {
		return nil, errors.New("table of functions: its code is not in the file")
	}
	return t, nil
}

// goText reads the start of text from runtime.firstmoduledata, whose first word is the
// address of the table.
func (m *Image) goText(table uint64) uint64 {
	const text = 22 // word of runtime.moduledata
	if s, ok := m.section(".go.module"); ok {
		if p := m.Pointers(s.addr, s.addr+8*text); p[0] == table {
			return p[1]
		}
	}
	return 0
}

// find looks for texts in the names, and then for the functions that have them.
func (t *goTable) find(m *Image, names []string) (map[string]Symbol, error) {
	wanted := map[uint32]string{}
	least, most := ^uint32(0), uint32(0)
	for _, name := range names {
		want := append([]byte{0}, name...)
		want = append(want, 0)
		if i := bytes.Index(t.names, want); i >= 0 {
			off := uint32(i + 1)
			wanted[off] = name
			least, most = min(least, off), max(most, off)
		}
	}
	found := map[string]Symbol{}
	if len(wanted) == 0 {
		return found, nil
	}
	le := binary.LittleEndian
	for i := range t.n {
		described := uint64(le.Uint32(t.funcs[8*i+4:]))
		if described+8 > uint64(len(t.funcs)) {
			return nil, errors.New("table of functions: a function is described outside of it")
		}
		name := le.Uint32(t.funcs[described+4:])
		if name < least || name > most || wanted[name] == "" {
			continue
		}
		begin, end := le.Uint32(t.funcs[8*i:]), le.Uint32(t.funcs[8*i+8:])
		s := Symbol{Addr: t.text + uint64(begin), Size: uint64(end - begin)}
		if code, ok := m.Code(s.Addr); !ok || end <= begin || uint64(len(code)) < s.Size {
			return nil, errors.New("table of functions: a function is not in the file")
		}
		found[wanted[name]] = s
		if len(found) == len(wanted) {
			break
		}
	}
	return found, nil
}
