package draw

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

const (
	// alike is how many processes of one name stand side by side: more are one
	// participant.
	alike = 3
	// callers is the same of addresses that only call.
	callers = 5
)

// A Grouping says whose processes are one participant. The zero value has none but
// processes.
type Grouping struct {
	Pod       bool
	Container bool
}

// unit is what is not taken apart: a process, or an address.
type unit struct {
	process
	comm    string
	place   string // its pod or container; empty: it stands for itself
	name    string // of the place
	box     string // the pod or container that it is in, also if that is not asked for
	address string
	called  bool // of an address
	ports   []uint16
}

// A cast is who takes part, each a set of units.
type cast struct {
	units    []unit
	above    []int // of a unit another one of the same participant, or itself
	of       []int // the unit of an actor
	procs    map[process]int
	commands map[int]process // the command that was traced, by host
	names    []string        // of the participants, from left to right
	part     map[int]int     // the participant of a set
	told     []string        // what was put together to make it fit; empty: nothing
}

// find is the unit that stands for the participant of u.
func (c *cast) find(u int) int {
	for c.above[u] != u {
		c.above[u] = c.above[c.above[u]]
		u = c.above[u]
	}
	return u
}

// join makes two participants one, which has the name of the first.
func (c *cast) join(a, b int) { c.above[c.find(b)] = c.find(a) }

func (c *cast) add(u unit) int {
	c.units = append(c.units, u)
	c.above = append(c.above, len(c.above))
	return len(c.units) - 1
}

// newCast finds who takes part in items, of which the ends are known.
func newCast(r *Recording, items []item, by Grouping) *cast {
	c := &cast{of: make([]int, len(r.actors)), procs: map[process]int{}, part: map[int]int{}, commands: map[int]process{}}
	for p := range r.followed {
		c.commands[p.host] = p
	}
	for p, ppid := range r.parents {
		if r.roots[process{p.host, ppid}] {
			c.commands[p.host] = p
		}
	}
	c.gather(r, items, by)
	c.places()
	c.servers(items)
	c.families(r)
	return c
}

// gather makes the units, those that something else than a program is known of first:
// they name their participants.
func (c *cast) gather(r *Recording, items []item, by Grouping) {
	for n := range c.of {
		c.of[n] = -1
	}
	add := func(n int32) int {
		a := &r.actors[n]
		if a.pid == 0 {
			if c.of[n] < 0 {
				c.of[n] = c.add(unit{process: process{host: a.host}, address: a.address})
			}
			return c.of[n]
		}
		p := process{a.host, a.pid}
		u, ok := c.procs[p]
		if !ok {
			u = c.add(unit{process: p, comm: a.comm})
			c.procs[p] = u
		}
		if v := &c.units[u]; v.box == "" {
			v.box = cmp.Or(a.container, a.pod)
		}
		if v := &c.units[u]; v.place == "" {
			host := strconv.Itoa(a.host)
			switch {
			case by.Pod && a.pod != "":
				v.place, v.name = "pod "+a.pod, a.pod // its name is the cluster's
			case by.Container && a.container != "":
				v.place, v.name = "container "+host+" "+a.container, cmp.Or(r.containers[a.container], fmt.Sprintf("%.12s", a.container))
			}
		}
		c.of[n] = u
		return u
	}
	for i := range items {
		if it := &items[i]; it.kind != aProgram {
			add(it.from)
			to := add(it.to)
			u := &c.units[to]
			if u.called = true; it.port != 0 && !slices.Contains(u.ports, it.port) {
				u.ports = append(u.ports, it.port)
			}
		}
	}
	for i := range items {
		if items[i].kind == aProgram {
			add(items[i].from)
		}
	}
}

// places joins what runs in one pod or container.
func (c *cast) places() {
	first := map[string]int{}
	for n, u := range c.units {
		if u.place == "" {
			continue
		}
		if f, ok := first[u.place]; ok {
			c.join(f, n)
		} else {
			first[u.place] = n
		}
	}
}

// servers joins the processes of one name and place that serve one port, as a server's
// workers.
func (c *cast) servers(items []item) {
	type service struct {
		host int
		comm string
		box  string
		port uint16
	}
	first := map[service]int{}
	for n, u := range c.units {
		if u.place != "" || u.pid == 0 {
			continue
		}
		for _, port := range u.ports {
			s := service{u.host, u.comm, u.box, port}
			if f, ok := first[s]; ok {
				c.join(f, n)
			} else {
				first[s] = n
			}
		}
	}
}

// families joins processes with those that started them: those of one name, and what a
// command that was traced has started. Where that starts servers, too, it plays several
// parts: then each of its children is with what that one started.
func (c *cast) families(r *Recording) {
	plain := func(n int) bool { return c.units[n].place == "" && len(c.units[n].ports) == 0 }
	commands := map[process][]int{} // what each tracer's command has started, that itself first
	top := make([]int, len(c.units))
	serves := map[process]bool{}
	for n := range c.units {
		u := &c.units[n]
		top[n] = -1
		if u.pid == 0 || u.place != "" {
			continue
		}
		parent := process{u.host, r.parents[u.process]}
		if p, ok := c.procs[parent]; ok && c.units[p].comm == u.comm && (plain(p) || plain(n)) && c.units[p].place == "" {
			c.join(p, n)
		}
		// Up to the child of the command.
		var chain []process
		for at := u.process; len(chain) < 1000; {
			above := process{u.host, r.parents[at]}
			if r.followed[at] { // what starts it is not looked at
				above = at
			}
			if chain = append(chain, at); r.roots[above] || above == at {
				if command, ok := c.procs[at]; ok && len(commands[above]) == 0 {
					commands[above] = append(commands[above], command)
				}
				commands[above] = append(commands[above], n)
				child := chain[max(len(chain)-2, 0)]
				if v, ok := c.procs[child]; ok {
					top[n] = v
				}
				serves[above] = serves[above] || !plain(n)
				break
			}
			if above.pid == 0 || r.parents[above] == 0 && !r.followed[above] {
				break
			}
			at = above
		}
	}
	for tracer, units := range commands {
		for _, n := range units {
			switch {
			case !plain(n):
			case !serves[tracer]:
				c.join(units[0], n)
			case top[n] >= 0 && c.units[top[n]].place == "":
				c.join(top[n], n)
			}
		}
	}
}

// crowds joins processes of one name of which many take part, and so addresses that only
// call. The ends of items are units.
func (c *cast) crowds(items []item) {
	type name struct {
		host    int
		comm    string
		process bool
	}
	sets := map[name][]int{}
	seen := map[int]bool{}
	for i := range items {
		for _, n := range []int32{items[i].from, items[i].to} {
			first := c.find(int(n))
			if seen[first] {
				continue
			}
			seen[first] = true
			switch u := &c.units[first]; {
			case u.pid == 0 && !u.called:
				sets[name{}] = append(sets[name{}], first)
			case u.pid != 0 && u.place == "" && len(u.ports) == 0:
				k := name{u.host, u.comm, true}
				sets[k] = append(sets[k], first)
			}
		}
	}
	for k, set := range sets {
		if k.process && len(set) > alike || len(set) > callers {
			c.joinAll(set)
		}
	}
}

func (c *cast) joinAll(set []int) {
	for _, n := range set[1:] {
		c.join(set[0], n)
	}
}

// over is the unit over which a program is noted: its own if that takes part in more,
// else the nearest that started it, else the first that is known of its ancestors.
func (c *cast) over(r *Recording, it *item, acts map[int]bool) int {
	at := process{it.host, r.actors[it.from].pid}
	top := c.of[it.from]
	for range 1000 {
		if u, ok := c.procs[at]; ok {
			if acts[c.find(u)] || c.units[u].place != "" {
				return u
			}
			top = u
		}
		above := process{at.host, r.parents[at]}
		if above.pid == 0 || r.roots[above] || r.followed[at] {
			break
		}
		if command := c.commands[at.host]; command.pid != 0 && r.parents[above] == 0 {
			above = command // whoever has taken in an orphan has not started it
		}
		if name := r.names[above]; (r.parents[above] == 0 || r.followed[above]) && name != "" { // older than the recording
			if _, ok := c.procs[above]; !ok {
				c.procs[above] = c.add(unit{process: above, comm: name})
			}
		}
		at = above
	}
	return top
}

// seat gives participants their places, by who comes first in items, of which the ends are
// units. With more than most of them those that do least are put together.
func (c *cast) seat(r *Recording, items []item, most int) {
	var used []int
	weight := map[int]int{}
	for i := range items {
		ends := []int32{items[i].from, items[i].to}
		if items[i].kind == aProgram {
			ends = ends[:1]
		}
		for _, n := range ends {
			s := c.find(int(n))
			if weight[s]++; weight[s] == 1 {
				used = append(used, s)
			}
		}
	}
	sets := map[int][]int{}
	for n := range c.units {
		s := c.find(n)
		sets[s] = append(sets[s], n)
	}
	crowd := map[int]string{} // what several sets are called together
	gather := func(what string, belongs func(s int) bool) {
		var set []int
		for _, s := range used {
			if belongs(s) {
				set = append(set, s)
			}
		}
		if len(used) <= most || len(set) < 2 {
			return
		}
		first := set[0]
		var names []string
		for _, s := range set[:min(len(set), 5)] {
			names = append(names, c.name(s, sets[s], crowd[s]))
		}
		if rest := len(set) - len(names); rest > 0 {
			names = append(names, fmt.Sprintf("%d more", rest))
		}
		crowd[first] = count(len(set), what)
		c.told = append(c.told, "to fit, one participant is "+list(names))
		for _, s := range set[1:] {
			c.above[s] = first
			weight[first] += weight[s]
			sets[first] = append(sets[first], sets[s]...)
		}
		used = slices.DeleteFunc(used, func(s int) bool { return s != first && c.above[s] == first })
	}
	address := func(called bool) func(int) bool {
		return func(s int) bool { return c.units[s].pid == 0 && c.units[s].called == called }
	}
	gather("client", address(false))
	gather("other address", address(true))
	if len(used) > most {
		least := slices.Clone(used)
		slices.SortStableFunc(least, func(a, b int) int { return cmp.Compare(weight[b], weight[a]) })
		rest := map[int]bool{}
		for _, s := range least[max(most-1, 1):] {
			rest[s] = true
		}
		gather("other", func(s int) bool { return rest[s] })
	}
	hosts := map[int]bool{}
	for _, s := range used {
		if h := c.units[s].host; h >= 0 {
			hosts[h] = true
		}
	}
	names := make([]string, len(used))
	called := map[string]int{}
	for n, s := range used {
		u := &c.units[s]
		names[n] = c.name(s, sets[s], crowd[s])
		if len(hosts) > 1 && u.host >= 0 && crowd[s] == "" && !strings.HasPrefix(u.place, "pod ") {
			names[n] += " on " + r.hosts[u.host].Name
		}
		called[names[n]]++
	}
	for n, s := range used {
		u := &c.units[s]
		switch {
		case called[names[n]] == 1 || u.pid == 0 || crowd[s] != "":
		case u.place != "":
			names[n] += fmt.Sprintf(" %.12s", u.box)
		default:
			names[n] += " pid " + strconv.FormatUint(uint64(u.pid), 10)
		}
		c.part[s] = n
	}
	c.names = names
}

// name is that of the participant that these units are, of which one gives it.
func (c *cast) name(first int, set []int, crowd string) string {
	u := &c.units[first]
	var ports []uint16
	processes := 0
	for _, n := range set {
		if c.units[n].comm == u.comm {
			processes++
		}
		for _, p := range c.units[n].ports {
			if !slices.Contains(ports, p) {
				ports = append(ports, p)
			}
		}
	}
	switch {
	case crowd != "":
		return crowd
	case u.place != "":
		return u.name
	case u.pid == 0 && len(set) > 1:
		return count(len(set), "client")
	case u.pid == 0:
		return u.address
	case len(ports) > 0:
		slices.Sort(ports)
		name := u.comm
		for i, p := range ports[:min(len(ports), 3)] {
			if i > 0 {
				name += ","
			}
			name += " :" + strconv.Itoa(int(p))
		}
		if len(ports) > 3 {
			name += " …"
		}
		return name
	case processes == len(set) && processes > alike:
		return fmt.Sprintf("%s (%d processes)", u.comm, processes)
	}
	return u.comm
}

// seatOf is the place of a unit's participant.
func (c *cast) seatOf(unit int32) int { return c.part[c.find(int(unit))] }
