package code

import (
	"encoding/binary"

	"golang.org/x/arch/arm64/arm64asm"
)

const (
	arm64FP = 29
	arm64LR = 30
	arm64SP = 31 // as a member of regs
)

// decodeARM64 decodes the instruction at the beginning of code.
func decodeARM64(code []byte, pc uint64) (inst, bool) {
	if len(code) < 4 || pc%4 != 0 {
		return inst{}, false
	}
	w := binary.LittleEndian.Uint32(code)
	i := inst{size: 4, emulated: emulatedARM64(w)}
	switch {
	case w>>16 == 0: // udf, which Go pads with
		i.flow = stop
	case w&^0xfe0 == 0xd503201f: // hints
		// arch/arm64/kernel/probes, aarch64_insn_is_steppable: those before a function begins
		// are stepped. PACIASP and PACIBSP sign the return address.
		switch w >> 5 & 0x7f {
		case 0x00, 0x20, 0x22, 0x24, 0x26: // nop, bti
			i.plain = true
		case 0x19, 0x1b: // paciasp, pacibsp
			i.plain, i.writes = true, 1<<arm64LR
		}
	default:
		d, err := arm64asm.Decode(code[:4])
		if err != nil {
			// The decoder knows ARMv8.0. What came later is no longer than the rest, and goes
			// on, unless it is among branches.
			return inst{size: 4, stack: true}, w>>26&7 != 5
		}
		i.flow, i.target = flowARM64(&d, pc)
		i.plain, i.writes, i.frame = effectARM64(&d)
	}
	i.stack = i.writes.has(arm64SP) || i.writes.has(arm64LR) || i.flow != next || !i.plain
	return i, true
}

// emulatedARM64 tells whether the kernel simulates an instruction:
// arch/arm64/kernel/probes/decode-insn.c, arm_probe_decode_insn.
func emulatedARM64(w uint32) bool {
	for _, k := range [...]struct{ mask, value uint32 }{
		{0xff000010, 0x54000000}, // b.cond
		{0x7f000000, 0x34000000}, // cbz
		{0x7f000000, 0x35000000}, // cbnz
		{0x7f000000, 0x36000000}, // tbz
		{0x7f000000, 0x37000000}, // tbnz
		{0x9f000000, 0x10000000}, // adr
		{0x9f000000, 0x90000000}, // adrp
		{0xfc000000, 0x14000000}, // b
		{0xfc000000, 0x94000000}, // bl
		{0xfffffc1f, 0xd61f0000}, // br
		{0xfffffc1f, 0xd63f0000}, // blr
		{0xfffffc1f, 0xd65f0000}, // ret
	} {
		if w&k.mask == k.value {
			return true
		}
	}
	return false
}

func flowARM64(d *arm64asm.Inst, pc uint64) (flow, uint64) {
	target, direct := uint64(0), false
	for _, a := range d.Args {
		if rel, ok := a.(arm64asm.PCRel); ok {
			target, direct = pc+uint64(int64(rel)), true
		}
	}
	switch d.Op {
	case arm64asm.B:
		if _, ok := d.Args[0].(arm64asm.Cond); ok {
			return branch, target
		}
		return jump, target
	case arm64asm.CBZ, arm64asm.CBNZ, arm64asm.TBZ, arm64asm.TBNZ:
		return branch, target
	case arm64asm.BL:
		if direct {
			return call, target
		}
		return callAway, 0
	case arm64asm.BLR:
		return callAway, 0
	case arm64asm.RET:
		return ret, 0
	case arm64asm.BR, arm64asm.ERET, arm64asm.DRPS:
		return away, 0
	case arm64asm.BRK, arm64asm.HLT:
		return stop, 0
	}
	return next, 0
}

// effectARM64 is whether an instruction is one of those whose effect on registers is known
// here, what it writes, and which of that is an address in the frame.
func effectARM64(d *arm64asm.Inst) (plain bool, writes, frame regs) {
	for _, a := range d.Args {
		if m, ok := a.(arm64asm.MemImmediate); ok && (m.Mode == arm64asm.AddrPreIndex || m.Mode == arm64asm.AddrPostIndex || m.Mode == arm64asm.AddrPostReg) {
			writes |= registerARM64(m.Base)
		}
	}
	switch d.Op {
	case arm64asm.B, arm64asm.BL, arm64asm.BR, arm64asm.BLR, arm64asm.RET,
		arm64asm.CBZ, arm64asm.CBNZ, arm64asm.TBZ, arm64asm.TBNZ,
		arm64asm.CMP, arm64asm.CMN, arm64asm.TST, arm64asm.CCMP, arm64asm.CCMN,
		arm64asm.STR, arm64asm.STRB, arm64asm.STRH, arm64asm.STUR, arm64asm.STURB, arm64asm.STURH, arm64asm.STP:
		return true, writes, 0
	case arm64asm.LDP:
		return true, writes | registerARM64(d.Args[0]) | registerARM64(d.Args[1]), 0
	case arm64asm.ADD, arm64asm.SUB, arm64asm.MOV:
		w := registerARM64(d.Args[0])
		if d.Args[1] != nil && registerARM64(d.Args[1])&(1<<arm64SP|1<<arm64FP) != 0 {
			frame = w
		}
		return true, writes | w, frame
	case arm64asm.ADDS, arm64asm.SUBS, arm64asm.AND, arm64asm.ANDS, arm64asm.ORR, arm64asm.EOR, arm64asm.BIC,
		arm64asm.MVN, arm64asm.NEG, arm64asm.MOVZ, arm64asm.MOVK, arm64asm.MOVN, arm64asm.ADR, arm64asm.ADRP,
		arm64asm.LSL, arm64asm.LSR, arm64asm.ASR, arm64asm.SXTW, arm64asm.SXTB, arm64asm.SXTH, arm64asm.UXTB, arm64asm.UXTH,
		arm64asm.UBFX, arm64asm.SBFX, arm64asm.CSEL, arm64asm.CSET, arm64asm.CSINC, arm64asm.CINC, arm64asm.MUL, arm64asm.MADD,
		arm64asm.LDR, arm64asm.LDRB, arm64asm.LDRH, arm64asm.LDRSW, arm64asm.LDRSB, arm64asm.LDRSH,
		arm64asm.LDUR, arm64asm.LDURB, arm64asm.LDURH:
		return true, writes | registerARM64(d.Args[0]), 0
	}
	return false, 0, 0
}

// registerARM64 is the general register that an operand is.
func registerARM64(a arm64asm.Arg) regs {
	switch r := a.(type) {
	case arm64asm.RegSP:
		return registerOrSP(arm64asm.Reg(r))
	case arm64asm.Reg:
		switch {
		case r <= arm64asm.W30:
			return 1 << r
		case r >= arm64asm.X0 && r <= arm64asm.X30:
			return 1 << (r - arm64asm.X0)
		}
	}
	return 0 // memory, the zero register, vectors
}

func registerOrSP(r arm64asm.Reg) regs {
	if r == arm64asm.Reg(arm64asm.SP) || r == arm64asm.Reg(arm64asm.WSP) {
		return 1 << arm64SP
	}
	return registerARM64(r)
}

// addressARM64: adrp x0, page; add x0, x0, #x.
func addressARM64(code []byte, pc uint64) (uint64, int, bool) {
	if len(code) < 8 {
		return 0, 0, false
	}
	page, add := binary.LittleEndian.Uint32(code), binary.LittleEndian.Uint32(code[4:])
	if page&0x9f00001f != 0x90000000 || add&0xff8003ff != 0x91000000 {
		return 0, 0, false
	}
	high := int64(int32(page>>5&0x7ffff<<13)) >> 13 // 19 bits, signed
	low := uint64(add >> 10 & 0xfff)
	if add>>22&1 != 0 {
		low <<= 12
	}
	return pc&^0xfff + uint64(high<<2|int64(page>>29&3))<<12 + low, 8, true
}
