// Package kernel is what a session holds in the kernel: objects that are loaded,
// programs that are attached, maps, and the readers of their records. It is the
// only package that knows collections of cilium/ebpf.
//
// It does not know what a record means, what an event is, or what is wanted of
// them. A probe describes what it needs as a [Plan]; [Kernel.Load] turns that into
// an [Object]. How to reach a [Feature] is found by trying its doors, never by the
// kernel's version.
//
//	kernel.go    one session's hold on the kernel: shared maps, objects, cost
//	plan.go      what an object is to be: sizes, knobs, features and their doors
//	load.go      plan → object: create maps, load programs, attach them
//	types.go     what the kernel's types (BTF) tell of it
//	reader.go    copies records out of a ring or out of perf buffers
//	clock.go     the boot clock and wall time
//	explain.go   why loading failed, in words, and what to do about it
//
// Start with [Kernel].
package kernel
