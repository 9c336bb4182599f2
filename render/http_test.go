package render

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"tracer/trace/event"
)

func httpEvents() []event.Event {
	const ms = time.Millisecond
	evil := "\x1b]0;owned\x07\x1b[2J\n\r\u202e\xff"
	row := func(kind, role, comm, method, host, path string, status int, why string, took time.Duration) *event.HTTP {
		h := &event.HTTP{
			Common:     event.Common{Time: when, Kind: kind, Process: event.Process{PID: 812, Comm: comm, UID: 33}},
			Connection: event.Connection{Role: role, Src: netip.MustParseAddrPort("127.0.0.1:40758"), Dst: netip.MustParseAddrPort("127.0.0.1:8080"), ID: event.ConnID{Client: 0xdead, Server: 0xbeef0000, Known: role != event.RoleClient}},
			Method:     method, Host: host, Path: path, Status: status, Error: why,
			RequestBytes: 113, ResponseBytes: 48211, Duration: took + ms,
		}
		switch {
		case kind == event.KindHTTPStuck:
			h.Age = took
		case status != 0:
			h.Latency = took
		}
		if role == event.RoleBoth {
			h.PeerPID, h.PeerComm, h.ServerLatency = 4711, "curl", took/2
		}
		return h
	}
	cut := row(event.KindHTTP, event.RoleServer, "node", "GET", "shop.example", "/"+string(make([]byte, 3)), 200, "", ms)
	cut.PathTruncated = true
	// HTTP/2: what is not known is said to be, or is left out.
	stream := func(e *event.HTTP, id uint32, change func(*event.HTTP)) *event.HTTP {
		e.Version, e.Stream = "2", id
		change(e)
		return e
	}
	grpc := func(status uint32, message string) func(*event.HTTP) {
		return func(e *event.HTTP) { e.GRPC, e.GRPCStatus, e.GRPCMessage = true, status, message }
	}
	slow := row(event.KindHTTP, event.RoleBoth, "python3", "GET", "shop.example:8080", "/cart", 200, "", 384*ms)
	slow.PeerPod, slow.PeerNamespace = "web-7d9fc", "shop"
	slow.Queue, slow.CPU, slow.Blocked = 300*ms, 12*ms, 80*ms
	crowded := row(event.KindHTTP, event.RoleServer, "python3", "GET", "shop.example:8080", "/cart", 200, "", 384*ms)
	crowded.AcceptWait, crowded.Queue, crowded.CPU, crowded.RunQueue, crowded.Blocked = 1200*ms, 300*ms, 12*ms, 126*ms, 80*ms
	who := func(by string, e *event.HTTP) *event.HTTP {
		e.ClosedBy = by
		return e
	}
	return []event.Event{
		stream(row(event.KindHTTP, event.RoleBoth, "greeter", "POST", "greeter:50051", "/helloworld.Greeter/SayHello", 200, "", ms), 1, grpc(0, "")),
		stream(row(event.KindHTTP, event.RoleServer, "greeter", "POST", "greeter:50051", "/helloworld.Greeter/SayHello", 200, "", ms), 3, grpc(14, "no\x1b[31m upstream")),
		stream(row(event.KindHTTP, event.RoleServer, "greeter", "POST", "greeter:50051", "/helloworld.Greeter/SayHello", 200, "", ms), 4294967, grpc(99, "")),
		stream(row(event.KindHTTP, event.RoleClient, "client", "POST", "greeter:50051", "/helloworld.Greeter/Watch", 0, "reset", ms), 5, func(e *event.HTTP) { e.ResetCode, e.ClosedBy = "CANCEL", event.RoleClient }),
		stream(row(event.KindHTTP, event.RoleClient, "client", "POST", "greeter:50051", "/helloworld.Greeter/Watch", 200, "reset", ms), 7, func(e *event.HTTP) { e.ResetCode = "INTERNAL_ERROR" }),
		stream(row(event.KindHTTP, event.RoleClient, "client", "", "", "", 204, "", ms), 9, func(*event.HTTP) {}),
		stream(row(event.KindHTTP, event.RoleClient, "client", "GET", "", "", 0, "", ms), 11, func(*event.HTTP) {}),
		stream(row(event.KindHTTP, event.RoleClient, "client", "GET", "", "", 0, "", ms), 13, func(e *event.HTTP) { e.Latency = ms / 2 }),
		stream(row(event.KindHTTP, event.RoleClient, "client", "CONNECT", "db:5432", "", 200, "", ms), 15, func(*event.HTTP) {}),
		row(event.KindHTTP, event.RoleBoth, "nginx", "GET", "shop.example:8080", "/users/42?verbose=1", 200, "", 840*time.Microsecond),
		row(event.KindHTTP, event.RoleServer, "a-long-name-15c", "POST", "a-rather-long-name.internal.shop.example:8443", "/api/v1/customers/7/orders/9/positions/11/price.json", 503, "", 4210*ms),
		row(event.KindHTTP, event.RoleClient, "curl", "GET", "10.0.0.7:9090", "/never", 0, "timeout", 30*time.Second),
		row(event.KindHTTP, event.RoleClient, "curl", "GET", "10.0.0.7:9090", "/half", 206, "reset", 12*ms),
		row(event.KindHTTPStuck, event.RoleClient, "curl", "PROPPATCH", "10.0.0.7:9090", "/waits", 0, "", 5*time.Second),
		row(event.KindHTTP, event.RoleServer, "日本語", "OPTIONS", "日本語.example", "*", 204, "", 3*ms),
		row(event.KindHTTP, event.RoleServer, "\x1b[31mred", evil, evil, "/"+evil, 404, "", 3*ms),
		cut, slow, crowded,
		who(event.RoleClient, row(event.KindHTTP, event.RoleServer, "node", "GET", "shop.example", "/impatient", 0, "closed", 100*ms)),
		who(event.RoleServer, row(event.KindHTTP, event.RoleClient, "curl", "GET", "shop.example", "/crash", 0, "closed", ms)),
		who(event.RoleServer, row(event.KindHTTP, event.RoleClient, "curl", "GET", "shop.example", "/abort", 0, "reset", ms)),
		who("", row(event.KindHTTP, event.RoleClient, "curl", "GET", "shop.example", "/gone", 0, "closed", ms)),
		who(event.RoleClient, row(event.KindHTTP, event.RoleServer, "node", "GET", "shop.example", "/late", 503, "closed", 0)),
		row(event.KindHTTP, event.RoleClient, "curl", "GET", "shop.example", "/slow", 200, "", time.Second),
		row(event.KindHTTP, event.RoleClient, "curl", "GET", "shop.example", "/not-slow", 200, "", 999*ms),
	}
}

func TestPeerSaysWhereItRuns(t *testing.T) {
	for name, c := range map[string]struct {
		e    event.HTTP
		want string
	}{
		"one end":               {event.HTTP{Connection: event.Connection{Role: event.RoleServer}}, ""},
		"on the host":           {event.HTTP{}, "curl[7]"},
		"in a pod":              {event.HTTP{PeerPod: "web-7", PeerNamespace: "shop", PeerContainer: "app"}, "curl[7] shop/web-7"},
		"without a namespace":   {event.HTTP{PeerPod: "web-7"}, "curl[7] web-7"},
		"in a container":        {event.HTTP{PeerContainer: "app"}, "curl[7] app"},
		"a name from elsewhere": {event.HTTP{PeerContainer: "\x1b[31m"}, `curl[7] \x1b[31m`},
	} {
		e := c.e
		if e.Role == "" {
			e.Role, e.PeerComm, e.PeerPID = event.RoleBoth, "curl", 7
		}
		if got := string(appendPeer(nil, &e)); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestTableOfHTTP(t *testing.T) {
	view := Views["http"]
	for _, width := range []int{60, 80, 120, 200} {
		t.Run(fmt.Sprintf("%d cells", width), func(t *testing.T) {
			b := appendAll(TableOptions{Columns: Defaults(view.Columns), Mark: view.Mark, Terminal: terminal(t, width, 24)}, httpEvents())
			checkGolden(t, fmt.Sprintf("http-%d.txt", width), b)
			checkLines(t, b, width)
		})
	}
	t.Run("all columns, no terminal", func(t *testing.T) {
		b := appendAll(TableOptions{Columns: view.Columns, Mark: view.Mark}, httpEvents())
		checkGolden(t, "http-all.txt", b)
		checkLines(t, b, 0)
	})
}
