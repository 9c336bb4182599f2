package render

import (
	"os"
	"slices"
	"time"

	"golang.org/x/term"

	"tracer/trace/event"
)

// TableOptions say how a table looks.
type TableOptions struct {
	Columns  []Column               // in order
	Mark     func(event.Event) Mark // nil: nothing stands out
	Terminal *os.File               // measured for its size; nil: lines are never cut
	Wide     bool                   // never cut
	Color    bool
}

const measureInterval = 200 * time.Millisecond

// Table formats events as rows under a header. On a terminal a row takes one
// line at most, and the header comes again on every screenful.
type Table struct {
	opts   TableOptions
	colors palette

	width, height int       // of the terminal when the columns were laid out; 0 without one
	measured      time.Time // when the terminal was last asked for its size
	columns       []Column
	hidden        []Column // not shown yet: see Column.When
	widths        widths   // of the cells of all columns, where there is a terminal
	rows          int      // since the header; -1 before the first header
	cell          []byte

	// The row that is being written, where there is a terminal: the text of all its
	// cells, and the end of each in it.
	text []byte
	ends []int
}

// NewTable returns a Table.
func NewTable(opts TableOptions) *Table {
	t := &Table{opts: opts, rows: -1, widths: newWidths(len(opts.Columns))}
	for _, c := range opts.Columns {
		if c.When != nil {
			t.hidden = append(t.hidden, c)
		}
	}
	if opts.Color {
		t.colors = newPalette()
	}
	return t
}

// AppendEvent implements Format.
func (t *Table) AppendEvent(b []byte, e event.Event) []byte {
	resized, more := t.measure(), t.appear(e)
	if t.width > 0 {
		t.text, t.ends = t.appendCells(t.text[:0], t.ends[:0], e)
		t.noteWidths(t.text, t.ends)
		t.widths.count++
		if t.rows < 0 {
			t.widthsOfFirst()
		}
	}
	if resized || more || t.rows < 0 || t.height > 0 && t.rows >= t.height-2 {
		t.widths.turn(rowWindow)
		b = t.appendHeader(b)
	} else if t.widths.grown {
		t.grow()
	}
	t.rows++
	if t.width > 0 {
		return t.appendKept(b, t.text, t.ends, t.markOf(e))
	}
	return t.appendRow(b, e)
}

func (t *Table) appendRow(b []byte, e event.Event) []byte {
	start := len(b)
	for i := range t.columns {
		c := &t.columns[i]
		t.cell = c.Cell(t.cell[:0], e)
		b = t.appendCell(b, i, t.cell)
	}
	return t.colors.endLine(b, start, t.markOf(e))
}

// widthsOfFirst leaves some room behind the first row: it may be a short one.
func (t *Table) widthsOfFirst() {
	for i, c := range t.opts.Columns {
		if t.widths.need(i) > 0 {
			t.widths.note(i, c.Min)
		}
	}
}

// appendCells appends the text of all cells of a row, and where each ends.
func (t *Table) appendCells(text []byte, ends []int, e event.Event) ([]byte, []int) {
	for i := range t.opts.Columns {
		text = t.opts.Columns[i].Cell(text, e)
		ends = append(ends, len(text))
	}
	return text, ends
}

// noteWidths remembers how wide the cells of a row are.
func (t *Table) noteWidths(text []byte, ends []int) {
	from := 0
	if first := len(ends) - len(t.opts.Columns); first > 0 {
		from, ends = ends[first-1], ends[first:]
	}
	for i, end := range ends {
		if t.opts.Columns[i].adapts() {
			t.widths.note(i, textWidth(text[from:end]))
		}
		from = end
	}
}

// layOut makes columns fit the terminal and what they hold.
func (t *Table) layOut() {
	t.widths.grown = false
	t.columns = Fit(t.shown(), t.width)
}

// grow makes columns wider for the row that comes, below the header that there is.
func (t *Table) grow() {
	t.widths.grown = false
	for i, next := 0, 0; i < len(t.columns); i, next = i+1, next+1 {
		for t.opts.Columns[next].Name != t.columns[i].Name {
			next++
		}
		t.columns[i].need = t.widths.need(next)
	}
	grow(t.columns)
}

// appendKept appends a row of which the text of all cells is given.
func (t *Table) appendKept(b, text []byte, ends []int, mark Mark) []byte {
	start := len(b)
	first := len(ends) - len(t.opts.Columns) // of the row's, there may be rows before it
	for i, next := 0, 0; i < len(t.columns); i, next = i+1, next+1 {
		// The columns on the screen are some of all, in the same order.
		for t.opts.Columns[next].Name != t.columns[i].Name {
			next++
		}
		from := 0
		if first+next > 0 {
			from = ends[first+next-1]
		}
		t.cell = append(t.cell[:0], text[from:ends[first+next]]...)
		b = t.appendCell(b, i, t.cell)
	}
	return t.colors.endLine(b, start, mark)
}

func (t *Table) markOf(e event.Event) Mark {
	if t.opts.Mark == nil {
		return Usual
	}
	return t.opts.Mark(e)
}

// appear unhides the columns for which e is the first event with something to
// show, and reports whether there are any.
func (t *Table) appear(e event.Event) bool {
	before := len(t.hidden)
	t.hidden = slices.DeleteFunc(t.hidden, func(c Column) bool { return c.When(e) })
	return len(t.hidden) < before
}

// shown are the columns without the hidden ones, with what they need.
func (t *Table) shown() []Column {
	all := slices.Clone(t.opts.Columns)
	for i := range all {
		all[i].need, all[i].usual = t.widths.need(i), all[i].Width
	}
	return slices.DeleteFunc(all, func(c Column) bool {
		return slices.ContainsFunc(t.hidden, func(h Column) bool { return h.Name == c.Name })
	})
}

// measure asks the terminal for its size, at most once per measureInterval, and
// reports whether its width has changed.
func (t *Table) measure() bool {
	if t.opts.Terminal == nil || time.Since(t.measured) < measureInterval {
		return false
	}
	t.measured = time.Now()
	w, h, err := term.GetSize(int(t.opts.Terminal.Fd()))
	if err != nil || w <= 0 || h <= 0 {
		w, h = 80, 24 // the size is not known
	}
	if t.opts.Wide {
		w = 0
	}
	changed := w != t.width
	t.width, t.height = w, max(h, 4)
	return changed
}

// appendHeader lays the columns out and appends their titles.
func (t *Table) appendHeader(b []byte) []byte {
	t.rows = 0
	t.layOut()
	start := len(b)
	for i, c := range t.columns {
		b = t.appendCell(b, i, []byte(c.Title))
	}
	return t.colors.endLine(b, start, header)
}

// appendCell appends the text of column i to the line, cut to the column's width
// where there is a terminal, and padded to it.
func (t *Table) appendCell(b []byte, i int, text []byte) []byte {
	c := &t.columns[i]
	if i > 0 {
		b = append(b, ' ')
	}
	width := textWidth(text)
	if t.width > 0 && width > c.Width {
		text = c.cut(text)
		width = textWidth(text)
	}
	fill := max(c.Width-width, 0)
	if c.Right {
		b = appendSpaces(b, fill)
	}
	b = append(b, text...)
	if !c.Right && i < len(t.columns)-1 {
		b = appendSpaces(b, fill)
	}
	return b
}

// appendLine cuts the text that begins at start to the terminal's width and
// ends the line.
func (t *Table) appendLine(b []byte, start int) []byte {
	if t.width > 0 && textWidth(b[start:]) > t.width {
		b = append(b[:start], cut(b[start:], t.width)...)
	}
	return append(b, '\n')
}
