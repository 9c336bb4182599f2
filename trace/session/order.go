package session

import "tracer/trace/option"

// An Ordered is a Tracer whose rows are sorted by a key that can change while they are
// shown.
type Ordered interface {
	// Order is that key; nil: no rows are sorted by one.
	Order() *option.Order
	// Reorder shows the rows once more, since the key has changed.
	Reorder()
}

// OrderOf is what the rows of a tracer are sorted by; nil: there is no such thing.
func OrderOf(t Tracer) *option.Order {
	if o, ok := t.(Ordered); ok {
		return o.Order()
	}
	return nil
}
