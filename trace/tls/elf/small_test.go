package elf

import (
	"debug/elf"
	"encoding/binary"
)

// small is a library with one function, f, found by each of the ways, for fuzzing: of
// real files most bytes do not matter.
func small() []byte {
	le := binary.LittleEndian
	b := make([]byte, 0x1000)
	copy(b, elf.ELFMAG)
	b[elf.EI_CLASS], b[elf.EI_DATA], b[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1
	le.PutUint16(b[16:], uint16(elf.ET_DYN))
	le.PutUint16(b[18:], uint16(elf.EM_X86_64))
	le.PutUint64(b[24:], 0x800)
	le.PutUint64(b[32:], headerSize)
	le.PutUint64(b[40:], 0x400)
	le.PutUint16(b[54:], segmentSize)
	le.PutUint16(b[58:], sectionSize)
	segments := []struct {
		kind            elf.ProgType
		flags           elf.ProgFlag
		off, addr, size uint64
	}{
		{elf.PT_LOAD, elf.PF_R | elf.PF_X, 0, 0, 0x1000},
		{elf.PT_DYNAMIC, elf.PF_R, 0x200, 0x200, 0x80},
		{elf.PT_GNU_EH_FRAME, elf.PF_R, 0x900, 0x900, 20},
	}
	le.PutUint16(b[56:], uint16(len(segments)))
	for i, s := range segments {
		at := b[headerSize+i*segmentSize:]
		le.PutUint32(at, uint32(s.kind))
		le.PutUint32(at[4:], uint32(s.flags))
		le.PutUint64(at[8:], s.off)
		le.PutUint64(at[16:], s.addr)
		le.PutUint64(at[32:], s.size)
	}
	for i, d := range [][2]uint64{
		{uint64(elf.DT_SYMTAB), 0x300}, {uint64(elf.DT_STRTAB), 0x360}, {uint64(elf.DT_STRSZ), 0x40},
		{uint64(elf.DT_GNU_HASH), 0x3a0}, {uint64(elf.DT_NEEDED), 3},
	} {
		le.PutUint64(b[0x200+16*i:], d[0])
		le.PutUint64(b[0x208+16*i:], d[1])
	}
	symbol := b[0x300+symbolSize:]
	le.PutUint32(symbol, 1)
	symbol[4] = byte(elf.STT_FUNC)
	le.PutUint16(symbol[6:], 1)
	le.PutUint64(symbol[8:], 0x800)
	le.PutUint64(symbol[16:], 16)
	copy(b[0x360:], "\x00f\x00lib.so\x00")
	hash := b[0x3a0:]
	le.PutUint32(hash, 1)                            // buckets
	le.PutUint32(hash[4:], 1)                        // first symbol
	le.PutUint32(hash[8:], 1)                        // words of the filter
	le.PutUint64(hash[16:], ^uint64(0))              // which passes all
	le.PutUint32(hash[24:], 1)                       // the bucket
	le.PutUint32(hash[28:], (5381*33+uint32('f'))|1) // the chain
	sections := []struct {
		name, kind uint32
		off, size  uint64
		link       uint32
	}{
		{}, {1, uint32(elf.SHT_SYMTAB), 0x300, 2 * symbolSize, 2}, {9, uint32(elf.SHT_STRTAB), 0x360, 0x40, 0},
		{17, uint32(elf.SHT_PROGBITS), 0xa00, 0x100, 0}, {29, uint32(elf.SHT_STRTAB), 0x700, 0x40, 0},
	}
	le.PutUint16(b[60:], uint16(len(sections)))
	le.PutUint16(b[62:], uint16(len(sections)-1))
	for i, s := range sections {
		at := b[0x400+i*sectionSize:]
		le.PutUint32(at, s.name)
		le.PutUint32(at[4:], s.kind)
		le.PutUint64(at[16:], s.off)
		le.PutUint64(at[24:], s.off)
		le.PutUint64(at[32:], s.size)
		le.PutUint32(at[40:], s.link)
	}
	copy(b[0x700:], "\x00.symtab\x00.strtab\x00.gopclntab\x00.shstrtab\x00")
	frames := b[0x900:] // version, encodings, where .eh_frame is, one entry
	copy(frames, []byte{1, pcSdata4, encUdata4, dataSdata4})
	le.PutUint32(frames[8:], 1)
	le.PutUint32(frames[12:], uint32(0x100000000+0x800-0x900))
	le.PutUint32(frames[16:], 0x60)
	common := b[0x940:]
	le.PutUint32(common, 16)
	copy(common[8:], "\x01zR\x00\x01\x78\x10\x01\x1b")
	entry := b[0x960:]
	le.PutUint32(entry, 16)
	le.PutUint32(entry[4:], 0x964-0x940)
	le.PutUint32(entry[8:], uint32(0x100000000+0x800-0x968))
	le.PutUint32(entry[12:], 16)
	table := b[0xa00:] // pclntab
	le.PutUint32(table, magicGo120)
	table[6], table[7] = 1, 8
	for i, w := range []uint64{1, 0, 0x800, 0x50, 0x60, 0x60, 0x60, 0x60} {
		le.PutUint64(table[8+8*i:], w)
	}
	copy(table[0x50:], "\x00f\x00")
	le.PutUint32(table[0x64:], 0x10) // function 0 is described at 0x10
	le.PutUint32(table[0x68:], 16)   // and ends here
	le.PutUint32(table[0x74:], 1)    // its name
	return b
}
