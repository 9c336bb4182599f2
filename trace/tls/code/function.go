package code

import "debug/elf"

const (
	maxStraight = 64       // instructions from a function's start to a place
	maxFunction = 64 << 10 // bytes of a function that are decoded
)

// A Function is the code of a function, of which everything that this package says comes
// from its bytes. It is not safe for concurrent use.
type Function struct {
	addr  uint64
	code  []byte
	m     *machine
	sized bool // code ends where the function does

	decoded bool
	insts   []placed // all of the function; nil if not all could be decoded, or its size is not known
	// targets are where its own jumps lead to inside of it, as far as it could be decoded.
	targets map[uint64]bool
}

type placed struct {
	inst
	addr uint64
}

// A Place is an instruction.
type Place struct {
	Addr    uint64
	Stepped bool // the kernel has to execute it out of line
}

// New takes the code of a function. It begins where the function does, and may be longer;
// size is 0 where it is not known. It reports false for a machine whose instructions are
// unknown here.
func New(machine elf.Machine, code []byte, addr, size uint64) (*Function, bool) {
	m := machines[machine]
	if m == nil {
		return nil, false
	}
	f := &Function{addr: addr, m: m, sized: size > 0 && size <= uint64(len(code)) && size <= maxFunction}
	if !f.sized {
		size = min(uint64(len(code)), maxFunction)
	}
	f.code = code[:size]
	return f, true
}

// all decodes the whole function.
func (f *Function) all() {
	if f.decoded || !f.sized {
		return
	}
	f.decoded = true
	f.targets = map[uint64]bool{}
	size := uint64(len(f.code))
	insts := make([]placed, 0, size/uint64(f.m.least)/2)
	for at := uint64(0); at < size; {
		i, ok := f.m.decode(f.code[at:], f.addr+at)
		if !ok {
			// What is not understood may be data between functions, or the end of it: jumps
			// that were seen are still true.
			return
		}
		if (i.flow == branch || i.flow == jump || i.flow == call) && f.has(i.target) {
			f.targets[i.target] = true
		}
		insts = append(insts, placed{i, f.addr + at})
		at += uint64(i.size)
	}
	f.insts = insts
}

func (f *Function) has(addr uint64) bool {
	return addr >= f.addr && addr-f.addr < uint64(len(f.code))
}

func (f *Function) decode(addr uint64) (inst, bool) {
	if !f.has(addr) {
		return inst{}, false
	}
	return f.m.decode(f.code[addr-f.addr:], addr)
}

// Entry is where to put a program that runs when the function begins, and nothing more:
// the first instruction that is emulated while the first n arguments are in their
// registers, or the function's start.
func (f *Function) Entry(c Convention, n int) (Place, bool) {
	if c == Go {
		return f.entryGo(n)
	}
	f.all()
	return f.straight(f.addr, f.arguments(c, n), false)
}

// Return is where to put a program that runs when the function begins together with one
// that runs when it returns: as Entry, but the return address must be where it was. There
// is none in Go, which moves stacks.
func (f *Function) Return(c Convention, n int) (Place, bool) {
	if c == Go {
		return Place{}, false
	}
	f.all()
	return f.straight(f.addr, f.arguments(c, n), true)
}

func (f *Function) arguments(c Convention, n int) (r regs) {
	for _, a := range f.m.args[c][:n] {
		r |= 1 << a
	}
	return r
}

// straight goes from an instruction straight on to the first that is emulated. The
// arguments must still be there, and for a return probe the return address. Where there is
// none it is the instruction itself.
func (f *Function) straight(from uint64, args regs, returns bool) (Place, bool) {
	first, ok := f.decode(from)
	if !ok || !first.plain || from != f.addr && f.targets[from] {
		return Place{}, false // the kernel may refuse it, or a loop come by
	}
	at, i := from, first
	for range maxStraight {
		if at != from && f.targets[at] {
			break // a loop may come by again
		}
		if i.emulated {
			return Place{Addr: at}, true
		}
		if i.flow != next || !i.plain || i.writes&args != 0 || returns && i.stack {
			break
		}
		at += uint64(i.size)
		if i, ok = f.decode(at); !ok {
			break
		}
	}
	return Place{Addr: from, Stepped: !first.emulated}, true
}

// entryGo looks behind the check of the stack's size: where that is too small the function
// begins again from its start, with the arguments as they were. A function that has no
// check, and never comes by its start again, is as one of C.
func (f *Function) entryGo(n int) (Place, bool) {
	from, args := f.addr, f.arguments(Go, n)
	for at, left := f.addr, maxStraight; left > 0; left-- {
		i, ok := f.decode(at)
		if !ok {
			break
		}
		at += uint64(i.size)
		if i.flow == branch && i.target >= at && f.beginsAgain(i.target) {
			from = at // a large frame is checked twice
			continue
		}
		if i.flow != next || !i.plain || i.writes&args != 0 {
			break
		}
	}
	if from == f.addr {
		if f.all(); f.insts == nil || f.targets[f.addr] {
			return Place{}, false
		}
	}
	return f.straight(from, args, false)
}

// beginsAgain tells whether what is at an address leads to the function's start, over
// calls.
func (f *Function) beginsAgain(at uint64) bool {
	for range maxStraight {
		i, ok := f.decode(at)
		switch {
		case !ok:
			return false
		case i.flow == jump:
			return i.target == f.addr
		case i.flow != next && i.flow != call:
			return false
		}
		at += uint64(i.size)
	}
	return false
}

// Rets are the addresses of all instructions that return from the function, if it can be
// left by nothing else. A call at its end, to what never returns, does not leave it.
func (f *Function) Rets() (list []uint64) {
	f.all()
	for _, i := range f.insts {
		switch {
		case i.flow == ret && i.plain:
			list = append(list, i.addr)
		case i.flow == ret, i.flow == away, (i.flow == branch || i.flow == jump) && !f.has(i.target):
			return nil
		}
	}
	return list
}

// Address is what a function returns that does nothing else than to return an address in
// its own file.
func (f *Function) Address() (addr uint64, ok bool) {
	at := f.addr
	for range maxStraight {
		if v, size, found := f.m.address(f.code[at-f.addr:], at); found && !ok {
			addr, ok = v, true
			at += uint64(size)
			continue
		}
		i, decoded := f.decode(at)
		switch {
		case !decoded || !i.plain:
			return 0, false
		case i.flow == ret:
			return addr, ok
		case i.flow != next, i.writes.has(f.m.result):
			return 0, false
		}
		at += uint64(i.size)
		if !f.has(at) {
			break
		}
	}
	return 0, false
}

// A Call is one that a function makes before any other, on some way through it.
type Call struct {
	Target    uint64
	Untouched uint8 // arguments that the function got and passes on: 1<<N for the N-th, from 0
	Frame     uint8 // arguments that are addresses in the function's own frame
}

// Passes tells whether the first n arguments are those that the function got.
func (c Call) Passes(n int) bool { return c.Untouched&(1<<n-1) == 1<<n-1 }

// Calls are the first direct calls on all ways through the function, jumps to another
// function among them.
func (f *Function) Calls() (calls []Call) {
	type state struct {
		addr             uint64
		untouched, frame regs
	}
	args := f.m.args[C]
	record := func(s state, target uint64) {
		c := Call{Target: target}
		for n, a := range args {
			if s.untouched.has(a) {
				c.Untouched |= 1 << n
			}
			if s.frame.has(a) {
				c.Frame |= 1 << n
			}
		}
		calls = append(calls, c)
	}
	seen := map[uint64]bool{}
	todo := []state{{addr: f.addr, untouched: f.arguments(C, len(args))}}
	for len(todo) > 0 {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for f.has(s.addr) && !seen[s.addr] {
			seen[s.addr] = true
			i, ok := f.decode(s.addr)
			if !ok || i.flow == next && !i.plain {
				break
			}
			s.untouched &^= i.writes
			s.frame = s.frame&^i.writes | i.frame
			s.addr += uint64(i.size)
			if i.flow == call || i.flow == jump && (!f.has(i.target) || i.target == f.addr) {
				record(s, i.target)
				break
			}
			if i.flow == branch {
				if f.has(i.target) {
					todo = append(todo, state{i.target, s.untouched, s.frame})
				} else {
					record(s, i.target)
				}
				continue
			}
			if i.flow == jump {
				s.addr = i.target
				continue
			}
			if i.flow != next {
				break
			}
		}
	}
	return calls
}
