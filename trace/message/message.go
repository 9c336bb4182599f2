// Package message is what parsers find in streams: exchanges of requests and
// answers, as one end of a connection saw them, whatever the protocol.
//
// It knows no protocol by itself: each has a package with a [Protocol]. Start with
// [Exchange].
package message

import (
	"fmt"
	"time"

	"tracer/trace/stream"
)

// Role is what the process that owns the socket is in an exchange.
type Role uint8

const (
	Client Role = iota // it sent the request
	Server
)

func (r Role) String() string {
	return roles[r&1]
}

var roles = [...]string{"client", "server"}

// A Side is one of the two ends of a connection, if it is known which.
type Side uint8

const (
	Neither Side = iota
	TheClient
	TheServer
)

// Side is the end that has a role.
func (r Role) Side() Side { return TheClient + Side(r&1) }

func (s Side) String() string {
	return sides[min(s, TheServer)]
}

var sides = [...]string{"", "client", "server"}

// Kind is what a connection was seen to speak.
type Kind uint8

const (
	Unknown Kind = iota // nothing to tell it by yet
	HTTP1
	HTTP2 // with prior knowledge
	TLS
	Other
)

func (k Kind) String() string {
	return kinds[min(int(k), int(Other))]
}

var kinds = [...]string{"unknown", "http/1", "http/2", "tls", "other"}

// Inexact marks the numbers of an exchange that are not certain.
type Inexact uint8

const (
	// InexactRequest: RequestBytes and RequestEnd are what was seen so far,
	// or the end of the request could only be concluded.
	InexactRequest Inexact = 1 << iota
	// InexactResponse: the same for ResponseBytes and ResponseEnd.
	InexactResponse
	// InexactTime: a message began or ended within a sum of calls, or in
	// bytes that nobody told the time of.
	InexactTime
)

// An Exchange is a request and its answer. It and its slices are valid during
// the callback only. Times are in the clock of the segments, 0 where unknown.
type Exchange struct {
	Role   Role
	Method []byte
	Target []byte        // as sent
	Host   []byte        // of the target where that is absolute, else of the Host field; nil where unknown
	Minor  uint8         // HTTP/1.Minor, of the response or else of the request; above 9: it was none of these
	Trace  Trace         // of the request's traceparent field, as far as it was captured
	Ending stream.Ending // why the answer is missing or not whole
	Status int           // of the final response; 0 where none came, or it is not known

	ClosedBy Side // whose doing Ending is, if that is known

	// Of HTTP/2. Method, Target and Host are empty where they are not known.
	Stream      uint32 // 0 in HTTP/1
	WasReset    bool   // RST_STREAM ended it, with Code
	Code        Code
	GRPC        bool // GRPCStatus and GRPCMessage are known
	GRPCStatus  uint8
	GRPCMessage []byte // percent-decoded

	TargetTruncated bool // more of the target was sent than was captured, or would have come
	Incomplete      bool // the request's head never ended
	Inexact         Inexact

	RequestStart  int64 // first byte of the request
	RequestEnd    int64 // last byte of the request
	ResponseStart int64 // first byte of the final response; 0 where none came, or it is not known
	ResponseEnd   int64 // last byte of the response; without any, when the connection ended

	Position      uint64 // of the request among all of the connection, from 1; 0 where some may have been missed
	RequestOffset uint64 // of the request's first byte, in that direction's Segment.Offset
	RequestBytes  uint64 // the whole message: head, body, framing
	ResponseBytes uint64 // the same, and interim (1xx) responses

	Spent Spent // of the server's end; parsers do not know it
}

// Spent says where the time of a request went at the server, before its answer. 0 is what
// is not known, or not long enough to be certain.
type Spent struct {
	Accept  time.Duration // it had come, and its connection was not accepted yet
	Queue   time.Duration // it lay in the socket of an accepted connection
	CPU     time.Duration // the thread that read and answered it was on a processor
	RunQ    time.Duration // that thread waited for a processor
	Blocked time.Duration // neither
}

// Waits is since when the request waits for its answer: since it began, in HTTP/2
// since it ended. A stream that is open for a request is not waited for.
func (x *Exchange) Waits() int64 {
	if x.Stream != 0 {
		return x.RequestEnd
	}
	return x.RequestStart
}

// Answered reports whether an answer came, if its status is known or not.
func (x *Exchange) Answered() bool {
	return x.Status != 0 || x.ResponseStart != 0 || x.Ending == stream.Complete && x.ResponseEnd != 0
}

// A Code is an error code of HTTP/2 (RFC 9113, 7).
type Code uint32

var codes = [...]string{
	"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED", "FRAME_SIZE_ERROR",
	"REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
}

func (c Code) String() string {
	if int(c) < len(codes) {
		return codes[c]
	}
	return fmt.Sprintf("0x%x", uint32(c))
}

// An Upgrade is a request of HTTP/1 whose answer comes in HTTP/2 (RFC 7540, 3.2).
type Upgrade struct {
	Request Exchange  // without an answer; valid as long as the parser that found it
	Next    [2]uint64 // where HTTP/2 begins, by direction
}

// Counts says what [Parsers] did not tell as an exchange.
type Counts struct {
	Lost      uint64 // requests whose answer may have been missed
	Overflow  uint64 // requests beyond the limits on those that wait
	Unmatched uint64 // final responses whose request was not seen or not certain
	Resyncs   uint64 // times the boundaries of messages were lost
	Unknown   uint64 // heads with a field that is not known, as it refers to what was not seen
	Oversize  uint64 // heads beyond the limit, of which no field is known
}

// Calls are what parsers call, in the goroutine that feeds. None may be nil.
type Calls struct {
	// Exchange takes an exchange that is over.
	Exchange func(*Exchange)
	// Stuck takes a request that [Parser.Stuck] finds.
	Stuck func(*Exchange)
	// GaveUp takes an exchange that took place and is not told, as it is not
	// certain which answer belongs to which request: each of Counts.Lost and
	// Counts.Overflow, as far as its request was read, and each answer of
	// Counts.Unmatched whose request was not given up before. Of such an answer
	// the request is not known: its RequestStart is 0.
	GaveUp func(*Exchange)
}

// A Protocol is a row of the table of protocols.
type Protocol struct {
	Name string
	// New returns the parsers of a session. What they find they tell by calls.
	New func(Calls) Parsers
}

// Parsers are what the parsers of a session's connections share. They are used by
// one goroutine.
type Parsers interface {
	// Conn returns a parser for one connection, joined if bytes moved on it
	// before it was seen.
	Conn(joined bool) Parser
	// Counts are those of all connections; they only grow.
	Counts() *Counts
}

// A Parser finds exchanges in the bytes of one connection, seen from one end.
type Parser interface {
	// Feed takes the next segment. Those of one direction come in the order of
	// their offsets.
	Feed(s *stream.Segment)
	// Kind is what the connection speaks, as far as it is known.
	Kind() Kind
	// Opaque reports that no exchange will be found any more.
	Opaque() bool
	// Body returns up to which offset a direction is inside a body, 0 if it is
	// not, and whether that may end before with an empty line.
	Body(dir stream.Direction) (until uint64, blind bool)
	// Waiting is how many requests have no answer under way.
	Waiting() int
	// Waits reports whether the request of a stream of HTTP/2 is one of these.
	Waits(stream uint32) bool
	// Busy reports whether an exchange is under way, in HTTP/2 that of a stream.
	Busy(stream uint32) bool
	// Holds reports whether an answer waits for its request.
	Holds() bool
	// Settle gives up waiting for such requests.
	Settle(now int64)
	// Oldest is since when the request that has waited longest waits: see
	// Exchange.Waits.
	Oldest() (since int64, ok bool)
	// Stuck tells of requests that wait since a time or longer and have no answer,
	// each once.
	Stuck(before int64)
	// Upgraded returns what the parser hands over to that of HTTP/2; nil while it
	// does not. It is opaque then.
	Upgraded() *Upgrade
	// Adopt begins with what another parser has handed over. The bytes from
	// Upgrade.Next on are to be fed; bytes before are passed over.
	Adopt(u *Upgrade)
	// GiveUp gives up all that may be over, unseen. It is called once nothing will
	// be fed any more although the connection goes on.
	GiveUp()
	// Close ends the connection.
	Close(now int64, why stream.Ending)
}
