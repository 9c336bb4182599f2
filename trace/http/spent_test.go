package http

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tracer/bpf"
	"tracer/testdata/kit"
	"tracer/testdata/kit/work"
	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/message"
	"tracer/trace/session"
)

// ms of each part of a server's time, as a script makes it; 0: nothing is said.
type parts struct{ accept, queue, cpu, blocked int }

// within reports whether a part that was told is what was made: a tick or two are not seen, and the machine may be
// slow.
func within(got time.Duration, made int) bool {
	truth := time.Duration(made) * time.Millisecond
	least := truth - 2*jiffy
	if kit.Emulated() {
		least = truth / 3 // to begin a sleep takes the processor for as long as others sleep
	}
	return got >= least && got <= truth+kit.Within(kit.Overslept)
}

// Where the time of a request goes at the server is what the server did.
func TestKernelHTTPTimeOfServersIsToldByWhereItWent(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	accept := func(ms int) move { m := pause(ms); m.How = "accept"; return m }
	burn := work.Burn
	first, rest := get[:20], get[20:]
	body := request("POST", "/a", length(4))
	cases := []struct {
		name           string
		client, server []move
		want           []parts // by exchange
		wantUnaccepted []parts // where it is not seen when connections are accepted
	}{
		{"at once", []move{send(get), recv(len(ok5))}, []move{recv(len(get)), send(ok5)}, []parts{{}}, nil},
		{"reads late", []move{send(get), recv(len(ok5))}, []move{pause(200), recv(len(get)), send(ok5)}, []parts{{queue: 200}}, nil},
		{"works", []move{send(get), recv(len(ok5))}, []move{recv(len(get)), burn(100), send(ok5)}, []parts{{cpu: 100}}, nil},
		{"sleeps", []move{send(get), recv(len(ok5))}, []move{recv(len(get)), pause(100), send(ok5)}, []parts{{blocked: 100}}, nil},
		{"all of it", []move{send(get), recv(len(ok5))}, []move{pause(150), recv(len(get)), burn(60), pause(90), send(ok5)}, []parts{{queue: 150, cpu: 60, blocked: 90}}, nil},
		{"accepts late", []move{send(get), recv(len(ok5))}, []move{accept(300), recv(len(get)), send(ok5)}, []parts{{accept: 300}}, []parts{{queue: 300}}},
		{
			"accepts late, and reads later", []move{send(get), recv(len(ok5))}, []move{accept(200), pause(100), recv(len(get)), send(ok5)},
			[]parts{{accept: 200, queue: 100}}, []parts{{queue: 300}},
		},
		{"accepts before the request comes", []move{pause(200), send(get), recv(len(ok5))}, []move{accept(100), recv(len(get)), send(ok5)}, []parts{{}}, nil},
		{
			"keeps the connection",
			[]move{send(get), recv(len(ok5)), pause(120), send(get), recv(len(ok5)), send(get), recv(len(ok5)), send(get), recv(len(ok5))},
			[]move{recv(len(get)), send(ok5), recv(len(get)), pause(80), send(ok5), pause(120), recv(len(get)), send(ok5), recv(len(get)), send(ok5)},
			[]parts{{}, {blocked: 80}, {queue: 120}, {}}, nil,
		},
		{
			"a request in two pieces, both read late", []move{send(first), pause(50), send(rest), recv(len(ok5))},
			[]move{pause(200), recv(len(get)), send(ok5)}, []parts{{queue: 150}}, nil,
		},
		{
			"a request in two pieces, the second of which it waits for", []move{send(first), pause(150), send(rest), recv(len(ok5))},
			[]move{recv(len(first)), recv(len(rest)), pause(60), send(ok5)}, []parts{{blocked: 60}}, nil,
		},
		{
			"a body that it reads late", []move{send(body), send("body"), recv(len(ok5))},
			[]move{recv(len(body)), pause(130), recv(4), send(ok5)}, []parts{{queue: 130}}, nil,
		},
		{"another thread answers", []move{send(get), recv(len(ok5))}, []move{pause(100), recv(len(get)), pause(80), send(ok5).By("thread")}, []parts{{queue: 100}}, nil},
		{
			"two requests at once", []move{send(get), send(get), recv(2 * len(ok5))},
			[]move{recv(len(get)), recv(len(get)), pause(80), send(ok5), send(ok5)}, []parts{{}, {}}, nil,
		},
	}
	tiersOf(t, func(t *testing.T, tier kernel.Tier) {
		var scripts [][]move
		for _, tc := range cases {
			scripts = append(scripts, tc.server)
		}
		server, ports := serve(t, scripts...)
		c := traceHTTP(t, session.Options{Tier: tier}, atPorts(ports...))
		for i, tc := range cases {
			call(t, ports[i], tc.client)
			server.Hear()
			got := c.await(ports[i], len(tc.want))
			if len(got) != len(tc.want) {
				t.Fatalf("%s: %v", tc.name, rows(got))
			}
			want := tc.want
			if tier == kernel.Tracepoint && tc.wantUnaccepted != nil {
				want = tc.wantUnaccepted
			}
			for j, e := range got {
				w := want[j]
				t.Logf("%s: %d: accept %v, queue %v, cpu %v, run queue %v, blocked %v of %v", tc.name, j, e.AcceptWait, e.Queue, e.CPU, e.RunQueue, e.Blocked, e.Latency)
				if !within(e.AcceptWait, w.accept) || !within(e.Queue, w.queue) || !within(e.CPU, w.cpu) || !within(e.Blocked, w.blocked) {
					t.Errorf("%s: %d: accept %v, queue %v, cpu %v, run queue %v, blocked %v; want %+v", tc.name, j, e.AcceptWait, e.Queue, e.CPU, e.RunQueue, e.Blocked, w)
				}
			}
		}
	})
}

// Of HTTP/2 it is told how long a request lay in the socket, and nothing of threads: each
// may work for several streams.
func TestKernelHTTP2QueuesAreTold(t *testing.T) {
	kit.Needs(t, kit.EndsKernel)
	tiersOf(t, func(t *testing.T, tier kernel.Tier) {
		fd, port := work.FixedListener()
		defer work.CloseFD(fd)
		c := traceHTTP(t, session.Options{Tier: tier}, atPorts(port))
		client := work.Dial("127.0.0.1", port)
		server := work.Accept(fd)
		settings, ask := frame(frameSettings, 0, 0, ""), func(stream uint32) string {
			return frame(frameHeaders, endHeaders|endStream, stream, "\x82\x84\x86")
		}
		answer := func(stream uint32) move { return send(frame(frameHeaders, endHeaders|endStream, stream, "\x88")) }
		perform(t, client, send(preface+settings))
		perform(t, server, recv(len(preface+settings)), send(settings))
		perform(t, client, recv(len(settings)))
		for i, makes := range []parts{{queue: 200}, {blocked: 100}, {queue: 130, blocked: 50}} {
			n := uint32(1 + 2*i)
			perform(t, client, send(ask(n)))
			perform(t, server, pause(makes.queue), recv(len(ask(n))), pause(makes.blocked), answer(n))
			perform(t, client, recv(len(answer(n).Send)))
			got := c.await(port, i+1)
			if len(got) != i+1 {
				t.Fatal(rows(got))
			}
			if e := got[i]; e.Status != 200 || e.Role != event.RoleBoth || !within(e.Queue, makes.queue) || e.AcceptWait|e.CPU|e.RunQueue|e.Blocked != 0 {
				t.Errorf("%d: %s: queue %v, cpu %v, run queue %v, blocked %v; want %+v", i, rows(got[i:]), e.Queue, e.CPU, e.RunQueue, e.Blocked, makes)
			}
		}
		work.CloseFD(client)
		work.CloseFD(server)
	})
}

// An event loop works for several requests at once: what it does is nobody's alone. With
// one connection it is.
func TestKernelHTTPWorkOfEventLoopsIsNobodysAlone(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	const turns = 5
	for _, conns := range []int{1, 3} {
		w := work.Start(t, "serveInTurns", fmt.Sprint(conns), "60")
		port := w.HearInt()
		c := traceHTTP(t, session.Options{}, atPorts(port))
		var fds []int
		for range conns {
			fd := work.Dial("127.0.0.1", port)
			defer work.CloseFD(fd)
			work.Timeouts(fd)
			fds = append(fds, fd)
		}
		for range turns {
			for _, fd := range fds {
				perform(t, fd, send(get))
			}
			for _, fd := range fds {
				perform(t, fd, recv(len(ok5)))
			}
		}
		got := c.await(port, turns*conns)
		if len(got) != turns*conns {
			t.Fatalf("%d connections: %v", conns, rows(got))
		}
		for i, e := range got {
			alone := conns == 1
			if alone != (e.CPU != 0) || !alone && e.Blocked|e.RunQueue != 0 || alone && !within(e.CPU, 60) || e.AcceptWait != 0 && !kit.Emulated() {
				t.Errorf("%d connections: %d: cpu %v, run queue %v, blocked %v", conns, i, e.CPU, e.RunQueue, e.Blocked)
			}
		}
		c.Stop()
	}
}

// While others have the only processor a thread waits for it.
func TestKernelHTTPWaitForAProcessorIsTold(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	var ports []int
	onOneProcessor(t, func() {
		work.Start(t, "hog")
		_, ports = serve(t, []move{recv(len(get)), work.Burn(150), send(ok5)})
	})
	c := traceHTTP(t, session.Options{}, atPorts(ports...))
	call(t, ports[0], []move{send(get), recv(len(ok5))})
	got := c.await(ports[0], 1)
	if len(got) != 1 {
		t.Fatal(rows(got))
	}
	e := got[0]
	if !within(e.CPU, 150) || e.RunQueue < 50*time.Millisecond || e.Blocked != 0 {
		t.Errorf("cpu %v, run queue %v, blocked %v of %v", e.CPU, e.RunQueue, e.Blocked, e.Latency)
	}
	if sum := e.CPU + e.RunQueue + e.Blocked + e.Queue; sum > e.Latency+2*jiffy {
		t.Errorf("%v in all of %v", sum, e.Latency)
	}
}

// onOneProcessor has the processes that start starts share one.
func onOneProcessor(t *testing.T, start func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	for cpu := 0; one.Count() == 0; cpu++ {
		if all.IsSet(cpu) {
			one.Set(cpu)
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
	start()
	if err := unix.SchedSetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
}

// The ticks of the kernel are those that its clocks tell.
func TestJiffy(t *testing.T) {
	if jiffy < 500*time.Microsecond || jiffy > 10*time.Millisecond {
		t.Fatalf("%v", jiffy)
	}
	seen := map[int64]bool{}
	for end := time.Now().Add(200 * time.Millisecond); time.Now().Before(end); {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &ts); err != nil {
			t.Fatal(err)
		}
		seen[ts.Nano()] = true
	}
	if n := int(200 * time.Millisecond / jiffy); len(seen) > n+2 {
		t.Errorf("%d ticks in 200ms, each of which is said to take %v", len(seen), jiffy)
	}
}

// What is said of a request is about the exchange whose answer began then, and only
// where that was the last request to be read.
func TestTimeSpentBelongsToOneExchange(t *testing.T) {
	const ms = int64(time.Millisecond)
	s := spentOf(&bpf.HttpHttpSpent{Read: uint64(100 * ms), Cpu: uint64(30 * ms), Runq: uint64(9 * ms), Queue: uint32(40 * time.Millisecond / jiffy), Thread: 1},
		&bpf.HttpHttpCall{Time: uint64(200 * ms)})
	want := message.Spent{Queue: 40 * time.Millisecond / jiffy * jiffy, CPU: 30 * time.Millisecond, Blocked: 61 * time.Millisecond}
	if s.Spent != want {
		t.Errorf("%+v, want %+v", s.Spent, want)
	}
	for name, c := range map[string]struct {
		x    message.Exchange
		want bool
	}{
		"its own":                     {message.Exchange{Role: message.Server, RequestStart: 90 * ms, RequestEnd: 100 * ms, ResponseStart: 200 * ms}, true},
		"another answer":              {message.Exchange{Role: message.Server, RequestStart: 90 * ms, RequestEnd: 100 * ms, ResponseStart: 201 * ms}, false},
		"the client's":                {message.Exchange{Role: message.Client, RequestStart: 90 * ms, RequestEnd: 100 * ms, ResponseStart: 200 * ms}, false},
		"a request before it":         {message.Exchange{Role: message.Server, RequestStart: 80 * ms, RequestEnd: 90 * ms, ResponseStart: 200 * ms}, false},
		"a stream that began with it": {message.Exchange{Role: message.Server, Stream: 1, RequestStart: 100 * ms, RequestEnd: 300 * ms, ResponseStart: 400 * ms}, true},
		"a stream that began before":  {message.Exchange{Role: message.Server, Stream: 1, RequestStart: 90 * ms, RequestEnd: 100 * ms, ResponseStart: 200 * ms}, false},
		"a body that goes on":         {message.Exchange{Role: message.Server, RequestStart: 80 * ms, RequestEnd: 300 * ms, ResponseStart: 200 * ms}, true},
	} {
		if got := s.isOf(&c.x); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	other := spentOf(&bpf.HttpHttpSpent{Read: 1, Cpu: uint64(300 * ms), Accept: 1000}, &bpf.HttpHttpCall{Time: uint64(200 * ms)})
	if want := (message.Spent{Accept: 1000 * jiffy}); other.Spent != want {
		t.Errorf("of another thread: %+v, want %+v", other.Spent, want)
	}
}
