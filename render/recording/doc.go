// Package recording writes what a session tells into a file: a sink beside stdout.
//
// A recording is JSON lines, plain or compressed, as the file's name says: first the
// object start, then events, warnings and losses as they come, last the object end.
// Whatever way tracer ends, all lines but perhaps the last are whole.
//
//	name.go       what the name of a file says; names of older files
//	replace.go    a new file in the place of an old one; older files move on
//	stream.go     lines → bytes of one file, and how much of it is safe
//	rotator.go    a process of its own that replaces files when privileges were dropped
//	recording.go  the sink: a bounded queue, and the goroutine that writes
//
// It does not know where events come from, nor who sees them elsewhere. Start with
// Prepare, then Recording.
package recording
