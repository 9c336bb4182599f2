package http1

// A Direction is seen from the process that owns the socket.
type Direction uint8

const (
	Sent Direction = iota
	Received
)

// A Segment says that bytes moved: one data call, or a sum of calls in one
// direction. Conn keeps no reference to it.
type Segment struct {
	Dir    Direction
	Offset uint64 // of the first byte: payload bytes in this direction since the socket was first seen
	Size   uint64 // bytes moved; 0 only says that the stream has come to Offset by Time
	Data   []byte // the first bytes, as far as they were captured
	Tail   []byte // the last bytes (7 suffice), where they were captured and are not in Data
	Time   int64  // ns, of the first byte: entry of a send, return of a receive
	Last   int64  // ns, of the last byte; Time where it was one call

	rest bool // its first bytes were taken
}

// Ending says why an exchange or a connection ended.
type Ending uint8

const (
	Complete Ending = iota // the answer came, all of it
	Closed
	Reset
	Timeout
)

func (e Ending) String() string {
	return [...]string{"", "closed", "reset", "timeout"}[e&3]
}

// Role is what the process that owns the socket is in an exchange.
type Role uint8

const (
	Client Role = iota // it sent the request
	Server
)

func (r Role) String() string {
	return [...]string{"client", "server"}[r&1]
}

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
	return [...]string{"unknown", "http/1", "http/2", "tls", "other"}[min(int(k), int(Other))]
}

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
	Target []byte // as sent
	Host   []byte // of the target where that is absolute, else of the Host field; nil where unknown
	Minor  uint8  // HTTP/1.Minor, of the response or else of the request
	Ending Ending // why the answer is missing (Status is 0) or not whole
	Status int    // of the final response; 0 where none came

	TargetTruncated bool // more of the target was sent than was captured
	Inexact         Inexact

	RequestStart  int64 // first byte of the request
	RequestEnd    int64 // last byte of the request
	ResponseStart int64 // first byte of the final response
	ResponseEnd   int64 // last byte of the response; without any, when the connection ended

	RequestOffset uint64 // of the request's first byte, in that direction's Segment.Offset
	RequestBytes  uint64 // the whole message: head, body, framing
	ResponseBytes uint64 // the same, and interim (1xx) responses
}

// Counts says what a Sink was not told as an exchange.
type Counts struct {
	Lost      uint64 // requests whose answer may have been missed
	Overflow  uint64 // requests beyond the limits on those that wait
	Unmatched uint64 // final responses whose request was not seen or not certain
	Resyncs   uint64 // times the boundaries of messages were lost
}

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
