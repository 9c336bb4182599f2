package http

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tracer/testdata/kit"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"

	"tracer/bpf"
	"tracer/testdata/kit/record"
	"tracer/testdata/kit/work"
	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/session"
	"tracer/trace/stream"
)

// Where the ring has no room, what is told is still true: each row is of an
// exchange that took place, and a connection is understood again once there is
// room.
func TestKernelHTTPLossMakesNothingUp(t *testing.T) {
	kit.Needs(t, kit.OldestKernel)
	const before, after, conns = 101, 13, 3
	var scripts [2][conns][]move // what the client does while nobody reads, and then
	var servers [conns][]move
	truth := map[string]bool{}
	last := map[string]bool{} // of what takes place when there is room
	for i := range conns {
		for j := range before + after {
			path, status := fmt.Sprintf("/%d/%d", i, j), 200+(7*i+j)%99*5
			if status == 204 || status == 304 {
				status++
			}
			ask := request("POST", path, length(j)) + strings.Repeat("q", j)
			answer := response(fmt.Sprint(status, " X"), length(2*j)) + strings.Repeat("a", 2*j)
			part := min(j/before, 1)
			client, server := both(send(ask), send(answer))
			scripts[part][i] = append(scripts[part][i], client...)
			servers[i] = append(servers[i], server...)
			line := row("both", "POST", path, status, ask, answer)
			truth[line] = true
			if j >= before+2 { // one exchange may tell where the place is
				last[line] = true
			}
		}
	}
	var workers [conns]*work.Process
	var ports [conns]int
	for i := range conns {
		w, p := serve(t, servers[i])
		workers[i], ports[i] = w, p[0]
	}
	c := openHTTP(t, session.Options{Limits: session.Limits{Limits: kernel.Limits{RingBytes: 4096}}}, atPorts(ports[:]...)) // a handful of records
	var fds [conns]int
	for i := range conns {
		fds[i] = work.Dial("127.0.0.1", ports[i])
		work.Timeouts(fds[i])
		perform(t, fds[i], scripts[0][i]...)
	}
	c.Run()
	for i := range conns {
		// One at a time, and read at once: so little room is soon full again.
		for j := range after {
			perform(t, fds[i], scripts[1][i][2*j:2*j+2]...)
			patience := record.Patience
			if j < 2 {
				patience = 200 * time.Millisecond // there may be no row of it
			}
			path := fmt.Sprintf("/%d/%d", i, before+j)
			c.Wait(patience, func() bool {
				return slices.ContainsFunc(c.of(ports[i]), func(e *event.HTTP) bool { return e.Path == path })
			})
		}
		work.CloseFD(fds[i])
		workers[i].Hear()
	}
	a := c.Stop()
	if a.Shown+a.Lost != a.Seen {
		t.Errorf("%d seen, %d shown and %d lost", a.Seen, a.Shown, a.Lost)
	}
	if a.LostBy["ring_full"] == 0 || a.LostBy["ring_full"]+a.LostBy["unpaired"] != a.Lost {
		t.Errorf("%+v", a)
	}
	told := 0
	for i := range conns {
		for _, line := range rows(c.of(ports[i])) {
			// What one end said may have been lost.
			_, of, _ := strings.Cut(line, " ")
			line = "both " + of
			if !truth[line] {
				t.Errorf("did not take place, or was told before: %s", line)
			}
			delete(truth, line)
			delete(last, line)
			told++
		}
	}
	for line := range last {
		t.Errorf("there was room for it: %s", line)
	}
	ends := uint64(0)
	for i := range conns {
		for _, e := range c.of(ports[i]) {
			ends++
			if e.Role == event.RoleBoth {
				ends++
			}
		}
	}
	// The end of a connection is no exchange, but takes a record.
	if all := uint64(2 * conns * (before + after)); ends+a.Lost < all || ends+a.Lost > all+2*conns {
		t.Errorf("%d ends in rows and %d lost, of %d", ends, a.Lost, all)
	}
	t.Logf("%d ends were lost; %d of %d exchanges told", a.Lost, told, conns*(before+after))
}

// However many calls move it, an exchange that finds no room is one that is lost to
// each end.
func TestKernelHTTPLossCountsExchangesNotCalls(t *testing.T) {
	kit.Needs(t, kit.OldestKernel)
	const n = 53
	for _, how := range []string{"", "each"} {
		t.Run("read by "+map[string]string{"": "message", "each": "byte"}[how], func(t *testing.T) {
			var asks, answers []move
			for range n {
				asks = append(asks, send(get), recv(len(ok5)).By(how))
				answers = append(answers, recv(len(get)).By(how), send(ok5))
			}
			server, ports := serve(t, answers)
			c := openHTTP(t, session.Options{Limits: session.Limits{Limits: kernel.Limits{RingBytes: 4096}}}, atPorts(ports...))
			call(t, ports[0], asks)
			server.Hear()
			a := c.Stop() // nobody has read before
			ends := uint64(0)
			for _, e := range c.of(ports[0]) {
				ends++
				if e.Role == event.RoleBoth {
					ends++
				}
			}
			// A record that is lost may have told a part only, and that of an
			// end nothing that was not told before.
			if ends+a.Lost < 2*n || a.Lost > 2*n+2 {
				t.Errorf("%d ends of %d are in rows, lost %v", ends, 2*n, a.LostBy)
			}
			t.Logf("%d ends of %d are in rows, lost %v", ends, 2*n, a.LostBy)
		})
	}
}

// A connection that finds no room is counted, and the others are told as ever.
func TestKernelHTTPFullMapIsCounted(t *testing.T) {
	kit.Needs(t, kit.OldestKernel)
	const n, each = 17, 3
	var moves []move
	for range each {
		moves = append(moves, send(get), send(ok5))
	}
	client, script := both(moves...)
	server, ports := serve(t, slices.Repeat([][]move{script}, n)...)
	c := openHTTP(t, session.Options{Limits: session.Limits{Socks: 9}}, atPorts(ports...))
	c.Run()
	// All connections at the same time, in the order that they are served.
	var fds []int
	for i := range n {
		fds = append(fds, work.Dial("127.0.0.1", ports[i]))
		work.Timeouts(fds[i])
	}
	for _, fd := range fds {
		defer work.CloseFD(fd) // until then it takes room
		perform(t, fd, client...)
		server.Hear()
	}
	c.await(ports[0], each)
	a := c.Stop()
	if a.LostBy["map_full"] == 0 {
		t.Errorf("no room was lacking: %+v", a)
	}
	told := 0
	for _, port := range ports {
		for _, r := range rows(c.of(port)) {
			if _, of, _ := strings.Cut(r, " "); of != "GET /a 200 28+43" {
				t.Errorf("%s", r)
			}
			told++
		}
	}
	if told < each || told >= n*each {
		t.Errorf("%d rows of %d exchanges", told, n*each)
	}
}

// Requests that find no room to be kept in the kernel are told at once, and
// connections that end leave their room to others.
func TestKernelHTTPFullHeadsAreGivenBack(t *testing.T) {
	kit.Needs(t, kit.OldestKernel)
	const n, each, room = 5, 3, 2
	var moves []move
	var want []string
	for range each {
		moves = append(moves, send(get), send(ok5))
		want = append(want, row("both", "GET", "/a", 200, get, ok5))
	}
	client, script := both(moves...)
	tiersOf(t, func(t *testing.T, tier kernel.Tier) {
		server, ports := serve(t, slices.Repeat([][]move{script}, 2*n)...)
		c := openHTTP(t, session.Options{Tier: tier, Limits: session.Limits{Heads: room}}, atPorts(ports...))
		c.Run()
		// A walk through a map begins anew where entries go away meanwhile.
		claims := func() int {
			var entry uint32
			var one uint8
			taken := map[uint32]bool{}
			all := c.Host.Map(bpf.HttpMapClaims).Iterate()
			for all.Next(&entry, &one) {
				taken[entry] = true
			}
			if err := all.Err(); err != nil {
				t.Fatal(err)
			}
			return len(taken)
		}
		for half := range 2 {
			var fds []int
			for i := range n {
				fd := work.Dial("127.0.0.1", ports[half*n+i])
				work.Timeouts(fd)
				fds = append(fds, fd)
				perform(t, fd, client...)
				server.Hear()
			}
			if taken := claims(); taken < 1 || taken > room {
				t.Errorf("%d of %d entries are taken", taken, room)
			}
			for i, fd := range fds {
				work.CloseFD(fd)
				if diff := cmp.Diff(want, rows(c.await(ports[half*n+i], each))); diff != "" {
					t.Error(diff)
				}
			}
			kit.Eventually(t, "entries of connections that have ended are given back", func() error {
				if n := claims(); n > 0 {
					return fmt.Errorf("%d are left", n)
				}
				return nil
			})
		}
		c.Stop()
	})
}

// What the map has of the servers is another socket's, as far as ports tell, whose
// end no program has seen: what it had been asked gets no answer
// that is another's, and is told by the clients; the socket of now is followed from its next request on.
func TestKernelHTTPUnseenEndsGetNoAnswerOfOthers(t *testing.T) {
	kit.Needs(t, kit.EndsKernel)
	const n = 11
	tiersOf(t, func(t *testing.T, tier kernel.Tier) {
		l, port := work.FixedListener()
		defer work.CloseFD(l)
		c := openHTTP(t, session.Options{Tier: tier}, atPorts(port))
		c.Run()
		var clients, servers []int
		exchange := func(i int) {
			perform(t, servers[i], send(ok5))
			perform(t, clients[i], recv(len(ok5)))
		}
		for i := range n {
			clients = append(clients, work.Dial("127.0.0.1", port))
			servers = append(servers, work.Accept(l))
			for _, fd := range []int{clients[i], servers[i]} {
				defer work.CloseFD(fd)
				work.Timeouts(fd)
			}
			perform(t, clients[i], send(get))
			perform(t, servers[i], recv(len(get)))
		}
		var sockets []uint64
		var key uint64
		var state bpf.HttpSocketState
		known := c.Host.Map(bpf.HttpMapSockets)
		for iter := known.Iterate(); iter.Next(&key, &state); {
			sockets = append(sockets, key)
		}
		if len(sockets) != 2*n {
			t.Fatalf("%d sockets are known", len(sockets))
		}
		for _, key := range sockets {
			work.Must(known.Lookup(key, &state))
			if stream.Direction(state.Requests) == stream.Received {
				state.Ports ^= 1
				work.Must(known.Update(key, &state, ebpf.UpdateExist))
			}
		}
		for i := range n {
			exchange(i)
			perform(t, clients[i], send(get))
			perform(t, servers[i], recv(len(get)))
			exchange(i)
		}
		a := c.Stop()
		got := rows(c.of(port))
		slices.Sort(got)
		want := slices.Concat(slices.Repeat([]string{row("both", "GET", "/a", 200, get, ok5)}, n),
			slices.Repeat([]string{row(event.RoleClient, "GET", "/a", 200, get, ok5)}, n))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		// What the servers could not tell is in the clients' rows.
		if a.Lost != a.LostBy["program_missed"] {
			t.Errorf("lost %v", a.LostBy)
		}
	})
}

// A server that answers five requests by sendfile, all at once: it is not known at its end
// how many answers those were. That is said.
func TestKernelHTTPUnpairedIsCounted(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	answer := response("200 OK", length(2003)) + strings.Repeat("x", 2003)
	client, script := both(send(get).Times(5), send(answer).Times(5).By("sendfile"), send(get), send(ok5))
	server, ports := serve(t, script)
	args := [][]string{nil, {"--role=client"}, {"--role=server"}}
	var sessions []*view
	for _, more := range args {
		c := openHTTP(t, session.Options{}, append(more, atPorts(ports...))...)
		c.Run()
		sessions = append(sessions, c)
	}
	call(t, ports[0], client)
	server.Hear()
	// The client's end tells of all of them. The server's does not of any: what asks for
	// several answers at once may not wait for these.
	for i, want := range []struct{ rows, lost int }{{6, 0}, {6, 0}, {0, 6}} {
		c := sessions[i]
		c.await(ports[0], want.rows)
		a := c.Stop()
		got := rows(c.of(ports[0]))
		if len(got) != want.rows || a.LostBy["unpaired"] != uint64(want.lost) || a.Lost != uint64(want.lost) {
			t.Errorf("%s: %v, lost %v, want %+v", args[i], got, a.LostBy, want)
		}
	}
}

// Answers that leave by sendfile cannot be read where they are sent. That is told
// within a second, while the connection goes on; and it is no loss where the client's
// end tells of the exchange.
func TestKernelHTTPUnreadAnswersAreToldAtOnce(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	const n = 5
	var asks, answers []move
	for range n {
		asks = append(asks, send(get), recv(len(ok5)))
		answers = append(answers, recv(len(get)), send(ok5).By("sendfile"))
	}
	server, ports := serve(t, append(answers, recv(len(get)), send(ok5)))
	lost := make(chan uint64, 10)
	alone := openHTTP(t, session.Options{Notice: func(e *event.Notice) {
		if e.Kind == event.KindLost {
			lost <- e.Lost
		}
	}}, "--role=server", atPorts(ports...))
	joined := openHTTP(t, session.Options{}, atPorts(ports...))
	alone.Run()
	joined.Run()
	fd := work.Dial("127.0.0.1", ports[0])
	defer work.CloseFD(fd)
	work.Timeouts(fd)
	perform(t, fd, asks...)
	for deadline, told := time.After(time.Second+500*time.Millisecond), uint64(0); told < n; {
		select {
		case told = <-lost:
		case <-deadline:
			t.Fatalf("%d were told", told)
		}
	}
	perform(t, fd, send(get), recv(len(ok5)))
	server.Hear()
	alone.await(ports[0], 1)
	joined.await(ports[0], n+1)
	if a := alone.Stop(); a.Shown != 1 || a.LostBy["unpaired"] != n || a.Filtered["role"] != n+1 || a.Seen != 2*(n+1) {
		t.Errorf("--role server: %s", inWords(a))
	}
	if a := joined.Stop(); a.Seen != n+1 || a.Shown != n+1 || a.Lost != 0 {
		t.Errorf("both ends: %s", inWords(a))
	}
}
