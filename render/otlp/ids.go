package otlp

import (
	"crypto/sha256"
	"encoding/binary"

	"tracer/trace/event"
)

// ids are the names that an exchange has, whoever saw it: SHA-256 over what the exchange
// is called at both of its ends. The first 16 bytes are the trace's, the next 8 those of
// the span of the client, the last 8 those of the server's. Two tracers that know nothing
// of each other compute the same, also where addresses are translated between them, and
// no exchange has those of another one, though addresses are used again.
//
// What is hashed, 25 bytes: "tracer/1", the connection's initial sequence numbers (client's,
// server's), 's' with the stream's number or 'q' with the position on the connection; all
// numbers big-endian.
type ids struct {
	trace          [16]byte
	client, server [8]byte
}

// namer gives exchanges their ids.
type namer struct {
	seed [16]byte // of this run
	n    uint64   // exchanges without a name of their own
}

// ids are those of an exchange. If that has no name that the other end has too (the
// connection's is not known, or the position on it) they are of this run alone.
func (m *namer) ids(e *event.HTTP) ids {
	var b [33]byte
	in := append(b[:0], "tracer/1"...)
	switch {
	case e.ID.Known && e.Stream != 0:
		in = appendConn(in, &e.ID)
		in = binary.BigEndian.AppendUint64(append(in, 's'), uint64(e.Stream))
	case e.ID.Known && e.Seq != 0:
		in = appendConn(in, &e.ID)
		in = binary.BigEndian.AppendUint64(append(in, 'q'), e.Seq)
	default:
		m.n++
		in = binary.BigEndian.AppendUint64(append(append(in, m.seed[:]...), 'n'), m.n)
	}
	return split(sha256.Sum256(in))
}

func appendConn(b []byte, id *event.ConnID) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, id.Client), id.Server)
}

// split makes ids of a sum. None is zero, which would be no name.
func split(sum [sha256.Size]byte) (i ids) {
	copy(i.trace[:], sum[:16])
	copy(i.client[:], sum[16:24])
	copy(i.server[:], sum[24:])
	if i.trace == [16]byte{} {
		i.trace[15] = 1
	}
	if i.client == [8]byte{} {
		i.client[7] = 1
	}
	if i.server == [8]byte{} {
		i.server[7] = 1
	}
	return i
}
