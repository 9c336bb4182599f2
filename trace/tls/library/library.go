package library

import "errors"

// A Kind is a library as the key tls of an event names it.
type Kind uint8

const (
	OpenSSL Kind = iota + 1 // and all that has its interface
	GnuTLS
	NSS
	Go
)

var kindNames = [...]string{OpenSSL: "openssl", GnuTLS: "gnutls", NSS: "nss", Go: "go"}

// String is the value of the key tls.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return ""
}

// A Use is which way a function carries bytes, and how it takes and returns them. The
// object is argument 0, the buffer argument 1, its length argument 2, of C's or Go's
// calling convention. A function's result is to be looked at before its buffer: only where
// it says so were bytes carried.
type Use uint8

const (
	SSLRead     Use = iota + 1 // int f(SSL *, void *, int): bytes, if above 0
	SSLWrite                   // the same
	SSLReadEx                  // int f(SSL *, void *, size_t, size_t *n): if above 0, *n bytes
	SSLWriteEx                 // the same
	SSLWriteEx2                // int f(SSL *, void *, size_t, uint64_t flags, size_t *n): if above 0, *n bytes
	BIOWrite                   // int f(BIO *, void *, int): ciphertext
	GnuTLSRecv                 // ssize_t f(gnutls_session_t, void *, size_t): bytes, if above 0
	GnuTLSSend                 // the same, with more arguments behind
	NSPRRead                   // PRInt32 f(PRFileDesc *, void *, PRInt32): bytes, if above 0; of TLS or plain files
	NSPRWrite                  // the same
	GoRead                     // func (*Conn) ([]byte) (int, error)
	GoWrite                    // the same
	Handshake                  // argument 0 is the object, of C's convention; what it returns does not matter
	GoHandshake                // the same, of Go's
)

// Write tells whether the function sends.
func (u Use) Write() bool {
	switch u {
	case SSLWrite, SSLWriteEx, SSLWriteEx2, BIOWrite, GnuTLSSend, NSPRWrite, GoWrite:
		return true
	}
	return false
}

// A Result is where a function says how many bytes it has carried.
type Result uint8

const (
	Return32 Result = iota + 1 // its result, a signed number of 32 bits, if above 0
	Return64                   // the same, of 64 bits
	Pointer3                   // where argument 3 points, 64 bits, if its result of 32 bits is above 0
	Pointer4                   // the same with argument 4
)

// Result is where the function says how many bytes it has carried; 0 if it carries none.
func (u Use) Result() Result {
	switch u {
	case SSLReadEx, SSLWriteEx:
		return Pointer3
	case SSLWriteEx2:
		return Pointer4
	case GnuTLSRecv, GnuTLSSend, GoRead, GoWrite:
		return Return64
	case Handshake, GoHandshake:
		return 0
	}
	return Return32
}

// Go tells whether arguments are passed as Go does, and return probes are out of the
// question.
func (u Use) Go() bool { return u == GoRead || u == GoWrite || u == GoHandshake }

// arguments are how many of a function's arguments a program at its entry reads.
func (u Use) arguments() int {
	switch u.Result() {
	case Pointer3:
		return 4
	case Pointer4:
		return 5
	case 0:
		return 1
	}
	return 3
}

// A Library is what a file has.
type Library struct {
	Kind Kind
	// Functions are those in which plaintext is read, those of handshakes, in which sockets
	// are, and the one that writes ciphertext to memory (BIOWrite).
	Functions []Function
	// ByRets are what to take instead where return probes cannot be had: all of them have
	// Rets. Nil where there is no such set.
	ByRets []Function
	// Later are functions that few processes need: BIO_write, for those whose library does
	// not move ciphertext itself, but neither to OpenSSL's own memory.
	Later []Function
}

// Reads tells whether the file has functions in which plaintext can be read. One that
// has none is a part of a library: a libcrypto, or the libssl3 of NSS.
func (l *Library) Reads() bool {
	for _, f := range l.Functions {
		if f.Use.Result() != 0 && f.Use != BIOWrite {
			return true
		}
	}
	return false
}

// A Function is one in which bytes can be read.
type Function struct {
	Name string // for people; of an inner function, which has none in the file, the source's
	Use  Use

	// Entry is for a program that runs at the entry, alone: the arguments are in their
	// registers, the stack pointer may have moved.
	Entry Spot
	// Return is for two programs, at entry and return: the arguments are in their registers,
	// and the stack pointer is as at the function's start. Zero in Go, where return probes
	// break programs.
	Return Spot
	// Rets are where the function returns, in bytes from the file's beginning; nil where not
	// all ways out are known, or its return tells nothing.
	Rets []uint64
}

// A Spot is an instruction.
type Spot struct {
	Offset  uint64 // in bytes from the file's beginning
	Stepped bool   // the kernel cannot emulate it: it costs 14 times as much
}

// ErrNone is returned by Find for a file without TLS.
var ErrNone = errors.New("no TLS library")
