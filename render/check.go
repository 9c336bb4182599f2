package render

import (
	"fmt"
	"slices"
	"strings"

	"tracer/trace/event"
)

// checkColumns are the columns of check's table.
var checkColumns = []string{"COMMAND", "SEES", "HOOK", "MISSES", "REMEDY"}

// Indexes of checkColumns.
const (
	checkMisses = 3
	checkRemedy = 4
)

const (
	checkGap    = 2  // cells between columns
	checkNarrow = 90 // below this many cells, REMEDY stands below MISSES
	factIndent  = 12
)

// AppendCheck appends what can be traced here: facts, each behind its name, then a
// table of the commands. No line is longer than width cells (0: no limit).
func AppendCheck(b []byte, c *event.Check, width int) []byte {
	for _, f := range checkFacts(c) {
		b = appendFact(b, f[0], f[1], width)
	}
	b = append(b, '\n')
	titles, rows := slices.Clone(checkColumns), checkRows(c)
	if width > 0 && width < checkNarrow {
		for i, row := range rows {
			if row[checkRemedy] != "" {
				row[checkMisses] += "\n→ " + row[checkRemedy]
			}
			rows[i] = row[:checkRemedy]
		}
		titles[checkMisses], titles = "MISSES, → REMEDY", titles[:checkRemedy]
	}
	// On most kernels nothing is missed: the table does without those columns.
	for i := len(titles) - 1; i > 0; i-- {
		if slices.ContainsFunc(rows, func(row []string) bool { return row[i] != "" }) {
			continue
		}
		titles = slices.Delete(titles, i, i+1)
		for r := range rows {
			rows[r] = slices.Delete(rows[r], i, i+1)
		}
	}
	return appendWrapped(b, titles, rows, width)
}

// checkFacts are what is said above the table, by name.
func checkFacts(c *event.Check) (facts [][2]string) {
	add := func(name, text string) { facts = append(facts, [2]string{name, text}) }
	if c.Blocked != "" {
		add("kernel", c.Kernel+" ("+c.Arch+")")
		add("all else", "unknown: "+c.Blocked)
		return facts
	}
	types := "types from " + c.BTF
	if c.BTF == "" {
		types = "does not describe its types: pass a BTF file made for exactly this kernel with --btf FILE"
	}
	kernel := c.Kernel + " (" + c.Arch + "), " + types
	if c.Lockdown != "" {
		kernel += ", lockdown " + c.Lockdown
	}
	add("kernel", kernel)
	switch c.Buffer {
	case "ring":
		add("events", "by ring buffer")
	case "perf":
		add("events", "by perf event arrays")
	}
	if len(c.Missing) == 0 {
		add("privileges", "complete")
	} else {
		var missing []string
		for _, m := range c.Missing {
			missing = append(missing, m.Name+" (to "+m.For+")")
		}
		add("privileges", "missing: "+strings.Join(missing, ", ")+". To get all: "+c.Grant)
	}
	for _, w := range c.Warnings {
		add("", w)
	}
	cgroups := map[string]string{"v2": "v2", "v1": "v1", "hybrid": "v2 and v1 (hybrid)"}[c.Cgroups]
	if cgroups == "" {
		cgroups = "not found: events name no containers and no pods. Mount cgroup2 at /sys/fs/cgroup, or pass the host's into the container"
	}
	add("cgroups", cgroups)
	runtimes := strings.Join(c.Runtimes, ", ")
	if runtimes == "" {
		runtimes = "none running"
	}
	add("runtimes", runtimes)
	name := "TLS"
	for _, l := range c.TLS {
		text := l.Path + ": "
		if l.Why == "" {
			text += l.Library
		} else {
			text += "cannot be read: " + l.Why
		}
		switch l.Processes {
		case 0:
			text += ", in no process now"
		case 1:
			text += ", in 1 process"
		default:
			text += fmt.Sprintf(", in %d processes", l.Processes)
		}
		add(name, text)
		name = ""
	}
	return facts
}

// checkRows are the rows of the table. A row of a command tells what it sees by
// one kind of hook; what misses something has a row of its own.
func checkRows(c *event.Check) (rows [][]string) {
	for i, command := range c.Commands {
		if command.Error != "" {
			why, remedy := command.Error, command.Remedy
			if i > 0 && c.Commands[i-1].Error == why {
				why, remedy = "same reason", ""
			}
			rows = append(rows, []string{command.Name, "nothing", "", "everything: " + why, remedy})
			continue
		}
		start := len(rows)
		for _, f := range command.Features {
			if f.Misses == "" {
				j := slices.IndexFunc(rows[start:], func(row []string) bool { return row[2] == f.Hooks && row[checkMisses] == "" })
				if j >= 0 {
					rows[start+j][1] += "; " + f.Name
					continue
				}
			}
			sees := f.Name
			if f.Hooks == "" {
				sees = ""
			}
			rows = append(rows, []string{"", sees, f.Hooks, f.Misses, f.Remedy})
		}
		if len(rows) > start {
			rows[start][0] = command.Name
		}
	}
	// Errors can hold text of strangers.
	for _, row := range rows {
		for i := range row {
			row[i] = string(AppendMessage(nil, row[i]))
		}
	}
	return rows
}

// appendFact appends a name and what is to be said about it, on as many lines as
// it takes.
func appendFact(b []byte, name, text string, width int) []byte {
	text = string(AppendMessage(nil, text))
	lines := []string{text}
	if width > 0 {
		lines = wrap(text, max(width-factIndent, 20))
	}
	for _, line := range lines {
		b = append(b, name...)
		b = appendSpaces(b, factIndent-len(name))
		b = append(append(b, line...), '\n')
		name = ""
	}
	return b
}

// appendWrapped appends a table of which no line is longer than width cells (0: no
// limit): texts are wrapped, in such columns that the table has few lines.
func appendWrapped(b []byte, titles []string, rows [][]string, width int) []byte {
	columns := make([]wrappedColumn, len(titles))
	over := checkGap*(len(titles)-1) - width
	for i, title := range titles {
		c := &columns[i]
		c.texts = append(c.texts, title)
		for _, row := range rows {
			c.texts = append(c.texts, row[i])
		}
		c.measure()
		over += c.width
	}
	for step := max(over/8, 1); width > 0 && over > 0; {
		step = min(step, over)
		best := cheapest(columns, step)
		switch {
		case best >= 0:
			columns[best].width -= step
			over -= step
		case step > 1:
			step = 1
		default: // narrower than is good: words are broken
			for i := range columns {
				columns[i].min = 2
			}
			if cheapest(columns, 1) < 0 {
				over = 0
			}
		}
	}
	if width > 0 {
		balance(columns)
	}
	grid := make([]gridRow, len(rows))
	laidOut := make([]Column, len(columns))
	for i := range columns {
		c := &columns[i]
		laidOut[i] = Column{Title: strings.Join(c.lines(0), "\n"), Width: c.width}
		for r := range rows {
			grid[r].cells = append(grid[r].cells, strings.Join(c.lines(r+1), "\n"))
		}
	}
	return appendGrid(b, laidOut, grid, checkGap, nil)
}

// A wrappedColumn is a column of texts, the first of which is its title.
type wrappedColumn struct {
	texts      []string
	width, min int // in cells
}

// measure sets the width to what the longest line takes, and min to what it can be
// narrowed to without breaking words, or 12.
func (c *wrappedColumn) measure() {
	for i, text := range c.texts {
		for line := range strings.SplitSeq(text, "\n") {
			c.width = max(c.width, textWidth([]byte(line)))
		}
		for _, word := range strings.Fields(text) {
			w := textWidth([]byte(word))
			if i > 0 {
				w = min(w, 12)
			}
			c.min = max(c.min, w)
		}
	}
}

// lines are the lines of a text in the column's width.
func (c *wrappedColumn) lines(i int) (lines []string) {
	for line := range strings.SplitSeq(c.texts[i], "\n") {
		lines = append(lines, wrap(line, c.width)...)
	}
	return lines
}

// cheapest is which column costs the fewest lines if it is made narrower by so many
// cells, of several the widest; -1 if none can be.
func cheapest(columns []wrappedColumn, cells int) int {
	best, least := -1, 0
	for i := range columns {
		c := &columns[i]
		if c.width-cells < c.min {
			continue
		}
		c.width -= cells
		lines := linesOf(columns)
		c.width += cells
		if best < 0 || lines < least || lines == least && c.width > columns[best].width {
			best, least = i, lines
		}
	}
	return best
}

// balance moves cells from one column to another while that saves lines.
func balance(columns []wrappedColumn) {
	least := linesOf(columns)
	for again := true; again; {
		again = false
		for i := range columns {
			for j := range columns {
				for cells := 16; cells > 0; cells /= 2 {
					if i == j || columns[i].width-cells < columns[i].min {
						continue
					}
					columns[i].width -= cells
					columns[j].width += cells
					if lines := linesOf(columns); lines < least {
						least, again = lines, true
						continue
					}
					columns[i].width += cells
					columns[j].width -= cells
				}
			}
		}
	}
}

// linesOf is the number of lines of a table.
func linesOf(columns []wrappedColumn) (sum int) {
	for row := range columns[0].texts {
		most := 0
		for i := range columns {
			most = max(most, len(columns[i].lines(row)))
		}
		sum += most
	}
	return sum
}
