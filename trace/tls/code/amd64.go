package code

import "golang.org/x/arch/x86/x86asm"

const amd64SP = 4

// decodeAMD64 decodes the instruction at the beginning of code.
func decodeAMD64(code []byte, pc uint64) (inst, bool) {
	if len(code) >= 4 && code[0] == 0xf3 && code[1] == 0x0f && code[2] == 0x1e && code[3] == 0xfa { // endbr64
		return inst{size: 4, plain: true}, true
	}
	if size, ok := vectorAMD64(code); ok {
		return inst{size: size, stack: true}, size > 0
	}
	// The decoder looks at no more than the longest instruction.
	d, err := x86asm.Decode(code[:min(len(code), 15)], 64)
	if err != nil || d.Op == 0 {
		return inst{}, false
	}
	i := inst{size: d.Len, emulated: emulatedAMD64(code[:d.Len])}
	i.flow, i.target = flowAMD64(&d, pc)
	i.plain, i.writes, i.frame = effectAMD64(&d)
	i.stack = i.writes.has(amd64SP) || i.flow != next || !i.plain
	for _, p := range d.Prefix {
		switch p & 0xff {
		case x86asm.PrefixLOCK, x86asm.PrefixES, x86asm.PrefixCS, x86asm.PrefixSS, x86asm.PrefixDS:
			// arch/x86/kernel/uprobes.c, is_prefix_bad
			i.plain, i.emulated = false, false
		}
	}
	return i, true
}

// vectorAMD64 is the size of an instruction with a VEX or EVEX prefix, 0 if it is none that
// is understood; false if the code begins otherwise. golang.org/x/arch takes some for
// longer than they are (VZEROUPPER). None of them jumps.
func vectorAMD64(code []byte) (int, bool) {
	var prefix int
	switch {
	case len(code) == 0:
		return 0, false
	case code[0] == 0xc5:
		prefix = 2
	case code[0] == 0xc4:
		prefix = 3
	case code[0] == 0x62:
		prefix = 4
	default:
		return 0, false
	}
	if len(code) < prefix+2 {
		// The shortest are VZEROUPPER and VZEROALL, without operands.
		if len(code) == 3 && prefix == 2 && code[2] == 0x77 {
			return 3, true
		}
		return 0, true
	}
	table := byte(1) // of opcodes: 0f, 0f38, 0f3a
	if prefix > 2 {
		table = code[1] & 0x1f
	}
	if prefix == 4 {
		table = code[1] & 7
	}
	opcode := code[prefix]
	size := prefix + 1
	if table == 1 && opcode == 0x77 && prefix < 4 {
		return size, true
	}
	mode, rm := code[size]>>6, code[size]&7
	size++
	base := rm
	if mode != 3 && rm == 4 {
		if len(code) <= size {
			return 0, true
		}
		base = code[size] & 7
		size++
	}
	switch {
	case mode == 1:
		size++
	case mode == 2, mode == 0 && base == 5:
		size += 4
	}
	switch table {
	case 1:
		switch opcode {
		case 0x70, 0x71, 0x72, 0x73, 0xc2, 0xc4, 0xc5, 0xc6:
			size++
		}
	case 2, 5, 6:
	case 3:
		size++
	default:
		return 0, true
	}
	if size > len(code) {
		return 0, true
	}
	return size, true
}

// emulatedAMD64 tells whether the kernel emulates an instruction: arch/x86/kernel/uprobes.c,
// branch_setup_xol_ops and push_setup_xol_ops. Prefixes, which it takes to some extent, and
// the longer NOPs of newer kernels are left out.
func emulatedAMD64(code []byte) bool {
	switch c := code[0]; {
	case c >= 0x50 && c <= 0x57: // push
		return len(code) == 1
	case c == 0x41: // push of r8 to r15
		return len(code) == 2 && code[1] >= 0x50 && code[1] <= 0x57
	case c >= 0x70 && c <= 0x7f, c == 0xeb, c == 0xe8, c == 0xe9, c == 0x90: // jcc, jmp, call, nop
		return true
	case c == 0x0f: // jcc
		return len(code) == 6 && code[1] >= 0x80 && code[1] <= 0x8f
	}
	return false
}

func flowAMD64(d *x86asm.Inst, pc uint64) (flow, uint64) {
	rel, direct := d.Args[0].(x86asm.Rel)
	target := pc + uint64(d.Len) + uint64(int64(rel))
	pick := func(yes flow) (flow, uint64) {
		switch {
		case direct:
			return yes, target
		case yes == call:
			return callAway, 0
		}
		return away, 0
	}
	switch d.Op {
	case x86asm.JMP:
		return pick(jump)
	case x86asm.CALL:
		return pick(call)
	case x86asm.RET:
		return ret, 0
	case x86asm.LJMP, x86asm.LRET, x86asm.IRET, x86asm.IRETD, x86asm.IRETQ, x86asm.SYSRET, x86asm.SYSEXIT:
		return away, 0
	case x86asm.LCALL:
		return callAway, 0
	case x86asm.UD1, x86asm.UD2, x86asm.HLT, x86asm.INT:
		return stop, 0
	}
	if direct { // jcc, jcxz, loop, xbegin
		return branch, target
	}
	return next, 0
}

// effectAMD64 is whether an instruction is one of those whose effect on registers is known
// here, what it writes, and which of that is an address in the frame.
func effectAMD64(d *x86asm.Inst) (plain bool, writes, frame regs) {
	switch d.Op {
	case x86asm.NOP, x86asm.CMP, x86asm.TEST, x86asm.BT, x86asm.RET, x86asm.JMP, x86asm.CALL,
		x86asm.JA, x86asm.JAE, x86asm.JB, x86asm.JBE, x86asm.JE, x86asm.JG, x86asm.JGE, x86asm.JL, x86asm.JLE,
		x86asm.JNE, x86asm.JNO, x86asm.JNP, x86asm.JNS, x86asm.JO, x86asm.JP, x86asm.JS,
		x86asm.UCOMISD, x86asm.UCOMISS, x86asm.COMISD, x86asm.COMISS, x86asm.PTEST:
		return true, 0, 0
	case x86asm.PUSH:
		return true, 1 << amd64SP, 0
	case x86asm.POP:
		return true, 1<<amd64SP | registerAMD64(d.Args[0]), 0
	case x86asm.CDQE, x86asm.CWDE, x86asm.CBW:
		return true, 1 << 0, 0
	case x86asm.CDQ, x86asm.CQO, x86asm.CWD:
		return true, 1 << 2, 0
	case x86asm.LEA:
		writes = registerAMD64(d.Args[0])
		if m, ok := d.Args[1].(x86asm.Mem); ok && m.Index == 0 && (m.Base == x86asm.RSP || m.Base == x86asm.RBP) {
			frame = writes
		}
		return true, writes, frame
	case x86asm.MOV:
		writes = registerAMD64(d.Args[0])
		if d.Args[1] == x86asm.RSP {
			frame = writes
		}
		return true, writes, frame
	case x86asm.MOVZX, x86asm.MOVSX, x86asm.MOVSXD, x86asm.MOVBE,
		x86asm.ADD, x86asm.SUB, x86asm.AND, x86asm.OR, x86asm.XOR, x86asm.ADC, x86asm.SBB,
		x86asm.INC, x86asm.DEC, x86asm.NEG, x86asm.NOT,
		x86asm.SHL, x86asm.SHR, x86asm.SAR, x86asm.ROL, x86asm.ROR, x86asm.BSWAP,
		x86asm.CMOVA, x86asm.CMOVAE, x86asm.CMOVB, x86asm.CMOVBE, x86asm.CMOVE, x86asm.CMOVG, x86asm.CMOVGE,
		x86asm.CMOVL, x86asm.CMOVLE, x86asm.CMOVNE, x86asm.CMOVNO, x86asm.CMOVNP, x86asm.CMOVNS, x86asm.CMOVO,
		x86asm.CMOVP, x86asm.CMOVS,
		x86asm.SETA, x86asm.SETAE, x86asm.SETB, x86asm.SETBE, x86asm.SETE, x86asm.SETG, x86asm.SETGE,
		x86asm.SETL, x86asm.SETLE, x86asm.SETNE, x86asm.SETNO, x86asm.SETNP, x86asm.SETNS, x86asm.SETO,
		x86asm.SETP, x86asm.SETS,
		x86asm.MOVAPS, x86asm.MOVAPD, x86asm.MOVUPS, x86asm.MOVUPD, x86asm.MOVDQA, x86asm.MOVDQU, x86asm.MOVQ,
		x86asm.MOVD, x86asm.MOVHPS, x86asm.MOVLPS, x86asm.XORPS, x86asm.XORPD, x86asm.PXOR, x86asm.PUNPCKLQDQ:
		return true, registerAMD64(d.Args[0]), 0
	case x86asm.IMUL:
		if d.Args[1] == nil { // RDX:RAX
			return true, 1<<0 | 1<<2, 0
		}
		return true, registerAMD64(d.Args[0]), 0
	}
	return false, 0, 0
}

// registerAMD64 is the general register that an operand is, or a part of one.
func registerAMD64(a x86asm.Arg) regs {
	r, ok := a.(x86asm.Reg)
	switch {
	case !ok:
		return 0 // memory, or nothing
	case r >= x86asm.AL && r <= x86asm.BL:
		return 1 << (r - x86asm.AL)
	case r >= x86asm.AH && r <= x86asm.BH:
		return 1 << (r - x86asm.AH)
	case r >= x86asm.SPB && r <= x86asm.DIB:
		return 1 << (r - x86asm.SPB + 4)
	case r >= x86asm.R8B && r <= x86asm.R15B:
		return 1 << (r - x86asm.R8B + 8)
	case r >= x86asm.AX && r <= x86asm.R15W:
		return 1 << (r - x86asm.AX)
	case r >= x86asm.EAX && r <= x86asm.R15L:
		return 1 << (r - x86asm.EAX)
	case r >= x86asm.RAX && r <= x86asm.R15:
		return 1 << (r - x86asm.RAX)
	}
	return 0 // of vectors, segments and the like
}

// addressAMD64: lea x(%rip),%rax, or in programs that are linked to fixed addresses mov
// $x,%eax.
func addressAMD64(code []byte, pc uint64) (uint64, int, bool) {
	d, err := x86asm.Decode(code[:min(len(code), 15)], 64)
	if err != nil {
		return 0, 0, false
	}
	switch to := d.Args[0]; {
	case d.Op == x86asm.LEA && to == x86asm.RAX:
		if m, ok := d.Args[1].(x86asm.Mem); ok && m.Base == x86asm.RIP && m.Index == 0 {
			return pc + uint64(d.Len) + uint64(m.Disp), d.Len, true
		}
	case d.Op == x86asm.MOV && (to == x86asm.EAX || to == x86asm.RAX):
		if v, ok := d.Args[1].(x86asm.Imm); ok {
			return uint64(v), d.Len, true
		}
	}
	return 0, 0, false
}
