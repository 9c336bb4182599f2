package render

import (
	"slices"
	"strings"

	"tracer/trace/event"
)

// Column is a column of a command's table.
type Column struct {
	Name  string // for --columns
	Title string
	Width int  // usual width in cells
	Min   int  // narrowest width; 0: left out rather than made narrower
	Rank  int  // usefulness: the lowest rank gives way first, equal ranks together
	Spare int  // Rank while the column is wider than Min; 0: Rank
	Right bool // aligned to the right, as numbers are
	Extra bool // shown only if asked for
	Room  int  // not shown on a narrower terminal, unless asked for; 0: always shown
	// Interval: the column tells about an interval. A table of the whole run
	// does without it.
	Interval bool
	// Keep: not left out while a column of a higher rank can be made narrower.
	Keep bool
	// KeepEnd: a text that is too long loses its beginning, not its end.
	KeepEnd bool
	// Cut shortens a text that is too long to so many cells, in place; nil: see KeepEnd.
	Cut func(text []byte, width int) []byte
	// When: hidden until the first event for which this is true, unless the
	// column is asked for; nil: always shown.
	When func(event.Event) bool
	// Cell appends the text. It must be safe for a terminal: see AppendText.
	Cell func(b []byte, e event.Event) []byte

	need  int // cells that the last rows need; 0: not known
	usual int // Width before the column was laid out
}

// View is how the events of one command are shown as a table.
type View struct {
	Columns []Column
	Mark    func(event.Event) Mark
	// Paged: a row is a thing (a process, a route), not something that happened.
	// On a terminal the rows are refreshed in place: see event.Page.
	Paged bool
	Title func(b []byte, p *event.Page) []byte // line above a page; nil: none
	Below func(b []byte, e event.Event) []byte // line for each of event.Page.Below; nil: none
}

// cut shortens text that is wider than the column.
func (c *Column) cut(text []byte) []byte {
	switch {
	case c.Cut != nil:
		return c.Cut(text, c.Width)
	case c.KeepEnd:
		return cutStart(text, c.Width)
	}
	return cut(text, c.Width)
}

// rank is how useful the part of the column is that gives way next.
func (c *Column) rank() int {
	if c.Spare > 0 && c.Width > c.Min {
		return c.Spare
	}
	return c.Rank
}

// Select picks columns by name, in the order of the names. If there is no column
// of a name, it returns that name as bad.
func Select(all []Column, names []string) (picked []Column, bad string) {
	for _, name := range names {
		i := slices.IndexFunc(all, func(c Column) bool { return c.Name == strings.TrimSpace(name) })
		if i < 0 {
			return nil, name
		}
		c := all[i]
		c.When, c.Room = nil, 0
		picked = append(picked, c)
	}
	return picked, ""
}

// Defaults are the columns that are shown unless others are asked for.
func Defaults(all []Column) []Column {
	return slices.DeleteFunc(slices.Clone(all), func(c Column) bool { return c.Extra })
}

// Names are the names of columns.
func Names(all []Column) []string {
	names := make([]string, len(all))
	for i, c := range all {
		names[i] = c.Name
	}
	return names
}
