package render

import (
	"slices"
	"strconv"

	"tracer/trace/event"
)

// PageOptions say how pages look.
type PageOptions struct {
	TableOptions
	Title func(b []byte, p *event.Page) []byte // see View.Title
	Below func(b []byte, e event.Event) []byte // see View.Below
	Order Order                                // of the rows; nil: they have one order only
}

// An Order is what rows are sorted by. It may be used by several goroutines.
type Order interface {
	Key() string
	Next() // changes to another one
}

// appendClosing appends the table of the whole run. On a terminal it fits on one
// screen.
func appendClosing(b []byte, p *event.Page, opts PageOptions) []byte {
	opts.Columns = without(opts.Columns, func(c Column) bool { return c.Interval })
	if mark := opts.Mark; mark != nil {
		opts.Mark = func(e event.Event) Mark {
			if m := mark(e); m != Quiet { // quiet is only what the last interval was
				return m
			}
			return Usual
		}
	}
	t := NewTable(opts.TableOptions)
	t.measure()
	for e := range p.Rows {
		t.appear(e)
		if t.width > 0 {
			t.text, t.ends = t.appendCells(t.text[:0], t.ends[:0], e)
			t.noteWidths(t.text, t.ends)
		}
	}
	if opts.Title != nil {
		start := len(b)
		b = opts.Title(b, p)
		b = t.appendLine(b, start)
	}
	below := p.Below
	if opts.Below == nil {
		below = nil
	}
	if opts.Terminal == nil {
		b = t.appendHeader(b)
		for e := range p.Rows {
			b = t.appendRow(b, e)
		}
	} else {
		// The lines around the table, the account and the shell's prompt need
		// room, too.
		b = t.appendSome(b, p, max(t.height-5-len(below), 1))
	}
	for _, e := range below {
		start := len(b)
		b = opts.Below(b, e)
		b = t.appendLine(b, start)
	}
	return b
}

// appendSome appends the first rows of p as a table by tablewriter, and how many
// more there are.
func (t *Table) appendSome(b []byte, p *event.Page, most int) []byte {
	t.layOut()
	var rows []gridRow
	for e := range p.Rows {
		if len(rows) == most {
			break
		}
		r := gridRow{mark: t.markOf(e)}
		for _, c := range t.columns {
			t.cell = c.Cell(t.cell[:0], e)
			if t.width > 0 && textWidth(t.cell) > c.Width {
				t.cell = c.cut(t.cell)
			}
			r.cells = append(r.cells, string(t.cell))
		}
		rows = append(rows, r)
	}
	b = appendGrid(b, t.columns, rows, 1, t.colors)
	if p.Total > len(rows) {
		start := len(b)
		b = t.appendLine(appendMore(b, p.Total-len(rows)), start)
	}
	return b
}

// without leaves columns out, unless none would be left.
func without(columns []Column, not func(Column) bool) []Column {
	rest := slices.DeleteFunc(slices.Clone(columns), not)
	if len(rest) == 0 {
		return columns
	}
	return rest
}

func appendMore(b []byte, n int) []byte {
	return append(strconv.AppendInt(append(b, "and "...), int64(n), 10), " more"...)
}
