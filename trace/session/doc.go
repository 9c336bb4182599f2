// Package session is one run of any number of probes: one pipeline, one ledger, one
// set of sinks.
//
//	options.go  what is wanted, and the flags that say so
//	own.go      tracer itself, which is left out
//	timer.go    the one way to wait for time
//	sink.go     where events go: any number of sinks
//	merge.go    the events of several probes, in one order
//	place.go    which container and pod an event happened in
//	stages.go   place → filter → limit → sinks, counted in one ledger
//	probe.go    what a probe is, and what its session does for it
//	judge.go    what the kernel decides, for events of a recording
//	session.go  open, run, account
//	recording.go the same, of a recording
//	start.go    what is said when tracing has begun
//
// It does not know what a record or an event means: that is the probes', which
// import this package. Start with [Open].
package session
