package code

import (
	"debug/elf"
	"slices"
	"testing"
)

// b is code as a disassembler writes its bytes.
func b(parts ...[]byte) []byte { return slices.Concat(parts...) }

var (
	endbr   = []byte{0xf3, 0x0f, 0x1e, 0xfa}
	push    = []byte{0x53}                                        // push %rbx
	push2   = []byte{0x41, 0x57}                                  // push %r15
	sub     = []byte{0x48, 0x83, 0xec, 0x18}                      // sub $0x18,%rsp
	canary  = []byte{0x64, 0x48, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0} // mov %fs:0x28,%rax
	zero    = []byte{0x31, 0xc0}                                  // xor %eax,%eax
	test    = []byte{0x85, 0xd2}                                  // test %edx,%edx
	js      = []byte{0x78, 0x10}                                  // js .+0x12
	arg     = []byte{0x31, 0xc9}                                  // xor %ecx,%ecx
	clobber = []byte{0x48, 0x89, 0xd7}                            // mov %rdx,%rdi
	lea     = []byte{0x48, 0x8d, 0x4c, 0x24, 0x08}                // lea 8(%rsp),%rcx
	callF   = []byte{0xe8, 0, 1, 0, 0}                            // call .+0x105
	ret_    = []byte{0xc3}
	vzero   = []byte{0xc5, 0xf8, 0x77} // vzeroupper
	bad     = []byte{0x06}             // of 32-bit code
	jmpIn   = []byte{0xff, 0xe0}       // jmp *%rax
	back    = func(n byte) []byte { return []byte{0xeb, -n - 2} }
)

func TestPlacesOfEntryAndReturn(t *testing.T) {
	none := Place{}
	for _, c := range []struct {
		name       string
		code       []byte
		entry, ret Place
		ok         bool
		arguments  int
	}{
		{"a push at the start", b(push, sub, ret_), Place{Addr: 0x1000}, Place{Addr: 0x1000}, true, 4},
		{"a push behind endbr64", b(endbr, push2, sub, ret_), Place{Addr: 0x1004}, Place{Addr: 0x1004}, true, 4},
		{"the stack moves first: entry at the branch", b(sub, canary, zero, test, js, ret_), Place{Addr: 0x1011}, Place{Addr: 0x1000, Stepped: true}, true, 3},
		{"an argument is lost before the branch", b(sub, arg, test, js, ret_), Place{Addr: 0x1000, Stepped: true}, Place{Addr: 0x1000, Stepped: true}, true, 4},
		{"that argument is not looked at", b(sub, arg, test, js, ret_), Place{Addr: 0x1008}, Place{Addr: 0x1000, Stepped: true}, true, 3},
		{"the object is lost at once", b(clobber, push, ret_), Place{Addr: 0x1000, Stepped: true}, Place{Addr: 0x1000, Stepped: true}, true, 1},
		{"a branch before the stack moves serves both", b(zero, test, js, sub, ret_), Place{Addr: 0x1004}, Place{Addr: 0x1004}, true, 4},
		{"a call is emulated", b(sub, callF, ret_), Place{Addr: 0x1004}, Place{Addr: 0x1000, Stepped: true}, true, 4},
		{"nothing cheap before it jumps away", b(zero, jmpIn), Place{Addr: 0x1000, Stepped: true}, Place{Addr: 0x1000, Stepped: true}, true, 4},
		{"what is behind an instruction of unknown effect does not count", b(zero, vzero, push, ret_), Place{Addr: 0x1000, Stepped: true}, Place{Addr: 0x1000, Stepped: true}, true, 4},
		{"nor behind what is no instruction", b(zero, bad, push, ret_), Place{Addr: 0x1000, Stepped: true}, Place{Addr: 0x1000, Stepped: true}, true, 4},
		{"nothing where the start is not understood", b(vzero, push, ret_), none, none, false, 4},
		{"nothing where the start is no instruction", b(bad, push, ret_), none, none, false, 4},
		{"a loop comes by the push again", b(zero, push, test, back(3)), Place{Addr: 0x1000, Stepped: true}, Place{Addr: 0x1000, Stepped: true}, true, 4},
	} {
		f, ok := New(elf.EM_X86_64, c.code, 0x1000, uint64(len(c.code)))
		if !ok {
			t.Fatal(c.name)
		}
		entry, ok := f.Entry(C, c.arguments)
		if entry != c.entry || ok != c.ok {
			t.Errorf("%s: entry %+v %v, want %+v", c.name, entry, ok, c.entry)
		}
		ret, ok := f.Return(C, c.arguments)
		if ret != c.ret || ok != c.ok {
			t.Errorf("%s: return %+v %v, want %+v", c.name, ret, ok, c.ret)
		}
	}
	if _, ok := New(elf.EM_PPC64, push, 0x1000, 1); ok {
		t.Error("a machine that nobody knows here")
	}
}

func TestRetsAreAllOrNone(t *testing.T) {
	for _, c := range []struct {
		name string
		code []byte
		want []uint64
	}{
		{"two", b(test, []byte{0x78, 0x01}, ret_, zero, ret_), []uint64{0x1004, 0x1007}},
		{"a jump away", b(test, []byte{0x78, 0x01}, ret_, jmpIn), nil},
		{"a branch to another function", b(test, []byte{0x78, 0x40}, ret_), nil},
		{"code that is not understood", b(zero, ret_, bad), nil},
		{"with vectors in between", b(vzero, ret_), []uint64{0x1003}},
		{"a call that does not return is at the end", b(test, []byte{0x78, 0x01}, ret_, callF), []uint64{0x1004}},
	} {
		f, _ := New(elf.EM_X86_64, c.code, 0x1000, uint64(len(c.code)))
		if got := f.Rets(); !slices.Equal(got, c.want) {
			t.Errorf("%s: %#x, want %#x", c.name, got, c.want)
		}
	}
	f, _ := New(elf.EM_X86_64, b(zero, ret_), 0x1000, 0)
	if got := f.Rets(); got != nil {
		t.Errorf("of a function whose size is not known: %#x", got)
	}
}

func TestCallsTellWhatIsPassedOn(t *testing.T) {
	// As SSL_read: where the length is below 0 an error, else the inner function, with the
	// address of a variable as the fourth argument.
	code := b(sub, test, []byte{0x78, 0x0d}, lea, callF, zero, ret_, callF)
	f, _ := New(elf.EM_X86_64, code, 0x1000, uint64(len(code)))
	calls := f.Calls()
	slices.SortFunc(calls, func(a, b Call) int { return int(a.Target) - int(b.Target) })
	if len(calls) != 2 {
		t.Fatalf("%+v", calls)
	}
	inner, failure := calls[0], calls[1]
	if inner.Target != 0x1012+0x100 || !inner.Passes(3) || inner.Passes(4) || inner.Frame != 1<<3 {
		t.Errorf("the inner function's %+v", inner)
	}
	if failure.Frame != 0 || !failure.Passes(6) {
		t.Errorf("the other's %+v", failure)
	}
}

// As Go's compiler writes them, 1.21 and later and before, with small, large and no frames.
func TestEntriesOfGoFunctions(t *testing.T) {
	check := []byte{0x49, 0x3b, 0x66, 0x10}                            // cmp 0x10(%r14),%rsp
	large := []byte{0x4c, 0x8d, 0x64, 0x24, 0xe0}                      // lea -0x20(%rsp),%r12
	again := func(n byte) []byte { return b(callF, []byte{0xeb, -n}) } // call morestack; jmp start
	frame := []byte{0x55, 0x48, 0x89, 0xe5}                            // push %rbp; mov %rsp,%rbp
	leave := []byte{0x5d, 0xc3}                                        // pop %rbp; ret
	for _, c := range []struct {
		name string
		code []byte
		want Place
		ok   bool
	}{
		{"a frame", b(check, []byte{0x76, 0x06}, frame, leave, again(19)), Place{Addr: 0x1006}, true},
		{"a large frame", b(large, check, []byte{0x76, 0x06}, frame, leave, again(24)), Place{Addr: 0x100b}, true},
		{"of older compilers", b(check, []byte{0x76, 0x05}, sub, ret_, again(18)), Place{Addr: 0x1006, Stepped: true}, true},
		{"no check", b(frame, leave), Place{Addr: 0x1000}, true},
		{"the check is not where it is looked for", b(vzero, check, []byte{0x76, 0x06}, frame, leave, again(22)), Place{}, false},
	} {
		f, _ := New(elf.EM_X86_64, c.code, 0x1000, uint64(len(c.code)))
		got, ok := f.Entry(Go, 3)
		if got != c.want || ok != c.ok {
			t.Errorf("%s: %+v %v, want %+v", c.name, got, ok, c.want)
		}
		if ret, ok := f.Return(Go, 3); ok {
			t.Errorf("%s: a return probe at %+v", c.name, ret)
		}
	}
}

func TestPlacesOnARM64(t *testing.T) {
	w := func(words ...uint32) (b []byte) {
		for _, w := range words {
			b = append(b, byte(w), byte(w>>8), byte(w>>16), byte(w>>24))
		}
		return b
	}
	const (
		paciasp, bti = 0xd503233f, 0xd503245f
		stp          = 0xa9bd7bfd // stp x29, x30, [sp, #-48]!
		cbz          = 0xb4000040 // cbz x0, .+8
		moved        = 0xaa0103e0 // mov x0, x1
		ret_         = 0xd65f03c0
		udf          = 0
	)
	for _, c := range []struct {
		name       string
		code       []byte
		entry, ret Place
	}{
		{"the return address is saved first", w(stp, cbz, ret_, ret_), Place{Addr: 0x1004}, Place{Addr: 0x1000, Stepped: true}},
		{"it is signed first", w(paciasp, cbz, ret_, ret_), Place{Addr: 0x1004}, Place{Addr: 0x1000, Stepped: true}},
		{"bti leaves it alone", w(bti, cbz, ret_, ret_), Place{Addr: 0x1004}, Place{Addr: 0x1004}},
		{"an argument is lost", w(bti, moved, cbz, ret_), Place{Addr: 0x1000, Stepped: true}, Place{Addr: 0x1000, Stepped: true}},
	} {
		f, _ := New(elf.EM_AARCH64, c.code, 0x1000, uint64(len(c.code)))
		if got, ok := f.Entry(C, 4); got != c.entry || !ok {
			t.Errorf("%s: entry %+v %v, want %+v", c.name, got, ok, c.entry)
		}
		if got, ok := f.Return(C, 4); got != c.ret || !ok {
			t.Errorf("%s: return %+v %v, want %+v", c.name, got, ok, c.ret)
		}
	}
	f, _ := New(elf.EM_AARCH64, w(stp, ret_, udf, udf), 0x1000, 16)
	if got := f.Rets(); !slices.Equal(got, []uint64{0x1004}) {
		t.Errorf("RETs before padding: %#x", got)
	}
}

// Whatever the bytes are: each place is where an instruction begins, as they are decoded
// from the start, and of the function.
func FuzzPlaces(f *testing.F) {
	f.Add(b(endbr, push2, sub, ret_), false)
	f.Add(b(sub, canary, zero, test, js, ret_), false)
	f.Add([]byte{0x49, 0x3b, 0x66, 0x10, 0x76, 0x06, 0x55, 0x48, 0x89, 0xe5, 0x5d, 0xc3, 0xe8, 0, 1, 0, 0, 0xeb, 0xed}, false)
	f.Add([]byte{0xfd, 0x7b, 0xbd, 0xa9, 0x40, 0, 0, 0xb4, 0xc0, 3, 0x5f, 0xd6}, true)
	f.Fuzz(func(t *testing.T, code []byte, arm bool) {
		const addr = 0x1000
		machine := elf.EM_X86_64
		if arm {
			machine = elf.EM_AARCH64
		}
		fn, _ := New(machine, code, addr, uint64(len(code)))
		begins := map[uint64]bool{}
		for at := uint64(0); ; {
			begins[addr+at] = true
			i, ok := fn.decode(addr + at)
			if !ok {
				break
			}
			at += uint64(i.size)
		}
		for _, c := range []Convention{C, Go} {
			for n := range 6 {
				entry, ok := fn.Entry(c, n)
				ret, okRet := fn.Return(c, n)
				if ok && !begins[entry.Addr] || okRet && !begins[ret.Addr] {
					t.Fatalf("entry %+v, return %+v: inside of an instruction", entry, ret)
				}
				if c == C && ok && okRet && ret.Addr > entry.Addr {
					t.Fatalf("entry %+v before return %+v", entry, ret)
				}
			}
		}
		for _, r := range fn.Rets() {
			if i, ok := fn.decode(r); !begins[r] || !ok || i.flow != ret {
				t.Fatalf("no RET at %#x", r)
			}
		}
		fn.Calls()
	})
}
