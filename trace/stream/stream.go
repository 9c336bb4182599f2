// Package stream is what is said of bytes that move on a connection: who moved
// them, in which direction, where in the stream they stand. A source (the kernel's
// sockets, a TLS library, a recording) makes segments, a parser reads messages out of
// them.
//
// It knows no protocol and no eBPF. Start with [Segment].
package stream

import "net/netip"

// A Direction is seen from the process that owns the socket.
type Direction uint8

const (
	Sent Direction = iota
	Received
)

// A Segment says that bytes moved: one data call, or a sum of calls in one
// direction. Who is fed one keeps no reference to it.
type Segment struct {
	Dir    Direction
	Offset uint64 // of the first byte: payload bytes in this direction since the socket was first seen
	Size   uint64 // bytes moved; 0 only says that the stream has come to Offset by Time
	Data   []byte // the first bytes, as far as they were captured
	Tail   []byte // the last bytes (7 suffice), where they were captured and are not in Data
	Time   int64  // ns, of the first byte: entry of a send, return of a receive
	Last   int64  // ns, of the last byte; Time where it was one call

	Rest bool // it begins within a data call: the first bytes were taken before

	// Of sources that follow the frames of HTTP/2. They leave out what no parser
	// needs: the payload of DATA, and frames that say nothing of exchanges.
	Framed  bool   // where Offset-Skipped is beyond what was told, a frame begins there
	Skipped uint64 // bytes right before Offset that were left out
	Runs    []Run  // the DATA frames among them
}

// A Run is the DATA frames of one stream of HTTP/2 that a source has left out.
type Run struct {
	Stream      uint32
	Frames      uint32
	Bytes       uint64 // their heads included
	First, Last int64  // ns: time of the first and the last byte
	End         bool   // the last one ends the stream
}

// Ending says why an exchange or a connection ended.
type Ending uint8

const (
	Complete Ending = iota // the answer came, all of it
	Closed
	Reset
	Timeout
	NotHTTP // an answer came, and was none of the protocol
)

func (e Ending) String() string {
	return endings[min(e, NotHTTP)]
}

var endings = [...]string{"", "closed", "reset", "timeout", "not_http"}

// An End is one end of a connection, seen from the process that owns the socket.
type End struct {
	Local, Remote netip.AddrPort
	Netns         uint32    // network namespace: loopback addresses may be in use in several
	ID            ConnID    // the connection's name, the same at both ends
	Seq           [2]uint32 // TCP's number of the byte at offset 0 of each direction
	Joined        bool      // bytes moved before it was first seen
	TLS           string    // the library that the bytes were taken from, which it encrypts; empty: they are those of the connection
}

// ConnID names a TCP connection by the initial sequence numbers of its two ends, that of
// who called first. The zero value: it is not known.
type ConnID struct {
	Client, Server uint32
	Known          bool
}

// Pair are the two ends' addresses, that of who called first: what a connection is
// known by at both ends, as long as nobody translates addresses.
type Pair struct {
	Client, Server netip.AddrPort
	Netns          uint32 // of loopback addresses, else 0
}

// Pair returns the addresses of both ends, if this is the client's or not.
func (e *End) Pair(client bool) Pair {
	p := Pair{Client: e.Local, Server: e.Remote}
	if !client {
		p.Client, p.Server = p.Server, p.Client
	}
	if e.Local.Addr().IsLoopback() {
		p.Netns = e.Netns
	}
	return p
}
