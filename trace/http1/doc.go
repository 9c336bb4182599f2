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
// an exchange is shown.
//
//	http1.go   the row of the table of protocols
//	feed.go    segments move through their direction, or wait; the end
//	begin.go   where a message begins: its head is found and taken
//	follow.go  tells others where a connection stands
//	conn.go    a connection; where the place in a direction is lost
//	pair.go    requests wait for their answers, and become exchanges with them
//	flow.go    the framing of one direction, without the other
//	head.go    reads heads, without connections
//	sink.go    where exchanges go; the limits of what is kept
//
// A file uses those below it only. Start at [Conn.Feed] and Conn.take.
package http1
