package render

import "bytes"

// keepBytes is how much memory an empty queue keeps for later.
const keepBytes = 1 << 20

// A queue is text that waits to be written, as pieces that stay whole: an event,
// or a line that belongs to none. Not safe for concurrent use.
type queue struct {
	text   []byte
	events uint64 // in text
	// parts are the lengths of the pieces; those that are no event are negative.
	parts []int32
}

// add records that text has grown from so many bytes by a piece.
func (q *queue) add(before int, event bool) {
	n := int32(len(q.text) - before)
	switch {
	case n == 0: // the format shows it otherwise
	case event:
		q.parts = append(q.parts, n)
		q.events++
	default:
		q.parts = append(q.parts, -n)
	}
}

// take moves all of other to the end of q.
func (q *queue) take(other *queue) {
	if len(q.text) == 0 {
		*q, *other = *other, *q
	} else {
		q.text = append(q.text, other.text...)
		q.parts = append(q.parts, other.parts...)
		q.events += other.events
	}
	other.clear()
}

// clear empties q, but keeps its memory unless that is much.
func (q *queue) clear() {
	if cap(q.text) > keepBytes {
		*q = queue{}
	}
	q.text, q.parts, q.events = q.text[:0], q.parts[:0], 0
}

// next is the length of what is written at once: whole pieces of at most so many
// bytes together, or one that is longer.
func (q *queue) next(most int) (n int) {
	for _, part := range q.parts {
		length := int(max(part, -part))
		if n > 0 && n+length > most {
			break
		}
		n += length
	}
	return n
}

// drop removes what was written from the beginning: all pieces that are whole in n
// bytes. It returns how many bytes are left over, of a piece that was begun.
func (q *queue) drop(n int) (rest int) {
	i, end := 0, 0
	for ; i < len(q.parts); i++ {
		length := int(max(q.parts[i], -q.parts[i]))
		if end+length > n {
			break
		}
		end += length
		if q.parts[i] > 0 {
			q.events--
		}
	}
	q.text, q.parts = q.text[end:], q.parts[i:]
	return n - end
}

// addLines records that text has grown from so many bytes by lines that are no
// events.
func (q *queue) addLines(before int) {
	for line := range bytes.Lines(q.text[before:]) {
		q.parts = append(q.parts, -int32(len(line)))
	}
}
