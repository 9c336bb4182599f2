package http_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// counts are bytes by the client's port.
type counts struct {
	mu    sync.Mutex
	moved map[int]*[2]int64 // of requests, of responses
}

type countedConn struct {
	net.Conn
	mu    *sync.Mutex
	moved *[2]int64
	reads int // what is read: 0 requests, 1 responses
}

func (c *counts) conn(conn net.Conn, err error, client bool) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	addr, reads := conn.RemoteAddr(), 0
	if client {
		addr, reads = conn.LocalAddr(), 1
	}
	moved := new([2]int64)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.moved == nil {
		c.moved = map[int]*[2]int64{}
	}
	c.moved[addr.(*net.TCPAddr).Port] = moved
	return &countedConn{conn, &c.mu, moved, reads}, nil
}

func (c *countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.moved[c.reads] += int64(n)
	return n, err
}

func (c *countedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.moved[1-c.reads] += int64(n)
	return n, err
}

// check compares the rows of each connection with its bytes.
func (c *counts) check(t *testing.T, rows []httpRow) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	got := map[int]*[2]int64{}
	for _, r := range rows {
		if got[r.SrcPort] == nil {
			got[r.SrcPort] = new([2]int64)
		}
		got[r.SrcPort][0] += r.RequestBytes
		got[r.SrcPort][1] += r.ResponseBytes
	}
	if len(got) == 0 {
		t.Error("no connection to compare")
	}
	for port, sum := range got {
		want := c.moved[port]
		if want == nil {
			t.Errorf("no connection from port %d was counted", port)
			continue
		}
		if *sum != *want {
			t.Errorf("from port %d: %d bytes of requests and responses, want %d", port, *sum, *want)
		}
	}
}

type countedListener struct {
	net.Listener
	*counts
}

func (l countedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return l.conn(conn, err, false)
}

// goServer serves until the test ends.
func (p *peers) goServer(h http.Handler) (int, *counts) {
	p.t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		p.t.Fatal(err)
	}
	c := &counts{}
	s := &http.Server{Handler: h}
	go func() { _ = s.Serve(countedListener{l, c}) }()
	p.t.Cleanup(func() { s.Close() })
	return l.Addr().(*net.TCPAddr).Port, c
}

// goClient is a client that keeps its connections, and counts. Its transport
// is closed when the test ends.
func (p *peers) goClient(conns int) (*http.Client, *counts) {
	c := &counts{}
	tr := &http.Transport{
		MaxConnsPerHost:     conns,
		MaxIdleConnsPerHost: conns,
		DisableCompression:  true,
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp4", addr)
			return c.conn(conn, err, true)
		},
		ExpectContinueTimeout: 10 * time.Second,
	}
	p.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{
		Transport:     tr,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       30 * time.Second,
	}, c
}

// ask sends a request, reads the answer to its end, and returns its status.
func (p *peers) ask(c *http.Client, method string, port int, path string, body io.Reader, header ...string) int {
	r, err := http.NewRequest(method, "http://"+local(port)+path, body)
	if err != nil {
		p.t.Error(err)
		return 0
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(r)
	if err != nil {
		p.t.Error(err)
		return 0
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		p.t.Error(err)
	}
	return resp.StatusCode
}

// unsized hides the length of a body, so that it is sent in chunks.
func unsized(n int) io.Reader { return struct{ io.Reader }{sized(n)} }

func sized(n int) io.Reader { return bytes.NewReader(bytes.Repeat([]byte("b"), n)) }

// goHandler answers in all ways that Go's server has.
func goHandler(w http.ResponseWriter, r *http.Request) {
	n, _ := io.Copy(io.Discard, r.Body)
	kind, _, _ := strings.Cut(r.URL.Path[1:], "/")
	switch kind {
	case "none":
		w.WriteHeader(204)
	case "same":
		w.WriteHeader(304)
	case "flushed": // the last byte comes much later than the first
		for range 3 {
			fmt.Fprintf(w, "part\n")
			_ = http.NewResponseController(w).Flush()
			time.Sleep(50 * time.Millisecond)
		}
	case "big": // in chunks
		_, _ = w.Write(bytes.Repeat([]byte("0123456789abcdef\r\n\r\n"), 47_501))
	case "heads": // in chunks, and each piece of it looks like an answer
		_, _ = w.Write(bytes.Repeat([]byte("HTTP/1.1 200 OK\r\n\r\n"), 50_021))
	case "sized":
		w.Header().Set("Content-Length", "400009")
		_, _ = w.Write(bytes.Repeat([]byte("y"), 400_009))
	case "error":
		w.WriteHeader(500)
	default:
		fmt.Fprintf(w, "%d\n", n)
	}
}

func peerGo(t *testing.T, p *peers) {
	port, served := p.goServer(http.HandlerFunc(goHandler))
	p.trace(port)
	const conns, each = 7, 43
	client, asked := p.goClient(conns)
	kinds := map[string]int{"none": 204, "same": 304, "flushed": 200, "big": 200, "sized": 200, "error": 500, "plain": 200}
	names := []string{"none", "same", "flushed", "big", "sized", "error", "plain"}
	want := map[string]truth{}
	clocks := map[string]time.Duration{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range conns {
		wg.Go(func() {
			for j := range each {
				name := names[(i+j)%len(names)]
				path := fmt.Sprintf("/%s/%d/%d", name, i, j)
				var body io.Reader
				method := "GET"
				switch {
				case name == "flushed" && j > 20:
					method = "HEAD"
				case j%5 == 1:
					method, body = "POST", sized(j*j*101)
				case j%5 == 2:
					method, body = "PUT", unsized(j*j*103)
				case j%5 == 3:
					method = "HEAD"
				}
				begin := time.Now()
				var header []string
				if j%10 == 1 {
					header = []string{"Expect", "100-continue"}
				}
				status := p.ask(client, method, port, path, body, header...)
				took := time.Since(begin)
				mu.Lock()
				want[path] = truth{status, -1, -1}
				clocks[path] = took
				mu.Unlock()
				if status != kinds[name] {
					t.Errorf("status %d of %s", status, path)
				}
			}
		})
	}
	wg.Wait()
	rows := p.finish(conns * each)
	p.holdTo(rows, want)
	p.both(rows, ownComm(t), ownComm(t), os.Getpid())
	served.check(t, rows)
	asked.check(t, rows)
	for _, r := range rows {
		if r.Duration == nil || r.Latency == nil {
			continue
		}
		took := clocks[r.Path]
		if d := time.Duration(*r.Duration) * time.Microsecond; d > took {
			t.Errorf("the client took %s: %s", took, r)
		}
		if strings.HasPrefix(r.Path, "/flushed") && r.Method != "HEAD" && *r.Duration-*r.Latency < 50_000 { // of 150 ms
			t.Errorf("first and last byte are not told apart: %s", r)
		}
	}
}

func peerGoNoAnswer(t *testing.T, p *peers) {
	entered := make(chan struct{}, 10)
	port, _ := p.goServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		switch r.URL.Path {
		case "/panics": // the server closes without a word
			panic(http.ErrAbortHandler)
		case "/half": // and in the middle of an answer
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write(make([]byte, 100))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case "/resets":
			conn, _, _ := http.NewResponseController(w).Hijack()
			if tcp, ok := conn.(*countedConn).Conn.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
			conn.Close()
		default: // until the client goes away
			<-r.Context().Done()
		}
	}))
	p.trace(port)
	client, _ := p.goClient(1)
	get := func(ctx context.Context, path string) {
		r, _ := http.NewRequestWithContext(ctx, "GET", "http://"+local(port)+path, nil)
		resp, err := client.Do(r)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		if err == nil {
			t.Errorf("%s was answered", path)
		}
	}
	for _, path := range []string{"/panics", "/half", "/resets"} {
		// Go's client sends a request again if the connection was used before.
		client.CloseIdleConnections()
		get(context.Background(), path)
		<-entered
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-entered
		cancel()
	}()
	get(ctx, "/cancelled")
	curl := exec.Command("curl", "-sS", "--max-time", "0.4", "http://"+local(port)+"/impatient")
	var exit *exec.ExitError
	began := time.Now()
	if err := curl.Run(); !errors.As(err, &exit) || exit.ExitCode() != 28 {
		t.Errorf("curl: %v", err)
	}
	took := time.Since(began)
	rows := p.finish(5)
	want := map[string]string{"/panics": "closed 0", "/half": "closed 200", "/resets": "reset 0", "/cancelled": "closed 200", "/impatient": "closed 200"} // the server answered all the same
	for _, r := range rows {
		if got := fmt.Sprintf("%s %d", r.Error, r.Status); got != want[r.Path] {
			t.Errorf("%s, want %s: %s", got, want[r.Path], r)
		}
		delete(want, r.Path)
		if r.Path == "/impatient" && (*r.Duration < 300_000 || *r.Duration > took.Microseconds()) {
			t.Errorf("curl waited for 400 ms and took %s: %s", took, r)
		}
		if r.Role != "both" {
			t.Errorf("role: %s", r)
		}
	}
	for path := range want {
		t.Errorf("no row: %s", path)
	}
}
