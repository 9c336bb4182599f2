package confine

import (
	"fmt"
	"math"
	"runtime"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// A Policy says which system calls a process may still make. The first rule that a
// call meets decides, and what meets none is refused unless AllowOthers is set. A
// refused call fails with the rule's error, else with EPERM.
type Policy struct {
	Rules       []Rule
	AllowOthers bool
}

// A Rule is met by a system call of one number whose arguments meet all of Args.
type Rule struct {
	Call  uintptr // its number: SYS_…
	Args  []Arg
	Allow bool
	Errno unix.Errno // of a call that is not allowed; 0 is EPERM
}

// An Arg is met where argument & Mask is Value, in all 64 bits.
type Arg struct {
	Index       int
	Mask, Value uint64
}

// Is is met by one value of an argument.
func Is(index int, value uint64) Arg {
	return Arg{Index: index, Mask: math.MaxUint64, Value: value}
}

// Rules are rules of calls whatever their arguments.
func Rules(allow bool, calls ...uintptr) []Rule {
	rules := make([]Rule, len(calls))
	for i, call := range calls {
		rules[i] = Rule{Call: call, Allow: allow}
	}
	return rules
}

// Where struct seccomp_data of include/uapi/linux/seccomp.h has its fields, on the
// little-endian machines that tracer is built for.
const (
	numberAt = 0
	archAt   = 4
	argsAt   = 16
)

// archs are the values that the kernel has for the ways into it.
var archs = map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}

// assemble is a policy as a program of classic BPF. System calls of other
// architectures, such as int 0x80 on amd64, are refused: the rules name calls by the
// numbers of this one. Those of x32 have numbers that no rule has.
func assemble(policy Policy) ([]bpf.Instruction, error) {
	own, ok := archs[runtime.GOARCH]
	if !ok {
		return nil, fmt.Errorf("assemble seccomp filter: not known for %s", runtime.GOARCH)
	}
	refuse := func(errno unix.Errno) bpf.Instruction {
		if errno == 0 {
			errno = unix.EPERM
		}
		return bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(errno)}
	}
	allow := bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}
	program := []bpf.Instruction{
		bpf.LoadAbsolute{Off: archAt, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: own, SkipTrue: 1},
		refuse(0),
	}
	if policy.AllowOthers && runtime.GOARCH == "amd64" {
		const x32 = 0x40000000 // __X32_SYSCALL_BIT
		program = append(program,
			bpf.LoadAbsolute{Off: numberAt, Size: 4},
			bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: x32, SkipTrue: 1},
			refuse(0))
	}
	for _, rule := range policy.Rules {
		var met []bpf.Instruction
		for _, arg := range rule.Args {
			for word := range 2 {
				mask, value := uint32(arg.Mask>>(32*word)), uint32(arg.Value>>(32*word))
				met = append(met,
					bpf.LoadAbsolute{Off: uint32(argsAt + 8*arg.Index + 4*word), Size: 4},
					bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: mask},
					bpf.JumpIf{Cond: bpf.JumpEqual, Val: value}) // where to is filled in below
			}
		}
		if rule.Allow {
			met = append(met, allow)
		} else {
			met = append(met, refuse(rule.Errno))
		}
		if len(met) > math.MaxUint8 {
			return nil, fmt.Errorf("assemble seccomp filter: system call %d has too many arguments", rule.Call)
		}
		for i, ins := range met {
			if jump, ok := ins.(bpf.JumpIf); ok {
				jump.SkipFalse = uint8(len(met) - 1 - i)
				met[i] = jump
			}
		}
		// The number is loaded for each rule: an argument may have taken its place.
		program = append(program,
			bpf.LoadAbsolute{Off: numberAt, Size: 4},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(rule.Call), SkipFalse: uint8(len(met))})
		program = append(program, met...)
	}
	if policy.AllowOthers {
		return append(program, allow), nil
	}
	return append(program, refuse(0)), nil
}
