package trace

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"

	"tracer/bpf"
	"tracer/trace/event"
)

const callsFeature = "UDP, and who uses a socket of several processes"

// trafficRows is what a session with traffic has reported.
type trafficRows struct {
	t       *testing.T
	session *Session
	mu      sync.Mutex
	list    []event.Traffic
	closing []event.Traffic
	last    event.Page
	pages   int
	stop    func() *event.Account
	missed  uint64 // runs that the kernel left out, as it says: known when it has stopped
}

func (c *trafficRows) Event(e event.Event) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, *e.(*event.Traffic))
	return true
}

func (c *trafficRows) Page(p *event.Page) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pages++
	if p.Closing {
		for e := range p.Rows {
			c.closing = append(c.closing, *e.(*event.Traffic))
		}
		c.last = *p
	}
}

func (c *trafficRows) Flush() error            { return nil }
func (c *trafficRows) Broken() <-chan struct{} { return nil }
func (c *trafficRows) Close() (uint64, error)  { return 0, nil }

// openTraffic opens a session of traffic.
func openTraffic(t *testing.T, opts Options, args ...string) *Session {
	t.Helper()
	needRoot(t)
	tracer := &trafficTracer{}
	fs := flag.NewFlagSet("traffic", flag.ContinueOnError)
	tracer.Flags(fs)
	if err := fs.Parse(args); err != nil { // not validated: shorter intervals are wanted, too
		t.Fatal(err)
	}
	s, err := Open(tracer, opts)
	switch {
	case err == nil:
	case opts.tier == tierTracepoint && !kernelHas(t, "btf_trace_sock_send_length"):
		t.Skip("this kernel has no tracepoint for this")
	case opts.tier != 0 && opts.tier != tierTracepoint && os.Getenv("TRACER_VM") == "":
		t.Skipf("functions cannot be hooked here, other kernels are tested by make test-kernels: %v", err)
	default:
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if opts.tier != 0 && s.tiers[callsFeature] != opts.tier {
		t.Fatalf("hooks of the kind %q, want %q", s.tiers[callsFeature], opts.tier)
	}
	return s
}

// kernelHas reports whether the kernel has a type of this name.
func kernelHas(t *testing.T, name string) bool {
	t.Helper()
	types, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	_, err = types.AnyTypeByName(name)
	return err == nil
}

// traceTraffic runs a session of traffic until stop is called, or the test
// ends. Nothing must be lost.
func traceTraffic(t *testing.T, opts Options, args ...string) *trafficRows {
	t.Helper()
	s := openTraffic(t, opts, args...)
	c := &trafficRows{t: t, session: s}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, c) }()
	c.stop = sync.OnceValue(func() *event.Account {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		a, err := s.Account()
		if err != nil {
			t.Fatal(err)
		}
		if s.tracer.(*trafficTracer).preempts {
			c.missed = a.LostBy[causeNames[lostMissed]]
		}
		if a.Lost != c.missed || a.Incomplete != 0 {
			t.Errorf("lost %d %v, %d details", a.Lost, a.LostBy, a.Incomplete)
			for name, p := range s.programs {
				if st, err := p.Stats(); err == nil && st.RecursionMisses > 0 {
					t.Logf("%s: %d misses in %d runs", name, st.RecursionMisses, st.RunCount)
				}
			}
			for cause, n := range s.stats.lost {
				t.Logf("%s: %d", causeNames[cause], n)
			}
		}
		return a
	})
	t.Cleanup(func() { c.stop() })
	return c
}

// sum is what a process has moved according to all its rows.
func (c *trafficRows) sum(pid int, also func(*event.Traffic) bool) moved {
	c.mu.Lock()
	defer c.mu.Unlock()
	var m moved
	for i := range c.list {
		e := &c.list[i]
		if int(e.PID) == pid && (also == nil || also(e)) {
			m.tx += e.Tx
			m.rx += e.Rx
		}
	}
	return m
}

// want checks what a process has moved in all, by its rows and by the closing
// table.
func (c *trafficRows) want(t *testing.T, what string, pid int, tx, rx int) {
	t.Helper()
	c.stop()
	want := moved{uint64(tx), uint64(rx)}
	if got := c.sum(pid, nil); got != want {
		if c.missed > 0 { // who called is not known then, which is told
			t.Logf("%s: moved %+v, want %+v, and programs were not run %d times", what, got, want, c.missed)
			return
		}
		t.Errorf("%s: moved %+v, want %+v", what, got, want)
	}
	var closing moved
	for _, e := range c.closing {
		if int(e.PID) == pid {
			closing.tx += e.TotalTx
			closing.rx += e.TotalRx
		}
	}
	if closing != want {
		t.Errorf("%s: the closing table says %+v, want %+v", what, closing, want)
	}
}

// await waits until a process has moved this much according to its rows.
func (c *trafficRows) await(pid int, tx, rx int) {
	c.t.Helper()
	want := moved{uint64(tx), uint64(rx)}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		got := c.sum(pid, nil)
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("moved %+v, want %+v", got, want)
		}
	}
}

func TestKernelTrafficIsExactHoweverItIsMoved(t *testing.T) {
	tiersOf(t, func(t *testing.T, tier tier) {
		c := traceTraffic(t, Options{tier: tier}, "--by", "connection", "--interval", "30ms")
		for _, host := range []string{"127.0.0.1", "::1"} {
			server := startWorkload(t, "waysServer", host)
			client := startWorkload(t, "waysClient", host, server.hear())
			ports := make([]int, wayCount)
			names := make([]string, wayCount)
			for i := range wayCount {
				ports[i] = client.hearInt()
				names[i] = client.hear() + " to " + server.hear()
			}
			client.hear()
			server.hear()
			t.Cleanup(func() {
				c.stop()
				dst := netip.MustParseAddr(host)
				for i, port := range ports {
					n, m := wayBytes(i)
					of := func(role string) func(e *event.Traffic) bool {
						return func(e *event.Traffic) bool {
							return e.Role == role && int(e.Src.Port()) == port && e.Dst.Addr() == dst && e.Src.Addr() == dst && e.Proto == event.ProtoTCP
						}
					}
					if got, want := c.sum(client.pid, of(event.RoleClient)), (moved{uint64(n), uint64(m)}); got != want {
						t.Errorf("%s, client: %+v, want %+v", names[i], got, want)
					}
					if got, want := c.sum(server.pid, of(event.RoleServer)), (moved{uint64(m), uint64(n)}); got != want {
						t.Errorf("%s, server: %+v, want %+v", names[i], got, want)
					}
				}
				if t.Failed() {
					return
				}
				var n, m int
				for i := range wayCount {
					a, b := wayBytes(i)
					n, m = n+a, m+b
				}
				c.want(t, "client", client.pid, n, m)
				c.want(t, "server", server.pid, m, n)
			})
		}
	})
}

func TestKernelTrafficOfProcesses(t *testing.T) {
	tiersOf(t, func(t *testing.T, tier tier) {
		older := startWorkload(t, "older")
		older.hear()
		c := traceTraffic(t, Options{tier: tier}, "--interval", "20ms")

		older.say("")
		older.hear()
		again := startWorkload(t, "sentAgain")
		again.hear()
		idle := startWorkload(t, "nothingMoves")
		idle.hear()
		network := startWorkload(t, "trafficNetwork")
		if text := network.hear(); text != "open" {
			t.Fatal(text)
		}

		echo := startWorkload(t, "echoServer", "1")
		shared := startWorkload(t, "many", "23")
		shared.hear()
		shared.say("")
		port := echo.hear()
		echoer := startWorkload(t, "echoClient", port, "1")
		echoer.hear()
		echo.hear()

		c.stop()
		c.want(t, "open before, counted from start", older.pid, 1009+2003, 1009+2003)
		c.want(t, "sent again", again.pid, 2*20_011, 2*20_011)
		c.want(t, "nothing", idle.pid, 0, 0)
		c.want(t, "in a network of its own", network.pid, 1009+1013, 1009+1013)
		c.want(t, "server", echo.pid, shortAnswers, shortAsks)
		c.want(t, "client", echoer.pid, shortAsks, shortAnswers)
		if len(c.list) == 0 || c.pages < 2 {
			t.Errorf("%d rows, %d pages", len(c.list), c.pages)
		}
	})
}

func TestKernelTrafficOfConnectionsShorterThanTheInterval(t *testing.T) {
	const n = 997
	for _, interval := range []string{"1h", "10ms"} {
		t.Run(interval, func(t *testing.T) {
			c := traceTraffic(t, Options{}, "--interval", interval)
			server := startWorkload(t, "echoServer", strconv.Itoa(n))
			client := startWorkload(t, "echoClient", server.hear(), strconv.Itoa(n))
			server.hear()
			client.hear()
			c.want(t, "server", server.pid, n*shortAnswers, n*shortAsks)
			c.want(t, "client", client.pid, n*shortAsks, n*shortAnswers)
			if rows := len(c.list); interval == "1h" && rows < 2 {
				t.Errorf("%d rows", rows)
			}
		})
	}
}

// Ends that nobody has seen, as the map looks after them: they are counted, and
// who uses an address again is not taken for who had it before.
func TestKernelTrafficUnseenEnds(t *testing.T) {
	const held, n = 11, 211
	s := openTraffic(t, Options{}, "--interval", "1h")
	socks := s.objects.Maps[bpf.TrafficMapSocks]
	of := func(pid int) map[uint64]bpf.TrafficTcp {
		entries := map[uint64]bpf.TrafficTcp{}
		var key uint64
		var sock bpf.TrafficTcp
		for iter := socks.Iterate(); iter.Next(&key, &sock); {
			if int(sock.Owner.Pid) == pid {
				entries[key] = sock
			}
		}
		return entries
	}
	holder := startWorkload(t, "holdMany", strconv.Itoa(held))
	holder.hear()
	left := of(holder.pid)
	holder.say("end")
	for deadline := time.Now().Add(20 * time.Second); len(of(holder.pid)) > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d sockets left", len(of(holder.pid)))
		}
	}
	for key, sock := range left {
		if err := socks.Put(key, &sock); err != nil {
			t.Fatal(err)
		}
	}
	put := len(of(holder.pid))
	// Which addresses are used again is up to the allocator: those that are
	// held at once take what is free of its slabs.
	var pids [][2]int
	for put == len(of(holder.pid)) {
		if len(pids) == 30 {
			t.Fatal("no address was used again")
		}
		again := startWorkload(t, "holdMany", strconv.Itoa(n))
		again.hear()
		again.say("end")
		server := startWorkload(t, "echoServer", strconv.Itoa(n))
		client := startWorkload(t, "echoClient", server.hear(), strconv.Itoa(n))
		server.hear()
		client.hear()
		pids = append(pids, [2]int{server.pid, client.pid})
	}
	reused := put - len(of(holder.pid))
	c := &trafficRows{t: t, session: s}
	a := runEnded(t, s, c)
	if by := a.LostBy[causeNames[lostStep]]; by != uint64(reused) || a.Lost-a.LostBy[causeNames[lostMissed]] != by {
		t.Errorf("%d of %d left at addresses that were used again, lost %v", reused, put, a.LostBy)
	}
	for _, p := range pids {
		server, client := c.sum(p[0], nil), c.sum(p[1], nil)
		want := moved{n * shortAnswers, n * shortAsks}
		if server != want || client.tx != want.rx || client.rx != want.tx {
			t.Errorf("server moved %+v, client %+v, want %+v and the reverse", server, client, want)
		}
	}
}

// A reading may come at any moment of a socket's life, and then the kernel is
// between two steps.
func TestKernelTrafficIsReadWhileItMoves(t *testing.T) {
	const n = 997
	c := traceTraffic(t, Options{maxSocks: 64}, "--interval", "1us")
	server := startWorkload(t, "endServer", strconv.Itoa(n))
	client := startWorkload(t, "endClient", server.hear(), strconv.Itoa(n))
	server.hear()
	client.hear()
	c.want(t, "server", server.pid, n*shortAnswers, n*shortAsks)
	c.want(t, "client", client.pid, n*shortAsks, n*shortAnswers)
}

func TestKernelTrafficBelongsToWhoMovesIt(t *testing.T) {
	tiersOf(t, func(t *testing.T, tier tier) {
		c := traceTraffic(t, Options{tier: tier}, "--interval", "20ms")

		server := startWorkload(t, "waysSink")
		sharing := startWorkload(t, "shared", server.hear())
		var children [2]int
		if _, err := fmt.Sscan(sharing.hear(), &children[0], &children[1]); err != nil {
			t.Fatal(err)
		}
		sharing.hear()
		server.hear()

		// A child in a call that has not returned: only who holds the socket
		// can tell whose it is. The parent holds it, too, hence it is nobody's
		// until the call returns.
		const big = 7_000_003
		holder := startWorkload(t, "heldParent", strconv.Itoa(big))
		reader := startWorkload(t, "readSlowly", holder.hear(), strconv.Itoa(big))
		writer := holder.hearInt()
		reader.hear()
		holder.hear()

		// Nobody has read what has come.
		deaf := startWorkload(t, "neverRead")
		caller := startWorkload(t, "callDeaf", deaf.hear())
		deaf.hear()
		c.await(caller.pid, 5003, 0)
		c.await(deaf.pid, 0, 0)
		deaf.say("")
		deaf.hear()
		caller.say("")
		caller.hear()

		// Accepted by a parent, used by its child; and connected.
		parent := startWorkload(t, "acceptParent")
		child := parent.hearInt()
		parent.hear()

		c.stop()
		c.want(t, "parent of a shared socket", sharing.pid, shareBefore+shareTurns*shareSends, shareTurns*shareReads)
		for i, pid := range children {
			c.want(t, fmt.Sprintf("child %d", i), pid, shareTurns*(shareSends+(i+1)*shareExtra), shareTurns*(shareReads+(i+1)*shareExtra))
		}
		sent, read := shareTotals()
		c.want(t, "the other end", server.pid, read, sent)
		c.want(t, "who holds what a child writes to", holder.pid, 0, 0)
		c.want(t, "who writes in one call", writer, big, 0)
		c.want(t, "who reads that", reader.pid, 0, big)
		c.want(t, "who reads nothing", deaf.pid, 0, 5003)
		c.want(t, "who is not heard", caller.pid, 5003, 0)
		c.want(t, "the client in the parent", parent.pid, 1009, 1013)
		c.want(t, "the child that was given an accepted socket", child, 1013, 1009)
	})
}

// shareTotals is what the three processes of a shared socket move in all.
func shareTotals() (sent, read int) {
	sent = shareBefore + shareTurns*(3*shareSends+3*shareExtra)
	read = shareTurns * (3*shareReads + 3*shareExtra)
	return sent, read
}

func TestKernelTrafficOfUDP(t *testing.T) {
	tiersOf(t, func(t *testing.T, tier tier) {
		c := traceTraffic(t, Options{tier: tier}, "--interval", "20ms")
		type total struct {
			w      *connWorkload
			host   string
			tx, rx int
		}
		var totals []total
		for _, host := range []string{"127.0.0.1", "::1", "::ffff:127.0.0.1"} {
			u := startWorkload(t, "udp", host)
			x := total{w: u, host: host}
			if _, err := fmt.Sscan(u.hear(), &x.tx, &x.rx); err != nil {
				t.Fatal(err)
			}
			totals = append(totals, x)
		}
		const n = 2003
		noise := startWorkload(t, "udpNoise", strconv.Itoa(n))
		noise.hear()
		c.stop()
		for _, x := range totals {
			c.want(t, x.host, x.w.pid, x.tx, x.rx)
		}
		// The kernel leaves a kprobe out while a task on its CPU is in bpf(2), and
		// before 5.12 does not tell.
		if c.session.opts.tier != tierKprobe {
			c.want(t, "four threads", noise.pid, 4*n*17, 4*n*17)
		}
		for _, e := range c.list {
			if int(e.PID) == noise.pid && e.Proto != event.ProtoUDP {
				t.Errorf("protocol %q", e.Proto)
			}
		}
	})
}

func TestKernelTrafficByPeerAndByCgroup(t *testing.T) {
	for _, by := range []string{"peer", "container", "pod"} {
		t.Run(by, func(t *testing.T) {
			c := traceTraffic(t, Options{}, "--by", by, "--interval", "20ms", "--sort", "rx")
			in := newContainer(t, trees(t)["cgroup2"], "traffic-"+by, "app")
			server := startWorkload(t, "waysServer", "::1")
			port := server.hear()
			// The server is in a container from here on.
			if err := os.WriteFile(filepath.Join(in.dir, "cgroup.procs"), []byte(strconv.Itoa(server.pid)), 0); err != nil {
				t.Fatal(err)
			}
			client := startWorkload(t, "waysClient", "::1", port)
			for range wayCount {
				client.hear()
				client.hear()
			}
			client.hear()
			c.stop()
			var n, m int
			for i := range wayCount {
				a, b := wayBytes(i)
				n, m = n+a, m+b
			}
			var got, inside moved
			want := event.Place{}
			switch by {
			case "container":
				want = in.Place
			case "pod":
				want = event.Place{Pod: in.Pod, Namespace: in.Namespace, PodUID: in.PodUID}
			}
			peers := map[netip.Addr]moved{}
			for _, e := range c.list {
				got.tx, got.rx = got.tx+e.Tx, got.rx+e.Rx
				p := peers[e.Peer]
				peers[e.Peer] = moved{p.tx + e.Tx, p.rx + e.Rx}
				if e.Place == want && want != (event.Place{}) {
					inside.tx, inside.rx = inside.tx+e.Tx, inside.rx+e.Rx
				}
				if e.PID != 0 || e.CgroupID != 0 || e.Place != want && e.Place != (event.Place{}) {
					t.Fatalf("row %+v", e)
				}
			}
			if by != "peer" && inside.tx+inside.rx != uint64(n+m) {
				t.Errorf("the server in its container moved %+v, want %d in all", inside, n+m)
			}
			if by == "peer" {
				got = peers[netip.MustParseAddr("::1")]
			}
			// Others may use the loopback device, too, but where a machine is
			// our own.
			if os.Getenv("TRACER_VM") != "" && got != (moved{uint64(n + m), uint64(n + m)}) || got.tx < uint64(n+m) {
				t.Errorf("moved %+v, want %d both ways", got, n+m)
			}
		})
	}
}

func TestKernelTrafficOfWantedProcesses(t *testing.T) {
	server := startWorkload(t, "echoServer", "3")
	port := server.hear()
	c := traceTraffic(t, Options{Filter: Filter{PIDs: []uint32{uint32(server.pid)}}}, "--interval", "20ms")
	client := startWorkload(t, "echoClient", port, "3")
	client.hear()
	server.hear()
	c.want(t, "server", server.pid, 3*shortAnswers, 3*shortAsks)
	if i := slices.IndexFunc(c.list, func(e event.Traffic) bool { return int(e.PID) != server.pid }); i >= 0 {
		t.Errorf("row of another: %+v", c.list[i])
	}

	// The children of a wanted process, and what they do with its sockets.
	holder := startWorkload(t, "heldParent", "100003")
	port = holder.hear()
	c = traceTraffic(t, Options{Filter: Filter{PIDs: []uint32{uint32(holder.pid)}}}, "--interval", "20ms")
	reader := startWorkload(t, "readSlowly", port, "100003")
	writer := holder.hearInt()
	reader.hear()
	holder.hear()
	c.want(t, "child", writer, 100_003, 0)
	c.want(t, "reader", reader.pid, 0, 0)

	nobody := uint32(65534)
	c = traceTraffic(t, Options{Filter: Filter{UID: &nobody}}, "--interval", "20ms")
	noise := startWorkload(t, "udpNoise", "11")
	noise.hear()
	if c.stop(); len(c.list) != 0 {
		t.Errorf("rows of a user that runs nothing: %+v", c.list)
	}

	c = traceTraffic(t, Options{Filter: Filter{Comms: []string{"no?uch*"}}}, "--by", "peer", "--interval", "20ms")
	noise = startWorkload(t, "udpNoise", "11")
	noise.hear()
	if c.stop(); len(c.list) != 0 {
		t.Errorf("rows of names that there are not: %+v", c.list)
	}
}

func TestKernelTrafficLeavesItselfOut(t *testing.T) {
	c := traceTraffic(t, Options{}, "--interval", "20ms")
	// This process is the tracer, too.
	l, port := listener("127.0.0.1")
	conn := dial("127.0.0.1", port)
	peer := accept(l)
	writeFull(conn, 1009)
	readFull(peer, 1009)
	closeFD(conn)
	closeFD(peer)
	closeFD(l)
	c.want(t, "itself", os.Getpid(), 0, 0)
}

func TestKernelTrafficLossIsTold(t *testing.T) {
	buffersOf(t, func(t *testing.T, buffer Buffer) {
		const n = 331
		s := openTraffic(t, Options{ringBytes: 4096, Buffer: buffer}, "--interval", "1h")
		server := startWorkload(t, "echoServer", strconv.Itoa(n))
		client := startWorkload(t, "echoClient", server.hear(), strconv.Itoa(n))
		server.hear()
		client.hear()
		c := &trafficRows{t: t, session: s}
		a := runEnded(t, s, c)
		got := c.sum(server.pid, nil)
		told := got.tx / shortAnswers
		if got.tx%shortAnswers != 0 || told+c.sum(client.pid, nil).tx/shortAsks+a.LostBy["ring_full"] < 2*n || a.LostBy["ring_full"] == 0 {
			t.Errorf("%d of %d told, %+v", told, n, a)
		}
	})
	t.Run("a full map", func(t *testing.T) {
		s := openTraffic(t, Options{maxSocks: 1}, "--interval", "1h")
		holder := startWorkload(t, "holdMany", "3")
		holder.hear()
		c := &trafficRows{t: t, session: s}
		a := runEnded(t, s, c)
		if a.LostBy["map_full"] < 5 {
			t.Errorf("%+v", a)
		}
	})
	t.Run("a full map of UDP", func(t *testing.T) {
		s := openTraffic(t, Options{maxSocks: 2}, "--by", "connection", "--interval", "1h")
		u := startWorkload(t, "udpPorts", "7")
		u.hear()
		u.say("")
		u.hear()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Run(ctx, &trafficRows{t: t, session: s}); err != nil {
			t.Fatal(err)
		}
		a, err := s.Account()
		if err != nil {
			t.Fatal(err)
		}
		if a.LostBy["map_full"] < 5 {
			t.Errorf("%+v", a)
		}
	})
	t.Run("a reading that fails", func(t *testing.T) {
		var told []string
		s := openTraffic(t, Options{Notice: func(n *event.Notice) { told = append(told, n.Message) }}, "--interval", "1h")
		if err := s.tracer.(*trafficTracer).reads[bpf.TrafficProgTrafficReadSocks].Close(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Run(ctx, &trafficRows{t: t, session: s}); err != nil {
			t.Fatal(err)
		}
		a, err := s.Account()
		if err != nil {
			t.Fatal(err)
		}
		if a.LostBy["reading_failed"] != 1 || !strings.Contains(strings.Join(told, "\n"), "sockets could not be read") {
			t.Errorf("%+v, told %q", a, told)
		}
	})
}

func TestKernelTrafficOfUDPByConnectionAndByPeer(t *testing.T) {
	tiersOf(t, func(t *testing.T, tier tier) {
		for _, by := range []string{"connection", "peer"} {
			t.Run(by, func(t *testing.T) {
				c := traceTraffic(t, Options{tier: tier}, "--by", by, "--interval", "20ms")
				for _, host := range []string{"127.0.0.1", "::1"} {
					u := startWorkload(t, "udpEnds", host)
					var src, dst uint16
					if _, err := fmt.Sscan(u.hear(), &src, &dst); err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() {
						c.stop()
						at := netip.MustParseAddr(host)
						client := event.Connection{Role: event.RoleClient, Src: netip.AddrPortFrom(at, src), Dst: netip.AddrPortFrom(at, dst)}
						server := event.Connection{Role: event.RoleServer, Src: client.Src, Dst: client.Dst}
						known := c.session.tiers[callsFeature] != tierTracepoint
						if !known { // a tracepoint does not tell who is at the other end
							server.Src = netip.AddrPort{}
						}
						got := map[event.Connection]moved{}
						var peer moved
						for _, e := range c.list {
							if int(e.PID) == u.pid {
								m := got[e.Connection]
								got[e.Connection] = moved{m.tx + e.Tx, m.rx + e.Rx}
							}
							if e.Peer == at {
								peer.tx, peer.rx = peer.tx+e.Tx, peer.rx+e.Rx
							}
						}
						const asks, answers = udpAsks * 1009, udpAnswers * 1013
						if by == "connection" {
							want := map[event.Connection]moved{client: {asks, answers}, server: {answers, asks}}
							if diff := cmp.Diff(want, got, cmp.AllowUnexported(moved{}), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
								t.Error(diff)
							}
							return
						}
						want := moved{asks, answers}
						if known {
							want = moved{asks + answers, asks + answers}
						}
						// Others may use the loopback device, too.
						if peer.tx < want.tx || peer.rx < want.rx || os.Getenv("TRACER_VM") != "" && peer != want {
							t.Errorf("%s: moved %+v, want %+v", host, peer, want)
						}
					})
				}
			})
		}
	})
}

// Many more UDP sockets than there is room for, one after the other.
func TestKernelTrafficMakesRoomForFlows(t *testing.T) {
	const room, round = 64, 20
	s := openTraffic(t, Options{maxSocks: room, Filter: Filter{Comms: []string{"traffic-ports"}}}, "--by", "connection")
	x := s.tracer.(*trafficTracer)
	u := startWorkload(t, "udpPorts", strconv.Itoa(round))
	u.hear()
	sent := 0
	for range 12 {
		u.say("")
		sent += u.hearInt()
		for range 2 { // what is idle at the second may go
			if err := x.readAll(s, false); err != nil {
				t.Fatal(err)
			}
			time.Sleep(flowIdleFull)
		}
	}
	var got moved
	for _, row := range x.rows {
		got.tx, got.rx = got.tx+row.TotalTx, got.rx+row.TotalRx
	}
	if want := (moved{uint64(sent), uint64(sent)}); got != want {
		t.Errorf("moved %+v, want %+v", got, want)
	}
	if a, err := s.Account(); err != nil || a.Lost != a.LostBy[causeNames[lostMissed]] {
		t.Errorf("lost %v, %v", a.LostBy, err)
	}
}

// What becomes of readings, in all orders in which they may come.
func TestTrafficDistributesEachByteOnce(t *testing.T) {
	party := func(pid uint32) bpf.TrafficParty { return bpf.TrafficParty{Start: uint64(pid), Pid: pid} }
	record := func(tx, rx uint64, f func(*bpf.TrafficTcp)) bpf.TrafficTcpRecord {
		r := bpf.TrafficTcpRecord{Socket: 1}
		r.Tcp.Tx, r.Tcp.Rx, r.Tcp.Wanted, r.Tcp.Role = tx, rx, 1, roleClient
		r.Tcp.Owner = party(10)
		f(&r.Tcp)
		return r
	}
	sure := func(r *bpf.TrafficTcp) { r.Sure = 1 }
	shared := func(own uint64) func(*bpf.TrafficTcp) {
		return func(r *bpf.TrafficTcp) { r.Sure, r.Shared, r.OwnTx = 1, 1, own }
	}
	share := func(pid uint32, tx uint64) bpf.TrafficShareRecord {
		r := bpf.TrafficShareRecord{}
		r.Key.Socket, r.Key.Pid = 1, pid
		r.Share.Party, r.Share.Tx, r.Share.Wanted = party(pid), tx, 1
		return r
	}
	last := func(r bpf.TrafficTcpRecord) bpf.TrafficTcpRecord {
		r.Last = 1
		return r
	}
	for name, c := range map[string]struct {
		steps []any              // readings; nil: a report
		want  []map[uint32]moved // at each report
	}{
		"an owner": {
			[]any{record(7, 3, sure), nil, record(11, 3, sure), nil, last(record(13, 4, sure)), nil},
			[]map[uint32]moved{{10: {7, 3}}, {10: {4, 0}}, {10: {2, 1}}},
		},
		"a reading that lags": {
			[]any{record(7, 3, sure), nil, record(6, 4, sure), nil, last(record(7, 4, sure)), nil},
			[]map[uint32]moved{{10: {7, 3}}, {10: {0, 1}}, {}},
		},
		"an owner that is found out late": {
			[]any{
				record(7, 0, func(r *bpf.TrafficTcp) { r.Owner.Pid = 0 }), nil,
				record(7, 0, func(r *bpf.TrafficTcp) { r.Owner = party(12); r.Sure = 1 }), nil,
			},
			[]map[uint32]moved{{}, {12: {7, 0}}},
		},
		"several holders, none of whom has moved anything": {
			[]any{record(7, 0, func(r *bpf.TrafficTcp) { r.Look, r.Several = 1, 1 }), nil, last(record(7, 0, sure)), nil},
			[]map[uint32]moved{{}, {10: {7, 0}}},
		},
		"two that share": {
			[]any{
				record(5, 0, sure), nil, // 5 are the owner's
				record(12, 0, shared(5)), share(20, 7), nil, // then 7 another's
				record(15, 0, shared(5)), share(20, 7), share(10, 3), nil, // then 3 the owner's
				last(record(15, 0, shared(5))), nil,
			},
			[]map[uint32]moved{{10: {5, 0}}, {20: {7, 0}}, {10: {3, 0}}, {}},
		},
		"what is still on its way is nobody's": {
			[]any{
				record(12, 0, shared(5)), share(20, 3), nil,
				record(12, 0, shared(5)), share(20, 7), nil,
			},
			[]map[uint32]moved{{10: {5, 0}, 20: {3, 0}}, {20: {4, 0}}},
		},
		"what is counted but not sent yet": {
			[]any{record(5, 0, shared(5)), share(20, 7), nil, record(12, 0, shared(5)), share(20, 7), nil},
			[]map[uint32]moved{{20: {5, 0}}, {10: {5, 0}, 20: {2, 0}}},
		},
		"what no call tells is the owner's, in the end": {
			[]any{record(20, 0, shared(5)), share(20, 7), nil, last(record(20, 0, shared(5))), nil},
			[]map[uint32]moved{{10: {5, 0}, 20: {7, 0}}, {10: {8, 0}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			sink := &trafficRows{t: t}
			x := newTrafficForTest()
			s := trafficSession(x, sink)
			reports := 0
			for _, step := range c.steps {
				switch step := step.(type) {
				case bpf.TrafficTcpRecord:
					x.socket(&step)
				case bpf.TrafficShareRecord:
					x.shared(&step)
				case nil:
					sink.list = nil
					x.tell(s, 0, false)
					got := map[uint32]moved{}
					for _, e := range sink.list {
						got[e.PID] = moved{e.Tx, e.Rx}
					}
					if diff := cmp.Diff(c.want[reports], got, cmp.AllowUnexported(moved{})); diff != "" {
						t.Errorf("report %d: %s", reports, diff)
					}
					reports++
				}
			}
		})
	}
}

func newTrafficForTest() *trafficTracer {
	return &trafficTracer{
		by: byProcess, sortBy: "total", interval: time.Second, look: 1,
		sockets: map[socketID]*socketState{}, flows: map[bpf.TrafficFlowKey]*flowState{}, rows: map[rowKey]*trafficRow{},
	}
}

// trafficSession is a session without a kernel.
func trafficSession(x *trafficTracer, sink Sink) *Session {
	return &Session{tracer: x, sink: sink, clock: newClock(), stats: newStats(), comms: map[[16]int8]string{}}
}

func TestTrafficFoldsRowsThatAreToMany(t *testing.T) {
	sink := &trafficRows{t: t}
	x := newTrafficForTest()
	s := trafficSession(x, sink)
	const n = maxRows + 17
	for i := range uint32(n) {
		x.add(s, &bpf.TrafficParty{Pid: i + 1}, event.Connection{}, socketID{}, event.ProtoTCP, 0, moved{uint64(i) + 1, 1})
	}
	x.tell(s, 0, false)
	if len(x.rows) != maxRows*3/4 {
		t.Errorf("%d rows are remembered", len(x.rows))
	}
	x.tell(s, 0, true)
	sum := sink.last.Sum.(*event.Traffic)
	if sum.TotalTx != n*(n+1)/2 || sum.TotalRx != n || sink.last.Total != n || len(sink.closing) != maxRows*3/4 {
		t.Errorf("%d rows, %d shown, sum %d %d", sink.last.Total, len(sink.closing), sum.TotalTx, sum.TotalRx)
	}
	// The ones with the most stay, in their order.
	if sink.closing[0].PID != n || sink.closing[1].PID != n-1 {
		t.Errorf("first: %+v", sink.closing[:2])
	}
}

func TestTrafficSortsAndCuts(t *testing.T) {
	for sortBy, want := range map[string][]uint32{"tx": {1, 3}, "rx": {2, 3}, "total": {3, 2}} {
		sink := &trafficRows{t: t}
		x := newTrafficForTest()
		x.sortBy, x.top = sortBy, 2
		s := trafficSession(x, sink)
		for pid, m := range map[uint32]moved{1: {50, 0}, 2: {10, 60}, 3: {40, 45}} {
			x.add(s, &bpf.TrafficParty{Pid: pid}, event.Connection{}, socketID{}, event.ProtoTCP, 0, m)
		}
		x.tell(s, 0, true)
		for what, list := range map[string][]event.Traffic{"rows": sink.list, "the closing table": sink.closing} {
			var got []uint32
			for _, e := range list {
				got = append(got, e.PID)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s by %s: %s", what, sortBy, diff)
			}
		}
	}
}

func TestTrafficOptions(t *testing.T) {
	for args, want := range map[string]string{
		"--by host":           "-by: ",
		"--by=":               "-by: ",
		"--sort pid":          "-sort: ",
		"--interval 0s":       "-interval: ",
		"--interval -1s":      "-interval: ",
		"--interval 9ms":      "-interval: ",
		"--top -1":            "-top: ",
		"--by pod --top 7":    "",
		"--interval 10ms":     "",
		"--sort tx --by peer": "",
	} {
		x := &trafficTracer{}
		fs := flag.NewFlagSet("traffic", flag.ContinueOnError)
		x.Flags(fs)
		fs.SetOutput(io.Discard)
		err := fs.Parse(strings.Fields(args))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", args, err)
		}
	}
}

// A last reading is taken over if it is one, and then all its bytes are in
// rows.
func FuzzTrafficDecode(f *testing.F) {
	r := bpf.TrafficTcpRecord{Socket: 1, Last: 1}
	r.Tcp.Tx, r.Tcp.Rx, r.Tcp.Wanted = math.MaxUint32, 7, 1
	f.Add(unsafe.Slice((*byte)(unsafe.Pointer(&r)), unsafe.Sizeof(r)))
	r.Tcp.Shared, r.Tcp.Sure, r.Tcp.Role = 1, 1, 2
	f.Add(slices.Clone(unsafe.Slice((*byte)(unsafe.Pointer(&r)), unsafe.Sizeof(r))))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		sink := &trafficRows{t: t}
		x := newTrafficForTest()
		x.by = byConnection
		s := trafficSession(x, sink)
		aligned := make([]uint64, len(b)/8+1)
		record := unsafe.Slice((*byte)(unsafe.Pointer(&aligned[0])), len(b))
		copy(record, b)
		ok := x.decode(s, record)
		x.tell(s, 0, true)
		var got moved
		for _, e := range sink.list {
			got.tx, got.rx = got.tx+e.Tx, got.rx+e.Rx
			event.AppendJSON(nil, &e)
		}
		want := moved{}
		if r := (*bpf.TrafficTcpRecord)(unsafe.Pointer(&aligned[0])); ok && r.Tcp.Wanted != 0 {
			want = moved{r.Tcp.Tx, r.Tcp.Rx}
		}
		if got != want || ok && len(b)-int(unsafe.Sizeof(r)) > 7 {
			t.Fatalf("%+v of %+v, ok %t", got, want, ok)
		}
	})
}
