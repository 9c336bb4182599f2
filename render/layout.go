package render

import "slices"

// window is how many rows, or pages, decide at least how wide columns are.
const (
	rowWindow  = 40
	pageWindow = 10
)

// widths remembers how wide the cells of the last rows were, column by column. What is
// needed only grows between two turns, so that columns do not move to and fro.
type widths struct {
	now, before []int
	count       int  // rows or pages since the last turn
	grown       bool // more is needed than when columns were laid out last
}

func newWidths(columns int) widths {
	return widths{now: make([]int, columns), before: make([]int, columns)}
}

// note takes the width of a cell of column i.
func (w *widths) note(i, width int) {
	w.grown = w.grown || width > w.need(i)
	w.now[i] = max(w.now[i], width)
}

// need is the width that column i needs, 0 if that is not known.
func (w *widths) need(i int) int { return max(w.now[i], w.before[i]) }

// turn forgets what is older than the window, if that is over.
func (w *widths) turn(window int) {
	if w.count < window {
		return
	}
	w.count = 0
	w.now, w.before = w.before, w.now
	clear(w.now)
}

// adapts reports whether the column is made as wide as its cells: those of text that
// can be long. Numbers keep their places.
func (c *Column) adapts() bool { return c.Min > 0 && c.Min < c.Width }

// narrow makes columns as narrow as their cells and titles allow, where that is known.
// The one that takes the rest of a line keeps its usual width: its next text may be longer.
func narrow(columns []Column) {
	grows := growing(columns)
	for i := range columns {
		c := &columns[i]
		if c.need == 0 || i == grows || !c.adapts() {
			continue
		}
		c.Width = min(c.Width, max(c.need, textWidth([]byte(c.Title))))
		c.Min = min(c.Min, c.Width)
	}
}

// widen gives spare cells to columns that are narrower than what they hold: first to
// the one that takes the rest of a line, then to the most useful. It returns what is left.
func widen(columns []Column, spare int) int {
	grows := growing(columns)
	for spare > 0 {
		best := -1
		for i := range columns {
			c := &columns[i]
			if c.need <= c.Width || c.Min == 0 {
				continue
			}
			if best < 0 || best != grows && (i == grows || c.Rank > columns[best].Rank) {
				best = i
			}
		}
		if best < 0 {
			break
		}
		more := min(spare, columns[best].need-columns[best].Width)
		columns[best].Width += more
		spare -= more
	}
	return spare
}

// grow gives a column that has become too narrow cells of the one that takes the rest of
// a line: up to its usual width, as far as the other keeps that, too, and beyond it what
// the other does not need. It gives the usual width at once, so that columns move seldom.
// They stay the same ones.
func grow(columns []Column) {
	grows := growing(columns)
	if grows < 0 {
		return
	}
	rest := &columns[grows]
	for i := range columns {
		c := &columns[i]
		if i == grows || c.need <= c.Width || c.Min == 0 {
			continue
		}
		more := min(c.usual-c.Width, rest.Width-rest.usual)
		if all := c.need - c.Width; c.need > c.usual && all <= rest.Width-max(rest.usual, rest.need) {
			more = all
		}
		if more > 0 {
			c.Width += more
			rest.Width -= more
		}
	}
}

// growing is the index of the column that takes the rest of a line: the last one
// of text that can be long, or -1. Numbers stay side by side.
func growing(columns []Column) int {
	for i := len(columns) - 1; i >= 0; i-- {
		if c := &columns[i]; !c.Right && c.Min > 0 {
			return i
		}
	}
	return -1
}

// Fit lays columns out for a line of so many cells. Text that is short takes no more
// than it needs, as far as that is known. If there is room to spare, text that is long
// takes it, and one column the rest; if there is too little, the least useful columns
// are made narrower, then left out. A width of 0 means no limit.
func Fit(columns []Column, width int) []Column {
	fit := slices.Clone(columns)
	if width <= 0 || len(fit) == 0 {
		return fit
	}
	if rest := slices.DeleteFunc(slices.Clone(fit), func(c Column) bool { return c.Room > width }); len(rest) > 0 {
		fit = rest
	}
	narrow(fit)
	need := func() int {
		n := len(fit) - 1
		for _, c := range fit {
			n += c.Width
		}
		return n
	}
	for over := need() - width; over > 0; over = need() - width {
		least := -1
		for _, kept := range []bool{false, true} {
			for i, c := range fit {
				if !kept && c.Keep && c.Width <= c.Min {
					continue // a more useful column is made narrower first
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
			// Columns of one rank go together: a lone RECEIVED without SENT
			// would be misread as both.
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
	spare := widen(fit, max(0, width-need()))
	if grows := growing(fit); grows >= 0 {
		fit[grows].Width += spare
	}
	return fit
}
