package draw

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// MaxArrows is how many arrows a picture has by default. What draws Mermaid takes a
// time that grows with the square of them.
const MaxArrows = 150

// Options say what is drawn. The zero value is everything, each process by itself.
type Options struct {
	From, To time.Time // what begins from From on, before To; zero: no bound
	Max      int       // arrows and notes; 0: MaxArrows
	Group    Grouping
}

// ErrNothing is returned where there is nothing to draw.
var ErrNothing = errors.New("nothing to draw")

// Span is when the first thing began and the last one ended; false if there is
// nothing.
func (r *Recording) Span() (first, last time.Time, ok bool) {
	return time.Unix(0, r.first), time.Unix(0, r.last), len(r.items) > 0
}

// Mermaid returns a sequenceDiagram, or an error that is [ErrNothing].
func (r *Recording) Mermaid(o Options) ([]byte, error) {
	var text []byte
	err := r.draw(o, mermaidSeats, func(p *picture) bool {
		text = p.appendMermaid(nil)
		return len(text) < mermaidBytes
	})
	return text, err
}

// Ladder returns the same as text that is at most width cells wide.
func (r *Recording) Ladder(o Options, width int) ([]byte, error) {
	var text []byte
	width = max(width, 40)
	err := r.draw(o, ladderSeats(width), func(p *picture) bool {
		text = p.appendLadder(nil, width)
		return true
	})
	return text, err
}

// draw puts together as little as makes a picture that has room; fits says whether.
func (r *Recording) draw(o Options, seats int, fits func(*picture) bool) error {
	p, err := r.play(o, seats)
	if err != nil {
		return err
	}
	room := o.Max
	if room <= 0 {
		room = MaxArrows
	}
	found := routes{}
	top := p.top
	var all []*group
	for at := range levels {
		if at == perPair { // nothing is below anything
			top = nil
			for n := range p.items {
				top = append(top, n)
			}
		}
		for _, programs := range []level{byPath, firstPlace, perPair} {
			all = p.groups(top, at, programs, found)
			arrows, notes := sum(all)
			if arrows > room {
				break // whatever is done to the notes
			}
			if arrows+notes <= room && fits(r.picture(p, all, at)) {
				return nil
			}
		}
	}
	all = p.groups(top, perPair, perPair, found)
	for !fits(r.picture(p, most(all, room), perPair)) && room > 0 {
		room /= 2
	}
	return nil
}

// play finds what is to be drawn, who takes part, and what belongs to what.
func (r *Recording) play(o Options, seats int) (*play, error) {
	items := r.resolved()
	parents := nest(r, items)
	p := &play{cast: newCast(r, items, o.Group), items: items, children: make([][]int, len(items))}
	drawn := make([]bool, len(items))
	for n := range items {
		it := &items[n]
		http := it.kind == aConnection && r.linked[n].http
		drawn[n] = !http && (o.From.IsZero() || it.start >= o.From.UnixNano()) && (o.To.IsZero() || it.start < o.To.UnixNano())
	}
	acts := map[int]bool{}
	for n := range items {
		if it := &items[n]; drawn[n] && it.kind != aProgram {
			acts[p.cast.find(p.cast.of[it.from])], acts[p.cast.find(p.cast.of[it.to])] = true, true
		}
	}
	order := make([]int, 0, len(items))
	for n := range items {
		if drawn[n] {
			order = append(order, n)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return compare(items[a].start, items[b].start) })
	whole := make([]item, 0, len(order))
	place := make([]int, len(items))
	for _, n := range order {
		it := items[n]
		if it.kind == aProgram {
			u := int32(p.cast.over(r, &it, acts))
			it.from, it.to = u, u
		} else {
			it.from, it.to = int32(p.cast.of[it.from]), int32(p.cast.of[it.to])
		}
		place[n] = len(whole)
		whole = append(whole, it)
	}
	if len(whole) == 0 {
		return nil, r.nothing(o)
	}
	p.items = whole
	for _, n := range order {
		if up := parents[n]; up >= 0 && drawn[up] {
			p.children[place[up]] = append(p.children[place[up]], place[n])
		} else {
			p.top = append(p.top, place[n])
		}
	}
	p.cast.crowds(whole)
	p.cast.seat(r, whole, seats)
	return p, nil
}

// nothing says why there is nothing to draw.
func (r *Recording) nothing(o Options) error {
	switch {
	case len(r.items) > 0 && (!o.From.IsZero() || !o.To.IsZero()):
		first, last, _ := r.Span()
		return fmt.Errorf("%w: nothing began then; the recording is from %s to %s", ErrNothing, first.UTC().Format(time.RFC3339Nano), last.UTC().Format(time.RFC3339Nano))
	case len(r.Skipped) > 0:
		var parts []string
		for _, kind := range slices.Sorted(maps.Keys(r.Skipped)) {
			parts = append(parts, fmt.Sprintf("%s %d", kind, r.Skipped[kind]))
		}
		return fmt.Errorf("%w: there are no exchanges, connections or programs, only other events (%s)", ErrNothing, list(parts))
	}
	return fmt.Errorf("%w: there are no exchanges, connections or programs", ErrNothing)
}

// picture makes the picture of groups.
func (r *Recording) picture(p *play, all []*group, at level) *picture {
	pic := &picture{names: p.cast.names, steps: steps(all), start: p.items[0].start}
	last := pic.start
	for i := range p.items {
		last = max(last, p.items[i].end)
	}
	pic.told = append(pic.told, time.Unix(0, pic.start).UTC().Format("2006-01-02 15:04:05.000 UTC")+", "+duration(time.Duration(last-pic.start)))
	var drawn, there [kinds]int
	tally(all, &drawn)
	for n := range r.items {
		if k := r.items[n].kind; k != aConnection || !r.linked[n].http {
			there[k]++
		}
	}
	var parts []string
	for k, thing := range []string{anExchange: "exchange", aConnection: "other connection", aProgram: "program"} {
		if there[k] > 0 {
			parts = append(parts, fmt.Sprintf("%d of %s", drawn[k], count(there[k], thing)))
		}
	}
	verb := " are drawn"
	if len(parts) == 1 && drawn[anExchange]+drawn[aConnection]+drawn[aProgram] == 1 {
		verb = " is drawn"
	}
	pic.told = append(pic.told, list(parts)+verb)
	if s := at.told(); s != "" {
		pic.told = append(pic.told, s)
	}
	pic.told = append(pic.told, p.cast.told...)
	if r.Lost > 0 {
		pic.told = append(pic.told, fmt.Sprintf("not recorded: %d lost while tracing", r.Lost))
	}
	return pic
}
