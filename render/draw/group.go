package draw

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"tracer/trace/exchange"
)

// A level is how much is put together to make a picture small enough.
type level int

const (
	byPath     level = iota // equal neighbours
	byRoute                 // neighbours of one route
	firstPlace              // all of one route that led to the same, where the first one was
	ofRoute                 // whatever they led to
	perPair                 // all that one participant asked another
	levels
)

// told says what a level does to the picture.
func (l level) told() string {
	switch l {
	case byRoute:
		return "equal neighbours of one route are one"
	case firstPlace:
		return "all of one route are drawn at the first one's place"
	case ofRoute:
		return "all of one route are drawn at the first one's place, with all that they led to"
	case perPair:
		return "all between two participants are drawn as one"
	}
	return ""
}

// A group is what is drawn as one: a thing, or several of one shape.
type group struct {
	kind       kind
	from, to   int // participants
	label      string
	answer     string
	key        string // what makes groups equal
	n          int
	failed     int // of n
	answered   bool
	start, end int64
	times      []int64 // how long each took; of those for which it is known
	tx, rx     uint64
	turns      uint64
	below      []*group // what it led to
}

// A play is what is drawn, before anything is put together.
type play struct {
	cast     *cast
	items    []item
	children [][]int // of each item: what belongs to it, in the order of time
	top      []int
}

// route is the route of a path, and keeps what it has found.
type routes map[string]string

func (r routes) of(path string) string {
	if path == "" {
		return ""
	}
	route, ok := r[path]
	if !ok {
		route = string(exchange.Route(nil, []byte(path)))
		r[path] = route
	}
	return route
}

// maxPath is how many characters of a path are drawn.
const maxPath = 60

// label is what stands at a request.
func (i *item) label(at level, r routes) string {
	switch i.kind {
	case aProgram:
		return i.path
	case aConnection:
		if i.port == 0 {
			return i.method
		}
		return i.method + " :" + strconv.Itoa(int(i.port))
	}
	path := i.path
	if at > byPath {
		path = r.of(path)
	}
	method := i.method
	if method == "" {
		method = "?"
	}
	if path == "" {
		return method
	}
	return method + " " + shorten(path, maxPath)
}

// single is the group of one item.
func (p *play) single(n int, at, programs level, r routes) *group {
	it := &p.items[n]
	above := at
	if it.kind == aProgram {
		at = programs
	}
	g := &group{
		kind: it.kind, from: p.cast.seatOf(it.from), to: p.cast.seatOf(it.to), label: it.label(at, r), answer: it.answer, answered: it.answered,
		n: 1, start: it.start, end: it.end, tx: it.tx, rx: it.rx, turns: it.turns,
	}
	if it.failed {
		g.failed = 1
	}
	if it.timed {
		g.times = []int64{it.end - it.start}
	}
	if at == perPair {
		g.label, g.answer, g.answered = "", "", it.kind == anExchange
	}
	var key strings.Builder
	for _, part := range []int{int(g.kind), g.from, g.to} {
		key.WriteString(strconv.Itoa(part))
		key.WriteByte(' ')
	}
	for _, part := range []string{g.label, g.answer} {
		key.WriteString(strconv.Quote(part))
	}
	if at == perPair {
		g.key = key.String()
		return g
	}
	g.below = p.groups(p.children[n], above, programs, r)
	if at <= firstPlace {
		key.WriteByte('[')
		for _, b := range g.below {
			if at < firstPlace {
				key.WriteString(strconv.Itoa(b.n))
			}
			key.WriteString(b.key)
			key.WriteByte(',')
		}
		key.WriteByte(']')
	}
	g.key = key.String()
	return g
}

// groups puts together what is equal among items that follow one another: exchanges
// and connections at one level, programs at another.
func (p *play) groups(items []int, at, programs level, r routes) (all []*group) {
	first := map[string]*group{}
	for _, n := range items {
		own := at
		if p.items[n].kind == aProgram {
			own = programs
		}
		g := p.single(n, at, programs, r)
		var same *group
		switch {
		case own >= firstPlace:
			same = first[g.key]
		case len(all) > 0 && all[len(all)-1].key == g.key:
			same = all[len(all)-1]
		}
		if same != nil {
			same.merge(g, own)
			continue
		}
		first[g.key] = g
		all = append(all, g)
	}
	return all
}

// merge takes in another group of the same shape.
func (g *group) merge(o *group, at level) {
	g.n += o.n
	g.failed += o.failed
	g.start, g.end = min(g.start, o.start), max(g.end, o.end)
	g.times = append(g.times, o.times...)
	g.tx, g.rx, g.turns = g.tx+o.tx, g.rx+o.rx, g.turns+o.turns
	for i, b := range o.below {
		if at <= firstPlace { // the key says that there are as many, in the same order
			g.below[i].merge(b, at)
			continue
		}
		if j := slices.IndexFunc(g.below, func(a *group) bool { return a.key == b.key }); j >= 0 {
			g.below[j].merge(b, at)
		} else {
			g.below = append(g.below, b)
		}
	}
}

// arrows is how many a group takes, and how many notes.
func (g *group) arrows() (arrows, notes int) {
	switch {
	case g.kind == aProgram:
		notes = 1
	case g.kind == anExchange && g.answered:
		arrows = 2
	default:
		arrows = 1
	}
	a, n := sum(g.below)
	return arrows + a, notes + n
}

func sum(all []*group) (arrows, notes int) {
	for _, g := range all {
		a, n := g.arrows()
		arrows, notes = arrows+a, notes+n
	}
	return arrows, notes
}

// tally counts what groups stand for.
func tally(all []*group, of *[kinds]int) {
	for _, g := range all {
		of[g.kind] += g.n
		tally(g.below, of)
	}
}

// most keeps those groups that stand for most and fit, in their places.
func most(all []*group, room int) (kept []*group) {
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(min(all[a].kind, aConnection), min(all[b].kind, aConnection)), cmp.Compare(all[b].n, all[a].n))
	})
	fits := make([]bool, len(all))
	for _, i := range order {
		arrows, notes := all[i].arrows()
		if arrows+notes <= room {
			room -= arrows + notes
			fits[i] = true
		}
	}
	for i, g := range all {
		if fits[i] {
			kept = append(kept, g)
		}
	}
	return kept
}

// spread is the median of how long they took, by nearest rank, and the longest.
func (g *group) spread() (p50, longest time.Duration) {
	if len(g.times) == 0 {
		return 0, 0
	}
	slices.Sort(g.times)
	return time.Duration(g.times[(len(g.times)+1)/2-1]), time.Duration(g.times[len(g.times)-1])
}
