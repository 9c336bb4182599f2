package code

import "debug/elf"

// A Flow is where execution goes after an instruction.
type flow uint8

const (
	next     flow = iota
	branch        // to target, or on
	jump          // to target
	call          // to target, then on
	ret           // to the caller
	away          // to where nobody knows from the bytes
	callAway      // the same, then on
	stop          // nowhere: a trap
)

// Regs is a set of general registers, 1<<N for register N as the machine counts them.
type regs uint32

func (r regs) has(n int) bool { return n >= 0 && r>>uint(n)&1 != 0 }

// An inst is what matters of an instruction.
type inst struct {
	size   int
	flow   flow
	target uint64 // of branch, jump and call: an address

	emulated bool // by every kernel from 5.10 on, rather than executed out of line
	plain    bool // known to run out of line as it runs in place, and what it writes is known
	writes   regs // if plain
	frame    regs // of those, what gets an address in the stack's frame
	// stack tells that after it the return address is no more where the function found it,
	// or must not be replaced any more.
	stack bool
}

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
