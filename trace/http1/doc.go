// Package http1 turns the bytes of a TCP connection, as far as they were
// captured, into HTTP/1 messages, and messages into exchanges: a request and
// its answer, with exact sizes and times.
//
// A connection is seen from one end, as segments per direction: so many bytes
// moved, these are the first of them. What was not captured is a gap. Framing
// (RFC 9112) is followed through gaps as long as lengths allow it, so a body
// may look like anything. Where they do not, the place in that direction is
// lost, and the requests that wait are given up. It is found again at a turn:
// where a call in one direction begins right behind what was told, after bytes
// went the other way. There a client that waits for its answers begins its next
// request, and a server the answer to that. A client that was seen not to wait
// is not paired again on a connection whose place was lost. One that does not
// wait and was not seen to is the one thing that can make an exchange wrong.
//
// So an exchange is told only if the request and the answer were both seen and
// nothing hidden can lie between them, or if nothing came back at all. What is
// left out is counted in [Counts], and a number that is not certain is marked
// in [Exchange.Inexact]. All that is kept has a limit: see the constants. No
// fields of heads are kept, so their number needs none but the head's length.
//
// It must not know sockets, processes, records of the kernel, wall time or how
// an exchange is shown. It imports the standard library only.
//
// Start at [Conn.Feed] and Conn.take in conn.go, which moves a segment through
// its direction. stream.go follows framing and knows nothing of the other
// direction, pair.go joins requests and answers, head.go reads heads and knows
// nothing of connections, follow.go tells others where a connection stands,
// route.go stands alone.
package http1
