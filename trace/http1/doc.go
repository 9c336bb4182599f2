// Package http1 turns the bytes of a TCP connection, as far as they were
// captured, into HTTP/1 messages, and messages into exchanges: a request and
// its answer, with exact sizes and times.
//
// A connection is seen from one end, as segments per direction: so many bytes
// moved, these are the first of them. What was not captured is a gap. Framing
// (RFC 9112) is followed through gaps as long as lengths allow it. Where they
// do not, the package looks for the next head at a segment's start and keeps
// quiet about what it cannot know: it reports an exchange only if the request
// and the answer were both seen and nothing hidden can lie between them. What
// is left out is counted in [Counts], and a number that is not certain is
// marked in [Exchange.Inexact].
//
// It must not know sockets, processes, records of the kernel, wall time or how
// an exchange is shown. It imports the standard library only.
//
// Start at [Conn.Feed]. conn.go holds a connection and follows framing, pair.go
// joins requests and answers and says when the two can no longer be told
// apart, head.go reads heads and knows nothing of connections, route.go stands
// alone.
package http1
