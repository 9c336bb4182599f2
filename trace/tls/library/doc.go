// Package library knows TLS libraries: in which functions plaintext can be read, and at
// which instructions of a file.
//
// Nothing depends on versions: what a function takes is told by the functions that there
// are and by what they pass to one another. Every symbol is optional.
//
//	library.go  what a library is
//	openssl.go  OpenSSL from 1.0, LibreSSL, BoringSSL, AWS-LC
//	gnutls.go   GnuTLS
//	nss.go      NSS, by way of NSPR
//	golang.go   Go's crypto/tls
//	table.go    all of them
//	lookup.go   names → code → places in the file
//
// To add one: a file as these, and a row in the table. It does not know processes, nor how
// programs are attached. Start with Find.
package library
