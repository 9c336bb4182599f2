// Package elf looks up functions in ELF files, fast, whoever made them.
//
// A file is mapped, not read, and only what a lookup needs is touched: a name in a
// library of 100 MB takes a tenth of a millisecond. Files belong to strangers: they
// may be malformed, be cut short while they are looked at, or change. No length or
// offset in a file is trusted, what is walked through is bounded, and a page that is
// not there any more is an error, not the end of the process.
//
//	elf.go      the mapping; addresses and offsets
//	symbols.go  .dynsym by its hash tables, .symtab by its names
//	frames.go   where functions begin and end, by .eh_frame
//	golang.go   the table of functions that each Go program carries
//
// Only 64-bit little-endian files are understood. It knows nothing of TLS or of
// instructions. Start with Read.
package elf
