// Package http2 turns the bytes of a connection that speaks HTTP/2, as far as they
// were captured, into exchanges: a stream's request and its answer, with sizes and
// times.
//
// A connection is seen from one end, as segments per direction. A source that follows
// frames itself (see [stream.Segment.Framed]) leaves out the payload of DATA, and
// frames that say nothing of exchanges. One that does not gives all bytes.
//
// Bytes that are missing spoil two things. The place of frames: a source that follows
// them goes on at one; else one is found again where a call begins with frames that
// fit one another, up to its end, among them a header block that is whole (so few
// bodies look like that that it can be wrong only on purpose). And the table that
// header blocks refer to: an entry is found by how many were inserted behind it, so
// that those since the gap are right, and what refers to older ones is unknown. See
// table. Blocks are read in the order in which they come, also those that nobody waits
// for.
//
// An exchange is told if its request was seen, with what is known of it: an answer
// whose status is not known has none, and neither has one whose head was missed a
// time. After a gap a stream may be over unseen: it is in doubt until something moves
// on it. A request in doubt is not stuck, and not unanswered: if nothing more is seen of
// it, it is given up and counted in [Counts].
//
// Pushed streams (RFC 9113, 8.4) are exchanges, whose request is what was promised.
//
// It must not know sockets, processes, records of the kernel, wall time or how an
// exchange is shown.
//
//	http2.go  the row of the table of protocols
//	feed.go   segments move through their direction, frames are read
//	conn.go   a connection: what a frame means for its stream, or for all
//	talk.go   a stream: what is known of its request and answer, and when that is told to
//	          a Sink
//	flow.go   the frames of one direction, without the other
//	head.go   header blocks → what matters of them
//	hpack.go  the table of a direction, and how fields are written (RFC 7541)
//	words.go  words of other packages; the limits of what is kept
//
// A file uses those below it only. Start at [Conn.Feed].
package http2
