package code

import "debug/elf"

// A Convention is how arguments are passed.
type Convention uint8

const (
	C  Convention = iota // System V ABI; AAPCS64
	Go                   // ABIInternal
)

// A machine decodes instructions and knows conventions.
type machine struct {
	decode func(code []byte, pc uint64) (inst, bool)
	// address is what an instruction, or two, at the beginning of code puts into the
	// register of results, if that is an address of its own file, and their size.
	address func(code []byte, pc uint64) (uint64, int, bool)
	least   int // bytes of an instruction
	result  int // the register of results
	args    map[Convention][]int
}

var machines = map[elf.Machine]*machine{
	elf.EM_X86_64: {
		decode:  decodeAMD64,
		address: addressAMD64,
		least:   1,
		result:  0,
		args: map[Convention][]int{
			C:  {7, 6, 2, 1, 8, 9}, // RDI, RSI, RDX, RCX, R8, R9
			Go: {0, 3, 1, 7, 6, 8}, // RAX, RBX, RCX, RDI, RSI, R8
		},
	},
	elf.EM_AARCH64: {
		decode:  decodeARM64,
		address: addressARM64,
		least:   4,
		result:  0,
		args:    map[Convention][]int{C: {0, 1, 2, 3, 4, 5}, Go: {0, 1, 2, 3, 4, 5}},
	},
}
