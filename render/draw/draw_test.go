package draw

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tracer/trace/event"
)

var noon = time.Date(2026, 3, 5, 12, 0, 0, 0, time.UTC)

// at is so many milliseconds after noon.
func at(ms int) time.Time { return noon.Add(time.Duration(ms) * time.Millisecond) }

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// web is an exchange between two processes of one host, in ms after noon.
func web(from, to uint32, port uint16, path string, start, end int) *event.HTTP {
	return &event.HTTP{
		Common: event.Common{Time: at(start), Kind: event.KindHTTP, Process: event.Process{PID: to, Comm: fmt.Sprintf("server%d", to)}},
		Connection: event.Connection{
			Role: event.RoleBoth,
			Src:  netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(30000+from)), Dst: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port),
		},
		PeerPID: from, PeerComm: fmt.Sprintf("server%d", from), Method: "GET", Path: path, Status: 200,
		Latency: time.Duration(end-start) * time.Millisecond, Duration: time.Duration(end-start) * time.Millisecond, RequestBytes: 100, ResponseBytes: 1000,
	}
}

// traced puts an exchange into a trace.
func traced(id byte, e *event.HTTP) *event.HTTP {
	e.TraceID[0] = id
	return e
}

var one = Host{Name: "web-1"}

func recorded(events ...event.Object) *Recording {
	r := NewRecording()
	for _, e := range events {
		r.Add(one, e)
	}
	return r
}

func mermaid(t *testing.T, r *Recording, o Options) string {
	t.Helper()
	text, err := r.Mermaid(o)
	if err != nil {
		t.Fatal(err)
	}
	holdSyntax(t, text)
	return string(text)
}

// plain is a diagram without its frame and its escapes.
func plain(text string) string {
	text = regexp.MustCompile(`#(\d+);`).ReplaceAllStringFunc(text, func(s string) string {
		n, _ := strconv.Atoi(s[1 : len(s)-1])
		return string(rune(n))
	})
	var b strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimPrefix(line, "  ")
		if !strings.HasPrefix(line, "sequenceDiagram") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func TestWhatBelongsToWhat(t *testing.T) {
	for _, c := range []struct {
		name   string
		events []event.Object
		want   []int // the parent of each
	}{
		{"a server's own request while it answers one", []event.Object{web(1, 2, 80, "/", 0, 100), web(2, 3, 81, "/", 10, 20)}, []int{-1, 0}},
		{"told in another order", []event.Object{web(2, 3, 81, "/", 10, 20), web(1, 2, 80, "/", 0, 100)}, []int{1, -1}},
		{"two levels", []event.Object{web(1, 2, 80, "/", 0, 100), web(2, 3, 81, "/", 10, 90), web(3, 4, 82, "/", 20, 30)}, []int{-1, 0, 1}},
		{"the answer may be over before it ends", []event.Object{web(1, 2, 80, "/", 0, 100), web(2, 3, 81, "/", 90, 200)}, []int{-1, 0}},
		{"after the answer", []event.Object{web(1, 2, 80, "/", 0, 100), web(2, 3, 81, "/", 101, 200)}, []int{-1, -1}},
		{"before the request", []event.Object{web(1, 2, 80, "/", 50, 100), web(2, 3, 81, "/", 40, 200)}, []int{-1, -1}},
		{"another process", []event.Object{web(1, 2, 80, "/", 0, 100), web(5, 3, 81, "/", 10, 20)}, []int{-1, -1}},
		{"which of two is not guessed", []event.Object{web(1, 2, 80, "/", 0, 100), web(9, 2, 80, "/", 5, 50), web(2, 3, 81, "/", 10, 20), web(2, 3, 81, "/", 60, 70)}, []int{-1, -1, -1, 0}},
		{"of two, the one of its trace", []event.Object{traced(1, web(1, 2, 80, "/", 0, 100)), traced(2, web(9, 2, 80, "/", 5, 50)), traced(2, web(2, 3, 81, "/", 10, 20)), traced(1, web(2, 3, 81, "/", 10, 20))}, []int{-1, -1, 1, 0}},
		{"of two of its trace none", []event.Object{traced(1, web(1, 2, 80, "/", 0, 100)), traced(1, web(9, 2, 80, "/", 5, 50)), traced(1, web(2, 3, 81, "/", 10, 20))}, []int{-1, -1, -1}},
		{"not one of another trace", []event.Object{traced(1, web(1, 2, 80, "/", 0, 100)), traced(2, web(2, 3, 81, "/", 10, 20)), web(2, 3, 81, "/", 30, 40)}, []int{-1, -1, 0}},
		{"a connection, by its beginning", []event.Object{
			web(1, 2, 80, "/", 0, 100),
			&event.Connect{Common: event.Common{Time: at(11), Kind: event.KindConnect, Process: event.Process{PID: 2, Comm: "server2"}}, Connection: event.Connection{Role: event.RoleClient, Src: addr("127.0.0.1:5"), Dst: addr("127.0.0.1:3306")}, Latency: time.Millisecond},
			&event.Close{Common: event.Common{Time: at(400), Kind: event.KindClose, Process: event.Process{PID: 2, Comm: "server2"}}, Connection: event.Connection{Role: event.RoleClient, Src: addr("127.0.0.1:5"), Dst: addr("127.0.0.1:3306")}},
		}, []int{-1, 0}},
		{"a program that the server starts", []event.Object{
			web(1, 2, 80, "/", 0, 100),
			&event.Exec{Common: event.Common{Time: at(11), Kind: event.KindExec, Process: event.Process{PID: 7, Comm: "cgi"}}, Program: event.Program{Exe: "/usr/lib/cgi"}, PPID: 2},
		}, []int{-1, 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := recorded(c.events...)
			if diff := cmp.Diff(c.want, nest(r, r.resolved())); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Two hosts whose clocks differ by two seconds: what the second one's server asks is
// drawn within the request all the same.
func TestClocksOfHostsAreBroughtTogether(t *testing.T) {
	r := NewRecording()
	a, b := Host{Name: "a", Number: 0}, Host{Name: "b", Number: 1}
	r.Add(b, &event.Start{})
	outer := web(1, 2, 80, "/outer", 0, 100)
	outer.Hostname, outer.PeerHostname = "b", "a"
	outer.ServerTime, outer.ServerDuration, outer.Network, outer.HasNetwork = at(2002), 90*time.Millisecond, 4*time.Millisecond, true
	r.Add(a, outer)
	inner := web(2, 3, 81, "/inner", 2010, 2020)
	inner.Hostname = "b"
	r.Add(b, inner)
	want := `participant p0 as server1 on a
participant p1 as server2 :80 on b
participant p2 as server3 :81 on b
Note over p0,p2: 2026-03-05 12:00:02.000 UTC, 100ms
Note over p0,p2: 2 of 2 exchanges are drawn
p0->>+p1: GET /outer
p1->>+p2: GET /inner
p2-->>-p1: 200, 1000B in 10ms
p1-->>-p0: 200, 1000B in 100ms
`
	if diff := cmp.Diff(strings.ReplaceAll(want, "1000B", "0.98KiB"), strings.ReplaceAll(plain(mermaid(t, r, Options{})), "1000B", "0.98KiB")); diff != "" {
		t.Error(diff)
	}
}

func TestPictures(t *testing.T) {
	process := func(pid uint32, comm string) event.Process { return event.Process{PID: pid, Comm: comm} }
	tcp := func(role string, port uint16) event.Connection {
		return event.Connection{Role: role, Src: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port), Dst: addr("127.0.0.1:3306")}
	}
	failed := web(1, 2, 80, "/late", 50, 80)
	failed.Status, failed.Latency, failed.Error, failed.ClosedBy = 0, 0, "closed", "server"
	broken := web(1, 2, 80, "/broken", 90, 95)
	broken.Status = 503
	stuck := web(1, 2, 80, "/stuck", 50, 50)
	stuck.Kind, stuck.Status, stuck.Latency, stuck.Duration, stuck.Age = event.KindHTTPStuck, 0, 0, 0, 5*time.Second
	ended := web(1, 2, 80, "/stuck", 50, 9050)
	outside := web(1, 2, 443, "/?secret", 0, 10)
	outside.Role, outside.Src, outside.Dst, outside.PeerPID, outside.PeerComm = event.RoleServer, addr("10.1.2.3:4567"), addr("10.1.2.4:443"), 0, ""
	pod := web(1, 2, 80, "/", 0, 10)
	pod.Place = event.Place{Pod: "web-0", Namespace: "shop", ContainerID: strings.Repeat("a", 64)}
	for _, c := range []struct {
		name   string
		events []event.Object
		o      Options
		want   string
	}{
		{"answers stand at their own time", []event.Object{web(1, 2, 80, "/a", 0, 30), web(1, 2, 80, "/b", 10, 20)}, Options{}, `
p0->>+p1: GET /a
p0->>+p1: GET /b
p1-->>-p0: 200, 0.98KiB in 10ms
p1-->>-p0: 200, 0.98KiB in 30ms
`},
		{"equal neighbours are a loop", []event.Object{web(1, 2, 80, "/a", 0, 10), web(1, 2, 80, "/a", 20, 50), web(1, 2, 80, "/a", 60, 62), web(1, 2, 80, "/b", 70, 80), web(1, 2, 80, "/a", 90, 91)}, Options{}, `
loop 3 times in 62ms, p50 10ms, max 30ms
  p0->>+p1: GET /a
  p1-->>-p0: 200, 2.93KiB
end
p0->>+p1: GET /b
p1-->>-p0: 200, 0.98KiB in 10ms
p0->>+p1: GET /a
p1-->>-p0: 200, 0.98KiB in 1ms
`},
		{"neighbours that led to something else are not equal", []event.Object{web(1, 2, 80, "/a", 0, 10), web(2, 3, 81, "/x", 5, 6), web(1, 2, 80, "/a", 20, 30)}, Options{}, `
p0->>+p1: GET /a
p1->>+p2: GET /x
p2-->>-p1: 200, 0.98KiB in 1ms
p1-->>-p0: 200, 0.98KiB in 10ms
p0->>+p1: GET /a
p1-->>-p0: 200, 0.98KiB in 10ms
`},
		{"a loop has what each led to", []event.Object{
			web(1, 2, 80, "/a", 0, 10), web(2, 3, 81, "/x", 2, 3), web(2, 3, 81, "/x", 4, 5), web(2, 4, 82, "/y", 6, 7),
			web(1, 2, 80, "/a", 20, 40), web(2, 3, 81, "/x", 22, 24), web(2, 3, 81, "/x", 25, 28), web(2, 4, 82, "/y", 30, 35),
		}, Options{}, `
loop 2 times in 40ms, p50 10ms, max 20ms
  p0->>+p1: GET /a
  loop 4 times in all, p50 1ms, max 3ms
    p1->>+p2: GET /x
    p2-->>-p1: 200, 3.91KiB
  end
  p1->>+p3: GET /y
  p3-->>-p1: 200, 1.95KiB, p50 1ms, max 5ms
  p1-->>-p0: 200, 1.95KiB
end
`},
		{"no answer", []event.Object{failed}, Options{}, `
p0-xp1: GET /late
Note over p0,p1: no answer: closed by server after 30ms
`},
		{"an error of the server", []event.Object{broken}, Options{}, `
p0->>+p1: GET /broken
p1-->>-p0: 503 server error, 0.98KiB in 5ms
`},
		{"a request that waits", []event.Object{stuck}, Options{}, `
p0-xp1: GET /stuck
Note over p0,p1: no answer yet after 5s
`},
		{"a request that has waited is drawn once", []event.Object{stuck, ended}, Options{}, `
p0->>+p1: GET /stuck
p1-->>-p0: 200, 0.98KiB in 9s
`},
		{"a connection that speaks something else, by its two ends", []event.Object{
			&event.Connect{Common: event.Common{Time: at(1), Kind: event.KindConnect, Process: process(7, "app")}, Connection: tcp(event.RoleClient, 40000), Latency: time.Millisecond},
			&event.Accept{Common: event.Common{Time: at(2), Kind: event.KindAccept, Process: process(8, "mariadbd")}, Connection: tcp(event.RoleServer, 40000)},
			&event.Close{Common: event.Common{Time: at(20), Kind: event.KindClose, Process: process(7, "app")}, Connection: tcp(event.RoleClient, 40000), Duration: 20 * time.Millisecond, Tx: 10, Rx: 200, Reason: "closed"},
			&event.Close{Common: event.Common{Time: at(20), Kind: event.KindClose, Process: process(8, "mariadbd")}, Connection: tcp(event.RoleServer, 40000), Duration: 18 * time.Millisecond, Tx: 200, Rx: 10, Turns: 3, Reason: "closed"},
		}, Options{}, `
p0-)p1: TCP :3306, 10B out, 200B in, 3 turns, 20ms
`},
		{"one that could not be opened", []event.Object{
			&event.ConnectFailed{Common: event.Common{Time: at(1), Kind: event.KindConnectFailed, Process: process(7, "app")}, Connection: tcp(event.RoleClient, 40000), Error: "ECONNREFUSED"},
		}, Options{}, `
p0-xp1: TCP :3306, ECONNREFUSED
`},
		{"one that has exchanges is drawn by these", []event.Object{
			&event.Connect{Common: event.Common{Time: at(0), Kind: event.KindConnect, Process: process(1, "server1")}, Connection: web(1, 2, 80, "/", 0, 1).Connection},
			web(1, 2, 80, "/", 0, 10),
			&event.Close{Common: event.Common{Time: at(20), Kind: event.KindClose, Process: process(1, "server1")}, Connection: web(1, 2, 80, "/", 0, 1).Connection, Tx: 10, Rx: 200},
		}, Options{}, `
p0->>+p1: GET /
p1-->>-p0: 200, 0.98KiB in 10ms
`},
		{"programs are notes, with how they ended", []event.Object{
			web(1, 2, 80, "/", 0, 10),
			&event.Exec{Common: event.Common{Time: at(20), Kind: event.KindExec, Process: process(7, "cc")}, Program: event.Program{Exe: "/usr/bin/cc", Args: []string{"cc", "--password=secret"}}, PPID: 1},
			&event.Exit{Common: event.Common{Time: at(25), Kind: event.KindExit, Process: process(7, "cc")}, Program: event.Program{Exe: "/usr/bin/cc"}, PPID: 1, Duration: 5 * time.Millisecond, Code: 1},
		}, Options{}, `
p0->>+p1: GET /
p1-->>-p0: 200, 0.98KiB in 10ms
Note over p0: cc: exit 1, ran 5ms
`},
		{"only what began in time", []event.Object{web(1, 2, 80, "/a", 0, 10), web(1, 2, 80, "/b", 20, 30), web(1, 2, 80, "/c", 40, 50)}, Options{From: at(20), To: at(40)}, `
p0->>+p1: GET /b
p1-->>-p0: 200, 0.98KiB in 10ms
`},
		{"an address stands for whom it is", []event.Object{outside}, Options{}, `
p0->>+p1: GET /
p1-->>-p0: 200, 0.98KiB in 10ms
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := recorded(c.events...)
			got := strings.ReplaceAll(plain(mermaid(t, r, c.o)), "1000B", "0.98KiB")
			_, got, _ = strings.Cut(got, " drawn\n")
			if diff := cmp.Diff(c.want, "\n"+got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParticipants(t *testing.T) {
	in := func(e *event.HTTP, p event.Place) *event.HTTP { e.Place = p; return e }
	from := func(e *event.HTTP, a string) *event.HTTP {
		e.Role, e.Src, e.PeerPID, e.PeerComm = event.RoleServer, addr(a), 0, ""
		return e
	}
	worker := func(pid uint32) *event.HTTP {
		e := web(1, pid, 80, "/", 0, 10)
		e.Comm = "nginx"
		return e
	}
	caller := func(pid uint32) *event.HTTP {
		e := web(pid, 2, 80, "/", int(pid), int(pid)+1)
		e.PeerComm = "curl"
		return e
	}
	exec := func(pid, ppid uint32, name string) *event.Exec {
		return &event.Exec{Common: event.Common{Time: at(int(pid)), Kind: event.KindExec, Process: event.Process{PID: pid, Comm: name}}, Program: event.Program{Exe: "/bin/" + name}, PPID: ppid, ParentComm: "tracer"}
	}
	asked := func(pid uint32, comm string) *event.HTTP {
		e := web(pid, 99, 80, "/", int(pid), int(pid)+1)
		e.PeerComm = comm
		return e
	}
	command := &event.Start{PID: 50, Args: []string{"--json", "--", "make"}}
	pod, id := event.Place{Pod: "web-0", Namespace: "shop", Container: "app", ContainerID: strings.Repeat("a", 64)}, strings.Repeat("b", 64)
	all := Options{Group: Grouping{Pod: true, Container: true}}
	for _, c := range []struct {
		name   string
		events []event.Object
		o      Options
		want   []string
	}{
		{"a server is its port", []event.Object{web(1, 2, 80, "/", 0, 10)}, all, []string{"server1", "server2 :80"}},
		{"workers are one", []event.Object{worker(2), worker(3), worker(4)}, all, []string{"server1", "nginx :80"}},
		{"a few processes of one name are told apart", []event.Object{caller(11), caller(12)}, all, []string{"curl pid 11", "server2 :80", "curl pid 12"}},
		{"many are one", []event.Object{caller(11), caller(12), caller(13), caller(14)}, all, []string{"curl (4 processes)", "server2 :80"}},
		{"a pod", []event.Object{in(web(1, 2, 80, "/", 0, 10), pod), in(web(1, 3, 81, "/", 0, 10), pod)}, all, []string{"server1", "shop/web-0"}},
		{"its containers", []event.Object{in(web(1, 2, 80, "/", 0, 10), pod)}, Options{Group: Grouping{Container: true}}, []string{"server1", "app"}},
		{"its processes", []event.Object{in(web(1, 2, 80, "/", 0, 10), pod)}, Options{}, []string{"server1", "server2 :80"}},
		{"processes of one name in two containers are not one server", []event.Object{in(web(1, 2, 80, "/", 0, 10), event.Place{ContainerID: id}), in(worker(3), event.Place{ContainerID: "c"}), in(worker(4), event.Place{ContainerID: "d"})}, Options{}, []string{"server1", "server2 :80", "nginx :80 pid 3", "nginx :80 pid 4"}},
		{"two containers of one name", []event.Object{in(worker(3), event.Place{Container: "app", ContainerID: "c"}), in(worker(4), event.Place{Container: "app", ContainerID: "d"})}, all, []string{"server1", "app c", "app d"}},
		{"addresses that are used again are another connection", []event.Object{asked(1, "curl"), func() *event.HTTP { e := asked(2, "wget"); e.Src = asked(1, "").Src; return e }()}, all, []string{"curl", "server99 :80", "wget"}},
		{"a container without a name", []event.Object{in(web(1, 2, 80, "/", 0, 10), event.Place{ContainerID: id})}, all, []string{"server1", "bbbbbbbbbbbb"}},
		{"addresses", []event.Object{from(web(1, 2, 80, "/", 0, 10), "10.0.0.1:7"), from(web(1, 2, 80, "/", 0, 10), "10.0.0.1:8")}, all, []string{"10.0.0.1", "server2 :80"}},
		{"many addresses are one", func() (events []event.Object) {
			for i := range 7 {
				events = append(events, from(web(1, 2, 80, "/", i, i+1), fmt.Sprintf("10.0.0.%d:7", i)))
			}
			return events
		}(), all, []string{"7 clients", "server2 :80"}},
		{"what a traced command starts is one", []event.Object{command, exec(60, 50, "make"), exec(61, 60, "sh"), exec(62, 61, "curl"), asked(62, "curl"), exec(63, 60, "wget"), asked(63, "wget")}, all, []string{"make", "server99 :80"}},
		{"where it starts servers, each of its children is", []event.Object{command, exec(60, 50, "make"), exec(61, 60, "sh"), exec(62, 61, "curl"), asked(62, "curl"), exec(63, 60, "wget"), asked(63, "wget"), exec(99, 60, "server99")}, all, []string{"make", "sh", "server99 :80", "wget"}},
		{"the same of a process that was followed", []event.Object{&event.Start{PID: 50, Args: []string{"--json", "--pid", "60"}}, exec(61, 60, "sh"), exec(62, 61, "curl"), asked(62, "curl"), exec(63, 60, "wget"), asked(63, "wget"), exec(99, 60, "server99")}, all, []string{"sh", "server99 :80", "wget"}},
		{"programs of one that is older than the recording", []event.Object{exec(60, 59, "ls"), exec(61, 59, "cat")}, all, []string{"tracer"}},
		{"who a connection's rows tell stands for an address", []event.Object{
			from(web(1, 2, 80, "/", 0, 10), "127.0.0.1:7"),
			&event.Connect{Common: event.Common{Time: at(0), Kind: event.KindConnect, Process: event.Process{PID: 1, Comm: "curl"}}, Connection: event.Connection{Role: event.RoleClient, Src: addr("127.0.0.1:7"), Dst: addr("127.0.0.1:80")}},
		}, all, []string{"curl", "server2 :80"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := recorded(c.events...)
			p, err := r.play(c.o, 20)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, p.cast.names); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// busy are 10,000 exchanges that come in by one gateway, each of them with two more,
// from clients that ask at the same time.
func busy() *Recording {
	r := NewRecording()
	for i := range 3334 {
		start := i * 3
		route := []string{"/users/%d", "/orders/%d/items", "/cart/%d", "/health"}[i%4]
		path := route
		if strings.Contains(route, "%") {
			path = fmt.Sprintf(route, i)
		}
		outer := web(uint32(100+i%30), 2, 80, path, start, start+2)
		outer.PeerComm = "wrk"
		r.Add(one, outer)
		if i == 0 {
			continue
		}
		r.Add(one, web(2, 3, 81, path, start, start+1))
		r.Add(one, web(2, 4, 82, "/auth", start+1, start+2))
	}
	return r
}

func TestTenThousandExchangesAreAReadablePicture(t *testing.T) {
	r := busy()
	begin := time.Now()
	text := mermaid(t, r, Options{})
	t.Logf("%d bytes in %v:\n%s", len(text), time.Since(begin), plain(text))
	if len(text) > 4000 {
		t.Errorf("the picture has %d bytes", len(text))
	}
	if !strings.Contains(text, "10000 of 10000 exchanges are drawn") {
		t.Error("it does not say that all are drawn")
	}
	// 3334 of clients, 3333 to each of the two behind: what the loops say.
	sums := map[string]int{}
	var loops []int
	for line := range strings.Lines(plain(text)) {
		line = strings.TrimSpace(line)
		if m := regexp.MustCompile(`^loop (\d+) times`).FindStringSubmatch(line); m != nil {
			n, _ := strconv.Atoi(m[1])
			loops = append(loops, n)
			continue
		}
		if line == "end" {
			loops = loops[:len(loops)-1]
			continue
		}
		if m := regexp.MustCompile(`^(p\d)->>\+(p\d): `).FindStringSubmatch(line); m != nil {
			n := 1
			if len(loops) > 0 {
				n = loops[len(loops)-1]
			}
			sums[m[1]+m[2]] += n
		}
	}
	if diff := cmp.Diff(map[string]int{"p0p1": 3334, "p1p2": 3333, "p1p3": 3333}, sums); diff != "" {
		t.Error(diff)
	}
}

func TestMaxIsKept(t *testing.T) {
	r := busy()
	for pid := range uint32(40) { // programs of as many names
		r.Add(one, &event.Exec{Common: event.Common{Time: at(int(pid)), Kind: event.KindExec, Process: event.Process{PID: 500 + pid, Comm: "x"}}, Program: event.Program{Exe: fmt.Sprintf("/bin/x%d", pid)}, PPID: 2})
	}
	for _, most := range []int{2, 3, 5, 8, 13, 20, 50, 150, 1000} {
		text := plain(mermaid(t, r, Options{Max: most}))
		_, body, _ := strings.Cut(text, " drawn\n")
		lines := 0
		for line := range strings.Lines(body) {
			if line = strings.TrimSpace(line); strings.Contains(line, ">") || strings.HasPrefix(line, "Note over p") && !strings.Contains(line, " are one") && !strings.Contains(line, "place") && !strings.Contains(line, "drawn as one") {
				lines++
			}
		}
		if lines > most || lines == 0 {
			t.Errorf("--max %d: %d arrows and notes:\n%s", most, lines, text)
		}
		drawn := regexp.MustCompile(`(\d+) of 10000 exchanges and (\d+) of 40 programs are drawn`).FindStringSubmatch(text)
		if drawn == nil {
			t.Fatalf("--max %d: it does not say what is drawn:\n%s", most, text)
		}
		if whole := drawn[1] == "10000" && drawn[2] == "40"; whole != (most >= 8) {
			t.Errorf("--max %d: %s", most, drawn[0])
		}
	}
}

func TestPictureSaysWhatWasLost(t *testing.T) {
	r := recorded(web(1, 2, 80, "/", 0, 10), &event.Account{Lost: 17})
	if text := plain(mermaid(t, r, Options{})); !strings.Contains(text, "not recorded: 17 lost while tracing") {
		t.Error(text)
	}
}

func TestNothingToDraw(t *testing.T) {
	for _, c := range []struct {
		name   string
		events []event.Object
		o      Options
		want   string
	}{
		{"an empty recording", nil, Options{}, "nothing to draw: there are no exchanges, connections or programs"},
		{"other events", []event.Object{&event.Traffic{Common: event.Common{Kind: "traffic"}}}, Options{}, "nothing to draw: there are no exchanges, connections or programs, only other events (traffic 1)"},
		{"another time", []event.Object{web(1, 2, 80, "/", 0, 10)}, Options{From: at(1)}, "nothing to draw: nothing began then; the recording is from 2026-03-05T12:00:00Z to 2026-03-05T12:00:00.01Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := recorded(c.events...).Mermaid(c.o)
			if !errors.Is(err, ErrNothing) || err.Error() != c.want {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestSecretsAreNotDrawn(t *testing.T) {
	for in, want := range map[string]string{
		"/a?token=x": "/a", "/a#x": "/a", "/a;jsessionid=1/b;x=2": "/a/b", "http://user:pw@host/a?b": "/a", "http://host": "/",
		"user:pw@host:443": "host:443", "*": "*", "": "", "/a;b?c;d": "/a", "/x?y://z": "/x", "//a@b": "//a@b",
	} {
		if got := target(in); got != want {
			t.Errorf("%q is drawn as %q, want %q", in, got, want)
		}
	}
}

func TestMoments(t *testing.T) {
	first, last := noon, noon.Add(14*time.Hour)
	for in, want := range map[string]string{
		"12:00:01":                  "2026-03-05T12:00:01Z",
		"12:00:01.5":                "2026-03-05T12:00:01.5Z",
		"01:30:00":                  "2026-03-06T01:30:00Z", // it went on until then
		"11:00:00":                  "2026-03-05T11:00:00Z",
		"23:59":                     "2026-03-05T23:59:00Z",
		"2026-03-05T14:00:00+02:00": "2026-03-05T12:00:00Z",
	} {
		m, err := parseMoment(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.in(first, last).UTC().Format(time.RFC3339Nano); got != want {
			t.Errorf("%s is %s, want %s", in, got, want)
		}
	}
	for _, in := range []string{"soon", "25:00:00", "12", "2026-03-05"} {
		if _, err := parseMoment(in); err == nil {
			t.Errorf("%s is taken", in)
		}
	}
}

// syntax are the lines that a diagram may have.
var syntax = regexp.MustCompile(`^ *(participant p\d+ as |Note over p\d+(,p\d+)?: |loop |p\d+(->>\+|-->>-|-x|-\))p\d+: )(.+)$`)

// holdSyntax fails if a text that is not ours could mean something to Mermaid.
func holdSyntax(t testing.TB, text []byte) {
	t.Helper()
	depth := 0
	active := map[string]int{}
	for n, line := range bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n")) {
		switch trimmed := strings.TrimSpace(string(line)); {
		case n == 0 && trimmed == "sequenceDiagram":
			continue
		case trimmed == "end" && depth > 0:
			depth--
			continue
		case strings.HasPrefix(trimmed, "loop "):
			depth++
		}
		m := syntax.FindSubmatch(line)
		if m == nil || !regexp.MustCompile(`^([A-Za-z0-9 /._=?-]|#\d+;)+$`).Match(m[4]) || strings.TrimSpace(string(m[4])) == "" {
			t.Fatalf("line %d: %q", n+1, line)
		}
		ends := regexp.MustCompile(`p\d+`).FindAllString(string(m[1]), 2)
		switch string(m[3]) {
		case "->>+":
			active[ends[1]]++
		case "-->>-":
			if active[ends[0]]--; active[ends[0]] < 0 {
				t.Fatalf("line %d: %s was not active: %q", n+1, ends[0], line)
			}
		}
	}
	if depth != 0 || len(text) >= mermaidBytes {
		t.Fatalf("%d loops are open, %d bytes", depth, len(text))
	}
	for p, n := range active {
		if n != 0 {
			t.Fatalf("%s is still active", p)
		}
	}
}

// holdLadder fails if a line is wider than it may be, or not plain.
func holdLadder(t testing.TB, text []byte, width int) {
	t.Helper()
	for line := range bytes.Lines(text) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		if len(line) > max(width, 40) || slices.ContainsFunc(line, func(c byte) bool { return c < ' ' || c > '~' }) {
			t.Fatalf("%d cells: %q", len(line), line)
		}
	}
}

// Whatever stands in an event, the picture keeps its syntax.
func FuzzPictures(f *testing.F) {
	for _, s := range hostile {
		f.Add(s, "GET", s, uint16(80), uint16(3), false)
	}
	f.Fuzz(func(t *testing.T, comm, method, path string, port, many uint16, nested bool) {
		r := NewRecording()
		for i := range int(many%12) + 1 {
			e := web(uint32(i%7), 2, port, path, i*10, i*10+5)
			e.Comm, e.Method = comm, method
			if i%3 == 1 {
				e.PeerComm, e.Error, e.Latency, e.Status, e.ResetCode = path, comm, 0, 0, method
			}
			r.Add(Host{Name: comm, Number: i % 2}, e)
			if nested {
				r.Add(Host{Name: comm, Number: i % 2}, web(2, 3, port, path+comm, i*10+1, i*10+2))
			}
			x := &event.Exec{Common: event.Common{Time: at(i * 10), Kind: event.KindExec, Process: event.Process{PID: uint32(many), Comm: path}}, Program: event.Program{Exe: comm}, PPID: 2, ParentComm: method}
			x.Pod, x.Namespace = method, comm
			r.Add(one, x)
		}
		for _, most := range []int{0, 4} {
			text, err := r.Mermaid(Options{Max: most, Group: Grouping{Pod: nested}})
			if err != nil {
				t.Fatal(err)
			}
			holdSyntax(t, text)
			width := int(port%200) + 20
			text, err = r.Ladder(Options{Max: most}, width)
			if err != nil {
				t.Fatal(err)
			}
			holdLadder(t, text, width)
		}
	})
}
