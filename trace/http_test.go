package trace

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"tracer/trace/event"
)

// A move is one thing that an end of a connection does. Scripts of moves are
// played by the test itself, as the client, and by a process of its own, as
// the server.
type move struct {
	Send  string // these bytes
	Repeat int   // so many times over, in one go; 0: once
	Recv  int    // so many bytes, -1: until the end
	How   string // of Send: "", each (byte), writev, sendmsg, sendfile; of Recv: "", each, readv, peek, splice
	Parts int    // of writev and readv
	Pause int    // ms
	End   string // close, reset, shutdown (of sending)
}

func send(data string) move     { return move{Send: data} }
func recv(n int) move           { return move{Recv: n} }
func (m move) by(how string) move { m.How = how; return m }
func (m move) in(parts int) move  { m.Parts = parts; return m }
func (m move) times(n int) move   { m.Repeat = n; return m }

// play plays a script on a connected, blocking socket and closes it.
func play(fd int, script []move) error {
	defer unix.Close(fd)
	for i, m := range script {
		if err := m.play(fd); err != nil {
			return fmt.Errorf("move %d: %w", i, err)
		}
	}
	return nil
}

func (m *move) play(fd int) error {
	switch {
	case m.Pause > 0:
		time.Sleep(time.Duration(m.Pause) * time.Millisecond)
	case m.End == "reset":
		return unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	case m.End == "shutdown":
		return unix.Shutdown(fd, unix.SHUT_WR)
	case m.Send != "":
		return m.send(fd, []byte(strings.Repeat(m.Send, max(m.Repeat, 1))))
	case m.Recv != 0:
		return m.recv(fd)
	}
	return nil
}

func (m *move) send(fd int, data []byte) error {
	switch m.How {
	case "each":
		for i := range data {
			if _, err := unix.Write(fd, data[i:i+1]); err != nil {
				return err
			}
		}
		return nil
	case "writev":
		n, err := unix.Writev(fd, split(data, m.Parts))
		return whole(n, len(data), err)
	case "sendmsg":
		n, err := unix.SendmsgBuffers(fd, split(data, m.Parts), nil, nil, 0)
		return whole(n, len(data), err)
	case "sendfile":
		f, err := os.CreateTemp("", "")
		if err != nil {
			return err
		}
		defer os.Remove(f.Name())
		defer f.Close()
		if _, err := f.Write(data); err != nil {
			return err
		}
		var at int64
		for at < int64(len(data)) {
			if _, err := unix.Sendfile(fd, int(f.Fd()), &at, len(data)); err != nil {
				return err
			}
		}
		return nil
	}
	for len(data) > 0 {
		n, err := unix.Write(fd, data)
		if err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

func whole(n, want int, err error) error {
	if err == nil && n != want {
		return fmt.Errorf("%d of %d bytes", n, want)
	}
	return err
}

// split cuts data into parts with an empty one in front, as Go and libc do.
func split(data []byte, parts int) [][]byte {
	list := [][]byte{{}}
	for i := range parts {
		list = append(list, data[len(data)*i/parts:len(data)*(i+1)/parts])
	}
	return list
}

func (m *move) recv(fd int) error {
	buf := make([]byte, 64<<10)
	var pipe [2]int
	if m.How == "splice" {
		if err := unix.Pipe(pipe[:]); err != nil {
			return err
		}
		defer unix.Close(pipe[0])
		defer unix.Close(pipe[1])
	}
	for left := m.Recv; left != 0; {
		room := len(buf)
		if left > 0 {
			room = min(room, left)
		}
		var n int
		var err error
		switch m.How {
		case "each":
			n, err = unix.Read(fd, buf[:1])
		case "readv":
			n, err = unix.Readv(fd, split(buf[:room], m.Parts))
		case "peek":
			if _, _, err = unix.Recvfrom(fd, buf[:room], unix.MSG_PEEK); err == nil {
				n, _, err = unix.Recvfrom(fd, buf[:room], 0)
			}
		case "splice":
			var moved int64
			moved, err = unix.Splice(fd, nil, pipe[1], nil, room, 0)
			for n = 0; err == nil && int64(n) < moved; {
				var k int
				k, err = unix.Read(pipe[0], buf[:moved-int64(n)])
				n += k
			}
		default:
			n, err = unix.Read(fd, buf[:room])
		}
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ECONNRESET) && m.Recv < 0, n == 0 && err == nil && m.Recv < 0:
			return nil
		case err != nil:
			return err
		case n == 0:
			return errors.New("end of stream")
		}
		left -= n
	}
	return nil
}

const helperScripts = "TRACER_TEST_HTTP_SCRIPTS"

// TestHTTPHelper is no test but the server: it plays its scripts, one for each
// connection to the listener that it inherits.
func TestHTTPHelper(t *testing.T) {
	text := os.Getenv(helperScripts)
	if text == "" {
		t.Skip("not the server")
	}
	var scripts [][]move
	if err := json.Unmarshal([]byte(text), &scripts); err != nil {
		t.Fatal(err)
	}
	for i, script := range scripts {
		fd, _, err := unix.Accept4(3, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := play(fd, script); err != nil {
			t.Errorf("connection %d: %v", i, err)
		}
	}
}

// collector keeps copies of events by the port of the server.
type collector struct {
	mu     sync.Mutex
	events map[uint16][]event.HTTP
	broken chan struct{}
}

func newCollector() *collector {
	return &collector{events: map[uint16][]event.HTTP{}, broken: make(chan struct{})}
}

func (c *collector) Event(e event.Event) bool {
	h, ok := e.(*event.HTTP)
	if !ok {
		return true
	}
	kept := *h
	kept.Method, kept.Path, kept.Host = strings.Clone(h.Method), strings.Clone(h.Path), strings.Clone(h.Host)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events[h.Dst.Port()] = append(c.events[h.Dst.Port()], kept)
	return true
}

func (c *collector) Flush() error            { return nil }
func (c *collector) Broken() <-chan struct{} { return c.broken }
func (c *collector) Close() (uint64, error)  { return 0, nil }

func (c *collector) of(port uint16) []event.HTTP {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.events[port]
}

// await waits until there are n events of a port, and returns what there is
// after a deadline.
func (c *collector) await(port uint16, n int) []event.HTTP {
	deadline := time.Now().Add(10 * time.Second)
	for {
		got := c.of(port)
		if len(got) >= n || time.Now().After(deadline) {
			return got
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// traced is a session under test.
type traced struct {
	*collector
	session *Session
	stop    func()
}

// traceHTTP starts a session; it is stopped by stop, or when the test ends.
func traceHTTP(t *testing.T, tr *httpTracer, opts Options) *traced {
	t.Helper()
	if err := tr.Validate(); err != nil {
		t.Fatal(err)
	}
	opts.Self = true
	s, err := Open(tr, opts)
	if err != nil {
		t.Fatalf("%s: %v", opts.tier, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := newCollector()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Run(ctx, c); err != nil {
			t.Errorf("run: %v", err)
		}
	}()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cancel()
			<-done
			account, err := s.Account()
			if err != nil {
				t.Errorf("account: %v", err)
			} else if account.Lost > 0 {
				t.Errorf("lost: %v", account.LostBy)
			}
			s.Close()
		})
	}
	t.Cleanup(stop)
	return &traced{c, s, stop}
}

func newHTTPTracer() *httpTracer { return &httpTracer{prefix: 1 << 10, stuck: 5 * time.Second} }

// eachTier runs a test on every tier that this kernel has.
func eachTier(t *testing.T, f func(t *testing.T, tier tier)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	any := false
	for _, tier := range []tier{tierFunction, tierKprobe, tierTracepoint} {
		s, err := Open(newHTTPTracer(), Options{tier: tier})
		if err != nil {
			t.Logf("this kernel has no %s: %v", tier, err)
			continue
		}
		s.Close()
		any = true
		t.Run(tier.String(), func(t *testing.T) { f(t, tier) })
	}
	if !any {
		t.Error("no tier at all")
	}
}

// listen opens a socket that listens, blocking, as a file.
func listen(t *testing.T) (f *os.File, port uint16) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err = l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(int(f.Fd()), false); err != nil {
		t.Fatal(err)
	}
	return f, uint16(l.Addr().(*net.TCPAddr).Port)
}

func dial(port uint16) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	// No test hangs for ever.
	tv := unix.Timeval{Sec: 20}
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
	return fd, unix.Connect(fd, &unix.SockaddrInet4{Port: int(port), Addr: [4]byte{127, 0, 0, 1}})
}

// serve starts a process that plays scripts on connections to a port.
func serve(t *testing.T, scripts ...[]move) (port uint16, wait func()) {
	t.Helper()
	text, err := json.Marshal(scripts)
	if err != nil {
		t.Fatal(err)
	}
	f, port := listen(t)
	defer f.Close()
	cmd := exec.Command(os.Args[0], "-test.run=^TestHTTPHelper$", "-test.count=1")
	cmd.Env = append(os.Environ(), helperScripts+"="+string(text))
	cmd.ExtraFiles = []*os.File{f}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	wait = func() {
		once.Do(func() {
			timer := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
			defer timer.Stop()
			if err := cmd.Wait(); err != nil {
				t.Errorf("server: %v: %s", err, out.Bytes())
			}
		})
	}
	t.Cleanup(wait)
	return port, wait
}

// rows is what matters of events, one line each.
func rows(events []event.HTTP) []string {
	var list []string
	for _, e := range events {
		list = append(list, httpRow(&e))
	}
	return list
}

func httpRow(e *event.HTTP) string {
	s := fmt.Sprintf("%s %s %s %d %d+%d", e.Role, e.Method, e.Path, e.Status, e.RequestBytes, e.ResponseBytes)
	if e.PathTruncated {
		s += " cut"
	}
	if e.Error != "" {
		s += " " + e.Error
	}
	if e.Kind != event.KindHTTP {
		s = e.Kind + " " + s
	}
	return s
}

const (
	get      = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"                   // 28 bytes
	ok5      = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"   // 43 bytes
	evil     = "HTTP/1.1 500 NO\r\nContent-Length: 0\r\n\r\n"        // 38 bytes, in bodies
	chunked  = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" // 47 bytes
	noLength = "HTTP/1.1 200 OK\r\n\r\n"                             // 19 bytes
)

func request(method, path, more string) string {
	return method + " " + path + " HTTP/1.1\r\nHost: h\r\n" + more + "\r\n"
}

var httpCases = []struct {
	name           string
	client, server []move
	rows           []string
	unseen         tier // one that cannot see all of it
}{
	{
		name:   "one exchange",
		client: []move{send(get), recv(len(ok5))},
		server: []move{recv(len(get)), send(ok5)},
		rows:   []string{"both GET /a 200 28+43"},
	},
	{
		name:   "one byte per call",
		client: []move{send(get).by("each"), recv(len(ok5)).by("each"), send(get).by("each"), recv(len(ok5)).by("each")},
		server: []move{recv(len(get)).by("each"), send(ok5).by("each"), recv(len(get)).by("each"), send(ok5).by("each")},
		rows:   []string{"both GET /a 200 28+43", "both GET /a 200 28+43"},
	},
	{
		name: "five requests in one segment",
		client: []move{
			send(request("GET", "/1", "") + request("GET", "/2", "") + request("GET", "/3", "") + request("GET", "/4", "") + request("GET", "/5", "")),
			recv(5 * len(ok5)),
		},
		server: []move{recv(5 * len(get)), send(ok5), send(strings.Replace(ok5, "200", "404", 1)), send(ok5), send(strings.Replace(ok5, "200", "503", 1)), send(ok5)},
		rows: []string{
			"both GET /1 200 28+43", "both GET /2 404 28+43", "both GET /3 200 28+43", "both GET /4 503 28+43", "both GET /5 200 28+43",
		},
	},
	{
		name: "five requests and five answers, each in one segment",
		client: []move{
			send(get).times(5), recv(5 * len(ok5)),
		},
		server: []move{recv(5 * len(get)), send(ok5).times(5)},
		rows: []string{
			"both GET /a 200 28+43", "both GET /a 200 28+43", "both GET /a 200 28+43", "both GET /a 200 28+43", "both GET /a 200 28+43",
		},
	},
	{
		name:   "a body that looks like a head",
		client: []move{send(request("POST", "/p", "Content-Length: 28\r\n")), send(get), recv(41 + len(evil)), send(get), recv(len(ok5))},
		server: []move{
			recv(49), recv(28), send("HTTP/1.1 200 OK\r\nContent-Length: 000038\r\n\r\n"[:41-0]), send("\r\n" + evil)[:0:0],
		}[:0],
	},
	{
		name: "gathered and scattered",
		client: []move{
			send(request("POST", "/p", "Content-Length: 2000\r\n") + strings.Repeat("x", 2000)).by("writev").in(25), recv(len(ok5)).by("readv").in(25),
			send(get).by("sendmsg").in(25), recv(len(ok5)),
		},
		server: []move{recv(51 + 2000).by("readv").in(7), send(ok5).by("writev").in(21), recv(len(get)), send(ok5).by("sendmsg").in(3)},
		rows:   []string{"both POST /p 200 2051+43", "both GET /a 200 28+43"},
	},
	{
		name: "chunked, by the way of sendfile and of many calls",
		client: []move{send(get), recv(len(chunked) + 5 + 4 + 5 + 5), send(get), recv(47 + 100*(6+4096+2) + 5)},
		server: []move{
			recv(len(get)), send(chunked), send("5\r\nhello"), send("\r\n1\r\n!"), send("\r\n0\r\n\r\n")[:0:0],
		}[:0],
	},
}
