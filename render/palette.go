package render

import (
	"io"

	"github.com/charmbracelet/lipgloss"
	"github.com/muesli/termenv"
)

// Mark says how a row stands out. What it says by colour, the row says in words
// too.
type Mark int

// Marks, from the least to the most urgent.
const (
	Usual Mark = iota
	Quiet      // expected, of less interest
	Slow
	Failed

	header Mark = -1 // not a row: the titles of the columns
)

// A palette has the style of each mark that has one. A nil palette has no
// colours.
type palette map[Mark]lipgloss.Style

// newPalette returns a palette for a terminal of 16 colours. Whether there is one
// was decided before: asking it would cost a round trip over a slow line.
func newPalette() palette {
	r := lipgloss.NewRenderer(io.Discard)
	r.SetColorProfile(termenv.ANSI)
	return palette{
		header: r.NewStyle().Bold(true),
		Quiet:  r.NewStyle().Faint(true),
		Slow:   r.NewStyle().Foreground(lipgloss.Color("3")),
		Failed: r.NewStyle().Foreground(lipgloss.Color("1")),
	}
}

// endLine removes the spaces at the end of the line that begins at start, and
// paints and ends it.
func (p palette) endLine(b []byte, start int, mark Mark) []byte {
	for len(b) > start && b[len(b)-1] == ' ' {
		b = b[:len(b)-1]
	}
	if style, ok := p[mark]; ok {
		b = append(b[:start], style.Render(string(b[start:]))...)
	}
	return append(b, '\n')
}
