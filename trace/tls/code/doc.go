// Package code finds the instructions of a function at which a probe is cheap and right.
//
// What a probe costs is decided by the instruction under it: one that the kernel
// emulates costs a fourteenth of one that it has to execute out of line. What a program
// sees there is decided by what ran before: arguments may have left their registers, and a
// return probe finds the return address only while the stack pointer is untouched. A probe
// inside of an instruction, or where a loop comes by again, would break or mislead what is
// traced: there is none at a place that was not decoded.
//
//	inst.go      what matters of an instruction
//	amd64.go     decoded by golang.org/x/arch, and which of them kernels emulate
//	arm64.go     the same
//	machine.go   the two of them, and how arguments are passed
//	function.go  places of entry and return, RETs, calls
//
// It does not know where the bytes come from nor what functions do. Start with Function.
package code
