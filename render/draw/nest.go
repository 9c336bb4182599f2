package draw

import (
	"cmp"
	"slices"
)

// nest finds for each item the exchange that it belongs to: the only request that its
// process was answering when it began. -1: there was none, or there were several, and
// which one caused it is not known.
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
			requests = slices.DeleteFunc(requests, func(i int) bool { return items[i].end < it.start })
			if open[p] = requests; len(requests) == 1 {
				parents[n] = requests[0]
			}
		}
		if p = of(it.to); it.kind == anExchange && p.pid != 0 {
			open[p] = append(open[p], n)
		}
	}
	return parents
}
