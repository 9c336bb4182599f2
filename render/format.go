package render

import "tracer/trace/event"

// A Format turns events into lines.
type Format interface {
	// AppendEvent appends e as whole lines.
	AppendEvent(b []byte, e event.Event) []byte
}

// A Pager is a Format that also shows pages: tables whose rows are things, not
// happenings.
type Pager interface {
	Format
	// AppendPage appends what it takes to show p.
	AppendPage(b []byte, p *event.Page) []byte
}

// A screener is a Pager that owns the screen of a terminal while it is used.
type screener interface {
	// appendChanges appends what it takes to show what has changed since the
	// last page: the terminal's size, a message.
	appendChanges(b []byte) []byte
	// appendEnd appends what it takes to give the screen back.
	appendEnd(b []byte) []byte
	// wake tells when appendChanges has something to append because a key was pressed.
	wake() <-chan struct{}
}

// JSON formats every event as one line of JSON.
type JSON struct{}

// AppendEvent implements Format.
func (JSON) AppendEvent(b []byte, e event.Event) []byte {
	return append(event.AppendJSON(b, e), '\n')
}
