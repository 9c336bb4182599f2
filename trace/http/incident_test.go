package http

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"tracer/testdata/kit"
	"tracer/trace/event"
	"tracer/trace/session"
)

// One slow route among 40, and a server that answers one client after the other: both
// stand on top of what is busier, and of the second the server's part is said.
func TestKernelHTTPSummaryOfAnIncident(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	const (
		busy, slow, queued = 7, 5, 8 // requests of each route
		takes              = 150 * time.Millisecond
		turn               = 60 * time.Millisecond
	)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			time.Sleep(takes)
		}
	}))
	defer server.Close()
	single, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			conn, err := single.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				time.Sleep(turn)
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			}
			conn.Close()
		}
	}()
	defer single.Close()
	c := traceHTTP(t, session.Options{}, "--summary", atPorts(server.Listener.Addr().(*net.TCPAddr).Port, single.Addr().(*net.TCPAddr).Port))
	get := func(url string) {
		res, err := http.Get(url)
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
	}
	var clients sync.WaitGroup
	for range queued {
		clients.Go(func() { get("http://" + single.Addr().String() + "/queued") })
	}
	want := []string{"/queued", "/slow"}
	for i := range 40 {
		route := fmt.Sprintf("/busy%c%c/x", 'a'+i/8, 'p'+i%8)
		want = append(want, route)
		for range busy {
			get(server.URL + route)
		}
	}
	for range slow {
		get(server.URL + "/slow")
	}
	clients.Wait()
	a := c.Stop()
	if n := uint64(40*busy + slow + queued); a.Seen != n || a.Shown != n || a.Lost != 0 {
		t.Errorf("%d seen, %d shown, lost %v; want %d", a.Seen, a.Shown, a.LostBy, n)
	}
	var got []string
	for _, e := range c.Closing().Rows {
		s := e.(*event.HTTPSummary)
		got = append(got, s.Route)
		n := map[string]uint64{"/slow": slow, "/queued": queued}[s.Route]
		if n == 0 {
			n = busy
		}
		if s.Count != n || s.Answered != n || s.ServerAnswered != n || s.Errors+s.Status4xx+s.Status5xx+s.Unanswered != 0 {
			t.Errorf("%+v", s)
		}
		var spread uint64
		for _, n := range s.Spread {
			spread += n
		}
		if spread != n {
			t.Errorf("%s: %d in the histogram", s.Route, spread)
		}
		switch s.Route {
		case "/slow":
			if !s.Slow || s.P50 < takes || s.ServerP50 < takes || s.Total < slow*takes {
				t.Errorf("%+v", s)
			}
		case "/queued": // the first waits for one turn, the last for all of them, less what it came later
			if !s.Slow || s.Max < queued*turn || s.ServerP50 < turn || s.ServerP99 >= s.P50 || s.Total < queued*(queued-1)/2*turn {
				t.Errorf("%+v", s)
			}
		}
	}
	if len(got) < 2 || got[0] != "/queued" || got[1] != "/slow" {
		t.Errorf("order: %v", got)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
