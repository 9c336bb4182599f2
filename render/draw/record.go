package draw

import (
	"net/netip"
	"path"
	"strconv"
	"strings"
	"time"

	"tracer/trace/event"
)

// A Host is where an event was recorded.
type Host struct {
	Name   string
	Number int // tells hosts apart
}

// An actor is one end of something, as an event tells it: a process, or only an
// address.
type actor struct {
	host      int // -1: somewhere
	pid       uint32
	comm      string
	pod       string // with its namespace
	container string // its id, or else its name
	address   string // of whom no process is known; with a port if it was called
}

type kind uint8

const (
	anExchange  kind = iota
	aConnection      // that is no exchange's
	aProgram
	kinds // how many there are
)

// An item is what may be drawn. Times are Unix time, ns.
type item struct {
	kind       kind
	from, to   int32 // actors; of a program both are its own
	host       int   // whose clock start and end are of
	start, end int64
	at         [2]int64 // of an exchange: when it came to its server, and ended there
	server     int      // whose clock that is of
	trace      event.TraceID
	method     string
	path       string // as drawn; of a program its name
	answer     string // what came of it, but for the time
	answered   bool   // something came back
	failed     bool
	timed      bool // start and end are those of the whole
	tx, rx     uint64
	turns      uint64 // of a connection: requests and answers, as far as they were counted
	port       uint16 // that was called
	parent     uint32 // of a program: the process that started it
}

// process is a process of a host.
type process struct {
	host int
	pid  uint32
}

// A link is what is known of a TCP connection.
type link struct {
	ends   [2]int32 // actors of client and server; -1: unknown
	opened [2]bool
	closed [2]bool
	item   int  // its place in items; -1: it has none yet
	http   bool // it is drawn by its exchanges
}

const (
	client = 0
	server = 1
)

// waiting is a request that had no answer when it was told.
type waiting struct {
	link   *link
	stream uint32
	start  int64
}

// A Recording collects what is to be drawn. It is not safe for concurrent use.
type Recording struct {
	// Skipped counts events that cannot be drawn, by kind: sums of what no longer is
	// there one by one.
	Skipped map[string]int
	// Lost is how many events the recording lacks, as it says itself.
	Lost uint64

	actors     []actor
	known      map[actor]int32
	containers map[string]string // names by id
	hosts      []Host
	items      []item
	links      map[string]*link
	linked     []*link // of each item; nil: none
	waits      map[waiting]int
	running    map[process]int // the item of what a process runs
	parents    map[process]uint32
	names      map[process]string // of parents, for want of better ones
	roots      map[process]bool   // tracers that started a command
	followed   map[process]bool   // processes that were traced with all that they start
	texts      map[string]string
	skews      map[[2]int][]int64 // of hosts: what must be added to the clock of the first to make it that of the second
	first      int64
	last       int64
}

// NewRecording returns an empty one.
func NewRecording() *Recording {
	return &Recording{
		Skipped: map[string]int{}, known: map[actor]int32{}, containers: map[string]string{}, links: map[string]*link{},
		waits: map[waiting]int{}, running: map[process]int{}, parents: map[process]uint32{}, roots: map[process]bool{}, followed: map[process]bool{}, names: map[process]string{}, skews: map[[2]int][]int64{}, texts: map[string]string{},
	}
}

// Add takes what was recorded on a host. It keeps nothing of o.
func (r *Recording) Add(h Host, o event.Object) {
	host := r.host(h)
	switch e := o.(type) {
	case *event.Start:
		r.start(host, e)
	case *event.Account:
		r.Lost += e.Lost
	case *event.HTTP:
		r.exchange(host, e)
	case *event.Connect:
		r.open(host, &e.Common, &e.Connection, e.Latency)
	case *event.Accept:
		r.open(host, &e.Common, &e.Connection, 0)
	case *event.Open:
		r.link(host, &e.Common, &e.Connection)
	case *event.Close:
		r.close(host, e)
	case *event.ConnectFailed:
		r.refused(host, &e.Common, &e.Connection, e.Latency, "TCP", e.Error)
	case *event.ConnectStuck:
		r.refused(host, &e.Common, &e.Connection, e.Age, "TCP", "no answer yet")
	case *event.Exec:
		r.exec(host, e)
	case *event.ExecFailed:
		r.execFailed(host, e)
	case *event.Exit:
		r.exit(host, e)
	case event.Event:
		r.Skipped[e.Head().Kind]++
	}
}

// start keeps which process a recording is about: a command that was traced, or the one of
// --pid.
func (r *Recording) start(host int, e *event.Start) {
	for i, a := range e.Args {
		if a == "--" && e.PID > 0 {
			r.roots[process{host, uint32(e.PID)}] = true
			return
		}
		value := ""
		if flag, v, ok := strings.Cut(a, "="); ok && flag == "--pid" {
			value = v
		} else if (a == "--pid" || a == "-p") && i+1 < len(e.Args) {
			value = e.Args[i+1]
		}
		if pid, err := strconv.ParseUint(value, 10, 32); err == nil {
			r.followed[process{host, uint32(pid)}] = true
		}
	}
}

// host is the number of a host here.
func (r *Recording) host(h Host) int {
	for n, known := range r.hosts {
		if known.Number == h.Number || known.Number < 0 && known.Name == h.Name {
			r.hosts[n].Number = h.Number
			return n
		}
	}
	r.hosts = append(r.hosts, Host{Name: strings.Clone(h.Name), Number: h.Number})
	return len(r.hosts) - 1
}

// named is the host that a line calls so, or else that of the line.
func (r *Recording) named(name string, line int) int {
	if name == "" || r.hosts[line].Name == name {
		return line
	}
	for n, known := range r.hosts {
		if known.Name == name {
			return n
		}
	}
	return r.host(Host{Name: name, Number: -1 - len(r.hosts)}) // its own lines are still to come
}

// text returns s as one that may be kept: each text once.
func (r *Recording) text(s string) string {
	if kept, ok := r.texts[s]; ok {
		return kept
	}
	s = strings.Clone(s)
	r.texts[s] = s
	return s
}

func (r *Recording) actor(a actor) int32 {
	if n, ok := r.known[a]; ok {
		return n
	}
	a.comm, a.pod, a.container, a.address = strings.Clone(a.comm), strings.Clone(a.pod), strings.Clone(a.container), strings.Clone(a.address)
	n := int32(len(r.actors))
	r.actors = append(r.actors, a)
	r.known[a] = n
	return n
}

// who is the actor of a process.
func (r *Recording) who(host int, pid uint32, comm string, p *event.Place) int32 {
	a := actor{host: host, pid: pid, comm: comm, pod: p.Pod, container: p.ContainerID}
	if p.Pod != "" {
		a.pod = p.Namespace + "/" + p.Pod
	}
	if a.container == "" {
		a.container = p.Container
	} else if p.Container != "" && r.containers[a.container] == "" {
		r.containers[strings.Clone(a.container)] = strings.Clone(p.Container)
	}
	return r.actor(a)
}

// at is the actor at an address of which no more is known. The port of one who called
// says nothing.
func (r *Recording) at(host int, addr netip.AddrPort, called bool) int32 {
	a := actor{host: -1, address: addr.Addr().String()}
	switch {
	case !addr.Addr().IsValid():
		a.address = "unknown"
	case called:
		a.address = addr.String()
	}
	if addr.Addr().IsLoopback() {
		a.host = host
	}
	return r.actor(a)
}

// key names a connection: by what it is called everywhere, or else by its addresses,
// which are the same on another host only outside of it.
func key(host int, c *event.Connection) string {
	if c.ID.Known {
		return c.ID.String()
	}
	k := c.Src.String() + " " + c.Dst.String()
	if !c.Dst.Addr().IsValid() || c.Dst.Addr().IsLoopback() || c.Src.Addr().IsLoopback() {
		k = strconv.Itoa(host) + " " + k
	}
	return k
}

func side(role string) int {
	if role == event.RoleServer {
		return server
	}
	return client
}

// link is what is known of the connection of an event, whose process is one of its ends.
func (r *Recording) link(host int, h *event.Common, c *event.Connection) *link {
	k := key(host, c)
	l := r.links[k]
	if l == nil {
		l = &link{ends: [2]int32{-1, -1}, item: -1}
		r.links[k] = l
	}
	if h != nil && h.PID != 0 {
		l.ends[side(c.Role)] = r.who(host, h.PID, h.Comm, &h.Place)
	}
	return l
}

// fresh forgets a connection if an end of it begins again: its addresses are used
// again.
func (r *Recording) fresh(host int, c *event.Connection) {
	k := key(host, c)
	if l := r.links[k]; l != nil && (l.opened[side(c.Role)] || l.closed[side(c.Role)]) {
		delete(r.links, k)
	}
}

func (r *Recording) add(i item, l *link) int {
	r.seen(i.start)
	r.seen(i.end)
	r.items = append(r.items, i)
	r.linked = append(r.linked, l)
	return len(r.items) - 1
}

func (r *Recording) seen(at int64) {
	if r.first == 0 || at < r.first {
		r.first = at
	}
	r.last = max(r.last, at)
}

// connection is the item of a connection.
func (r *Recording) connection(host int, l *link, c *event.Connection, start int64) *item {
	if l.item < 0 {
		l.item = r.add(item{kind: aConnection, host: host, from: r.at(host, c.Src, false), to: r.at(host, c.Dst, true), port: c.Dst.Port(), start: start, end: start, method: "TCP"}, l)
	}
	return &r.items[l.item]
}

func (r *Recording) open(host int, h *event.Common, c *event.Connection, took time.Duration) {
	r.fresh(host, c)
	l := r.link(host, h, c)
	l.opened[side(c.Role)] = true
	start := h.Time.UnixNano() - int64(took)
	i := r.connection(host, l, c, start)
	i.start = min(i.start, start)
}

func (r *Recording) close(host int, e *event.Close) {
	l := r.link(host, &e.Common, &e.Connection)
	if l.closed[side(e.Role)] { // another one, whose beginning was not seen
		r.fresh(host, &e.Connection)
		l = r.link(host, &e.Common, &e.Connection)
	}
	l.closed[side(e.Role)] = true
	end := e.Time.UnixNano()
	i := r.connection(host, l, &e.Connection, end-int64(e.Duration))
	i.end, i.timed = max(i.end, end), i.timed || e.Duration > 0
	r.seen(end)
	// Both ends tell the bytes. They differ only if some did not arrive.
	if e.Role == event.RoleServer {
		i.tx, i.rx = max(i.tx, e.Rx), max(i.rx, e.Tx)
	} else {
		i.tx, i.rx = max(i.tx, e.Tx), max(i.rx, e.Rx)
	}
	i.answered, i.turns = true, max(i.turns, e.Turns)
	if e.Reason == event.ReasonReset || e.Reason == event.ReasonTimeout {
		i.failed, i.answer = true, r.text(e.Reason)
	}
}

// refused is a connection that was not established.
func (r *Recording) refused(host int, h *event.Common, c *event.Connection, took time.Duration, what, why string) {
	l := r.link(host, h, c)
	end := h.Time.UnixNano()
	i := r.connection(host, l, c, end-int64(took))
	i.end, i.failed, i.timed, i.answer = end, true, true, r.text(why)
	r.seen(end)
}

func (r *Recording) exchange(host int, e *event.HTTP) {
	start := e.Time.UnixNano()
	line := host
	host = r.named(e.Hostname, line)
	ends := [2]int32{-1, -1}
	clock := host // role both: times are the client's
	own := side(e.Role)
	if e.Role == event.RoleBoth {
		own = server
		if e.PeerPID != 0 {
			peer := event.Place{Container: e.PeerContainer, ContainerID: e.PeerContainerID, Pod: e.PeerPod, Namespace: e.PeerNamespace}
			from := host
			if e.PeerHostname != "" {
				from = r.named(e.PeerHostname, line)
				clock = from
			}
			ends[client] = r.who(from, e.PeerPID, e.PeerComm, &peer)
		}
	}
	if e.PID != 0 {
		ends[own] = r.who(host, e.PID, e.Comm, &e.Place)
	}
	l := r.link(host, nil, &e.Connection)
	for n, who := range ends {
		if known := l.ends[n]; who >= 0 && known >= 0 && r.actors[who].pid != r.actors[known].pid && !e.ID.Known { // the addresses are used again
			delete(r.links, key(host, &e.Connection))
			l = r.link(host, nil, &e.Connection)
			break
		}
	}
	l.http = true
	for n, who := range ends {
		if who >= 0 && l.ends[n] < 0 {
			l.ends[n] = who
		}
	}
	i := item{
		kind: anExchange, host: clock, from: ends[client], to: ends[server], start: start, timed: true,
		method: r.text(e.Method), path: r.text(target(e.Path)),
		port: e.Dst.Port(), trace: e.TraceID, tx: e.RequestBytes, rx: e.ResponseBytes, failed: e.Failed(), answered: e.Answered(),
	}
	if i.from < 0 {
		i.from = r.at(host, e.Src, false)
	}
	if i.to < 0 {
		i.to = r.at(host, e.Dst, true)
	}
	if e.Kind == event.KindHTTPStuck {
		i.end, i.answered, i.failed, i.answer = start+int64(e.Age), false, true, "no answer yet"
	} else {
		i.end, i.answer = start+int64(e.Duration), r.text(answer(e))
	}
	i.at, i.server = [2]int64{i.start, i.end}, i.host
	if !e.ServerTime.IsZero() && e.ServerDuration > 0 {
		i.server = host
		i.at[0] = e.ServerTime.UnixNano()
		i.at[1] = i.at[0] + int64(e.ServerDuration)
		if e.HasNetwork && i.host != host {
			pair := [2]int{host, i.host}
			r.skews[pair] = append(r.skews[pair], start+int64(e.Network)/2-i.at[0])
		}
	}
	w := waiting{l, e.Stream, start}
	if n, ok := r.waits[w]; ok { // it has ended meanwhile
		r.items[n] = i
		r.seen(i.end)
		return
	}
	n := r.add(i, l)
	if e.Kind == event.KindHTTPStuck {
		r.waits[w] = n
	}
}

// answer is what is said of an answer, or of why there is none.
func answer(e *event.HTTP) string {
	var b []byte
	if e.Status != 0 {
		b = strconv.AppendInt(b, int64(e.Status), 10)
	} else if e.Answered() {
		b = append(b, "answer"...)
	}
	if e.Status >= 500 {
		b = append(b, " server error"...)
	}
	if e.GRPC {
		b = append(b, ", gRPC status "...)
		b = strconv.AppendUint(b, uint64(e.GRPCStatus), 10)
	}
	if e.Answered() && e.Error == "" {
		return string(b)
	}
	switch {
	case e.Answered():
		b = append(b, ", not whole: "...)
	default:
		b = append(b[:0], "no answer: "...)
	}
	if e.Error == "" {
		return string(append(b, "unknown"...))
	}
	b = append(b, strings.ReplaceAll(e.Error, "_", " ")...)
	if e.ClosedBy != "" {
		b = append(append(b, " by "...), e.ClosedBy...)
	}
	if e.ResetCode != "" {
		b = append(append(b, ' '), e.ResetCode...)
	}
	return string(b)
}

func (r *Recording) exec(host int, e *event.Exec) {
	p := process{host, e.PID}
	r.born(host, p, e.PPID, e.ParentComm)
	at := e.Time.UnixNano()
	who := r.who(host, e.PID, e.Comm, &e.Place)
	r.running[p] = r.add(item{kind: aProgram, host: host, from: who, to: who, start: at, end: at, path: r.name(&e.Program, e.Comm), parent: e.PPID}, nil)
}

// born keeps who started a process: the first that is told, as a parent may end first.
func (r *Recording) born(host int, p process, ppid uint32, comm string) {
	if _, ok := r.parents[p]; ok || ppid == 0 {
		return
	}
	r.parents[p] = ppid
	if comm != "" {
		r.names[process{host, ppid}] = r.text(comm)
	}
}

// name is that of a program, without where it is.
func (r *Recording) name(p *event.Program, comm string) string {
	if p.Exe != "" {
		return r.text(path.Base(p.Exe))
	}
	return r.text(comm)
}

func (r *Recording) execFailed(host int, e *event.ExecFailed) {
	r.born(host, process{host, e.PID}, e.PPID, e.ParentComm)
	at := e.Time.UnixNano()
	who := r.who(host, e.PID, e.Comm, &e.Place)
	r.add(item{kind: aProgram, host: host, from: who, to: who, start: at, end: at, path: r.name(&e.Program, ""), failed: true, answer: r.text("failed with " + e.Error), parent: e.PPID}, nil)
}

func (r *Recording) exit(host int, e *event.Exit) {
	p := process{host, e.PID}
	r.born(host, p, e.PPID, "")
	answer := ""
	switch {
	case e.Signal != "":
		answer = r.text("killed by " + e.Signal)
	case e.Code != 0:
		answer = r.text("exit " + strconv.Itoa(e.Code))
	}
	end := e.Time.UnixNano()
	n, ok := r.running[p]
	if !ok {
		if answer == "" {
			return // older than the recording, and nothing to tell
		}
		who := r.who(host, e.PID, e.Comm, &e.Place)
		n = r.add(item{kind: aProgram, host: host, from: who, to: who, start: end, end: end, path: r.name(&e.Program, e.Comm), parent: e.PPID}, nil)
	}
	i := &r.items[n]
	i.answer, i.failed = answer, answer != ""
	if ok {
		i.end, i.timed = end, true
	}
	r.seen(end)
	delete(r.running, p)
}
