// Package draw makes a sequence diagram of what was recorded: who asked whom, what was
// answered, which other connections there were, which programs started. It writes
// Mermaid, or a ladder for a terminal.
//
//	record.go   what is kept of an event
//	cast.go     who takes part: pods, containers, processes, addresses
//	nest.go     what belongs below which request
//	group.go    equal neighbours → one, until the picture is small enough
//	steps.go    groups → arrows, notes and loops from top to bottom
//	mermaid.go  steps as Mermaid
//	ladder.go   steps as text
//	text.go     what is said of a thing; strangers' text
//	draw.go     puts these together
//	moment.go   --from and --to
//	command.go  `tracer draw`
//
// Start with [Recording]. Nothing is guessed: what is not certain to be caused by a
// request stands beside it. Every sum in a picture is exact, and it says how many of
// those that there were it has. Queries, arguments and header values are not kept at
// all. The package knows no kernel and no files, but for command.go, which reads
// recordings by package replay.
package draw
