package elf

import "encoding/binary"

// Encodings of pointers in .eh_frame_hdr and .eh_frame (DW_EH_PE_…, Linux Standard Base
// Core 10.5). Linkers write these.
const (
	encUdata4   = 0x03
	encSdata4   = 0x0b
	relPC       = 0x10
	relData     = 0x30
	pcSdata4    = relPC | encSdata4
	dataSdata4  = relData | encSdata4
	maxAugments = 16
)

// Function finds the function that an address is in, by the table of .eh_frame_hdr:
// where it begins, and its size in bytes. Compilers write an entry for each function and
// for each part of one that is kept elsewhere; linkers one for all of .plt.
func (m *Image) Function(addr uint64) (Symbol, bool) {
	h, ok := m.slice(m.frames.off, m.frames.size)
	le := binary.LittleEndian
	const head = 12
	if !ok || len(h) < head || h[0] != 1 || h[2] != encUdata4 || h[3] != dataSdata4 {
		return Symbol{}, false
	}
	n := uint64(le.Uint32(h[8:]))
	table := h[head:]
	if n == 0 || n > uint64(len(table))/8 {
		return Symbol{}, false
	}
	start := func(i uint64) uint64 { return m.frames.addr + uint64(int64(int32(le.Uint32(table[i*8:])))) }
	low, high := uint64(0), n // the last that begins at addr or before it
	for low < high {
		mid := low + (high-low)/2
		if start(mid) <= addr {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low == 0 {
		return Symbol{}, false
	}
	begin := start(low - 1)
	entry := m.frames.addr + uint64(int64(int32(le.Uint32(table[(low-1)*8+4:]))))
	size, ok := m.frameSize(entry, begin)
	if !ok || addr < begin || addr-begin >= size {
		return Symbol{}, false
	}
	return Symbol{Addr: begin, Size: size}, true
}

// frameSize reads the size of a function of a frame description entry: length, distance to
// the common entry, beginning, size. Only the common entry tells how the two are written.
func (m *Image) frameSize(entry, begin uint64) (uint64, bool) {
	le := binary.LittleEndian
	b, ok := m.at(entry)
	if !ok || len(b) < 16 || le.Uint32(b) == 0xffffffff || le.Uint32(b) < 12 {
		return 0, false
	}
	common, ok := m.at(entry + 4 - uint64(le.Uint32(b[4:])))
	if !ok || !relative4(common) {
		return 0, false
	}
	if entry+8+uint64(int64(int32(le.Uint32(b[8:])))) != begin {
		return 0, false
	}
	return uint64(le.Uint32(b[12:])), true
}

// relative4 tells whether a common information entry says that addresses are written as
// four bytes, relative to where they stand: augmentation "zR", perhaps with more letters.
func relative4(b []byte) bool {
	const fixed = 9 // length, id 0, version
	if len(b) < fixed+maxAugments+16 || binary.LittleEndian.Uint32(b[4:]) != 0 {
		return false
	}
	version := b[8]
	b = b[fixed:]
	letters, ok := cString(b[:maxAugments], 0)
	if !ok || letters == "" || letters[0] != 'z' || version != 1 && version != 3 {
		return false
	}
	b = b[len(letters)+1:]
	skip := func() { // a LEB128
		for len(b) > 0 {
			c := b[0]
			b = b[1:]
			if c < 0x80 {
				return
			}
		}
	}
	skip() // code alignment
	skip() // data alignment
	skip() // return address register, a byte in version 1
	skip() // length of what follows
	for _, l := range letters[1:] {
		switch {
		case len(b) == 0:
			return false
		case l == 'R':
			return b[0] == pcSdata4
		case l == 'L':
			b = b[1:]
		case l == 'P': // an encoding and a pointer
			size := map[byte]int{0x00: 8, 0x03: 4, 0x04: 8, 0x0b: 4, 0x0c: 8}[b[0]&0x0f]
			if size == 0 || len(b) < 1+size {
				return false
			}
			b = b[1+size:]
		case l == 'S', l == 'B', l == 'G':
		default:
			return false
		}
	}
	return false
}
