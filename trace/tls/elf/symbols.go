package elf

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"slices"
	"strings"
)

const symbolSize = 24 // Elf64_Sym

// bounds of what is walked through.
const (
	maxChain   = 1 << 12 // symbols of one bucket of a hash table; a good table has four
	maxSymbols = 4 << 20 // of .symtab
	maxNamed   = 64      // places in .strtab that hold one name: a table of strings made to be slow has more
)

// A Symbol is a function.
type Symbol struct {
	Addr uint64
	Size uint64 // in bytes; 0 if the file does not tell
}

// Exported finds functions by name among the dynamic symbols, as the dynamic linker
// does: where a name has several versions, the default one. What is not there is left
// out.
func (m *Image) Exported(names ...string) map[string]Symbol {
	d, ok := m.dynamicTable()
	if !ok {
		return nil
	}
	found := map[string]Symbol{}
	for _, name := range names {
		if s, ok := d.lookup(name); ok {
			found[name] = s
		}
	}
	return found
}

// Needs tells whether the dynamic linker loads a library with the file whose name begins
// so.
func (m *Image) Needs(prefix string) bool {
	d, ok := m.dynamicTable()
	if !ok {
		return false
	}
	for _, off := range d.needed {
		if name, ok := cString(d.text, off); ok && strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// A dynamicTable is what PT_DYNAMIC leads to.
type dynamicTable struct {
	m               *Image
	symbols, text   []byte
	versions        []byte // .gnu.version, a number for each symbol
	gnuHash, elHash []byte
	needed          []uint64 // where in text the names of libraries are
}

func (m *Image) dynamicTable() (d dynamicTable, ok bool) {
	b, ok := m.slice(m.dynamic.off, m.dynamic.size)
	if !ok || len(b) == 0 {
		return d, false
	}
	le := binary.LittleEndian
	d.m = m
	length := uint64(0)
	for range maxDynamic {
		if len(b) < 16 || elf.DynTag(le.Uint64(b)) == elf.DT_NULL {
			break
		}
		tag, value := elf.DynTag(le.Uint64(b)), le.Uint64(b[8:])
		b = b[16:]
		switch tag {
		case elf.DT_NEEDED:
			d.needed = append(d.needed, value)
		case elf.DT_SYMTAB:
			d.symbols, _ = m.at(value)
		case elf.DT_STRTAB:
			d.text, _ = m.at(value)
		case elf.DT_STRSZ:
			length = value
		case elf.DT_GNU_HASH:
			d.gnuHash, _ = m.at(value)
		case elf.DT_HASH:
			d.elHash, _ = m.at(value)
		case elf.DT_VERSYM:
			d.versions, _ = m.at(value)
		}
	}
	if length < uint64(len(d.text)) {
		d.text = d.text[:length]
	}
	return d, len(d.symbols) > 0 && len(d.text) > 0
}

func (d *dynamicTable) lookup(name string) (Symbol, bool) {
	switch {
	case len(d.gnuHash) > 0:
		return d.lookupGNU(name)
	case len(d.elHash) > 0:
		return d.lookupSysV(name)
	}
	return Symbol{}, false
}

// lookupGNU walks a chain of DT_GNU_HASH: a Bloom filter, buckets, and for each symbol
// its hash, whose lowest bit ends the chain.
func (d *dynamicTable) lookupGNU(name string) (found Symbol, ok bool) {
	le := binary.LittleEndian
	t := d.gnuHash
	if len(t) < 16 {
		return found, false
	}
	buckets, first, words, shift := le.Uint32(t), le.Uint32(t[4:]), le.Uint32(t[8:]), le.Uint32(t[12:])
	t = t[16:]
	if buckets == 0 || words == 0 || words&(words-1) != 0 || shift > 31 || uint64(len(t)) < uint64(words)*8+uint64(buckets)*4 {
		return found, false
	}
	h := uint32(5381)
	for i := range len(name) {
		h = h*33 + uint32(name[i])
	}
	word := le.Uint64(t[uint64(h/64&(words-1))*8:])
	if word>>(h%64)&1 == 0 || word>>((h>>shift)%64)&1 == 0 {
		return found, false
	}
	t = t[uint64(words)*8:]
	i := le.Uint32(t[uint64(h%buckets)*4:])
	chain := t[uint64(buckets)*4:]
	if i < first {
		return found, false
	}
	for range maxChain {
		at := uint64(i-first) * 4
		if at+4 > uint64(len(chain)) {
			break
		}
		c := le.Uint32(chain[at:])
		if c|1 == h|1 {
			s, isDefault := d.symbol(i, name)
			if isDefault {
				return s, true
			}
			if s != (Symbol{}) && !ok {
				found, ok = s, true
			}
		}
		if c&1 != 0 {
			break
		}
		i++
	}
	return found, ok
}

// lookupSysV walks a chain of DT_HASH, which files of other linkers have.
func (d *dynamicTable) lookupSysV(name string) (found Symbol, ok bool) {
	le := binary.LittleEndian
	t := d.elHash
	if len(t) < 8 {
		return found, false
	}
	buckets, chains := le.Uint32(t), le.Uint32(t[4:])
	t = t[8:]
	if buckets == 0 || uint64(len(t)) < (uint64(buckets)+uint64(chains))*4 {
		return found, false
	}
	h := uint32(0)
	for i := range len(name) {
		h = h<<4 + uint32(name[i])
		g := h & 0xf0000000
		h = (h ^ g>>24) &^ g
	}
	i := le.Uint32(t[uint64(h%buckets)*4:])
	chain := t[uint64(buckets)*4:]
	for range maxChain {
		if i == 0 || i >= chains {
			break
		}
		s, isDefault := d.symbol(i, name)
		if isDefault {
			return s, true
		}
		if s != (Symbol{}) && !ok {
			found, ok = s, true
		}
		i = le.Uint32(chain[uint64(i)*4:])
	}
	return found, ok
}

// symbol is the i-th, if it is a function of this name that the file has itself, and
// whether it is the name's default version.
func (d *dynamicTable) symbol(i uint32, name string) (s Symbol, isDefault bool) {
	at := uint64(i) * symbolSize
	if at+symbolSize > uint64(len(d.symbols)) {
		return s, false
	}
	b := d.symbols[at:]
	off := uint64(binary.LittleEndian.Uint32(b))
	if off > uint64(len(d.text)) {
		return s, false
	}
	t := d.text[off:]
	if len(t) <= len(name) || string(t[:len(name)]) != name || t[len(name)] != 0 {
		return s, false
	}
	if s = d.m.function(b); s == (Symbol{}) {
		return s, false
	}
	const hidden = 0x8000
	v := uint64(i) * 2
	return s, v+2 > uint64(len(d.versions)) || binary.LittleEndian.Uint16(d.versions[v:])&hidden == 0
}

// function reads an Elf64_Sym; nothing if it is no function in executable memory.
func (m *Image) function(b []byte) Symbol {
	le := binary.LittleEndian
	kind := elf.ST_TYPE(b[4])
	if kind != elf.STT_FUNC && kind != elf.STT_NOTYPE || le.Uint16(b[6:]) == uint16(elf.SHN_UNDEF) {
		return Symbol{}
	}
	s := Symbol{Addr: le.Uint64(b[8:]), Size: le.Uint64(b[16:])}
	code, ok := m.Code(s.Addr)
	if !ok || s.Addr == 0 {
		return Symbol{}
	}
	s.Size = min(s.Size, uint64(len(code)))
	return s
}

// Named finds functions by name in .symtab, which stripped files lack, local ones too. A
// name that several functions have is left out: it does not tell which is meant.
func (m *Image) Named(names ...string) map[string]Symbol {
	for _, s := range m.sections {
		if s.kind != elf.SHT_SYMTAB || int(s.link) >= len(m.sections) {
			continue
		}
		symbols, ok := m.bytes(s)
		text, ok2 := m.bytes(m.sections[s.link])
		if !ok || !ok2 {
			continue
		}
		return m.named(symbols, text, names)
	}
	return nil
}

func (m *Image) named(symbols, text []byte, names []string) map[string]Symbol {
	// Most files have none of the names: whoever looks for their texts first need not look
	// at the symbols.
	at := map[uint32]string{}
	for _, name := range names {
		want := append([]byte(name), 0)
		for from, n := 0, 0; n < maxNamed; n++ {
			i := bytes.Index(text[from:], want)
			if i < 0 || from+i > 1<<31 {
				break
			}
			at[uint32(from+i)] = name // a linker may share the end of a longer name
			from += i + 1
		}
	}
	if len(at) == 0 {
		return nil
	}
	offs := make([]uint32, 0, len(at))
	for off := range at {
		offs = append(offs, off)
	}
	slices.Sort(offs)
	least, most := offs[0], offs[len(offs)-1]
	found := map[string]Symbol{}
	twice := map[string]bool{}
	le := binary.LittleEndian
	for range maxSymbols {
		if len(symbols) < symbolSize {
			break
		}
		b := symbols[:symbolSize]
		symbols = symbols[symbolSize:]
		off := le.Uint32(b)
		if off < least || off > most {
			continue
		}
		name, ok := at[off]
		if !ok {
			continue
		}
		if s := m.function(b); s != (Symbol{}) {
			if before, ok := found[name]; ok && before.Addr != s.Addr {
				twice[name] = true
			}
			found[name] = s
		}
	}
	for name := range twice {
		delete(found, name)
	}
	return found
}
