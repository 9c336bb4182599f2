package trace

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestPeers has other people's programs talk HTTP to each other and holds what
// tracer http says about it, on its command line, against what those programs
// say themselves: every request in their logs is one row, with its status and
// its bytes, and there are no other rows.
//
// It does not run on the emulated kernels, which have no such programs: there
// TestKernelHTTP has all ways to move bytes.
func TestPeers(t *testing.T) {
	if os.Getenv("TRACER_VM") != "" {
		t.Skip("this kernel's machine has no other programs")
	}
	needRoot(t)
	tracer := filepath.Join(t.TempDir(), "tracer")
	build := exec.Command("go", "build", "-o", tracer, "tracer")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, c := range []struct {
		name  string
		needs string // programs
		test  func(t *testing.T, p *peers)
	}{
		{"nginx return", "nginx curl", peerNginxReturn},
		{"nginx files", "nginx curl", peerNginxFiles},
		{"nginx proxy", "nginx curl", peerNginxProxy},
		{"haproxy splice", "nginx haproxy", peerHAProxy},
		{"Apache", "apache2 curl", peerApache},
		{"wrk pipelining", "nginx wrk", peerWrkPipelining},
		{"wrk load", "nginx wrk", peerWrkLoad},
		{"curl", "curl", peerCurl},
		{"Go", "", peerGo},
		{"Go, no answer", "curl", peerGoNoAnswer},
		{"bodies like heads", "nginx", peerBodiesLikeHeads},
		{"Python", "python3", peerPython},
		{"Node", "node", peerNode},
		{"accuracy", "", peerAccuracy},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, name := range strings.Fields(c.needs) {
				needPeer(t, name)
			}
			c.test(t, &peers{t: t, tracer: tracer, dir: t.TempDir(), began: time.Now()})
		})
	}
}

// needPeer is for tests of another program. Where all of them are promised, as
// in CI, a missing one is a failure.
func needPeer(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("no %s: make install-tools", name)
	}
	t.Skipf("no %s: make install-tools", name)
}

// peers is one test: the programs that talk, and tracer.
type peers struct {
	t      *testing.T
	tracer string // its path
	dir    string
	began  time.Time

	file    string // where rows go, if there are too many for a pipe
	cmd     *exec.Cmd
	mu      sync.Mutex
	rows    []httpRow
	bad     []string // lines that are no rows
	changed chan struct{}
	stdout  chan struct{} // closed at its end
	stderr  chan struct{}
	notes   []map[string]any
	errors  int
}

// httpRow is a line of stdout. Keys that the command line's contract does not
// know are an error.
type httpRow struct {
	Time          time.Time `json:"time"`
	Event         string    `json:"event"`
	PID           int       `json:"pid"`
	Comm          string    `json:"comm"`
	UID           *int      `json:"uid"`
	CgroupID      uint64    `json:"cgroup_id"`
	Container     string    `json:"container"`
	ContainerID   string    `json:"container_id"`
	Pod           string    `json:"pod"`
	Namespace     string    `json:"namespace"`
	PodUID        string    `json:"pod_uid"`
	Role          string    `json:"role"`
	Family        string    `json:"family"`
	SrcAddr       string    `json:"src_addr"`
	SrcPort       int       `json:"src_port"`
	DstAddr       string    `json:"dst_addr"`
	DstPort       int       `json:"dst_port"`
	Version       string    `json:"version"`
	Method        string    `json:"method"`
	Path          string    `json:"path"`
	PathTruncated bool      `json:"path_truncated"`
	Host          string    `json:"host"`
	Status        int       `json:"status"`
	Latency       *int64    `json:"latency_us"`
	Duration      *int64    `json:"duration_us"`
	RequestBytes  int64     `json:"request_bytes"`
	ResponseBytes int64     `json:"response_bytes"`
	Error         string    `json:"error"`
	PeerPID       int       `json:"peer_pid"`
	PeerComm      string    `json:"peer_comm"`
	ServerLatency *int64    `json:"server_latency_us"`
	Age           *int64    `json:"age_us"`

	line string
}

// String is what matters of a row.
func (r httpRow) String() string {
	var drop = []string{"time", "event", "uid", "cgroup_id", "family", "src_addr", "dst_addr", "version", "host"}
	var keep []string
	for part := range strings.SplitSeq(strings.Trim(r.line, "{}"), ",") {
		name, _, _ := strings.Cut(strings.TrimPrefix(part, `"`), `"`)
		if !slices.Contains(drop, name) {
			keep = append(keep, strings.ReplaceAll(part, `"`, ""))
		}
	}
	return strings.Join(keep, " ")
}

// trace starts tracer http for these ports and returns when it is ready.
func (p *peers) trace(ports ...int) {
	p.t.Helper()
	p.traceWith(nil, ports...)
}

// traceRole starts a second tracer, which looks at one end only.
func (p *peers) traceRole(role string, ports ...int) *peers {
	p.t.Helper()
	other := &peers{t: p.t, tracer: p.tracer, dir: p.dir, began: p.began}
	other.traceWith([]string{"--role", role}, ports...)
	return other
}

func (p *peers) traceWith(args []string, ports ...int) {
	p.t.Helper()
	var list []string
	for _, port := range ports {
		list = append(list, strconv.Itoa(port))
	}
	p.changed, p.stdout, p.stderr = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	p.cmd = exec.Command(p.tracer, append([]string{"http", "--json", "--port", strings.Join(list, ",")}, args...)...)
	var out io.ReadCloser
	if p.file != "" {
		f, err := os.Create(p.file)
		if err != nil {
			p.t.Fatal(err)
		}
		p.cmd.Stdout = f
		defer f.Close()
	} else {
		out, _ = p.cmd.StdoutPipe()
	}
	diag, _ := p.cmd.StderrPipe()
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	go func() {
		defer close(p.stdout)
		if p.file == "" {
			p.lines(out)
		}
	}()
	ready := make(chan bool, 1)
	go func() {
		defer close(p.stderr)
		lines := bufio.NewScanner(diag)
		for n := 0; lines.Scan(); n++ {
			note := map[string]any{}
			if json.Unmarshal(lines.Bytes(), &note) != nil {
				note["event"] = lines.Text()
			}
			p.notes = append(p.notes, note)
			if n == 0 {
				ready <- note["event"] == "start"
			}
		}
		ready <- false
	}()
	if !<-ready {
		<-p.stderr
		p.t.Fatalf("tracer did not start: %v", p.notes)
	}
}

// errorf is for what may be wrong with many rows.
func (p *peers) errorf(format string, args ...any) {
	p.t.Helper()
	const enough = 12
	if p.errors++; p.errors <= enough {
		p.t.Errorf(format, args...)
	} else if p.errors == enough+1 {
		p.t.Log("and more")
	}
}

func (p *peers) lines(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		p.line(lines.Bytes())
	}
}

func (p *peers) line(line []byte) {
	row := httpRow{line: string(line)}
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	err := d.Decode(&row)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.bad = append(p.bad, fmt.Sprintf("%v: %s", err, line))
	}
	p.rows = append(p.rows, row)
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// finish waits for n rows, ends tracer, and returns all rows if there are
// exactly n, nothing was lost, and no row contradicts itself.
func (p *peers) finish(n int) []httpRow {
	p.t.Helper()
	return p.finishBetween(n, n)
}

func (p *peers) finishBetween(low, high int) []httpRow {
	p.t.Helper()
	deadline := time.After(10 * time.Second)
wait:
	for p.file == "" {
		p.mu.Lock()
		got := len(p.rows)
		p.mu.Unlock()
		if got >= low {
			break
		}
		select {
		case <-p.changed:
		case <-deadline:
			break wait // which are missing is said below
		}
	}
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		p.t.Fatal(err)
	}
	<-p.stdout
	<-p.stderr
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("tracer: %v", err)
	}
	if p.file != "" {
		f, err := os.Open(p.file)
		if err != nil {
			p.t.Fatal(err)
		}
		defer f.Close()
		p.lines(f)
	}
	for _, line := range p.bad {
		p.t.Error(line)
	}
	account := p.notes[len(p.notes)-1]
	if account["event"] != "end" || account["lost"] != 0.0 || account["seen"] != float64(len(p.rows)) || account["shown"] != account["seen"] {
		p.t.Errorf("account %v, want nothing lost and %d seen and shown", account, len(p.rows))
	}
	for _, r := range p.rows {
		if why := p.wrong(&r); why != "" {
			p.errorf("%s: %s", why, r)
		}
	}
	if len(p.rows) < low || len(p.rows) > high {
		p.t.Errorf("%d rows, want %d to %d", len(p.rows), low, high)
		for _, r := range p.rows[:min(len(p.rows), 20)] {
			p.t.Log(r)
		}
	}
	return p.rows
}

// wrong says what cannot be in any row.
func (p *peers) wrong(r *httpRow) string {
	switch {
	case r.Event != "http":
		return "event"
	case r.Time.Before(p.began) || r.Time.After(time.Now()):
		return "time"
	case r.Duration == nil || *r.Duration < 0 || *r.Duration > time.Since(p.began).Microseconds():
		return "duration_us"
	case (r.Latency == nil) != (r.Status == 0) || r.Latency != nil && (*r.Latency <= 0 || *r.Latency > *r.Duration):
		return "latency_us"
	case (r.Status == 0) && r.Error == "":
		return "neither status nor error"
	case (r.Role == "both") != (r.PeerPID != 0) || (r.Role == "both") != (r.PeerComm != ""):
		return "peer"
	case (r.ServerLatency != nil) != (r.Role == "both" && r.Status != 0):
		return "server_latency_us"
	// What the server did lies within what the client waited for.
	case r.ServerLatency != nil && (*r.ServerLatency < 0 || *r.ServerLatency > *r.Latency+500):
		return "the server took longer than the client waited"
	case r.PID <= 0 || r.Comm == "" || r.UID == nil:
		return "process"
	case !slices.Contains([]string{"both", "client", "server"}, r.Role):
		return "role"
	case r.Family != "ipv4" || r.SrcAddr != "127.0.0.1" || r.DstAddr != "127.0.0.1" || r.SrcPort == 0:
		return "addresses"
	case r.PathTruncated:
		return "path_truncated"
	}
	return ""
}

// A truth is what a peer said of one exchange.
type truth struct {
	status   int
	request  int64 // bytes, -1 if it does not tell
	response int64
}

// holdTo checks that rows are exactly what a peer logged, by path; and returns
// them by path.
func (p *peers) holdTo(rows []httpRow, log map[string]truth) map[string]httpRow {
	p.t.Helper()
	by := map[string]httpRow{}
	for _, r := range rows {
		if _, twice := by[r.Path]; twice {
			p.errorf("twice: %s", r)
		}
		by[r.Path] = r
		want, ok := log[r.Path]
		switch {
		case !ok:
			p.errorf("the peer knows no such request: %s", r)
		case r.Status != want.status || r.Error != "":
			p.errorf("want status %d: %s", want.status, r)
		case want.request >= 0 && r.RequestBytes != want.request:
			p.errorf("want %d request_bytes: %s", want.request, r)
		case want.response >= 0 && r.ResponseBytes != want.response:
			p.errorf("want %d response_bytes: %s", want.response, r)
		}
	}
	for path, want := range log {
		if _, ok := by[path]; !ok {
			p.errorf("no row: %s %+v", path, want)
		}
	}
	return by
}

// both checks that each row has both ends: these processes, and this client.
func (p *peers) both(rows []httpRow, server, client string, pids ...int) {
	p.t.Helper()
	for _, r := range rows {
		if r.Role != "both" || r.Comm != server || r.PeerComm != client || len(pids) > 0 && !slices.Contains(pids, r.PID) {
			p.errorf("want %s %v and client %s: %s", server, pids, client, r)
		}
	}
}

// --- the programs

// start runs a program until the test ends.
func (p *peers) start(name string, args ...string) *exec.Cmd {
	p.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = p.dir
	cmd.Stderr = os.Stderr
	p.run(cmd)
	return cmd
}

func (p *peers) run(cmd *exec.Cmd) {
	p.t.Helper()
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // nginx takes its workers with it
		done := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		done.Stop()
	})
}

// output runs a program to its end.
func (p *peers) output(name string, args ...string) string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = p.dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		p.t.Fatalf("%s: %v: %s %s", name, err, out, stderr.Bytes())
	}
	return string(out)
}

// freePorts are ports that nobody listens on.
func (p *peers) freePorts(n int) []int {
	p.t.Helper()
	var ports []int
	for range n {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			p.t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// await returns when somebody listens on a port.
func (p *peers) await(port int) {
	p.t.Helper()
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp4", local(port))
		if err == nil {
			c.Close()
			return
		}
	}
	p.t.Fatalf("nobody listens on port %d", port)
}

func local(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

func (p *peers) write(name, text string) string {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		p.t.Fatal(err)
	}
	return path
}

// nginx starts one with these lines in its http block and returns its master's
// process; what its access_log is called.
func (p *peers) nginx(name string, port int, http string) (log string, workers func() []int) {
	p.t.Helper()
	log = filepath.Join(p.dir, name+".log")
	conf := p.write(name+".conf", fmt.Sprintf(`
daemon off;
worker_processes 2;
user root;
pid %[1]s/%[2]s.pid;
error_log stderr crit;
events { worker_connections 512; }
http {
	log_format peer '$request_length $bytes_sent $status $request_uri $upstream_bytes_sent $upstream_bytes_received';
	access_log %[3]s peer;
	client_body_temp_path %[1]s/%[2]s.body;
	proxy_temp_path %[1]s/%[2]s.proxy;
	fastcgi_temp_path %[1]s/%[2]s.fastcgi;
	uwsgi_temp_path %[1]s/%[2]s.uwsgi;
	scgi_temp_path %[1]s/%[2]s.scgi;
	client_max_body_size 0;
	keepalive_requests 1000000;
	sendfile on;
	root %[1]s;
%[4]s
}
`, p.dir, name, log, http))
	cmd := p.start("nginx", "-c", conf, "-e", "stderr")
	p.await(port)
	return log, func() []int {
		var pids []int
		list, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid))
		if err != nil {
			p.t.Fatal(err)
		}
		for _, f := range strings.Fields(string(list)) {
			pid, _ := strconv.Atoi(f)
			pids = append(pids, pid)
		}
		return pids
	}
}

// An upstream is what nginx says about its own requests.
type upstream struct{ sent, received int64 }

// logged returns the n requests in an access log, by path.
func (p *peers) logged(log string, n int) (map[string]truth, map[string]upstream) {
	p.t.Helper()
	var lines []string
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		text, err := os.ReadFile(log)
		if err != nil {
			p.t.Fatal(err)
		}
		if lines = strings.Split(strings.TrimSuffix(string(text), "\n"), "\n"); len(lines) >= n || time.Now().After(end) {
			break
		}
	}
	if len(lines) != n {
		p.t.Fatalf("%d requests in the log of nginx, want %d", len(lines), n)
	}
	all, up := map[string]truth{}, map[string]upstream{}
	for _, line := range lines {
		var x truth
		var path, sent, received string
		if _, err := fmt.Sscan(line, &x.request, &x.response, &x.status, &path, &sent, &received); err != nil {
			p.t.Fatalf("%s: %v", line, err)
		}
		if _, twice := all[path]; twice {
			p.t.Fatalf("a path was used twice: %s", path)
		}
		all[path] = x
		if sent != "-" {
			u := upstream{}
			u.sent, _ = strconv.ParseInt(sent, 10, 64)
			u.received, _ = strconv.ParseInt(received, 10, 64)
			up[path] = u
		}
	}
	return all, up
}

// --- Go on either end, which counts what goes over its sockets

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

// --- the tests

func peerNginxReturn(t *testing.T, p *peers) {
	port := p.freePorts(1)[0]
	log, workers := p.nginx("nginx", port, fmt.Sprintf(`
	server {
		listen %s;
		location /200 { return 200 "hello\n"; }
		location /204 { return 204; }
		location /301 { return 301 /elsewhere; }
		location /404 { return 404; }
		location /503 { return 503 "later\n"; }
	}`, local(port)))
	p.trace(port)
	statuses := []int{200, 204, 301, 404, 503}
	const conns, each, curls = 5, 101, 7
	client, counted := p.goClient(conns)
	var wg sync.WaitGroup
	for i := range conns {
		wg.Go(func() {
			for j := range each {
				status := statuses[(i+j)%len(statuses)]
				method := []string{"GET", "HEAD", "DELETE", "QUERY"}[j%4]
				if got := p.ask(client, method, port, fmt.Sprintf("/%d/%d/%d", status, i, j), nil); got != status {
					t.Errorf("status %d, want %d", got, status)
				}
			}
		})
	}
	wg.Wait()
	var urls []string
	for i := range curls {
		urls = append(urls, fmt.Sprintf("http://%s/200/curl/%d", local(port), i))
	}
	p.output("curl", append([]string{"-sS"}, urls...)...)
	const n = conns*each + curls
	truths, _ := p.logged(log, n)
	rows := p.finish(n)
	p.holdTo(rows, truths)
	own, others := pick(rows, func(r httpRow) bool { return !strings.HasPrefix(r.Path, "/200/curl/") })
	p.both(own, "nginx", ownComm(t), workers()...)
	p.both(others, "nginx", "curl", workers()...)
	counted.check(t, own)
}

// pick returns the rows that f picks, and the others.
func pick(rows []httpRow, f func(httpRow) bool) (picked, others []httpRow) {
	for _, r := range rows {
		if f(r) {
			picked = append(picked, r)
		} else {
			others = append(others, r)
		}
	}
	return picked, others
}

// toPort picks the rows of a server.
func toPort(port int) func(httpRow) bool {
	return func(r httpRow) bool { return r.DstPort == port }
}

func ownComm(t *testing.T) string {
	name, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(name))
}

func peerNginxFiles(t *testing.T, p *peers) {
	port := p.freePorts(1)[0]
	log, workers := p.nginx("nginx", port, fmt.Sprintf("server { listen %s; }", local(port)))
	sizes := []int{0, 1, 1021, 65_537, 100_003, 10_000_019}
	changed := time.Unix(1_500_000_000, 0)
	for _, size := range sizes {
		path := p.write(strconv.Itoa(size), strings.Repeat("x", size))
		if err := os.Chtimes(path, changed, changed); err != nil {
			t.Fatal(err)
		}
	}
	p.trace(port)
	client, counted := p.goClient(1)
	n := 0
	ask := func(want int, method string, size int, header ...string) {
		if got := p.ask(client, method, port, fmt.Sprintf("/%d?%d", size, n), nil, header...); got != want {
			t.Errorf("status %d, want %d", got, want)
		}
		n++
	}
	for range 3 {
		for _, size := range sizes {
			ask(200, "GET", size)
			ask(200, "HEAD", size)
			ask(304, "GET", size, "If-Modified-Since", changed.UTC().Format(http.TimeFormat))
			if size > 1000 {
				ask(206, "GET", size, "Range", "bytes=101-997")
				ask(206, "GET", size, "Range", "bytes=0-100,200-300")
				ask(416, "GET", size, "Range", "bytes=99999999-")
			}
			ask(405, "POST", size)
		}
		ask(404, "GET", 12345)
	}
	// A client that reads slowly: the last byte is late, though all were sent
	// long before.
	conn, err := net.Dial("tcp4", local(port))
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	fmt.Fprintf(conn, "GET /100003?slow HTTP/1.0\r\n\r\n")
	if _, err := conn.Read(make([]byte, 1009)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Fatal(err)
	}
	took := time.Since(begin)
	conn.Close()
	truths, _ := p.logged(log, n+1)
	rows := p.finish(n + 1)
	p.holdTo(rows, truths)
	p.both(rows, "nginx", ownComm(t), workers()...)
	last, own := pick(rows, func(r httpRow) bool { return r.Path == "/100003?slow" })
	counted.check(t, own)
	if len(last) != 1 {
		t.Fatalf("%d rows of the slow client", len(last))
	}
	slow := last[0]
	if slow.Duration != nil && (*slow.Duration < 300_000 || *slow.Duration > took.Microseconds()) {
		t.Errorf("the client took %s: %s", took, slow)
	}
}

func peerNginxProxy(t *testing.T, p *peers) {
	front := p.freePorts(1)[0]
	back, served := p.goServer(http.HandlerFunc(goHandler))
	log, workers := p.nginx("nginx", front, fmt.Sprintf(`
	upstream back { server %s; keepalive 7; }
	proxy_http_version 1.1;
	proxy_set_header Connection "";
	server {
		listen %s;
		location / { proxy_pass http://back; }
		location /flushed {
			proxy_pass http://back;
			proxy_request_buffering off;
			proxy_buffering off;
		}
		location /plain/streamed {
			proxy_pass http://back;
			proxy_request_buffering off;
			proxy_buffering off;
		}
	}`, local(back), local(front)))
	p.write("body", strings.Repeat("x", 300_007))
	p.trace(front, back)
	const conns, each = 3, 53
	client, asked := p.goClient(conns)
	var wg sync.WaitGroup
	for i := range conns {
		wg.Go(func() {
			for j := range each {
				ask := func(method, path string, body io.Reader) {
					path = fmt.Sprintf("%s/%d-%d", path, i, j)
					if status := p.ask(client, method, front, path, body); status == 0 || status >= 400 {
						t.Errorf("%s %s: status %d", method, path, status)
					}
				}
				switch j % 9 {
				case 1:
					ask("POST", "/plain/sized", sized(1009*j))
				case 2:
					ask("POST", "/plain/chunked", unsized(1013*j))
				case 3:
					ask("GET", "/big", nil)
				case 4:
					ask("HEAD", "/sized", nil)
				case 5:
					ask("POST", "/plain/streamed/sized", sized(2003*j))
				case 6:
					ask("PUT", "/plain/streamed/chunked", unsized(2011*j))
				case 7:
					ask("GET", "/flushed", nil)
				case 8:
					ask("GET", "/none", nil)
				default:
					ask("GET", "/plain", nil)
				}
			}
		})
	}
	wg.Wait()
	p.output("curl", "-sS", "-H", "Expect: 100-continue", "--data-binary", "@body", "http://"+local(front)+"/plain/expected")
	const n = conns*each + 1
	atFront, up := p.logged(log, n)
	rows := p.finish(2 * n)
	frontRows, backRows := pick(rows, toPort(front))
	expected, own := pick(frontRows, func(r httpRow) bool { return r.Path == "/plain/expected" })
	p.both(expected, "nginx", "curl", workers()...)
	// The client of the second server is the proxy, which says what it sent
	// and got.
	atBack := map[string]truth{}
	for path, u := range up {
		atBack[path] = truth{atFront[path].status, u.sent, u.received}
	}
	byFront, byBack := p.holdTo(frontRows, atFront), p.holdTo(backRows, atBack)
	p.both(own, "nginx", ownComm(t), workers()...)
	p.both(backRows, ownComm(t), "nginx", os.Getpid())
	asked.check(t, own)
	served.check(t, backRows)
	for path, r := range byBack {
		if !slices.Contains(workers(), r.PeerPID) {
			p.errorf("the client is not the proxy: %s", r)
		}
		f := byFront[path]
		if f.Latency != nil && r.Latency != nil && *f.Latency < *r.Latency {
			p.errorf("the proxy's client waited less than the proxy:\n%s\n%s", f, r)
		}
	}
}

func peerHAProxy(t *testing.T, p *peers) {
	front := p.freePorts(1)[0]
	back, served := p.goServer(http.HandlerFunc(goHandler))
	conf := p.write("haproxy.conf", fmt.Sprintf(`
global
	maxconn 100
defaults
	mode http
	option splice-request
	option splice-response
	timeout connect 5s
	timeout client 30s
	timeout server 30s
frontend front
	bind %s
	default_backend back
backend back
	http-reuse always
	server back %s
`, local(front), local(back)))
	haproxy := p.start("haproxy", "-db", "-f", conf)
	p.await(front)
	p.trace(front, back)
	alone := map[string]*peers{"client": p.traceRole("client", front, back), "server": p.traceRole("server", front, back)}
	const conns, each = 3, 29
	const n = conns * each
	client, asked := p.goClient(conns)
	want := map[string]truth{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range conns {
		wg.Go(func() {
			for j := range each {
				kind, method, body := []string{"plain", "sized", "big", "flushed", "none"}[j%5], "GET", io.Reader(nil)
				switch j % 4 {
				case 1:
					method, body = "POST", sized(700_001)
				case 2:
					method, body = "POST", unsized(600_011)
				}
				path := fmt.Sprintf("/%s/%d-%d", kind, i, j)
				status := p.ask(client, method, front, path, body)
				mu.Lock()
				want[path] = truth{status, -1, -1}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	rows := p.finish(2 * n)
	atFront, atBack := pick(rows, toPort(front))
	byFront, byBack := p.holdTo(atFront, want), p.holdTo(atBack, want)
	p.both(atFront, "haproxy", ownComm(t), haproxy.Process.Pid)
	p.both(atBack, ownComm(t), "haproxy", os.Getpid())
	asked.check(t, atFront)
	served.check(t, atBack)
	// What haproxy takes out of a socket by splice is known from its end alone.
	for role, p := range alone {
		rows := p.finish(2 * n)
		atFront, atBack := pick(rows, toPort(front))
		p.holdTo(atFront, want)
		p.holdTo(atBack, want)
		asked.check(t, atFront)
		served.check(t, atBack)
		for _, r := range rows {
			if r.Role != role {
				p.errorf("want %s: %s", role, r)
			}
			if strings.HasPrefix(r.Path, "/flushed/") && r.DstPort == back && r.Duration != nil && *r.Duration < 100_000 {
				p.errorf("the last byte came later: %s", r)
			}
		}
	}
	for path, r := range byBack {
		f := byFront[path]
		if f.Latency != nil && r.Latency != nil && *f.Latency < *r.Latency {
			p.errorf("the proxy's client waited less than the proxy:\n%s\n%s", f, r)
		}
	}
}

// peerApache has threads for its connections; files go out by sendfile, and what
// it passes on is counted at both ends.
func peerApache(t *testing.T, p *peers) {
	port := p.freePorts(1)[0]
	back, served := p.goServer(http.HandlerFunc(goHandler))
	const modules = "/usr/lib/apache2/modules"
	log := filepath.Join(p.dir, "apache.log")
	conf := p.write("apache.conf", fmt.Sprintf(`
ServerName localhost
ServerRoot %[1]s
DefaultRuntimeDir %[1]s
PidFile %[1]s/apache.pid
Listen %[2]s
LoadModule mpm_event_module %[3]s/mod_mpm_event.so
LoadModule authz_core_module %[3]s/mod_authz_core.so
LoadModule proxy_module %[3]s/mod_proxy.so
LoadModule proxy_http_module %[3]s/mod_proxy_http.so
User nobody
Group nogroup
StartServers 1
ServerLimit 1
ThreadsPerChild 7
MaxRequestWorkers 7
ErrorLog %[1]s/apache.error
LogLevel crit
LogFormat "%%I %%O %%>s %%U%%q - -" peer
CustomLog %[4]s peer
DocumentRoot %[1]s
EnableSendfile on
MaxKeepAliveRequests 0
KeepAliveTimeout 30
ProxyPass /back http://%[5]s
`, p.dir, local(port), modules, log, local(back)))
	p.write("small", "hello\n")
	p.write("large", strings.Repeat("x", 3_000_017))
	if err := os.Chmod(filepath.Dir(p.dir), 0o755); err != nil { // others serve from it
		t.Fatal(err)
	}
	apache := p.start("apache2", "-D", "FOREGROUND", "-f", conf)
	p.await(port)
	if err := os.Truncate(log, 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err) // of who only looked whether it is there
	}
	p.trace(port, back)
	const conns, each = 3, 37
	client, asked := p.goClient(conns)
	var wg sync.WaitGroup
	for i := range conns {
		wg.Go(func() {
			for j := range each {
				ask := func(want int, method, path string, body io.Reader, header ...string) {
					path = fmt.Sprintf("%s?%d-%d", path, i, j)
					if got := p.ask(client, method, port, path, body, header...); got != want {
						t.Errorf("%s %s: status %d, want %d", method, path, got, want)
					}
				}
				switch j % 10 {
				case 0:
					ask(200, "GET", "/small", nil)
				case 1:
					ask(200, "GET", "/large", nil)
				case 2:
					ask(200, "HEAD", "/large", nil)
				case 3:
					ask(206, "GET", "/large", nil, "Range", "bytes=1000003-1000019")
				case 4:
					ask(404, "GET", "/missing", nil)
				case 5:
					ask(200, "POST", "/back/plain", sized(100_003))
				case 6:
					ask(200, "PUT", "/back/plain", unsized(70_001))
				case 7:
					ask(200, "GET", "/back/big", nil)
				case 8:
					ask(204, "GET", "/back/none", nil)
				case 9:
					ask(200, "GET", "/back/sized", nil)
				}
			}
		})
	}
	wg.Wait()
	client.CloseIdleConnections()
	p.output("curl", "-sS", "-o", "/dev/null", "-o", "/dev/null", "http://"+local(port)+"/small?curl", "http://"+local(port)+"/back/plain?curl")
	const n = conns*each + 2
	atFront, _ := p.logged(log, n)
	passed := 0
	for path, x := range atFront {
		// It counts a byte twice where it looked ahead for the next request.
		x.request = -1
		atFront[path] = x
		if strings.HasPrefix(path, "/back/") {
			passed++
		}
	}
	rows := p.finish(n + passed)
	front, behind := pick(rows, toPort(port))
	p.holdTo(front, atFront)
	own, others := pick(front, func(r httpRow) bool { return !strings.HasSuffix(r.Path, "?curl") })
	p.both(own, "apache2", ownComm(t))
	p.both(others, "apache2", "curl")
	asked.check(t, own)
	p.both(behind, ownComm(t), "apache2", os.Getpid())
	served.check(t, behind)
	if len(behind) != passed {
		t.Errorf("%d rows of what was passed on, want %d", len(behind), passed)
	}
	for _, r := range front {
		if r.PID == apache.Process.Pid {
			t.Errorf("the parent serves nobody: %s", r)
		}
	}
}

// peerWrkPipelining knows every request that wrk sends.
func peerWrkPipelining(t *testing.T, p *peers) {
	port := p.freePorts(1)[0]
	log, workers := p.nginx("nginx", port, fmt.Sprintf(`
	server {
		listen %s;
		location /a { return 200 "hello\n"; }
		location /b { return 404 "no such thing\n"; }
		location /c { return 204; }
	}`, local(port)))
	const depth, batches = 7, 113
	script := p.write("pipeline.lua", fmt.Sprintf(`
	local depth, batches, sent, answered = %d, %d, 0, 0
	function request()
		local all = {}
		for i = 1, depth do
			all[i] = wrk.format(i %% 2 == 0 and "GET" or "DELETE", "/" .. ("abc"):sub(i %% 3 + 1, i %% 3 + 1) .. "/" .. sent)
			sent = sent + 1
		end
		return table.concat(all)
	end
	function response()
		answered = answered + 1
		if answered == depth * batches then
			wrk.thread:stop()
		end
	end`, depth, batches))
	p.trace(port)
	p.output("wrk", "-t", "1", "-c", "1", "-d", "2s", "-s", script, "http://"+local(port))
	truths, _ := p.logged(log, depth*batches)
	rows := p.finish(depth * batches)
	p.holdTo(rows, truths)
	p.both(rows, "nginx", "wrk", workers()...)
	for i, r := range rows {
		// wrk makes one batch that it does not send.
		if _, number, _ := strings.Cut(r.Path[1:], "/"); number != strconv.Itoa(depth+i) {
			t.Fatalf("row %d is %s", i, r)
		}
	}
}

// peerWrkLoad lets wrk go as fast as it can, with all that is captured of an
// answer, and from one moment to the next, while the reader dozes; nginx counts.
func peerWrkLoad(t *testing.T, p *peers) {
	const prefix = 1000
	ports := p.freePorts(2) // the load, and the count, which is not traced
	_, _ = p.nginx("nginx", ports[0], fmt.Sprintf(`
	access_log off;
	server {
		listen %s;
		location / { return 200 %q; }
	}
	server {
		listen %s;
		location / { stub_status; }
	}`, local(ports[0]), strings.Repeat("x", prefix), local(ports[1])))
	client, _ := p.goClient(1)
	requests := func() (n int) {
		resp, err := client.Get("http://" + local(ports[1]))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		var connections, handled int
		// Active connections: 1, a line of titles, then the numbers.
		lines := strings.Split(string(text), "\n")
		if _, err := fmt.Sscan(lines[2], &connections, &handled, &n); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		return n
	}
	const conns = 16 // enough to keep all processors busy
	p.file = filepath.Join(p.dir, "rows")
	p.traceWith([]string{"--prefix", strconv.Itoa(prefix)}, ports[0])
	before := requests()
	p.output("wrk", "-t", "2", "-c", strconv.Itoa(conns), "-d", "2s", "http://"+local(ports[0])+"/load")
	n := requests() - before - 1 // without the count itself
	if n < 100 {
		t.Fatalf("only %d requests", n)
	}
	// At its end wrk goes away with requests under way that nginx may not
	// have read.
	rows := p.finishBetween(n, n+conns)
	answered := 0
	for _, r := range rows {
		if r.Status == 200 && r.Error == "" {
			answered++
		}
		if r.RequestBytes != p.rows[0].RequestBytes || r.Path != "/load" {
			p.errorf("request: %s", r)
		}
	}
	if answered < n-conns {
		t.Errorf("%d rows with an answer, nginx answered %d", answered, n)
	}
}

func peerCurl(t *testing.T, p *peers) {
	port, counted := p.goServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/refused"):
			w.WriteHeader(413) // without a look at the body
			return
		case strings.HasPrefix(r.URL.Path, "/early"):
			w.WriteHeader(103)
			w.WriteHeader(103)
		}
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			t.Error(err)
		}
		fmt.Fprintf(w, "%d bytes\n", n)
	}))
	p.write("body", strings.Repeat("x", 300_007))
	p.trace(port)
	want := map[string]truth{}
	n := 0
	// curl says what it sent and got, but for the framing of chunks.
	ask := func(status int, more bool, urls int, args ...string) {
		t.Helper()
		const format = "%{size_request} %{size_upload} %{size_header} %{size_download} %{http_code} %{url}\n"
		args = append([]string{"-sS", "-w", format}, args...)
		for range urls {
			args = append(args, "-o", "/dev/null", fmt.Sprintf("http://%s/%d", local(port), n))
			n++
		}
		for line := range strings.Lines(p.output("curl", args...)) {
			var head, upload, header, download int64
			var x truth
			var url string
			if _, err := fmt.Sscan(line, &head, &upload, &header, &download, &x.status, &url); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			if x.status != status {
				t.Errorf("status %d of %v, want %d", x.status, args, status)
			}
			x.request, x.response = head+upload, header+download
			if more {
				x.request = -1
			}
			want[strings.TrimPrefix(url, "http://"+local(port))] = x
		}
	}
	ask(200, false, 1, "--http1.0")
	ask(200, false, 2, "--http1.0", "-H", "Connection: keep-alive")
	ask(200, false, 1)
	ask(200, false, 11)
	ask(200, false, 3, "--head")
	ask(200, true, 3, "-d", "a=b") // counted with the head and as upload
	ask(200, false, 3, "-H", "Expect:", "--data-binary", "@body")
	ask(200, false, 3, "-H", "Expect: 100-continue", "--data-binary", "@body")
	ask(200, true, 3, "-H", "Transfer-Encoding: chunked", "--data-binary", "@body")
	ask(200, true, 1, "-H", "Transfer-Encoding: chunked", "-H", "Expect: 100-continue", "--data-binary", "@body")
	ask(200, false, 1, "-T", "body")
	ask(200, true, 2, "-X", "PATCH", "-d", "x")
	ask(200, false, 1, "-H", "Host: a.example", "-H", "X-Long: "+strings.Repeat("y", 3001))
	ask(200, false, 5, "-Z", "--parallel-immediate")
	ask(200, false, 1, "--proxy", "http://"+local(port)) // absolute-form
	absolute := fmt.Sprintf("/%d", n-1)
	// Paths that decide what the server does.
	for _, path := range []string{"/early", "/refused"} {
		args := []string{"-sS", "-o", "/dev/null", "-H", "Expect: 100-continue", "--data-binary", "@body", "http://" + local(port) + path}
		p.output("curl", args...)
		want[path] = truth{status: map[string]int{"/early": 200, "/refused": 413}[path], request: -1, response: -1}
		n++
	}
	rows := p.finish(n)
	for i := range rows {
		if r := &rows[i]; strings.HasPrefix(r.Path, "http://") {
			if r.Path != "http://"+local(port)+absolute {
				t.Errorf("absolute-form: %s", r)
			}
			r.Path = absolute
		}
	}
	p.holdTo(rows, want)
	p.both(rows, ownComm(t), "curl", os.Getpid())
	counted.check(t, rows)
	versions := map[string]int{}
	for _, r := range rows {
		versions[r.Version]++
	}
	if versions["1.0"] != 3 || versions["1.1"] != n-3 {
		t.Errorf("versions %v, want 3 of 1.0", versions)
	}
}

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
	want := map[string]string{"/panics": "closed 0", "/half": "closed 200", "/resets": "reset 0", "/cancelled": "closed 0", "/impatient": "closed 0"}
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

// peerBodiesLikeHeads has bodies that look like answers pass through a proxy,
// which cuts them into pieces of its own.
func peerBodiesLikeHeads(t *testing.T, p *peers) {
	front := p.freePorts(1)[0]
	back, served := p.goServer(http.HandlerFunc(goHandler))
	log, _ := p.nginx("nginx", front, fmt.Sprintf(`
	upstream back { server %s; keepalive 7; }
	server {
		listen %s;
		location / {
			proxy_pass http://back;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
		}
	}`, local(back), local(front)))
	p.trace(front, back)
	client, asked := p.goClient(1)
	const n = 3 * 17
	for i := range n / 3 {
		p.ask(client, "GET", front, fmt.Sprintf("/heads/%d", i), nil)
		p.ask(client, "HEAD", front, fmt.Sprintf("/sized/%d", i), nil)
		p.ask(client, "POST", front, fmt.Sprintf("/plain/%d", i), strings.NewReader(strings.Repeat("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 3001)))
	}
	want, _ := p.logged(log, n)
	rows := p.finish(2 * n)
	atFront, atBack := pick(rows, toPort(front))
	p.holdTo(atFront, want)
	asked.check(t, atFront)
	served.check(t, atBack)
}

func peerPython(t *testing.T, p *peers) {
	python := "python3"
	if _, err := os.Stat("/usr/bin/python3"); err == nil {
		python = "/usr/bin/python3" // no wrapper
	}
	server := p.freePorts(1)[0]
	client, served := p.goServer(http.HandlerFunc(goHandler))
	p.write("small", "hello\n")
	p.write("large", strings.Repeat("x", 1_000_003))
	httpServer := exec.Command(python, "-m", "http.server", strconv.Itoa(server), "--bind", "127.0.0.1")
	httpServer.Dir = p.dir
	p.run(httpServer)
	p.await(server)
	script := p.write("client.py", `
import http.client, sys, urllib.request
port = int(sys.argv[1])
c = http.client.HTTPConnection("127.0.0.1", port)
n = 0
def ask(method, path, **more):
    global n
    c.request(method, f"/{path}/{n}", **more)
    c.getresponse().read()
    n += 1
for i in range(7):
    ask("GET", "plain")
    ask("HEAD", "big")
    ask("GET", "big")
    ask("GET", "none")
    ask("POST", "plain", body=b"x" * 20011)
    ask("PUT", "plain", body=(b"y" * 1009 for i in range(5)), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    ask("GET", "sized")
urllib.request.urlopen(f"http://127.0.0.1:{port}/plain/{n}").read()
n += 1
print(n)
`)
	p.trace(server, client)
	// Its server speaks HTTP/1.0: a connection each.
	asker, asked := p.goClient(1)
	want := map[string]truth{}
	ask := func(method, path string, status int) {
		path += "?" + strconv.Itoa(len(want))
		if got := p.ask(asker, method, server, path, nil); got != status {
			t.Errorf("status %d, want %d", got, status)
		}
		want[path] = truth{status, -1, -1}
	}
	for range 5 {
		ask("GET", "/small", 200)
		ask("GET", "/large", 200)
		ask("HEAD", "/large", 200)
		ask("GET", "/missing", 404)
		ask("POST", "/small", 501)
		ask("GET", "/", 200)
	}
	n, err := strconv.Atoi(strings.TrimSpace(p.output(python, script, strconv.Itoa(client))))
	if err != nil {
		t.Fatal(err)
	}
	rows := p.finish(len(want) + n)
	atPython, ofPython := pick(rows, toPort(server))
	p.holdTo(atPython, want)
	p.both(atPython, "python3", ownComm(t), httpServer.Process.Pid)
	asked.check(t, atPython)
	if len(ofPython) != n {
		t.Errorf("%d rows of Python's client, want %d", len(ofPython), n)
	}
	p.both(ofPython, ownComm(t), "python3", os.Getpid())
	served.check(t, ofPython)
}

func peerNode(t *testing.T, p *peers) {
	client, served := p.goServer(http.HandlerFunc(goHandler))
	server := p.freePorts(1)[0]
	script := p.write("server.js", `
const http = require('http')
http.createServer((request, response) => {
	request.resume()
	request.on('end', () => {
		const kind = request.url.split('/')[1]
		if (kind == 'none') { response.writeHead(204); response.end() }
		else if (kind == 'parts') {
			response.write('one'); setTimeout(() => { response.write('x'.repeat(100003)); response.end('three') }, 5)
		}
		else if (kind == 'early') { response.writeEarlyHints({ link: '</style.css>; rel=preload; as=style' }); response.end('hello') }
		else if (kind == 'large') { response.writeHead(200, { 'content-length': 1000003 }); response.end('y'.repeat(1000003)) }
		else { response.statusCode = 418; response.end('tea') }
	})
}).listen(Number(process.argv[2]), '127.0.0.1')
`)
	node := p.start("node", script, strconv.Itoa(server))
	p.await(server)
	p.write("client.js", `
const http = require('http')
const agent = new http.Agent({ keepAlive: true, maxSockets: 3 })
const total = 67
let n = 0
for (let i = 0; i < total; i++) {
	const kind = ['plain', 'big', 'none', 'sized'][i % 4]
	const method = ['GET', 'POST', 'HEAD'][i % 3]
	const request = http.request({ agent, method, host: '127.0.0.1', port: process.argv[2], path: '/' + kind + '/' + i }, (response) => {
		response.resume()
		response.on('end', () => { if (++n == total) { agent.destroy(); console.log(n) } })
	})
	if (method == 'POST') { request.write('a'.repeat(1009)); request.write('b'.repeat(70001)) }
	request.end()
}
`)
	p.trace(server, client)
	const conns, each = 3, 41
	asker, asked := p.goClient(conns)
	want := map[string]truth{}
	statuses := map[string]int{"none": 204, "parts": 200, "early": 200, "large": 200, "other": 418}
	names := []string{"none", "parts", "early", "large", "other"}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range conns {
		wg.Go(func() {
			for j := range each {
				name := names[j%len(names)]
				path := fmt.Sprintf("/%s/%d/%d", name, i, j)
				var status int
				switch j % 4 {
				case 0:
					status = p.ask(asker, "POST", server, path, sized(40_009))
				case 1:
					status = p.ask(asker, "POST", server, path, unsized(50_021))
				case 2:
					status = p.ask(asker, "HEAD", server, path, nil)
				default:
					status = p.ask(asker, "GET", server, path, nil)
				}
				if status != statuses[name] {
					t.Errorf("%s: status %d", path, status)
				}
				mu.Lock()
				want[path] = truth{status, -1, -1}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	n, err := strconv.Atoi(strings.TrimSpace(p.output("node", "client.js", strconv.Itoa(client))))
	if err != nil {
		t.Fatal(err)
	}
	rows := p.finish(conns*each + n)
	atNode, ofNode := pick(rows, toPort(server))
	p.holdTo(atNode, want)
	p.both(atNode, "node", ownComm(t), node.Process.Pid)
	asked.check(t, atNode)
	if len(ofNode) != n {
		t.Errorf("%d rows of Node's client, want %d", len(ofNode), n)
	}
	p.both(ofNode, ownComm(t), "node", os.Getpid())
	served.check(t, ofNode)
}

// peerAccuracy compares the times with what both ends' own clocks say.
func peerAccuracy(t *testing.T, p *peers) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	var mu sync.Mutex
	server, client := map[string]time.Duration{}, map[string]time.Duration{}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buf := make([]byte, 4096)
				for {
					n, err := conn.Read(buf)
					if err != nil {
						return
					}
					begin := time.Now()
					path := strings.Fields(string(buf[:n]))[1]
					ms, _ := strconv.Atoi(strings.Split(path, "/")[1])
					time.Sleep(time.Duration(ms) * time.Millisecond)
					took := time.Since(begin)
					mu.Lock()
					server[path] = took
					mu.Unlock()
					if _, err := conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")); err != nil {
						return
					}
				}
			}()
		}
	}()
	p.trace(port)
	classes := map[int]int{1: 101, 5: 53, 20: 29, 100: 11, 2500: 3}
	total := 0
	var wg sync.WaitGroup
	for ms, n := range classes {
		total += n
		at := min(n, 3) // at the same time, on as many connections
		for i := range at {
			wg.Go(func() {
				conn, err := net.Dial("tcp4", local(port))
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				buf := make([]byte, 4096)
				for j := i; j < n; j += at {
					path := fmt.Sprintf("/%d/%d", ms, j)
					request := []byte("GET " + path + " HTTP/1.1\r\nHost: clock\r\n\r\n")
					begin := time.Now()
					_, err := conn.Write(request)
					if err == nil {
						_, err = conn.Read(buf)
					}
					took := time.Since(begin)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					client[path] = took
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	rows := p.finish(total)
	p.both(rows, ownComm(t), ownComm(t), os.Getpid())
	var errors []float64
	for ms := range classes {
		var atClient, atServer, own []float64 // errors and the clock, in ms
		for _, r := range rows {
			if !strings.HasPrefix(r.Path, fmt.Sprintf("/%d/", ms)) || r.Latency == nil || r.ServerLatency == nil {
				continue
			}
			took := client[r.Path].Seconds() * 1000
			own = append(own, took)
			atClient = append(atClient, math.Abs(float64(*r.Latency)/1000-took))
			atServer = append(atServer, math.Abs(float64(*r.ServerLatency)/1000-server[r.Path].Seconds()*1000))
		}
		if len(own) != classes[ms] {
			t.Errorf("%d ms: %d rows, want %d", ms, len(own), classes[ms])
			continue
		}
		errors = append(append(errors, atClient...), atServer...)
		allowed := max(0.3, 0.02*middle(own))
		t.Logf("%d ms: median error %.3f ms at the client, %.3f ms at the server, n = %d", ms, middle(atClient), middle(atServer), len(own))
		if middle(atClient) > allowed || middle(atServer) > allowed {
			t.Errorf("%d ms: more than %.3f ms", ms, allowed)
		}
	}
	slices.Sort(errors)
	n := len(errors)
	t.Logf("all: median error %.3f ms, p99 %.3f ms, largest %.3f ms", errors[n/2], errors[n*99/100], errors[n-1])
}

func middle(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
