package http

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"tracer/testdata/kit"
	"tracer/testdata/kit/work"
	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/session"
)

const (
	proxy1 = "PROXY TCP4 192.0.2.10 192.0.2.20 40000 80\r\n"
	proxy2 = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x0a\xc0\x00\x02\x14\x9c\x40\x00\x50"
)

// What stands before requests, how they are written, what answers them: found in public
// reports and captures. A request keeps its row.
func TestKernelHTTPOddMessagesHaveRows(t *testing.T) {
	kit.Needs(t, kit.EndsKernel)
	cases, roles := oddCases(), []string{"", event.RoleClient, event.RoleServer}
	if kit.Emulated() { // what kernels differ in, and some of what they do not
		n := 0
		roles = roles[:1]
		cases = slices.DeleteFunc(cases, func(c httpCase) bool {
			n++
			return n%7 != 0 && !strings.Contains(c.name, "urgent") && !strings.Contains(c.name, "thrown") && !strings.Contains(c.name, "client")
		})
	}
	testHTTP(t, session.Options{}, cases, roles...)
}

func oddCases() []httpCase {
	after := row("both", "GET", "/a", 200, get, ok5)
	long := strings.Repeat("z", 1500)
	var cases []httpCase
	add := func(name string, rows []string, moves ...move) {
		c := httpCase{name: name, rows: rows}
		c.client, c.server = both(moves...)
		if len(moves)%2 == 1 { // the client has the last word
			c.server = append(c.server, recv(-1))
		}
		cases = append(cases, c)
	}
	two := []string{after, after}
	// sent is what a client says before an answer, in calls.
	sent := func(name string, calls ...string) {
		c := httpCase{name: name, rows: two}
		for _, data := range calls {
			c.client = append(c.client, send(data), pause(5))
			c.server = append(c.server, recv(len(data)))
		}
		c.client = append(c.client, recv(len(ok5)), send(get), recv(len(ok5)))
		c.server = append(c.server, send(ok5), recv(len(get)), send(ok5))
		cases = append(cases, c)
	}
	sent("an empty line with the first request", "\r\n"+get)
	sent("an empty line before the first request", "\r\n", get)
	sent("a line feed with the first request", "\n"+get)
	sent("two empty lines with the first request", "\r\n\r\n"+get)
	sent("two empty lines before half a request", "\r\n", "\r\n"+get[:2], get[2:])
	sent("PROXY protocol 1 with the first request", proxy1+get)
	sent("PROXY protocol 1 before the first request", proxy1, get)
	sent("PROXY protocol 1 in two parts", proxy1[:9], proxy1[9:]+get)
	sent("PROXY protocol 1 of an unknown connection, and an empty line", "PROXY UNKNOWN\r\n", "\r\n"+get)
	sent("PROXY protocol 2 with the first request", proxy2+get)
	sent("PROXY protocol 2 before the first request", proxy2, get)
	sent("PROXY protocol 2 in parts", proxy2[:12], proxy2[12:16], proxy2[16:], get)
	sent("PROXY protocol 2 in the middle of a call", proxy2[:5], proxy2[5:20], proxy2[20:]+get)
	sent("PROXY protocol 2 of a proxy itself", "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00", get)
	cases = append(cases, httpCase{
		name:   "PROXY protocol 1, one byte per call",
		client: []move{send(proxy1 + get).By("each"), recv(len(ok5)), send(get), recv(len(ok5))},
		server: []move{recv(len(proxy1 + get)).By("each"), send(ok5), recv(len(get)), send(ok5)},
		rows:   two,
	}, httpCase{
		name:   "PROXY protocol 2, one byte per call",
		client: []move{send(proxy2 + get).By("each"), recv(len(ok5)), send(get), recv(len(ok5))},
		server: []move{recv(len(proxy2 + get)).By("each"), send(ok5), recv(len(get)), send(ok5)},
		rows:   two,
	})

	bad := response("400 Bad Request", length(0))
	for _, target := range []string{"ranks/latest?batch=1", "?q=1", "ftp://h/x", "ws://h/x", "a b c", "ranks/" + strings.Repeat("y", 300)} {
		ask := request("POST", target, length(2)) + "{}"
		want := row("both", "POST", target, 400, ask, bad)
		add("the first target is "+target[:min(len(target), 20)], []string{want, after}, send(ask), send(bad), send(get), send(ok5))
		add("the first target, byte by byte, is "+target[:min(len(target), 20)], []string{want, after}, send(ask).By("each"), send(bad), send(get), send(ok5))
	}
	for _, line := range []string{"GET HTTP/1.1", "GET  HTTP/1.1", "get /a HTTP/1.1", "G@T /a HTTP/1.1", "GET /a HTTP/1.1  ", "GET /a http/1.1", "GET /a HTTP/9.9", "GET\x20\x20/a HTTP/1.1"} {
		ask := line + "\r\nHost: h\r\n\r\n"
		method, path, _ := strings.Cut(strings.TrimSpace(line[:strings.LastIndex(strings.ToUpper(line), "HTTP/")]), " ")
		add(fmt.Sprintf("the first line is %q", line), []string{row("both", method, strings.TrimSpace(path), 400, ask, bad), after}, send(ask), send(bad), send(get), send(ok5))
	}
	add("a line without a version is a request if it is answered like one", []string{row("both", "GET", "/a", 400, "GET /a\r\n\r\n", bad)},
		send("GET /a\r\n\r\n"), send(bad), send(""))
	add("a line without a version that goes on", []string{row("both", "GET", "/a", 400, "GET /a\r\nHost: h\r\n\r\n", bad)},
		send("GET /a\r\nHost: h\r\n\r\n").By("each"), send(bad), send(""))

	// Answers that are none, or not by the letter.
	none := func(answer string) string { return row("both", "GET", "/a", 0, get, answer, "not_http by client") }
	for name, answer := range map[string]string{
		"a banner of SSH": "SSH-2.0-OpenSSH_9.2p1\r\n", "an alert of TLS": "\x15\x03\x01\x00\x02\x02\x46",
		"a page without a head": "<html>no status line</html>", "a status line without a status": response("OK", ""),
		"HTTP and something else": "HTTPS only\r\n",
	} {
		add("answered by "+name, []string{none(answer)}, send(get), send(answer), send(""))
		add("answered by "+name+", behind an exchange", []string{after, none(answer)}, send(get), send(ok5), send(get), send(answer), send(""))
	}
	for _, line := range []string{"http/1.1 200 OK", "HTTP/1.1  200 OK", "HTTP/2.0 200 OK", "HTTP/1.1 200", "\r\nHTTP/1.1 200 OK"} {
		answer := line + "\r\n" + length(5) + "\r\nhello"
		add(fmt.Sprintf("answered by %q", line), []string{row("both", "GET", "/a", 200, get, strings.TrimLeft(answer, "\r\n")), after}, send(get), send(answer), send(get), send(ok5))
	}
	cases = append(cases, httpCase{
		name:   "a stream of music",
		client: []move{send(get), recv(-1)},
		server: []move{recv(len(get)), send("ICY 200 OK\r\nicy-name: x\r\n\r\n"), send("music")},
		rows:   []string{row("both", "GET", "/a", 200, get, "ICY 200 OK\r\nicy-name: x\r\n\r\nmusic")},
	})

	// Answers before the head is whole, and heads that never end.
	half := "GET /slow HTTP/1.1\r\nHost: h\r\n"
	for _, early := range []struct {
		status    int
		path, ask string
		more      string
	}{
		{408, "/slow", half, "incomplete"},
		{431, "/slow", half + "Cookie: " + long, "incomplete"},
		{414, "/slow" + long[:600], "GET /slow" + long[:600], "cut incomplete"},
	} {
		answer := response(fmt.Sprint(early.status, " X"), length(0))
		want := row("both", "GET", early.path, early.status, early.ask, answer, early.more)
		add(fmt.Sprintf("answered with %d before the head is whole", early.status), []string{want}, send(early.ask), send(answer), send(""))
		add(fmt.Sprintf("the same with %d, behind an exchange", early.status), []string{after, want}, send(get), send(ok5), send(early.ask), send(answer), send(""))
	}
	cases = append(cases, httpCase{
		name:   "a head that never ends, and a client that gives up",
		client: []move{send(half), pause(50)},
		server: []move{recv(len(half)), recv(-1)},
		rows:   []string{row("both", "GET", "/slow", 0, half, "", "incomplete closed by client")},
	}, httpCase{
		name:   "a head that never ends, and a server that hangs up",
		client: []move{send(half), recv(-1)},
		server: []move{recv(len(half)), pause(50)},
		rows:   []string{row("both", "GET", "/slow", 0, half, "", "incomplete closed by server")},
	})

	// More than there should be.
	head := request("HEAD", "/h", "")
	none204 := response("204 No Content", length(5))
	add("a body behind HEAD", []string{row("both", "HEAD", "/h", 200, head, ok5[:len(ok5)-5]), after}, send(head), send(ok5), send(get), send(ok5))
	add("a body behind 204", []string{row("both", "GET", "/a", 204, get, none204), after}, send(get), send(none204+"hello"), send(get), send(ok5))
	add("a body that is longer than its length", two, send(get), send(ok5+"more"), send(get), send(ok5))

	// Who gives up.
	cases = append(cases, httpCase{
		name:   "a client that never reads its answer",
		client: []move{send(get), {How: "readable"}},
		server: []move{recv(len(get)), send(ok5), recv(-1)},
		rows:   []string{row("both", "GET", "/a", 200, get, ok5, "reset by client")},
		alone: map[string][]string{
			event.RoleClient: {row("client", "GET", "/a", 0, get, "", "reset by client")},
			event.RoleServer: {row("server", "GET", "/a", 200, get, ok5)},
		},
	}, httpCase{
		name:   "a client that says that it sends nothing more, and a server that hangs up",
		client: []move{send(get), {End: "shutdown"}, recv(-1)},
		server: []move{recv(len(get)), recv(-1), pause(20)},
		rows:   []string{row("both", "GET", "/a", 0, get, "", "closed by server")},
		alone: map[string][]string{
			event.RoleClient: {row("client", "GET", "/a", 0, get, "", "closed by server")},
			// The client's end has come first, and why is not known here.
			event.RoleServer: {row("server", "GET", "/a", 0, get, "", "closed by client")},
		},
	})

	// Receives that take nothing, or throw it away; bytes that belong to no message.
	cases = append(cases, httpCase{
		name:   "a body that is thrown away",
		client: []move{send(get), recv(len(ok5) - 5), recv(5).By("trunc"), send(get), recv(len(ok5))},
		server: []move{recv(len(get)), send(ok5), recv(len(get)), send(ok5)},
		rows:   two,
	}, httpCase{
		name:   "an urgent byte before the first request",
		client: []move{send("!").By("urgent"), send(get), recv(len(ok5)), send(get), recv(len(ok5))},
		server: []move{recv(len(get)), send(ok5), recv(len(get)), send(ok5)},
		rows:   two,
	}, httpCase{
		name:   "an urgent byte in the middle of a request",
		client: []move{send(get[:9] + "!").By("urgent"), send(get[9:]), recv(len(ok5)), send(get), recv(len(ok5))},
		server: []move{recv(9), recv(len(get) - 9), send(ok5), recv(len(get)), send(ok5)},
		rows:   two,
	}, httpCase{
		name:   "an urgent byte between two exchanges",
		client: []move{send(get), recv(len(ok5)), send("!").By("urgent"), pause(5), send(get), recv(len(ok5))},
		server: []move{recv(len(get)), send(ok5), recv(len(get)), send(ok5)},
		rows:   two,
	})
	return cases
}

// An answer that is taken out and thrown away leaves in the buffer what was there before:
// that is none. The server's end tells of it.
func TestKernelHTTPThrownAwayAnswersAreNotMadeUp(t *testing.T) {
	kit.Needs(t, kit.EndsKernel)
	tiersOf(t, func(t *testing.T, tier kernel.Tier) {
		other := strings.Replace(ok5, "200", "201", 1)
		server, ports := serve(t, []move{recv(len(get)), send(ok5), recv(len(get)), send(other), recv(len(get)), send(ok5)})
		both := openHTTP(t, session.Options{Tier: tier}, atPorts(ports...))
		client := openHTTP(t, session.Options{Tier: tier}, atPorts(ports...), "--role=client")
		both.Run()
		client.Run()
		call(t, ports[0], []move{send(get), recv(len(ok5)), send(get), recv(len(ok5)).By("trunc"), send(get), recv(len(ok5))})
		server.Hear()
		after := row("both", "GET", "/a", 200, get, ok5)
		both.await(ports[0], 3)
		a := both.Stop()
		got := rows(both.of(ports[0]))
		slices.Sort(got)
		if diff := cmp.Diff([]string{after, after, row("server", "GET", "/a", 201, get, other)}, got); diff != "" || a.Lost != a.LostBy["program_missed"] {
			t.Errorf("%s, lost %v", diff, a.LostBy)
		}
		client.await(ports[0], 2)
		a = client.Stop()
		after = row("client", "GET", "/a", 200, get, ok5)
		if diff := cmp.Diff([]string{after, after}, rows(client.of(ports[0]))); diff != "" || a.LostBy["unpaired"] != 1 {
			t.Errorf("%s, lost %v", diff, a.LostBy)
		}
	})
}

// What a client sends at once and a server answers in long calls, wherever these begin:
// no exchange is lost, and none made up.
func TestKernelHTTPLongPipelinedCallsAreReadWhole(t *testing.T) {
	kit.Needs(t, kit.EndsKernel)
	r := rand.New(rand.NewPCG(16, 1))
	var cases []httpCase
	for _, size := range []int{1100, 1440} {
		for alignment := range 15 {
			cases = append(cases, pipelined(r, fmt.Sprintf("calls of %d bytes, the first of %d", size, size*(alignment+1)/15), size*(alignment+1)/15, size, nil))
		}
	}
	roles := []string{"", event.RoleClient, event.RoleServer}
	if kit.Emulated() {
		cases, roles = cases[:3], roles[:1]
	}
	// Requests that come one by one, few in a call, in halves; one exchange before them; one
	// call of all answers.
	each := func(asks []string) (calls []string) { return asks }
	halves := func(asks []string) []string {
		all := strings.Join(asks, "")
		return []string{all[:len(all)/3], all[len(all)/3 : len(all)/2], all[len(all)/2:]}
	}
	cases = append(cases,
		pipelined(r, "requests in calls of their own", 1440, 1440, each),
		pipelined(r, "requests in three calls", 1440, 1440, halves),
		pipelined(r, "answers of 16 KiB", 16<<10, 16<<10, nil),
		pipelined(r, "all answers in one call", 60_000, 60_000, nil))
	testHTTP(t, session.Options{}, cases, roles...)
}

// pipelined is a case of 40 exchanges: a first one, then all others but that the client
// goes on to send before it has half of the answers.
func pipelined(r *rand.Rand, name string, first, size int, cut func([]string) []string) httpCase {
	c := httpCase{name: name}
	var asks, answers []string
	for i := range 40 {
		path := fmt.Sprintf("/%d/%s", i, strings.Repeat("p", r.IntN(30)))
		status := []int{200, 302, 404, 500}[r.IntN(4)]
		body := strings.Repeat(string(rune('a'+i%26)), r.IntN(1200))
		asks = append(asks, request("GET", path, ""))
		answers = append(answers, response(fmt.Sprint(status, " X"), length(len(body)))+body)
		c.rows = append(c.rows, row("both", "GET", path, status, asks[i], answers[i]))
	}
	part := func(from, to int) {
		ask, answer := asks[from:to], strings.Join(answers[from:to], "")
		calls := []string{strings.Join(ask, "")}
		if cut != nil {
			calls = cut(ask)
		}
		for _, data := range calls {
			c.client = append(c.client, send(data))
			c.server = append(c.server, recv(len(data)))
		}
		c.client = append(c.client, recv(len(answer)/2))
		for n := first; answer != ""; n = size {
			n = min(n, len(answer))
			c.server = append(c.server, send(answer[:n]))
			answer = answer[n:]
		}
	}
	left := func(from, to int) move {
		n := len(strings.Join(answers[from:to], ""))
		return recv(n - n/2)
	}
	part(0, 1)
	c.client = append(c.client, left(0, 1))
	part(1, 20)
	part(20, 40) // half of the answers to those before are still to be read
	c.client = append(c.client, left(1, 20), left(20, 40))
	return c
}

// The Host field is found behind many others, whatever the method, on each request of a
// connection.
func TestKernelHTTPHostIsFoundBehindLongFields(t *testing.T) {
	kit.Needs(t, kit.EndsKernel)
	const n = 23
	var moves []move
	var want []string
	for _, method := range []string{"GET", "PUT", "PATCH", "POST"} {
		for range n {
			moves = append(moves, send(method+" /x HTTP/1.1\r\nAuthorization: Bearer "+strings.Repeat("j", 1500)+"\r\nHost: api.example\r\nContent-Length: 3000\r\n\r\n"+strings.Repeat("b", 3000)), send(ok5))
			want = append(want, method+" api.example")
		}
	}
	client, script := both(moves...)
	tiersOf(t, func(t *testing.T, tier kernel.Tier) {
		server, ports := serve(t, script)
		c := traceHTTP(t, session.Options{Tier: tier}, atPorts(ports...), "--host=api.example")
		call(t, ports[0], client)
		server.Hear()
		c.await(ports[0], len(want))
		c.Stop()
		var got []string
		for _, e := range c.of(ports[0]) {
			got = append(got, e.Method+" "+e.Host)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

// Stamps of what was sent come by the error queue, with a copy of it: that was not received.
func TestKernelHTTPErrorQueuesAreNotReceived(t *testing.T) {
	kit.Needs(t, kit.EndsKernel)
	tiersOf(t, func(t *testing.T, tier kernel.Tier) {
		server, ports := serve(t, []move{recv(len(get)), pause(20), send(ok5), recv(len(get)), pause(20), send(ok5)})
		c := traceHTTP(t, session.Options{Tier: tier}, atPorts(ports...))
		fd := work.Dial("127.0.0.1", ports[0])
		work.Timeouts(fd)
		work.Stamps(fd)
		perform(t, fd, send(get), recv(len(ok5)).By("stamps"), send(get), recv(len(ok5)).By("stamps"))
		work.CloseFD(fd)
		server.Hear()
		c.await(ports[0], 2)
		c.Stop()
		after := row("both", "GET", "/a", 200, get, ok5)
		if diff := cmp.Diff([]string{after, after}, rows(c.of(ports[0]))); diff != "" {
			t.Error(diff)
		}
	})
}

// A socket that is taken for another connection, with the same ports, speaks something else
// on that.
func TestKernelHTTPSocketsAreUsedAgain(t *testing.T) {
	kit.Needs(t, kit.EndsKernel)
	tiersOf(t, func(t *testing.T, tier kernel.Tier) {
		l, port := work.FixedListener()
		defer work.CloseFD(l)
		c := traceHTTP(t, session.Options{Tier: tier}, atPorts(port))
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		work.Must(err)
		defer work.CloseFD(fd)
		work.Timeouts(fd)
		work.Must(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
		work.Must(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
		for _, say := range []string{"\x16\x03\x01\x00\x05hello", get, "\x00\x01\x02\x03", get, get} {
			work.Must(unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: port}))
			s := work.Accept(l)
			work.Timeouts(s)
			perform(t, fd, send(say))
			perform(t, s, recv(len(say)), send(ok5))
			perform(t, fd, recv(len(ok5)))
			// The server first, so that the client's port is free at once.
			work.CloseFD(s)
			perform(t, fd, recv(-1))
			nowhere := unix.RawSockaddr{Family: unix.AF_UNSPEC}
			if _, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&nowhere)), unsafe.Sizeof(nowhere)); errno != 0 {
				t.Fatal(errno)
			}
		}
		c.await(port, 3)
		c.Stop()
		if diff := cmp.Diff(slices.Repeat([]string{row("both", "GET", "/a", 200, get, ok5)}, 3), rows(c.of(port))); diff != "" {
			t.Error(diff)
		}
	})
}

const mptcp = 262 // IPPROTO_MPTCP

// listenMultipath is a listener of Multipath TCP at 127.0.0.1, and its port; false where the
// kernel lacks that.
func listenMultipath(t *testing.T) (l, port int, ok bool) {
	l, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, mptcp)
	if err != nil {
		t.Logf("this kernel lacks MPTCP: %v", err)
		return 0, 0, false
	}
	t.Cleanup(func() { work.CloseFD(l) })
	work.Must(unix.Bind(l, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	work.Must(unix.Listen(l, 16))
	name, err := unix.Getsockname(l)
	work.Must(err)
	return l, name.(*unix.SockaddrInet4).Port, true
}

// openTo is a connection to a listener, of TCP (0) or MPTCP.
func openTo(l, port, protocol int) (client, server int) {
	client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, protocol)
	work.Must(err)
	work.Must(unix.Connect(client, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: port}))
	server = work.Accept(l)
	work.Timeouts(client)
	work.Timeouts(server)
	return client, server
}

// Multipath TCP: calls are on a socket of its own, which the first subflow names.
func TestKernelHTTPMultipath(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	const n = 7
	tiersOf(t, func(t *testing.T, tier kernel.Tier) {
		l, port, ok := listenMultipath(t)
		if !ok {
			return
		}
		plain, plainPort := work.FixedListener()
		defer work.CloseFD(plain)
		exchange := func(client, server int) {
			perform(t, client, send(get))
			perform(t, server, recv(len(get)), send(ok5))
			perform(t, client, recv(len(ok5)))
		}
		older, olderServer := openTo(l, port, mptcp)
		exchange(older, olderServer)
		c := traceHTTP(t, session.Options{Tier: tier}, atPorts(port, plainPort))
		want := map[int][]string{}
		after := row("both", "GET", "/a", 200, get, ok5)
		for _, end := range []struct{ l, port, protocol int }{{l, port, mptcp}, {l, port, 0}, {plain, plainPort, mptcp}} {
			client, server := openTo(end.l, end.port, end.protocol)
			for range n {
				exchange(client, server)
				want[end.port] = append(want[end.port], after)
			}
			big := response("200 OK", length(300_000)) + strings.Repeat("x", 300_000)
			perform(t, client, send(get))
			done := make(chan error, 1)
			go func() { done <- work.Perform(server, recv(len(get)), send(big)) }()
			perform(t, client, recv(len(big)))
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			want[end.port] = append(want[end.port], row("both", "GET", "/a", 200, get, big))
			perform(t, client, send(get))
			perform(t, server, recv(len(get)))
			work.CloseFD(server)
			perform(t, client, recv(-1))
			work.CloseFD(client)
			want[end.port] = append(want[end.port], row("both", "GET", "/a", 0, get, "", "closed by server"))
			c.await(end.port, len(want[end.port]))
		}
		exchange(older, olderServer)
		exchange(older, olderServer)
		want[port] = append(want[port], after, after)
		for _, fd := range []int{older, olderServer} {
			work.CloseFD(fd)
		}
		for p := range want {
			got := c.await(p, len(want[p]))
			if diff := cmp.Diff(want[p], rows(got)); diff != "" {
				t.Errorf("port %d: %s", p, diff)
			}
			for _, e := range got {
				if older := e.Seq == 0; !e.ID.Known || older != (p == port && e == got[len(got)-1] || p == port && e == got[len(got)-2]) || int(e.Dst.Port()) != p || e.Src.Port() == 0 || e.Dst.Addr().String() != "127.0.0.1" {
					t.Errorf("between %s and %s, connection %v", e.Src, e.Dst, e.ID)
				}
			}
		}
		if a := c.Stop(); a.Lost != a.LostBy["program_missed"] {
			t.Errorf("lost %v", a.LostBy)
		}
	})
}

// HTTP/2 over it, from its beginning and joined in the middle.
func TestKernelHTTP2Multipath(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	const n = 11
	tiersOf(t, func(t *testing.T, tier kernel.Tier) {
		l, port, ok := listenMultipath(t)
		if !ok {
			return
		}
		said := func(from, to int, text string) {
			done := make(chan error, 1)
			go func() { done <- work.Perform(from, send(text)) }()
			perform(t, to, recv(len(text)))
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		begin := func() (client, server int) {
			client, server = openTo(l, port, mptcp)
			said(client, server, preface+frame(frameSettings, 0, 0, ""))
			said(server, client, frame(frameSettings, 0, 0, ""))
			return client, server
		}
		var want []string
		exchange := func(client, server, i int) {
			id := uint32(1 + 2*i)
			ask, answer := ask2(id, fmt.Sprint("/", i)), answer2(id, strings.Repeat("b", 1+5_000*i))
			said(client, server, ask)
			said(server, client, answer)
			want = append(want, row("both", "GET", fmt.Sprint("/", i), 200, ask, answer))
		}
		older, olderServer := begin()
		exchange(older, olderServer, 0)
		want = nil // it was before
		c := traceHTTP(t, session.Options{Tier: tier}, atPorts(port))
		client, server := begin()
		for i := range n {
			exchange(client, server, i)
		}
		for i := range n {
			exchange(older, olderServer, 1+i)
		}
		for _, fd := range []int{client, server, older, olderServer} {
			work.CloseFD(fd)
		}
		if diff := cmp.Diff(want, rows(c.await(port, len(want)))); diff != "" {
			t.Error(diff)
		}
	})
}

// A request whose head does not end is told while it waits, and when it is over.
func TestKernelHTTPStuckHeadsAreTold(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	half := "GET /slow HTTP/1.1\r\nHost: h\r\n"
	scripts := [][2][]move{
		{{send(half), pause(400)}, {recv(len(half)), recv(-1)}},
		{{send(get), recv(len(ok5)), send(half), pause(400)}, {recv(len(get)), send(ok5), recv(len(half)), recv(-1)}},
	}
	server, ports := serve(t, scripts[0][1], scripts[1][1])
	c := traceHTTP(t, session.Options{}, "--stuck=150ms", atPorts(ports...))
	for i, script := range scripts {
		call(t, ports[i], script[0])
		server.Hear()
		want := append(slices.Repeat([]string{row("both", "GET", "/a", 200, get, ok5)}, i),
			"http_stuck "+row("both", "GET", "/slow", 0, half, "", "incomplete"), row("both", "GET", "/slow", 0, half, "", "incomplete closed by client"))
		if diff := cmp.Diff(want, rows(c.await(ports[i], len(want)))); diff != "" {
			t.Error(diff)
		}
	}
}

// An answer that is none ends nowhere: it is told as soon as the request would be stuck.
func TestKernelHTTPAnswersThatAreNoneAreToldWhileTheyGoOn(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	l, port := work.FixedListener()
	defer work.CloseFD(l)
	c := traceHTTP(t, session.Options{}, "--stuck=100ms", atPorts(port))
	client := work.Dial("127.0.0.1", port)
	defer work.CloseFD(client)
	server := work.Accept(l)
	defer work.CloseFD(server)
	banner := "SSH-2.0-OpenSSH_9.2p1\r\n"
	perform(t, client, send(get))
	perform(t, server, recv(len(get)), send(banner))
	perform(t, client, recv(len(banner)))
	if diff := cmp.Diff([]string{row("both", "GET", "/a", 0, get, banner, "not_http")}, rows(c.await(port, 1))); diff != "" {
		t.Error(diff)
	}
}

// Connections that are older than tracing: the first request counts, whatever its method,
// with a Host field or not.
func TestKernelHTTPOlderConnectionsSpeakAsOddly(t *testing.T) {
	kit.Needs(t, kit.EndsKernel)
	asks := []string{
		request("MKACTIVITY", "/a", ""), request("get", "/a", ""), "GET /a HTTP/1.1\r\n\r\n", request("BREW", "/a", ""),
		request("GET", "a?b", ""), request("GET", "ws://h/x", ""), "GET /a HTTP/1.0\r\n\r\n", "\r\n" + get,
	}
	tiersOf(t, func(t *testing.T, tier kernel.Tier) {
		var scripts [][]move
		for _, ask := range asks {
			scripts = append(scripts, []move{recv(len(get)), send(ok5), recv(len(ask)).By("poll"), send(ok5), recv(len(get)), send(ok5)})
		}
		// One at a time accepts: all are open at once.
		var fds, servers, ports []int
		for range asks {
			l, port := work.FixedListener()
			defer work.CloseFD(l)
			ports = append(ports, port)
			fds = append(fds, work.Dial("127.0.0.1", port))
			servers = append(servers, work.Accept(l))
		}
		for i := range asks {
			work.Timeouts(fds[i])
			work.Timeouts(servers[i])
			perform(t, fds[i], send(get))
			perform(t, servers[i], scripts[i][:2]...)
			perform(t, fds[i], recv(len(ok5)))
		}
		c := traceHTTP(t, session.Options{Tier: tier}, atPorts(ports...))
		for i, ask := range asks {
			perform(t, fds[i], send(ask))
			perform(t, servers[i], scripts[i][2:4]...)
			perform(t, fds[i], recv(len(ok5)), send(get))
			perform(t, servers[i], scripts[i][4:]...)
			perform(t, fds[i], recv(len(ok5)))
			method, rest, _ := strings.Cut(strings.TrimLeft(ask, "\r\n"), " ")
			path, _, _ := strings.Cut(rest, " ")
			want := []string{row("both", method, path, 200, strings.TrimLeft(ask, "\r\n"), ok5), row("both", "GET", "/a", 200, get, ok5)}
			if diff := cmp.Diff(want, rows(c.await(ports[i], 2))); diff != "" {
				t.Errorf("%q: %s", ask, diff)
			}
			work.CloseFD(fds[i])
			work.CloseFD(servers[i])
		}
	})
}

// What is no HTTP has no rows, and is counted as what it is.
func TestKernelHTTPOtherProtocolsHaveNoRows(t *testing.T) {
	kit.Needs(t, kit.OldestKernel)
	r := rand.New(rand.NewPCG(16, 2))
	noise := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		b[0] |= 0x80 // no text
		return string(bytes.ReplaceAll(b, []byte("HTTP/"), []byte("?????")))
	}
	talks := map[string][]move{
		"Redis":                 {send("*1\r\n$4\r\nPING\r\n"), send("+PONG\r\n"), send("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n"), send("+OK\r\n")},
		"Redis, inline":         {send("SET /a b\r\n"), send("+OK\r\n"), send("GET /a\r\n"), send("$1\r\nb\r\n")},
		"memcached":             {send("get /key\r\n"), send("END\r\n"), send("set k 0 0 1\r\nx\r\n"), send("STORED\r\n")},
		"SMTP":                  {send("EHLO h\r\n"), send("250-mail.example\r\n250 OK\r\n"), send("MAIL FROM:<a@b>\r\n"), send("250 OK\r\n"), send("DATA\r\n"), send("354 go on\r\n"), send("From: a\r\n\r\nGET / HTTP/1.1\r\n.\r\n"), send("250 OK\r\n")},
		"graphite":              {send("a.b.c 42 1700000000\n"), send("\n"), send("a.b.d 43 1700000000\n"), send("\n")},
		"SSH":                   {send("SSH-2.0-a\r\n"), send("SSH-2.0-OpenSSH_9.2p1 Debian\r\n"), send("\x00\x00\x01\x00x"), send("\x00\x00\x01\x00y")},
		"MySQL":                 {send("\x03\x00\x00\x00\x0e"), send("J\x00\x00\x00\x0a8.0.36\x00"), send("\x03\x00\x00\x00\x03SELECT 1"), send("\x01\x00\x00\x01\x01")},
		"PROXY and TLS":         {send(proxy1 + "\x16\x03\x01\x00\x05hello"), send("\x16\x03\x03\x00\x05hello"), send("\x17\x03\x03\x00\x01x"), send("\x17\x03\x03\x00\x01x")},
		"TLS to a port of HTTP": {send("\x16\x03\x01\x00\x05hello"), send(response("400 Bad Request", length(0)))},
	}
	for i := range 20 {
		talks[fmt.Sprint("noise ", i)] = []move{send(noise(10 + r.IntN(3000))), send(noise(10 + r.IntN(3000))), send(noise(100)), send(noise(100))}
	}
	var clients, servers [][]move
	for _, talk := range talks {
		client, server := both(talk...)
		clients, servers = append(clients, client), append(servers, server)
	}
	tiersOf(t, func(t *testing.T, tier kernel.Tier) {
		server, ports := serve(t, servers...)
		c := traceHTTP(t, session.Options{Tier: tier}, atPorts(ports...))
		for i := range clients {
			call(t, ports[i], clients[i])
			server.Hear()
		}
		a := c.Stop()
		for _, port := range ports {
			if got := rows(c.of(port)); len(got) > 0 {
				t.Errorf("%v", got)
			}
		}
		if a.Seen != 0 || a.Kinds["http1"] != 0 {
			t.Errorf("%d events seen, lost %v, of %v", a.Seen, a.LostBy, a.Kinds)
		}
	})
}
