// Package tls is a source of bytes: what TLS libraries are given to encrypt, and what
// they have decrypted. It attaches the programs of bpf/tls.bpf.c to the functions of
// libraries as they are found. What the programs see comes as records of the tracer's
// own object, as if the sockets were plain: this package knows no records.
//
//	part.go    what is loaded
//	source.go  which program goes where, and comes off again
//
// Which files have a library, and where in them a function is, packages find and library
// know. Start with [Source].
package tls
