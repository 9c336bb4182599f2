package bpf

import (
	"testing"

	"github.com/cilium/ebpf/asm"
)

// A kernel takes no program of which a chain of calls may need more stack than
// this; each function takes a multiple of 32 bytes. Newer kernels look at each
// function alone, and so tell nothing of what older ones say.
const (
	stackMost = 512
	stackUnit = 32
)

func TestStackFitsOldKernels(t *testing.T) {
	for _, o := range Objects {
		spec, err := o.Load()
		if err != nil {
			t.Fatal(err)
		}
		for name, p := range spec.Programs {
			frames, calls := functions(p.Instructions)
			if depth := stackDepth(name, frames, calls, map[string]int{}); depth > stackMost {
				t.Errorf("%q needs %d bytes of stack", name, depth)
			}
		}
	}
}

// functions says of each function of a program how much stack it uses and which
// others it calls.
func functions(program asm.Instructions) (frames map[string]int, calls map[string][]string) {
	frames, calls = map[string]int{}, map[string][]string{}
	var name string
	points := map[asm.Register]bool{} // to the end of the stack
	for _, ins := range program {
		if symbol := ins.Symbol(); symbol != "" {
			name = symbol
		}
		used := 0
		switch op := ins.OpCode; {
		case ins.IsFunctionCall():
			calls[name] = append(calls[name], ins.Reference())
		case op.Class().IsLoad() && ins.Src == asm.R10, op.Class().IsStore() && ins.Dst == asm.R10:
			used = -int(ins.Offset)
		case op.Class().IsALU() && op.ALUOp() == asm.Add && points[ins.Dst]:
			used = -int(ins.Constant)
			points[ins.Dst] = false
		case op.Class().IsALU() || op.Class().IsLoad():
			points[ins.Dst] = op.Class().IsALU() && op.ALUOp() == asm.Mov && ins.Src == asm.R10
		}
		frames[name] = max(frames[name], used)
	}
	return frames, calls
}

func stackDepth(name string, frames map[string]int, calls map[string][]string, known map[string]int) int {
	if depth, ok := known[name]; ok {
		return depth
	}
	deepest := 0
	for _, callee := range calls[name] {
		deepest = max(deepest, stackDepth(callee, frames, calls, known))
	}
	depth := deepest + (max(frames[name], 1)+stackUnit-1)/stackUnit*stackUnit
	known[name] = depth
	return depth
}
