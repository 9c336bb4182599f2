package code

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
