// Package session is one run of any number of probes: one pipeline, one ledger, one
// set of sinks.
//
//	session.go  open, run, account
//	probe.go    what a probe is, and what its session does for it
//	timer.go    the one way to wait for time
//	place.go    which container and pod an event happened in
//	filter.go   the filters that user space decides
//	sink.go     where events go
//
// It does not know what a record or an event means: that is the probes', which
// import this package. Start with [Open].
package session
