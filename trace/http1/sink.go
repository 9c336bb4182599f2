package http1

import (
	"tracer/trace/message"
	"tracer/trace/stream"
)

// The words of bytes and of messages, which all of this package speaks.
type (
	Direction = stream.Direction
	Segment   = stream.Segment
	Ending    = stream.Ending
	Role      = message.Role
	Kind      = message.Kind
	Inexact   = message.Inexact
	Exchange  = message.Exchange
	Counts    = message.Counts
)

const (
	Sent     = stream.Sent
	Received = stream.Received

	Complete = stream.Complete
	Closed   = stream.Closed
	Reset    = stream.Reset
	Timeout  = stream.Timeout
	NotHTTP  = stream.NotHTTP

	Client = message.Client
	Server = message.Server

	Unknown = message.Unknown
	HTTP1   = message.HTTP1
	HTTP2   = message.HTTP2
	TLS     = message.TLS
	Other   = message.Other

	InexactRequest  = message.InexactRequest
	InexactResponse = message.InexactResponse
	InexactTime     = message.InexactTime
)

const (
	// DefaultMaxHead is how many bytes of a head are read.
	DefaultMaxHead = 64 << 10

	minHead     = 64        // of Sink.MaxHead
	maxWaiting  = 1024      // requests that wait on one connection
	maxText     = 256 << 10 // bytes of their methods, targets and hosts
	maxHeld     = 16        // segments that wait for their request
	maxHeldData = 64 << 10  // bytes of them
	maxLine     = 4 << 10   // bytes of a chunk-size line or a trailer line
	maxTrailer  = 64 << 10  // bytes of all trailer lines
	maxDigits   = 16        // of a chunk size

	maxSpare      = 64      // buffers that a Sink keeps
	maxSpareBytes = 4 << 10 // bytes of each
	minBuffer     = 512
)

// A Sink is where connections put what they find. Any number of connections
// may share one, as long as they are used by one goroutine.
type Sink struct {
	Exchange func(*Exchange) // an exchange is over
	Stuck    func(*Exchange) // see Conn.Stuck; may be nil
	GaveUp   func(*Exchange) // see message.Calls; may be nil
	MaxHead  int             // longer heads are cut; 0 is DefaultMaxHead

	Counts

	x     Exchange // reused, so that none is allocated
	spare [][]byte
}

func (to *Sink) maxHead() int {
	if to.MaxHead == 0 {
		return DefaultMaxHead
	}
	return max(to.MaxHead, minHead)
}

// get lends a buffer of length 0; put takes it back.
func (to *Sink) get() []byte {
	if n := len(to.spare) - 1; n >= 0 {
		b := to.spare[n]
		to.spare = to.spare[:n]
		return b
	}
	return make([]byte, 0, minBuffer)
}

func (to *Sink) put(b []byte) {
	if cap(b) > 0 && cap(b) <= maxSpareBytes && len(to.spare) < maxSpare {
		to.spare = append(to.spare, b[:0])
	}
}
