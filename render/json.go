package render

import "tracer/trace/event"

// JSON formats every event as one line of JSON.
type JSON struct{}

// AppendEvent implements Format.
func (JSON) AppendEvent(b []byte, e event.Event) []byte {
	return append(event.AppendJSON(b, e), '\n')
}
