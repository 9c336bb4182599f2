package draw

import (
	"bytes"
	"strings"
	"time"
)

const (
	ladderTime = 10 // cells for the time
	ladderStep = 9  // between two lifelines, at least
	// ladderWidest is more than which lifelines need not be apart.
	ladderWidest = 16
	ladderLines  = 3 // of one text
)

// ladderRoom is what is left for text beside the ladder, at least.
func ladderRoom(width int) int { return max(20, width*2/7) }

// ladderSeats is how many participants fit.
func ladderSeats(width int) int {
	return max((width-ladderTime-ladderRoom(width))/ladderStep, 2)
}

// appendLadder appends a picture as text that is not wider than width cells, all of it
// printable ASCII.
func (p *picture) appendLadder(b []byte, width int) []byte {
	step := min(max((width-ladderTime-ladderRoom(width))/len(p.names), ladderStep), ladderWidest)
	l := ladder{width: width, step: step, seats: len(p.names)}
	for _, s := range p.told {
		for _, line := range wrap(ascii(visible(s)), width, width/2, 100) {
			l.line(line)
		}
	}
	l.line("")
	l.header(p.names)
	depth := 0
	for _, s := range p.steps {
		if s.kind == end {
			depth--
		}
		indent := strings.Repeat("  ", max(depth, 0))
		text, at := ascii(visible(s.text)), ""
		switch {
		case s.kind == end, s.kind == loop:
		case depth > 0 && s.kind != request && s.kind != arrow: // the last one's time says nothing
		default:
			at = "+" + ascii(duration(time.Duration(s.at-p.start)))
		}
		rail := l.rail()
		switch s.kind {
		case loop:
			text = "loop " + text
			depth++
		case end:
			text = "end"
		case note:
			for n := min(s.from, s.to); n <= max(s.from, s.to); n++ {
				rail[l.at(n)] = '*'
			}
		default:
			l.arrow(rail, s)
		}
		l.row(at, rail, indent, text)
	}
	return append(b, l.out...)
}

// A ladder is the text as far as it is written.
type ladder struct {
	out                []byte
	width, step, seats int
}

// line adds a line, without spaces at its end.
func (l *ladder) line(s string) {
	l.out = append(append(l.out, strings.TrimRight(s, " ")...), '\n')
}

// at is the cell of a lifeline.
func (l *ladder) at(n int) int { return n*l.step + l.step/2 }

// rail is the lifelines of one line.
func (l *ladder) rail() []byte {
	b := bytes.Repeat([]byte{' '}, l.seats*l.step)
	for n := range l.seats {
		b[l.at(n)] = '|'
	}
	return b
}

// header adds the names above their lifelines.
func (l *ladder) header(names []string) {
	var lines [][]string
	high := 0
	for _, name := range names {
		lines = append(lines, wrap(ascii(visible(name)), l.step-1, 0, ladderLines))
		high = max(high, len(lines[len(lines)-1]))
	}
	for row := range high {
		b := bytes.Repeat([]byte{' '}, l.seats*l.step)
		for n, of := range lines {
			if k := row - (high - len(of)); k >= 0 {
				copy(b[l.at(n)-len(of[k])/2:], of[k])
			}
		}
		l.line(strings.Repeat(" ", ladderTime) + string(b))
	}
	l.row("", l.rail(), "", "")
}

// arrow draws from one lifeline to another, or beside one.
func (l *ladder) arrow(rail []byte, s step) {
	a, z := l.at(s.from), l.at(s.to)
	stroke := func(i int) byte {
		if s.kind == response && i%2 == 0 {
			return ' '
		}
		return '-'
	}
	head := byte('>')
	switch {
	case a == z:
		rail[a+1], rail[a+2] = '-', ')'
		if s.failed && s.kind == arrow {
			rail[a+2] = 'x'
		}
		return
	case a < z:
		for i := a + 1; i < z; i++ {
			rail[i] = stroke(i - a)
		}
	default:
		head = '<'
		for i := z + 1; i < a; i++ {
			rail[i] = stroke(a - i)
		}
	}
	if s.failed && s.kind == arrow {
		head = 'x'
	}
	if a < z {
		rail[z-1] = head
	} else {
		rail[z+1] = head
	}
}

// row adds a line of the ladder, and more of them if the text takes more.
func (l *ladder) row(at string, rail []byte, indent, text string) {
	room := max(l.width-ladderTime-l.seats*l.step-len(indent), 8)
	if len(indent) > room {
		indent = ""
	}
	for i, part := range wrap(text, room, room/2, ladderLines) {
		if i > 0 {
			at, rail = "", l.rail()
		}
		l.line(at + strings.Repeat(" ", max(ladderTime-len(at), 1)) + string(rail) + indent + part)
	}
}

// wrap breaks ASCII text into lines of so many cells, between words where that leaves
// more than least cells on a line. What does not fit into most lines is cut.
func wrap(s string, width, least, most int) (lines []string) {
	for len(s) > width {
		end := strings.LastIndexByte(s[:width+1], ' ')
		skip := 1
		if end <= least {
			end, skip = width, 0
		}
		lines = append(lines, s[:end])
		s = s[end+skip:]
	}
	if lines = append(lines, s); len(lines) <= most {
		return lines
	}
	last := lines[most-1]
	return append(lines[:most-1], last[:min(len(last), width-2)]+"..")
}
