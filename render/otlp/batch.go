package otlp

import (
	"io"

	"google.golang.org/protobuf/encoding/protowire"
)

const (
	batchItems = 512
	batchBytes = 1 << 20 // and no item begins behind it
)

// A batch is what is sent at once: items, those of one resource together.
type batch struct {
	signal signal
	groups []group
	items  int
	bytes  int // of items
}

// A group is items of one resource, encoded as they stand in a request, one behind the
// other.
type group struct {
	of    *resource
	items []byte
}

// add adds an item, a message. The item is copied.
func (b *batch) add(r *resource, field protowire.Number, item []byte) {
	at := &r.group[b.signal]
	if *at >= len(b.groups) || b.groups[*at].of != r {
		*at = len(b.groups)
		if cap(b.groups) > len(b.groups) {
			b.groups = b.groups[:len(b.groups)+1] // its bytes are used again
		} else {
			b.groups = append(b.groups, group{})
		}
		g := &b.groups[*at]
		g.of, g.items = r, g.items[:0]
	}
	g := &b.groups[*at]
	before := len(g.items)
	g.items = appendBytes(g.items, field, item)
	b.bytes += len(g.items) - before
	b.items++
}

// clear makes it one that may be filled again.
func (b *batch) clear() { b.groups, b.items, b.bytes = b.groups[:0], 0, 0 }

// small reports whether it holds so little memory that it may be kept.
func (b *batch) small() bool {
	size := 0
	for _, g := range b.groups[:cap(b.groups)] {
		size += cap(g.items)
	}
	return size <= 2*batchBytes
}

func (b *batch) full() bool { return b.items >= batchItems || b.bytes >= batchBytes }

// The same fields in requests of all signals.
const (
	fieldOfResource = 1 // Export…ServiceRequest.resource_…
	fieldResource   = 1 // Resource….resource
	fieldScopeItems = 2 // Resource….scope_…
	fieldSchema     = 3 // Resource….schema_url
	fieldScope      = 1 // Scope….scope
	fieldItems      = 2 // Scope….spans, …
)

// write writes the request. scope is message InstrumentationScope; head is used for what
// stands between items, and returned to be used again.
func (b *batch) write(w io.Writer, scope, head []byte) []byte {
	for i := range b.groups {
		g := &b.groups[i]
		inner := sizeBytes(len(scope)) + len(g.items)
		outer := sizeBytes(len(g.of.body)) + sizeBytes(inner) + sizeBytes(len(schema))
		head = appendHead(head[:0], fieldOfResource, outer)
		head = appendBytes(head, fieldResource, g.of.body)
		head = appendHead(head, fieldScopeItems, inner)
		head = appendBytes(head, fieldScope, scope)
		_, _ = w.Write(head) // into memory, as all that follows
		_, _ = w.Write(g.items)
		_, _ = w.Write(protowire.AppendString(appendTag(head[:0], fieldSchema, protowire.BytesType), schema))
	}
	return head
}
