package draw

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

type stepKind uint8

const (
	request  stepKind = iota // the other end is at work until it answers
	response                 // the end of that
	arrow                    // nothing comes back
	note
	loop
	end // of the loop
)

// A step is a line of the picture.
type step struct {
	kind     stepKind
	at       int64 // Unix time, ns
	from, to int   // participants, of a note those that it is over
	text     string
	failed   bool // of an arrow: it led to nothing
}

// A picture is what a writer of pictures needs to know.
type picture struct {
	names []string // of the participants, from left to right
	told  []string // what is said of the picture as a whole
	steps []step
	start int64 // of what is drawn: Unix time, ns
}

// steps is what is drawn for groups, from top to bottom. What is one thing begins and
// ends at its own times. What stands for several has one place, where the first began.
func steps(all []*group) []step {
	s := appendSingles(nil, all)
	slices.SortStableFunc(s, func(a, b []step) int { return compare(a[0].at, b[0].at) })
	return slices.Concat(s...)
}

func compare(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// appendSingles appends what groups are made of, in such pieces as may be moved to
// their times.
func appendSingles(pieces [][]step, all []*group) [][]step {
	for _, g := range all {
		if g.n > 1 || g.kind == aProgram {
			pieces = append(pieces, appendBlock(nil, g, 1))
			continue
		}
		pieces = append(pieces, g.opening())
		pieces = appendSingles(pieces, g.below)
		if last := g.closing(false); len(last) > 0 {
			pieces = append(pieces, last)
		}
	}
	return pieces
}

// appendBlock appends a group as one piece, within others that are drawn once for so
// many times.
func appendBlock(s []step, g *group, times int) []step {
	looped := g.n != times && g.kind != aProgram
	if looped {
		s = append(s, step{kind: loop, at: g.start, from: g.from, to: g.to, text: g.loop(times)})
	}
	s = append(s, g.opening()...)
	for _, b := range g.below {
		s = appendBlock(s, b, g.n)
	}
	s = append(s, g.closing(!looped && g.n > 1)...)
	if looped {
		s = append(s, step{kind: end, at: g.end})
	}
	return s
}

// loop is what stands at a loop.
func (g *group) loop(times int) string {
	var text string
	switch {
	case times > 1 && g.n == 1:
		text = "once in all"
	case times > 1:
		text = fmt.Sprintf("%d times in all", g.n)
	default:
		text = fmt.Sprintf("%d times in %s", g.n, duration(time.Duration(g.end-g.start)))
	}
	return text + g.times50()
}

// times50 is the median and the longest of the times.
func (g *group) times50() string {
	if len(g.times) == 0 {
		return ""
	}
	p50, longest := g.spread()
	return ", p50 " + duration(p50) + ", max " + duration(longest)
}

// took is how long a single one took.
func (g *group) took() string {
	if g.n != 1 || len(g.times) == 0 || g.times[0] == 0 {
		return ""
	}
	return duration(time.Duration(g.times[0]))
}

// opening is how it begins; of what has no answer all of it.
func (g *group) opening() []step {
	s := step{kind: request, at: g.start, from: g.from, to: g.to, text: g.label}
	switch g.kind {
	case aProgram:
		s.kind, s.text = note, g.programs()
	case aConnection:
		s.kind, s.failed, s.text = arrow, g.failed > 0 && !g.answered && g.label != "", g.moved()
	case anExchange:
		if g.label == "" { // all between two
			s.text = count(g.n, "exchange")
			if g.failed > 0 {
				s.text += fmt.Sprintf(", %d failed", g.failed)
			}
		}
		if !g.answered {
			s.kind, s.failed = arrow, true
		}
	}
	return []step{s}
}

// closing is how it ends. with: the median stands here.
func (g *group) closing(with bool) []step {
	if g.kind != anExchange {
		return nil
	}
	var parts []string
	if g.answer != "" {
		parts = append(parts, g.answer)
	}
	s := step{kind: response, at: g.end, from: g.to, to: g.from, failed: g.failed > 0}
	if !g.answered {
		s.kind, s.from, s.to = note, g.from, g.to
		s.text = strings.Join(parts, "")
		if took := g.took(); took != "" {
			s.text += " after " + took
		}
		return []step{s}
	}
	parts = append(parts, size(g.rx))
	s.text = strings.Join(parts, ", ")
	if took := g.took(); took != "" {
		s.text += " in " + took
	}
	if with {
		s.text += g.times50()
	}
	return []step{s}
}

// moved is what is said of connections.
func (g *group) moved() string {
	text := g.label
	if text == "" {
		text = count(g.n, "connection")
		if g.failed > 0 {
			text += fmt.Sprintf(", %d failed", g.failed)
		}
	}
	if g.answer != "" {
		text += ", " + strings.ReplaceAll(g.answer, "_", " ")
	}
	if g.answered {
		text += ", " + size(g.tx) + " out, " + size(g.rx) + " in"
	}
	if g.turns > 0 {
		text += ", " + count(int(g.turns), "turn")
	}
	if took := g.took(); took != "" {
		text += ", " + took
	}
	return text
}

// programs is what is noted of programs.
func (g *group) programs() string {
	text := g.label
	if text == "" {
		text = count(g.n, "program")
		if g.failed > 0 {
			text += fmt.Sprintf(", %d failed", g.failed)
		}
		if g.n > 1 {
			text += " in " + duration(time.Duration(g.end-g.start))
		}
		return text
	}
	if g.answer != "" {
		text += ": " + g.answer
	}
	if g.n > 1 {
		return text + fmt.Sprintf(", %d times in %s", g.n, duration(time.Duration(g.end-g.start)))
	}
	if took := g.took(); took != "" {
		text += ", ran " + took
	}
	return text
}
