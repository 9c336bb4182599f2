package http2

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
	Side      = message.Side
	Kind      = message.Kind
	Code      = message.Code
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

	Client = message.Client
	Server = message.Server

	Unknown = message.Unknown
	HTTP2   = message.HTTP2
	Other   = message.Other

	InexactRequest  = message.InexactRequest
	InexactResponse = message.InexactResponse
	InexactTime     = message.InexactTime
)

const (
	maxStreams = 2048      // that are open on one connection
	maxSkipped = 64 << 10  // streams that may have come and gone in a gap
	maxOrphans = 256       // of them: answers whose requests were not seen
	maxText    = 256 << 10 // bytes of methods, targets and hosts of one connection
	maxBlock   = 256 << 10 // bytes of a header block
	maxTable   = 64 << 10  // a table's size; half of what it takes here, at most
	maxMethod  = 32        // bytes; longer ones are not known
	maxTarget  = 16 << 10  // what is longer is cut
	maxHost    = 1 << 10   // what is longer is not known
	maxMessage = 8 << 10   // of a grpc-message, the same

	minRing       = 16       // entries of a table that is used
	maxSpareValue = 256      // bytes of an entry that are kept for the next
	maxSpareText  = 64 << 10 // of a head
	maxSpare      = 2048     // streams that a Sink keeps
	maxSpareBytes = 1 << 10  // bytes of each
	maxIdle       = 256      // streams that a connection without any has room for
	recent        = 16       // streams that are remembered to be over
)
