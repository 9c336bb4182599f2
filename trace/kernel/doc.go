// Package kernel is what a session holds in the kernel: objects that are loaded,
// programs that are attached, maps, and the readers of their records. It is the
// only package that knows collections of cilium/ebpf.
//
// It does not know what a record means, what an event is, or what is wanted of
// them. A probe describes what it needs as a [Plan]; [Kernel.Load] turns that into
// an [Object]. How to reach a [Feature] is found by trying its doors, never by the
// kernel's version.
//
//	plan.go      what an object is to be: sizes, knobs, features and their doors
//	types.go     what the kernel's types (BTF) tell of it
//	clock.go     the boot clock and wall time
//	source.go    what records come from: ring.go, perf.go, chosen in buffer.go
//	reader.go    copies records out of a source; yield.go gives way meanwhile
//	object.go    an object that is loaded; counters.go what its programs lost
//	kernel.go    one session's hold on the kernel: shared maps, objects, cost.go
//	load.go      plan → object: its files (file.go) and maps; open.go its programs
//	later.go     programs that are attached to files, at any time
//	explain.go   why loading failed, in words; hint.go what to do about it
//
// Start with [Kernel].
package kernel
