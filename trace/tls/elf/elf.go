package elf

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrFormat is wrapped by errors of Read that say that a file is no ELF file that
// this package understands, or is a broken one.
var ErrFormat = errors.New("not a 64-bit little-endian ELF program or library")

const (
	maxFile     = 16 << 30 // bytes that are mapped
	maxSegments = 256
	maxSections = 1 << 12 // programs have some 40
	maxDynamic  = 1 << 10 // entries of PT_DYNAMIC

	maxRelocations = 8 << 20
)

const (
	headerSize  = 64 // Elf64_Ehdr
	segmentSize = 56 // Elf64_Phdr
	sectionSize = 64 // Elf64_Shdr

	relocationSize = 24 // Elf64_Rela
)

// An Image is a mapped file. It and all bytes taken from it are valid only until the
// function that Read called returns, in that goroutine alone.
type Image struct {
	Machine elf.Machine
	Entry   uint64 // address of the program's entry point

	data     []byte
	loads    []segment
	dynamic  segment // PT_DYNAMIC
	frames   segment // PT_GNU_EH_FRAME
	sections []section
}

type segment struct {
	off, addr, size uint64 // of what is in the file
	exec            bool
}

type section struct {
	name            string
	kind            elf.SectionType
	off, addr, size uint64
	link            uint32
}

// Read maps a file and calls f with it. The file's offset stays as it is. Errors of f
// are returned as they are; where a page of the file cannot be read, as it was cut
// short meanwhile, f ends there and the error wraps ErrFormat.
func Read(file *os.File, f func(*Image) error) (err error) {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	if !info.Mode().IsRegular() || size < headerSize || size > maxFile {
		return fmt.Errorf("read %q: %w", file.Name(), ErrFormat)
	}
	conn, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var data []byte
	var mapped error
	if err = conn.Control(func(fd uintptr) {
		// Shared: in a private mapping the kernel puts the breakpoints of probes that others have in the file.
		data, mapped = unix.Mmap(int(fd), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	}); err == nil {
		err = mapped
	}
	if err != nil {
		return fmt.Errorf("map %q: %w", file.Name(), err)
	}
	defer func() { _ = unix.Munmap(data) }()
	return guard(data, f)
}

// guard parses and calls f. Faults are made panics for this goroutine, and recovered if
// they are of the mapping.
func guard(data []byte, f func(*Image) error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch r := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }: // a fault, see debug.SetPanicOnFault
			err = fmt.Errorf("%w: a page at %#x is gone", ErrFormat, r.Addr())
		default:
			panic(r)
		}
	}()
	m, err := parse(data)
	if err != nil {
		return err
	}
	return f(m)
}

func parse(data []byte) (*Image, error) {
	le := binary.LittleEndian
	if len(data) < headerSize || string(data[:4]) != elf.ELFMAG ||
		data[elf.EI_CLASS] != byte(elf.ELFCLASS64) || data[elf.EI_DATA] != byte(elf.ELFDATA2LSB) {
		return nil, ErrFormat
	}
	m := &Image{data: data, Machine: elf.Machine(le.Uint16(data[18:])), Entry: le.Uint64(data[24:])}
	switch elf.Type(le.Uint16(data[16:])) {
	case elf.ET_EXEC, elf.ET_DYN:
	default:
		return nil, ErrFormat
	}
	if err := m.parseSegments(le.Uint64(data[32:]), int(le.Uint16(data[54:])), int(le.Uint16(data[56:]))); err != nil {
		return nil, err
	}
	// A program runs without its sections: if they are broken there are none.
	m.parseSections(le.Uint64(data[40:]), int(le.Uint16(data[58:])), int(le.Uint16(data[60:])), int(le.Uint16(data[62:])))
	return m, nil
}

func (m *Image) parseSegments(off uint64, each, n int) error {
	if each != segmentSize || n == 0 || n > maxSegments {
		return fmt.Errorf("%w: %d segments of %d bytes", ErrFormat, n, each)
	}
	table, ok := m.slice(off, uint64(n)*segmentSize)
	if !ok {
		return fmt.Errorf("%w: segments outside of the file", ErrFormat)
	}
	le := binary.LittleEndian
	for ; len(table) > 0; table = table[segmentSize:] {
		s := segment{off: le.Uint64(table[8:]), addr: le.Uint64(table[16:]), size: le.Uint64(table[32:])}
		s.exec = elf.ProgFlag(le.Uint32(table[4:]))&elf.PF_X != 0
		if s.off > uint64(len(m.data)) || s.size > uint64(len(m.data))-s.off || s.addr+s.size < s.addr {
			continue // the kernel would not map it
		}
		switch elf.ProgType(le.Uint32(table)) {
		case elf.PT_LOAD:
			m.loads = append(m.loads, s)
		case elf.PT_DYNAMIC:
			m.dynamic = s
		case elf.PT_GNU_EH_FRAME:
			m.frames = s
		}
	}
	if len(m.loads) == 0 {
		return fmt.Errorf("%w: nothing to load", ErrFormat)
	}
	return nil
}

func (m *Image) parseSections(off uint64, each, n, names int) {
	if each != sectionSize || n == 0 || n > maxSections || names >= n {
		return
	}
	table, ok := m.slice(off, uint64(n)*sectionSize)
	if !ok {
		return
	}
	le := binary.LittleEndian
	at := func(i int) (s section, name uint32) {
		b := table[i*sectionSize:]
		s = section{
			kind: elf.SectionType(le.Uint32(b[4:])), addr: le.Uint64(b[16:]),
			off: le.Uint64(b[24:]), size: le.Uint64(b[32:]), link: le.Uint32(b[40:]),
		}
		return s, le.Uint32(b)
	}
	text, _ := at(names)
	strings, ok := m.slice(text.off, text.size)
	if !ok || text.kind != elf.SHT_STRTAB {
		return
	}
	for i := range n {
		s, name := at(i)
		s.name, _ = cString(strings, uint64(name))
		m.sections = append(m.sections, s)
	}
}

// slice is a part of the file.
func (m *Image) slice(off, size uint64) ([]byte, bool) {
	if off > uint64(len(m.data)) || size > uint64(len(m.data))-off {
		return nil, false
	}
	return m.data[off : off+size : off+size], true
}

// section finds one by its name.
func (m *Image) section(name string) (s section, ok bool) {
	for _, s := range m.sections {
		if s.name == name {
			return s, true
		}
	}
	return section{}, false
}

// bytes are a section's, which are part of the file.
func (m *Image) bytes(s section) ([]byte, bool) {
	if s.kind == elf.SHT_NOBITS {
		return nil, false
	}
	return m.slice(s.off, s.size)
}

// at is what the file has of memory from an address on.
func (m *Image) at(addr uint64) ([]byte, bool) {
	for _, s := range m.loads {
		if addr >= s.addr && addr-s.addr < s.size {
			return m.slice(s.off+(addr-s.addr), s.size-(addr-s.addr))
		}
	}
	return nil, false
}

// Code is what the file has of executable memory from an address on, to the end of its
// segment.
func (m *Image) Code(addr uint64) ([]byte, bool) {
	for _, s := range m.loads {
		if s.exec && addr >= s.addr && addr-s.addr < s.size {
			return m.slice(s.off+(addr-s.addr), s.size-(addr-s.addr))
		}
	}
	return nil, false
}

// Offset is where in the file an executable address is, in bytes from its beginning.
// Where two executable segments have the same byte of the file, a probe there would be
// at two addresses: then there is none.
func (m *Image) Offset(addr uint64) (uint64, bool) {
	off, found := uint64(0), false
	for _, s := range m.loads {
		if s.exec && addr >= s.addr && addr-s.addr < s.size {
			off, found = s.off+(addr-s.addr), true
			break
		}
	}
	if !found {
		return 0, false
	}
	n := 0
	for _, s := range m.loads {
		if s.exec && off >= s.off && off-s.off < s.size {
			n++
		}
	}
	return off, n == 1
}

// Pointers are what words in memory hold once the program is loaded: what the file has
// there, or what a relocation of the loaded address puts there, both as if the file were
// loaded at 0. 0 is for what is not known.
func (m *Image) Pointers(addrs ...uint64) []uint64 {
	le := binary.LittleEndian
	values := make([]uint64, len(addrs))
	missing := 0
	for i, addr := range addrs {
		if b, ok := m.at(addr); ok && len(b) >= 8 {
			if values[i] = le.Uint64(b); values[i] == 0 {
				missing++
			}
		}
	}
	if missing == 0 {
		return values
	}
	relative := uint64(elf.R_X86_64_RELATIVE)
	if m.Machine == elf.EM_AARCH64 {
		relative = uint64(elf.R_AARCH64_RELATIVE)
	}
	rela := m.relocations()
	for n := 0; len(rela) >= relocationSize && n < maxRelocations; n++ {
		at := le.Uint64(rela)
		for i, addr := range addrs {
			if addr == at && values[i] == 0 && le.Uint64(rela[8:]) == relative {
				values[i] = le.Uint64(rela[16:])
			}
		}
		rela = rela[relocationSize:]
	}
	return values
}

// relocations are what DT_RELA leads to.
func (m *Image) relocations() []byte {
	le := binary.LittleEndian
	d, _ := m.slice(m.dynamic.off, m.dynamic.size)
	var rela []byte
	size := uint64(0)
	for range maxDynamic {
		if len(d) < 16 || elf.DynTag(le.Uint64(d)) == elf.DT_NULL {
			break
		}
		switch elf.DynTag(le.Uint64(d)) {
		case elf.DT_RELA:
			rela, _ = m.at(le.Uint64(d[8:]))
		case elf.DT_RELASZ:
			size = le.Uint64(d[8:])
		}
		d = d[16:]
	}
	return rela[:min(size, uint64(len(rela)))]
}

// Mentions tells whether a text stands in what the file has as constants, or in the first
// 64 MiB of it.
func (m *Image) Mentions(text string) bool {
	const most = 64 << 20
	for _, s := range m.sections {
		if b, ok := m.bytes(s); ok && strings.HasPrefix(s.name, ".rodata") && bytes.Contains(b[:min(len(b), most)], []byte(text)) {
			return true
		}
	}
	return false
}

// cString is the text from an offset to a NUL.
func cString(b []byte, off uint64) (string, bool) {
	const longest = 4096
	if off >= uint64(len(b)) {
		return "", false
	}
	b = b[off:min(off+longest, uint64(len(b)))]
	for i, c := range b {
		if c == 0 {
			return string(b[:i]), true
		}
	}
	return "", false
}
