package render

import (
	"os"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/lipgloss"
	"github.com/charmbracelet/x/ansi"
	"golang.org/x/term"

	"tracer/trace/event"
)

// Mark says how a row stands out. What it says by colour the row says in words
// too.
type Mark int

// Marks, from the least to the most urgent.
const (
	Usual Mark = iota
	Quiet      // expected, of less interest
	Failed
)

// Column is a column of a command's table.
type Column struct {
	Name  string // for --columns
	Title string
	Width int  // usual width in cells
	Min   int  // width it can be cut to; 0: it goes before it is cut
	Rank  int  // usefulness: the lowest gives way first; equals go together
	Spare int  // Rank of what is wider than Min; 0: Rank
	Right bool // numbers stand to the right
	Extra bool // shown only if asked for
	// Interval: it tells of an interval, hence nothing of a whole run.
	Interval bool
	// Keep: not left out while a more useful one can get narrower.
	Keep bool
	// KeepEnd: what does not fit is cut at its beginning.
	KeepEnd bool
	// When: shown, unless asked for, from the first event on of which this is
	// true; nil: always.
	When func(event.Event) bool
	// Cell appends the text, with nothing in it that a terminal obeys.
	Cell func(b []byte, e event.Event) []byte
}

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
// line at most and the header comes again on every screenful.
type Table struct {
	opts   TableOptions
	styles map[Mark]lipgloss.Style
	header lipgloss.Style

	width, height int       // of the terminal as laid out; 0 if there is none
	measured      time.Time // when
	columns       []Column
	hidden        []Column // that have not appeared yet
	rows          int      // since the header; -1 before the first
	cell          []byte
}

// NewTable returns a Table.
func NewTable(opts TableOptions) *Table {
	t := &Table{opts: opts, rows: -1}
	for _, c := range opts.Columns {
		if c.When != nil {
			t.hidden = append(t.hidden, c)
		}
	}
	if opts.Color {
		t.header = lipgloss.NewStyle().Bold(true)
		t.styles = map[Mark]lipgloss.Style{
			Quiet:  lipgloss.NewStyle().Faint(true),
			Failed: lipgloss.NewStyle().Foreground(lipgloss.Color("1")),
		}
	}
	return t
}

// AppendEvent implements Format.
func (t *Table) AppendEvent(b []byte, e event.Event) []byte {
	resized, more := t.measure(), t.appear(e)
	if resized || more || t.rows < 0 || t.height > 0 && t.rows >= t.height-2 {
		b = t.appendHeader(b)
	}
	t.rows++
	return t.appendRow(b, e)
}

func (t *Table) appendRow(b []byte, e event.Event) []byte {
	mark := Usual
	if t.opts.Mark != nil {
		mark = t.opts.Mark(e)
	}
	start := len(b)
	for i := range t.columns {
		c := &t.columns[i]
		t.cell = c.Cell(t.cell[:0], e)
		b = t.appendCell(b, i, t.cell)
	}
	return t.endRow(b, start, mark)
}

// appear shows columns from the first event on that has something for them, and
// reports whether there are new ones.
func (t *Table) appear(e event.Event) bool {
	before := len(t.hidden)
	t.hidden = slices.DeleteFunc(t.hidden, func(c Column) bool { return c.When(e) })
	return len(t.hidden) < before
}

// shown are the columns without those that have not appeared.
func (t *Table) shown() []Column {
	return slices.DeleteFunc(slices.Clone(t.opts.Columns), func(c Column) bool {
		return slices.ContainsFunc(t.hidden, func(h Column) bool { return h.Name == c.Name })
	})
}

// measure looks, every now and then, at the size of the terminal and reports
// whether it has changed.
func (t *Table) measure() bool {
	if t.opts.Terminal == nil || time.Since(t.measured) < measureInterval {
		return false
	}
	t.measured = time.Now()
	w, h, err := term.GetSize(int(t.opts.Terminal.Fd()))
	if err != nil || w <= 0 || h <= 0 {
		w, h = 80, 24 // a terminal that does not tell
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
	t.columns = Fit(t.shown(), t.width)
	start := len(b)
	for i, c := range t.columns {
		b = t.appendCell(b, i, []byte(c.Title))
	}
	return t.endLine(b, start, t.header, t.opts.Color)
}

func (t *Table) endRow(b []byte, start int, mark Mark) []byte {
	style, ok := t.styles[mark]
	return t.endLine(b, start, style, ok)
}

// endLine takes spaces off the end of the line that begins at start, and
// paints it.
func (t *Table) endLine(b []byte, start int, style lipgloss.Style, paint bool) []byte {
	for len(b) > start && b[len(b)-1] == ' ' {
		b = b[:len(b)-1]
	}
	if paint {
		b = append(b[:start], style.Render(string(b[start:]))...)
	}
	return append(b, '\n')
}

// appendCell appends text to the line, filled up or cut to the width of the
// column i.
func (t *Table) appendCell(b []byte, i int, text []byte) []byte {
	c := &t.columns[i]
	last := i == len(t.columns)-1
	if i > 0 {
		b = append(b, ' ')
	}
	width := textWidth(text)
	if t.width > 0 && width > c.Width {
		if c.KeepEnd {
			text = cutStart(text, c.Width)
		} else {
			text = cut(text, c.Width)
		}
		width = textWidth(text)
	}
	fill := max(c.Width-width, 0)
	if c.Right {
		b = appendSpaces(b, fill)
	}
	b = append(b, text...)
	if !c.Right && !last {
		b = appendSpaces(b, fill)
	}
	return b
}

func appendSpaces(b []byte, n int) []byte {
	for range n {
		b = append(b, ' ')
	}
	return b
}

// textWidth is the number of cells that text takes at most.
func textWidth(text []byte) int {
	width := 0
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		width += runeWidth(r)
		i += n
	}
	return width
}

// runeWidth is the number of cells that a character takes at most. Terminals
// differ in what they join to one shape: no row may wrap on any of them, so
// that nothing is counted as joined but what always is.
func runeWidth(r rune) int {
	switch {
	case r < utf8.RuneSelf:
		return 1
	case r == 0xfe0f: // makes what stands before it an emoji, which is wide
		return 1
	case r >= 0x1f3fb && r <= 0x1f3ff: // the colour of an emoji, or one itself
		return 2
	case unicode.In(r, unicode.Mn, unicode.Me):
		// Terminals with older tables give a cell to some of them.
		return ansi.StringWidthWc(string(r))
	}
	return max(1, ansi.StringWidth(string(r)), ansi.StringWidthWc(string(r)))
}

// cut shortens text, in place, to so many cells; the last is the mark of the
// cut.
func cut(text []byte, width int) []byte {
	end := 0
	for width--; end < len(text); {
		r, n := utf8.DecodeRune(text[end:])
		if width -= runeWidth(r); width < 0 {
			break
		}
		end += n
	}
	return append(text[:end], "…"...)
}

// cutStart keeps the end of text, after an ellipsis.
func cutStart(text []byte, width int) []byte {
	start := len(text)
	for width--; start > 0; {
		r, n := utf8.DecodeLastRune(text[:start])
		if width -= runeWidth(r); width < 0 {
			break
		}
		start -= n
	}
	return append([]byte("…"), text[start:]...)
}

// rank is how useful what gives way next is.
func (c *Column) rank() int {
	if c.Spare > 0 && c.Width > c.Min {
		return c.Spare
	}
	return c.Rank
}

// growing is which column takes what is left of a line: the last one with text
// that may be long; -1 if there is none, so that numbers stay side by side.
func growing(columns []Column) int {
	for i := len(columns) - 1; i >= 0; i-- {
		if c := &columns[i]; !c.Right && c.Min > 0 {
			return i
		}
	}
	return -1
}

// Fit lays columns out for a line of so many cells: one of them takes what is
// left, and where there is too little the least useful ones are cut, then left
// out. A width of 0 is one without an end.
func Fit(columns []Column, width int) []Column {
	fit := slices.Clone(columns)
	if width <= 0 || len(fit) == 0 {
		return fit
	}
	need := func() int {
		n := len(fit) - 1
		for _, c := range fit {
			n += c.Width
		}
		return n
	}
	// What stays as wide as it is while something less useful can give way.
	for over := need() - width; over > 0; over = need() - width {
		least := -1
		for _, kept := range []bool{false, true} {
			for i, c := range fit {
				if !kept && c.Keep && c.Width <= c.Min {
					continue // rather something more useful gets narrow
				}
				if least < 0 || c.rank() < fit[least].rank() {
					least = i
				}
			}
			if least >= 0 {
				break
			}
		}
		c := &fit[least]
		switch {
		case c.Min > 0 && c.Width > c.Min:
			c.Width = max(c.Min, c.Width-over)
		case len(fit) > 1:
			// Columns of one rank go together: bytes received beside no
			// bytes sent would be taken for something else.
			rank := c.Rank
			rest := slices.DeleteFunc(slices.Clone(fit), func(c Column) bool { return c.Rank == rank })
			if len(rest) == 0 {
				rest = fit[:1]
			}
			fit = rest
		default:
			c.Width = width
		}
	}
	if grows := growing(fit); grows >= 0 {
		fit[grows].Width += max(0, width-need())
	}
	return fit
}

// Select picks columns by name, in the order of the names. An unknown name is
// returned as bad.
func Select(all []Column, names []string) (picked []Column, bad string) {
	for _, name := range names {
		i := slices.IndexFunc(all, func(c Column) bool { return c.Name == strings.TrimSpace(name) })
		if i < 0 {
			return nil, name
		}
		c := all[i]
		c.When = nil
		picked = append(picked, c)
	}
	return picked, ""
}

// Defaults are the columns that are shown if none are asked for.
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
