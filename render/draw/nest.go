package draw

import (
	"cmp"
	"maps"
	"slices"

	"tracer/trace/event"
)

// resolved are the items, with what rows of connections know of exchanges and later ones
// of earlier, and times by one clock.
func (r *Recording) resolved() []item {
	items := slices.Clone(r.items)
	for n := range items {
		if l := r.linked[n]; l != nil {
			items[n].from = r.better(items[n].from, l.ends[client])
			items[n].to = r.better(items[n].to, l.ends[server])
		}
	}
	clocks(r, items)
	return items
}

// better is the actor that its connection tells, where a row tells an address alone.
func (r *Recording) better(told, found int32) int32 {
	if found >= 0 && r.actors[told].pid == 0 {
		return found
	}
	return told
}

// nest finds for each item the exchange that it belongs to: the only request that its
// process was answering when it began, or the only one of its trace. -1: there was none,
// or there were several, and which one caused it is not known.
func nest(r *Recording, items []item) []int {
	order := make([]int, len(items))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(items[a].start, items[b].start), cmp.Compare(items[b].end, items[a].end))
	})
	of := func(n int32) process { a := &r.actors[n]; return process{a.host, a.pid} }
	parents := make([]int, len(items))
	open := map[process][]int{} // requests that a process has not answered yet
	for _, n := range order {
		it := &items[n]
		p := of(it.from)
		if it.kind == aProgram {
			p = process{it.host, it.parent}
		}
		parents[n] = -1
		if requests := open[p]; p.pid != 0 && len(requests) > 0 {
			requests = slices.DeleteFunc(requests, func(i int) bool { return items[i].at[1] < it.start })
			open[p] = requests
			parents[n] = cause(items, requests, it)
		}
		if p = of(it.to); it.kind == anExchange && p.pid != 0 {
			open[p] = append(open[p], n)
		}
	}
	return parents
}

// cause is the one of open requests that it belongs to.
func cause(items []item, requests []int, it *item) int {
	begun := func(i int) bool { return items[i].at[0] <= it.start }
	none := event.TraceID{}
	if it.trace != none {
		if n := only(requests, func(i int) bool { return begun(i) && items[i].trace == it.trace }); n >= 0 {
			return n
		}
	}
	n := only(requests, begun)
	if n >= 0 && it.trace != none && items[n].trace != none && items[n].trace != it.trace {
		return -1 // each says that it belongs elsewhere
	}
	return n
}

// only is the one of those that are wanted, -1 if there is none or another one.
func only(list []int, wanted func(int) bool) int {
	found := -1
	for _, n := range list {
		switch {
		case !wanted(n):
		case found >= 0:
			return -1
		default:
			found = n
		}
	}
	return found
}

// clocks moves the times of items to the clock of the first host, as far as exchanges
// between hosts tell how their clocks differ: by the median of what each says.
func clocks(r *Recording, items []item) {
	if len(r.skews) == 0 {
		return
	}
	add := map[int]int64{0: 0}
	pairs := slices.SortedFunc(maps.Keys(r.skews), func(a, b [2]int) int { return slices.Compare(a[:], b[:]) })
	for range r.hosts { // as many steps as there can be
		for _, pair := range pairs {
			sorted := slices.Sorted(slices.Values(r.skews[pair]))
			d := sorted[len(sorted)/2]
			from, fromKnown := add[pair[0]]
			to, toKnown := add[pair[1]]
			switch {
			case toKnown && !fromKnown:
				add[pair[0]] = to + d
			case fromKnown && !toKnown:
				add[pair[1]] = from - d
			}
		}
	}
	for n := range items {
		it := &items[n]
		it.start += add[it.host]
		it.end += add[it.host]
		it.at[0] += add[it.server]
		it.at[1] += add[it.server]
	}
}
