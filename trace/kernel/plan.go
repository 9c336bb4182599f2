package kernel

import "os"

// A Plan says what an object is to be. The names are those of its C file.
type Plan struct {
	Name     string          // of the object: see bpf.Read
	Ring     string          // the map that records come by, empty: there are none
	Rare     bool            // records are rare: programs wake their reader for each
	Maps     map[string]Size // those that differ from the C file
	Knobs    map[string]any  // const volatile variables, set before loading
	Features []Feature       // opened in this order
	Parts    []Part          // loaded after it, in this order
}

// A Part is a further C file of the same object, as a source of bytes beside another.
// What has one name in both is one: maps, and the variables that programs write. A
// part's constants are its own.
type Part struct {
	Name     string
	Maps     map[string]Size // that no file before it has
	Knobs    map[string]any
	Features []Feature
}

// A Size changes a map before it is created.
type Size struct {
	Entries uint32 // 0: as in the C file
	PerCPU  bool   // so many for each possible CPU
	Value   uint32 // bytes of a value, 0: as in the C file
	Keys    []any  // are in it from the start, each with an 8-bit 1
}

// A Tier is a kind of hook.
type Tier int

// Tiers, the best first.
const (
	Function   Tier = iota + 1 // A: fentry and fexit
	Kprobe                     // B: kprobe and kretprobe
	Tracepoint                 // C: tracepoints alone
	// Kinds of hooks at functions of programs. Files are attached to later, one by one:
	// see Object.Attach.
	UprobeMulti // many functions by one link (6.6)
	Uprobe      // by perf events
)

var tierNames = []string{
	Function: "fentry", Kprobe: "kprobe", Tracepoint: "tracepoint", UprobeMulti: "uprobe_multi", Uprobe: "uprobe",
}

// inKernel reports whether it is one of the kinds among which Options.Tier chooses.
func (t Tier) inKernel() bool { return t <= Tracepoint }

func (t Tier) String() string { return tierNames[t] }

// ParseTier is the inverse of String.
func ParseTier(name string) (Tier, bool) {
	for t, n := range tierNames {
		if t > 0 && Tier(t).inKernel() && n == name {
			return Tier(t), true
		}
	}
	return 0, false
}

// A Feature is something that a probe wants to know, with the ways to learn it,
// best first. Which of them is taken is found by loading and attaching, never by
// the kernel's version.
type Feature struct {
	Name    string
	Doors   []Door
	Without string // what is missed if no door opens, as a sentence; empty: tracing is impossible
	// Misses is what a kind of hook does not see and better ones do.
	Misses map[Tier]string
	Never  string // what no kind of hook sees, as a sentence
}

// A Door is one way to a feature: programs that are attached together, in this
// order, to what their sections name, each with the copies that it needs.
type Door struct {
	Tier     Tier
	Programs []string
	Tails    map[string]string // by map: the program that others go on with by a tail call
}

// An OpenFeature is a feature with the kind of hook that was found, 0 for none.
type OpenFeature struct {
	Feature
	Tier Tier
}

// haveKprobes reports whether this kernel has kprobes. One without them would
// verify the programs all the same, which takes longer than all else at the start.
func haveKprobes() bool {
	_, err := os.Stat("/sys/bus/event_source/devices/kprobe")
	return err == nil
}

// Later reports whether a plan has programs that are attached to files later.
func (p *Plan) Later() bool {
	later := func(features []Feature) bool {
		for _, f := range features {
			for _, d := range f.Doors {
				if !d.Tier.inKernel() {
					return true
				}
			}
		}
		return false
	}
	for _, part := range p.Parts {
		if later(part.Features) {
			return true
		}
	}
	return later(p.Features)
}
