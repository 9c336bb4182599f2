package render

import (
	"io"

	"github.com/olekukonko/ll"
	"github.com/olekukonko/tablewriter"
	"github.com/olekukonko/tablewriter/tw"
)

// gridRow is a row of a grid. A cell has a line for each \n in it.
type gridRow struct {
	cells []string
	mark  Mark
}

// appendGrid appends a table of which all rows are known: tablewriter arranges
// rows, lines and columns. It does not measure, wrap or cut text, since it counts
// cells otherwise than runeWidth, and otherwise in some locales: the caller gives
// the widths, and text that fits them. gap is the number of cells between columns.
func appendGrid(b []byte, columns []Column, rows []gridRow, gap int, colors palette) []byte {
	g := &grid{b: b, gap: gap, colors: colors, row: -1}
	widths, aligns := tw.NewMapper[int, int](), make([]tw.Align, len(columns))
	titles, cells := make([]string, len(columns)), make([][]string, len(rows))
	for i, c := range columns {
		widths.Set(i, c.Width)
		titles[i], aligns[i] = c.Title, tw.AlignLeft
		if c.Right {
			aligns[i] = tw.AlignRight
		}
	}
	for i, r := range rows {
		cells[i] = r.cells
		g.marks = append(g.marks, r.mark)
	}
	asGiven := tw.CellConfig{
		Formatting: tw.CellFormatting{AutoFormat: tw.Off},
		Alignment:  tw.CellAlignment{PerColumn: aligns},
		Padding:    tw.CellPadding{Global: tw.PaddingNone},
	}
	t := tablewriter.NewTable(io.Discard, tablewriter.WithRenderer(g), tablewriter.WithConfig(tablewriter.Config{
		Header: asGiven, Row: asGiven,
		Widths:   tw.CellWidth{PerColumn: widths},
		Behavior: tw.Behavior{TrimSpace: tw.Off, TrimTab: tw.Off},
	}), tablewriter.WithHeaderAutoWrap(tw.WrapNone), tablewriter.WithRowAutoWrap(tw.WrapNone)) // which a Config cannot say
	t.Header(titles)
	// Neither fails: all cells are strings, and the renderer is ours.
	_ = t.Bulk(cells)
	_ = t.Render()
	return g.b
}

// grid is a tw.Renderer that writes lines as the other tables of this package
// are written: no borders, nothing at the end of a line, the colours of a palette.
type grid struct {
	b      []byte
	gap    int
	colors palette
	marks  []Mark // of the rows
	row    int    // that is being written; a row can have several lines
}

func (g *grid) Header(_ [][]string, ctx tw.Formatting) { g.line(ctx, header) }

func (g *grid) Row(_ []string, ctx tw.Formatting) {
	if !ctx.IsSubRow {
		g.row++
	}
	g.line(ctx, g.marks[g.row])
}

func (g *grid) line(ctx tw.Formatting, mark Mark) {
	start := len(g.b)
	for i := range len(ctx.Row.Current) {
		if i > 0 {
			g.b = appendSpaces(g.b, g.gap)
		}
		cell := ctx.Row.Current[i]
		fill := max(ctx.Row.Widths.Get(i)-textWidth([]byte(cell.Data)), 0)
		if cell.Align == tw.AlignRight {
			g.b = appendSpaces(g.b, fill)
		}
		g.b = append(g.b, cell.Data...)
		if cell.Align != tw.AlignRight {
			g.b = appendSpaces(g.b, fill)
		}
	}
	g.b = g.colors.endLine(g.b, start, mark)
}

func (g *grid) Config() tw.Rendition             { return tw.Rendition{Borders: tw.BorderNone} }
func (g *grid) Footer([][]string, tw.Formatting) {}
func (g *grid) Line(tw.Formatting)               {}
func (g *grid) Logger(*ll.Logger)                {}
func (g *grid) Start(io.Writer) error            { return nil }
func (g *grid) Close() error                     { return nil }
