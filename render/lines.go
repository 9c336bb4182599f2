package render

import "tracer/trace/event"

// Lines shows the events of each interval as rows, one below the other, and the
// last page as a table of its own: for a file, a pipe, or a terminal that others
// write to as well.
type Lines struct {
	Table
	opts PageOptions
}

// NewLines returns Lines.
func NewLines(opts PageOptions) *Lines {
	return &Lines{Table: *NewTable(opts.TableOptions), opts: opts}
}

// closing shows the last page alone.
type closing struct{ *Lines }

// AppendEvent implements Format.
func (closing) AppendEvent(b []byte, _ event.Event) []byte { return b }

// AppendPage implements Pager. The rows of a page were shown as events already,
// except for those of the closing page.
func (l *Lines) AppendPage(b []byte, p *event.Page) []byte {
	if !p.Closing {
		return b
	}
	if l.rows >= 0 {
		b = append(b, '\n')
	}
	return appendClosing(b, p, l.opts)
}
