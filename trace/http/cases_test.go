package http

import (
	"fmt"
	"slices"
	"strings"

	"tracer/trace/event"
)

type httpCase struct {
	name           string
	client, server []move
	rows           []string
	alone          map[string][]string // by role, where one end alone sees something else
}

// seen is what is told of a case with a --role.
func (c *httpCase) seen(role string) []string {
	if role == "" {
		return c.rows
	}
	if rows, ok := c.alone[role]; ok {
		return rows
	}
	var rows []string
	for _, r := range c.rows {
		rows = append(rows, strings.Replace(r, "both", role, 1))
	}
	return rows
}

func httpCases() []httpCase {
	after := row("both", "GET", "/a", 200, get, ok5)
	gotA := func(answer string) string { return row("both", "GET", "/a", 200, get, answer) }
	long := strings.Repeat("x", mega)
	var cases []httpCase
	// add adds a case whose scripts take turns.
	add := func(name string, rows []string, moves ...move) {
		c := httpCase{name: name, rows: rows}
		c.client, c.server = both(moves...)
		cases = append(cases, c)
	}
	add("one exchange", []string{after}, send(get), send(ok5))
	add("one byte per call", []string{after, after}, send(get).By("each"), send(ok5).By("each"), send(get), send(ok5))
	cases = append(cases, httpCase{
		name:   "one byte per receive",
		client: []move{send(get), recv(len(ok5)).By("each"), send(get), recv(len(ok5)).By("each")},
		server: []move{recv(len(get)).By("each"), send(ok5), recv(len(get)).By("each"), send(ok5)},
		rows:   []string{after, after},
	})
	{
		five, answers := "", []move{}
		c := httpCase{name: "five requests in one segment"}
		for i, status := range []string{"200", "404", "200", "503", "299"} {
			five += request("GET", fmt.Sprint("/", i), "")
			answers = append(answers, send(strings.Replace(ok5, "200", status, 1)))
			c.rows = append(c.rows, fmt.Sprintf("both GET /%d %s 28+43", i, status))
		}
		c.client = []move{send(five), recv(5 * len(ok5)), send(get), recv(len(ok5))}
		c.server = append(append([]move{recv(len(five))}, answers...), recv(len(get)), send(ok5))
		c.rows = append(c.rows, after)
		cases = append(cases, c)
	}
	add("five requests and five answers, each in one segment", slices.Repeat([]string{after}, 6),
		send(get).Times(5), send(ok5).Times(5), send(get), send(ok5))
	add("a hundred requests in one call", slices.Repeat([]string{after}, 101),
		send(get).Times(100), send(ok5).Times(100), send(get), send(ok5))
	{
		post, fault := request("POST", "/p", length(len(get))), response("200 OK", length(len(evil)))
		want := []string{row("both", "POST", "/p", 200, post+get, fault+evil), after}
		add("bodies that look like heads", want, send(post+get), send(fault+evil), send(get), send(ok5))
		cases = append(cases, httpCase{
			name:   "bodies that look like heads, in calls of their own",
			client: []move{send(post), pause(20), send(get), recv(len(fault)), recv(len(evil)), send(get), recv(len(ok5))},
			server: []move{recv(len(post)), recv(len(get)), send(fault), pause(20), send(evil), recv(len(get)), send(ok5)},
			rows:   want,
		})
	}
	{
		post := request("POST", "/p", length(2000)) + long[:2000]
		cases = append(cases, httpCase{
			name: "gathered and scattered",
			client: []move{
				send(post).By("writev").In(25), recv(len(ok5)).By("readv").In(25),
				send(get).By("sendmsg").In(25), recv(len(ok5)).By("recvmsg").In(20),
			},
			server: []move{recv(len(post)).By("readv").In(7), send(ok5).By("writev").In(21), recv(len(get)), send(ok5).By("sendmsg").In(3)},
			rows:   []string{row("both", "POST", "/p", 200, post, ok5), after},
		})
	}
	// An answer in so many calls, and then another one.
	answer := func(name string, parts ...move) {
		c := httpCase{name: name, client: []move{send(get)}, server: append([]move{recv(len(get))}, parts...)}
		whole := ""
		for _, p := range parts {
			whole += strings.Repeat(p.Send, max(p.Repeat, 1))
		}
		c.client = append(c.client, recv(len(whole)), send(get), recv(len(ok5)))
		c.server = append(c.server, recv(len(get)), send(ok5))
		c.rows = []string{gotA(whole), after}
		cases = append(cases, c)
	}
	answer("chunked, in many calls", send(chunked), send("5\r\nhello\r\n"), send("1\r\n!\r\n"), send("0\r\n\r\n"))
	answer("chunked, with trailers, and a chunk that looks like the end",
		send(chunked), send("7\r\n\r\n0\r\n\r\n\r\n"), send("0\r\nA: b\r\n\r\n"))
	answer("chunked, a long chunk by the way of sendfile",
		send(chunked), send("100000\r\n"), send("x").Times(mega).By("sendfile"), send("\r\n0\r\n\r\n"))
	answer("chunked, in very many short calls",
		append(append([]move{send(chunked)}, slices.Repeat([]move{send("3\r\nabc\r\n")}, 200)...), send("0\r\n\r\n"))...)
	answer("chunked, in many calls that are no chunks",
		append(append([]move{send(chunked), send("100000\r\n")}, slices.Repeat([]move{send("x").Times(mega / 64)}, 64)...), send("\r\n0\r\n\r\n"))...)
	answer("a long file by the way of sendfile",
		send(response("200 OK", length(7*mega))), send("x").Times(7*mega).By("sendfile"))
	answer("a body in the call of the head", send(response("200 OK", length(9973))+long[:9973]))
	{
		head, none, same := response("200 OK", length(7)), response("204 No Content", ""), response("304 Not Modified", length(9))
		ask := request("HEAD", "/h", "")
		add("no body whatever the length says", []string{
			row("both", "HEAD", "/h", 200, ask, head), row("both", "GET", "/a", 204, get, none), row("both", "GET", "/a", 304, get, same), after,
		}, send(ask), send(head), send(get), send(none), send(get), send(same), send(get), send(ok5))
	}
	{
		post := request("POST", "/p", length(5)+"Expect: 100-continue\r\n")
		goOn, hints := response("100 Continue", ""), response("103 Early Hints", "")
		add("100 and 103 before the answer", []string{row("both", "POST", "/p", 200, post+"hello", goOn+hints+ok5)},
			send(post), send(goOn), send("hello"), send(hints+ok5))
	}
	{
		ask, answer := request("GET", "/ws", "Upgrade: x\r\n"), response("101 Switching Protocols", "")
		add("an upgrade ends HTTP", []string{row("both", "GET", "/ws", 101, ask, answer)},
			send(ask), send(answer), send(get), send(ok5), send(get), send(ok5))
		ask, answer = request("CONNECT", "h:443", ""), response("200 OK", "")
		add("CONNECT ends HTTP", []string{row("both", "CONNECT", "h:443", 200, ask, answer)},
			send(ask), send(answer), send(get), send(ok5))
	}
	cases = append(cases, httpCase{
		name:   "a body that the end of the connection ends",
		client: []move{send(get), recv(-1)},
		server: []move{recv(len(get)), send(toClose), send("hello")},
		rows:   []string{gotA(toClose + "hello")},
	})
	{
		post, answer := request("POST", "/p", length(5*mega)), response("200 OK", length(7*mega))
		cases = append(cases, httpCase{
			name:   "long bodies both ways",
			client: []move{send(post), send("x").Times(5 * mega), recv(len(answer) + 7*mega), send(get), recv(len(ok5))},
			server: []move{recv(len(post) + 5*mega), send(answer), send("x").Times(7 * mega), recv(len(get)), send(ok5)},
			rows:   []string{fmt.Sprintf("both POST /p 200 %d+%d", len(post)+5*mega, len(answer)+7*mega), after},
		})
	}
	{
		ask := request("GET", "/"+strings.Repeat("y", 1500), "")
		add("a target that is too long", []string{row("both", "GET", "/"+strings.Repeat("y", 1024-5), 200, ask, ok5, "cut"), after},
			send(ask), send(ok5), send(get), send(ok5))
	}
	cases = append(cases, httpCase{
		name:   "peeked at before it is read",
		client: []move{send(get), recv(len(ok5)).By("peek"), send(get), recv(len(ok5)).By("peek")},
		server: []move{recv(len(get)).By("peek"), send(ok5), recv(len(get)).By("peek"), send(ok5)},
		rows:   []string{after, after},
	})
	{
		head := response("200 OK", length(9973))
		cases = append(cases, httpCase{
			name:   "a body taken out by splice",
			client: []move{send(get), recv(len(head)), recv(9973).By("splice"), send(get), recv(len(ok5))},
			server: []move{recv(len(get)), send(head), send("x").Times(9973), recv(len(get)), send(ok5)},
			rows:   []string{gotA(head + long[:9973]), after},
		})
	}
	{
		head, post := response("200 OK", length(9973)), request("POST", "/p", length(9973))
		cases = append(cases, httpCase{
			name: "both bodies taken out by splice, and nothing behind them",
			client: []move{
				send(post), send("x").Times(9973), recv(len(head)), recv(9973).By("splice"),
				send(get), recv(len(toClose)), recv(5000).By("splice"), recv(-1).By("splice"),
			},
			server: []move{
				recv(len(post)), recv(9973).By("splice"), send(head), send("x").Times(9973),
				recv(len(get)), send(toClose), send("x").Times(7001),
			},
			rows: []string{row("both", "POST", "/p", 200, post+long[:9973], head+long[:9973]), gotA(toClose + long[:7001])},
		})
	}
	{
		// As a proxy reads: chunks end anywhere in its calls.
		post := request("POST", "/p", "Transfer-Encoding: chunked\r\n")
		body := strings.Repeat("1000\r\n"+long[:0x1000]+"\r\n", 7) + "0\r\n\r\n"
		cases = append(cases, httpCase{
			name:   "chunks that are read in other pieces, behind a spliced body",
			client: []move{send(request("POST", "/p", length(9973))), send("x").Times(9973), recv(len(ok5)), send(post), send(body), recv(len(ok5)), send(get), recv(len(ok5))},
			server: []move{recv(len(request("POST", "/p", length(9973)))), recv(9973).By("splice"), send(ok5), recv(len(post)), recv(10007), recv(len(body) - 10007), send(ok5), recv(len(get)), send(ok5)},
			rows:   []string{row("both", "POST", "/p", 200, request("POST", "/p", length(9973))+long[:9973], ok5), row("both", "POST", "/p", 200, post+body, ok5), after},
		})
	}
	for _, method := range []string{
		"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "QUERY", "PROPFIND", "MKCALENDAR",
		"VERSION-CONTROL", "UPDATEREDIRECTREF", "x!#$%&'*+.^_`|~9",
	} {
		ask, answer := request(method, "/a", ""), ok5
		if method == "HEAD" {
			answer = response("200 OK", "")
		}
		add("the first method is "+method, []string{row("both", method, "/a", 200, ask, answer), after}, send(ask), send(answer), send(get), send(ok5))
	}
	for _, target := range []string{"http://h/x?y", "https://h:1/", "*", "/"} {
		ask := request("OPTIONS", target, "")
		add("the first target is "+target, []string{row("both", "OPTIONS", target, 200, ask, ok5), after}, send(ask), send(ok5), send(get), send(ok5))
	}
	{
		var moves []move
		var want []string
		for _, m := range [][2]string{{"M-SEARCH", "*"}, {"purge", "/x"}, {"GET", "http://h/x"}, {"OPTIONS", "*"}, {"V_1", "/a"}, {"GET", "/ä\x1b\xff"}} {
			ask := request(m[0], m[1], "")
			moves = append(moves, send(ask), send(ok5))
			want = append(want, row("both", m[0], m[1], 200, ask, ok5))
		}
		add("all kinds of methods and targets", want, moves...)
	}
	cases = append(cases, []httpCase{
		{
			name:   "the server closes and does not answer",
			client: []move{send(get), recv(len(ok5)), send(get), recv(-1)},
			server: []move{recv(len(get)), send(ok5), recv(len(get))},
			rows:   []string{after, row("both", "GET", "/a", 0, get, "", "closed by server")},
		}, {
			name:   "the server resets",
			client: []move{send(get), recv(-1)},
			server: []move{recv(len(get)), {End: "reset"}},
			rows:   []string{row("both", "GET", "/a", 0, get, "", "reset by server")},
		}, {
			name:   "the server resets in the middle of the answer",
			client: []move{send(get), recv(len(ok5) - 1), recv(-1)},
			server: []move{recv(len(get)), send(ok5[:len(ok5)-1]), pause(30), {End: "reset"}},
			rows:   []string{row("both", "GET", "/a", 200, get, ok5[1:], "reset by server")},
		}, {
			name:   "the client gives up",
			client: []move{send(get), pause(100)},
			server: []move{recv(len(get)), recv(-1), pause(150), send(ok5)},
			rows:   []string{row("both", "GET", "/a", 0, get, "", "closed by client")},
			// It does not know that nobody is there any more.
			alone: map[string][]string{event.RoleServer: {row("server", "GET", "/a", 200, get, ok5)}},
		}, {
			name:   "a client that says that it sends nothing more",
			client: []move{send(get), {End: "shutdown"}, recv(-1)},
			server: []move{recv(len(get)), recv(-1), pause(20), send(toClose), pause(20), send("hello")},
			rows:   []string{gotA(toClose + "hello")},
		}, {
			name:   "a client that says so when all has come, and reads it then",
			client: []move{send(get), pause(50), {End: "shutdown"}, pause(20), recv(-1)},
			// A server that is gone may have left nobody to take the client's end, which is a reset.
			server: []move{recv(len(get)), send(toClose), send("hello"), {End: "shutdown"}, recv(-1)},
			rows:   []string{gotA(toClose + "hello")},
		}, {
			name:   "two of three are answered",
			client: []move{send(get).Times(3), recv(-1)},
			server: []move{recv(3 * len(get)), send(ok5), send(ok5)},
			rows:   []string{after, after, row("both", "GET", "/a", 0, get, "", "closed by server")},
		}, {
			name:   "a server that closes after its answer, which the client reads late",
			client: []move{send(get), pause(150), recv(-1)},
			server: []move{recv(len(get)), send(ok5)},
			rows:   []string{after},
		},
	}...)
	{
		post := request("POST", "/p", length(100))
		cases = append(cases, httpCase{
			name:   "an early answer to a request that goes on",
			client: []move{send(post), recv(len(ok5)), send("x").Times(100), send(get), recv(len(ok5))},
			server: []move{recv(len(post)), send(ok5), recv(100), recv(len(get)), send(ok5)},
			// What comes behind the answer is not waited for.
			rows: []string{row("both", "POST", "/p", 200, post, ok5), after},
		})
	}
	add("something else that begins like a request", nil, send("GET\n"), send("+1\n"), send("SET a b\n"), send("+1\n"), send("QUIT\n"), send("+1\n"))
	cases = append(cases, httpCase{
		name:   "something else, then HTTP",
		rows:   []string{row("both", "GET", "/a", 200, get, ok5)},
		client: []move{recv(8), send("\x00\x01\x02\x03\x04"), recv(5), send(get), recv(len(ok5))},
		server: []move{send("SSH-2.0\n"), recv(5), send("abcde"), recv(len(get)), send(ok5)},
	})
	// Heads of a length around that of the prefix.
	for n := 1022; n <= 1026; n++ {
		ask := request("GET", "/a", "X: "+strings.Repeat("z", n-len(get)-5)+"\r\n")
		answer := response("200 OK", length(7)+"X: "+strings.Repeat("z", n-len(response("200 OK", length(7)))-5)+"\r\n") + "1234567"
		add(fmt.Sprintf("heads of %d bytes", n), []string{row("both", "GET", "/a", 200, ask, answer), after}, send(ask), send(answer), send(get), send(ok5))
	}
	// Heads in two parts, split everywhere.
	for n := 1; n < len(get); n++ {
		cases = append(cases, httpCase{
			name:   fmt.Sprintf("heads in two parts, split at %d", n),
			client: []move{send(get[:n]), pause(2), send(get[n:]), recv(len(ok5)), send(get), recv(len(ok5))},
			server: []move{recv(n), recv(len(get) - n), send(ok5[:n]), pause(2), send(ok5[n:]), recv(len(get)), send(ok5)},
			rows:   []string{after, after},
		})
	}
	return cases
}
