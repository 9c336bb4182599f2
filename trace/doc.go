// Package trace loads the programs of package bpf, attaches them, and turns
// their records into events.
//
// One event's life:
//
//	program      filters in the kernel, fills a record or counts it as lost   bpf/*.bpf.c
//	ring buffer  carries it, without waking anybody; or perf buffers          perf.go
//	reader       copies it out on a timer; one goroutine per ring             reader.go
//	decode       record → event; a bad record is counted, never fatal         exec.go …
//	enrich       user name, wall time                                         exec.go, clock.go
//	correlate    attempts of one command → one failure, …                     exec.go …
//	place        cgroup → container and pod                                   place.go
//	filter       what is not decided in the kernel                            filter.go, place.go
//	Sink         shows it: package render, chosen by main
//
// The reader only copies. One pipeline goroutine, the one that calls
// [Session.Run], does the rest and owns all state, so that nothing needs a
// lock. When the end comes the programs are detached, the ring is drained, the
// pipeline is drained, the sink is flushed, and what was lost on the way is in
// [Session.Account].
//
// It does not know how events are shown. Start reading with [Session], then
// with probe.go, the table of what can be traced.
package trace
