// Package trace is the table of what can be traced, and says what of it works here.
//
// One event's life, and where to read about each step:
//
//	program      filters in the kernel, fills a record or counts it as lost   bpf/*.bpf.c
//	ring buffer  carries it, without waking anybody; or perf buffers          kernel
//	reader       copies it out; one goroutine per ring                        kernel
//	decode       record → event; a bad record is counted, never fatal         exec, conn, traffic, http
//	enrich       user name, wall time                                         the same
//	correlate    attempts of one command → one failure, both ends → one       the same; http1, http2, exchange
//	place        cgroup → container and pod                                   session, place
//	filter       what is not decided in the kernel                            session, the probes
//	merge        events of several probes in one order                        session
//	sinks        show it: package render, chosen by main                      session
//
// The reader only copies. One pipeline goroutine, the one that calls
// [session.Session.Run], does the rest and owns all state, so that nothing needs a
// lock. When the end comes the programs are detached, the ring is drained, the
// pipeline is drained, the sinks are flushed, and what was lost on the way is in the
// account: package account.
//
// It does not know how events are shown. Start reading with [Probes], then with
// package session.
package trace
