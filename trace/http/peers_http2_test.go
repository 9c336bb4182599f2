package http_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// outline is what has to be equal of rows of HTTP/2, one line each, sorted.
func outline(rows []httpRow) []string {
	var list []string
	for _, r := range rows {
		s := fmt.Sprintf("%s %s %s %s %d", r.Role, r.Version, r.Method, r.Path, r.Status)
		if r.Error != "" {
			s += " " + r.Error + " by " + r.ClosedBy + " " + r.ResetCode
		}
		if r.GRPCStatus != nil {
			s += fmt.Sprint(" gRPC ", *r.GRPCStatus)
			if *r.GRPCStatus != 0 { // grpc-js says OK there
				s += " " + r.GRPCMessage
			}
		}
		list = append(list, strings.TrimSpace(s))
	}
	slices.Sort(list)
	return list
}

// count makes n of a line.
func count(n int, line string) (list []string) {
	for range n {
		list = append(list, line)
	}
	return list
}

// holdOutline checks that rows are exactly these lines, each of a stream of its own.
func (p *peers) holdOutline(rows []httpRow, want ...[]string) {
	p.t.Helper()
	lines := slices.Sorted(slices.Values(slices.Concat(want...)))
	got := outline(rows)
	for i := 0; i < max(len(lines), len(got)); i++ {
		switch {
		case i < len(lines) && i < len(got) && lines[i] == got[i]:
			continue
		case i < len(lines) && (i >= len(got) || lines[i] < got[i]):
			p.errorf("no row: %s", lines[i])
			got = slices.Insert(got, i, lines[i])
		default:
			p.errorf("not expected: %s", got[i])
			lines = slices.Insert(lines, i, got[i])
		}
	}
	seen := map[string]bool{}
	for _, r := range rows {
		if r.Version != "2" {
			continue
		}
		key := fmt.Sprint(r.ConnID, r.Stream)
		if r.Stream == 0 || r.Seq != 0 || seen[key] {
			p.errorf("stream: %s", r)
		}
		seen[key] = true
	}
}

func h2(port int) string { return "http://" + local(port) }

// peerNginx2 has files go out by sendfile, and bodies come in.
func peerNginx2(t *testing.T, p *peers) {
	port := p.freePorts(1)[0]
	p.nginx("nginx2", port, fmt.Sprintf(`server {
	listen %s http2;
	location / { return 200 "hello\n"; }
	location /files/ { alias %s/; }
	location /none { return 404; }
}`, local(port), p.dir))
	const size = 300_007
	p.write("large", strings.Repeat("x", size))
	if err := os.Chmod(filepath.Dir(p.dir), 0o755); err != nil {
		t.Fatal(err)
	}
	p.trace(port)
	const load = 5003
	for _, path := range []string{"/a?x=1", "/files/large", "/none"} { // curl 7.88 cannot use such a connection again
		p.output("curl", "-sS", "--http2-prior-knowledge", "-o", "/dev/null", h2(port)+path)
	}
	p.output("curl", "-sSI", "--http2-prior-knowledge", h2(port)+"/files/large")
	p.output("nghttp", "-n", h2(port)+"/n/1", h2(port)+"/files/large?n", h2(port)+"/n/3")
	p.output("h2load", "-n", strconv.Itoa(load), "-c", "4", "-m", "10", h2(port)+"/load")
	p.output("h2load", "-n", "211", "-c", "1", "-m", "100", h2(port)+"/wide")
	rows := p.finish(load + 211 + 7)
	p.holdOutline(rows,
		count(load, "both 2 GET /load 200"), count(211, "both 2 GET /wide 200"),
		[]string{
			"both 2 GET /a?x=1 200", "both 2 GET /files/large 200", "both 2 GET /none 404", "both 2 HEAD /files/large 200",
			"both 2 GET /n/1 200", "both 2 GET /files/large?n 200", "both 2 GET /n/3 200",
		})
	for _, r := range rows {
		var request, response int64 = 0, 6
		switch {
		case strings.HasPrefix(r.Path, "/files/large") && r.Method == "GET":
			response = size
		}
		// Frames of at least 1 KiB, and heads.
		if r.RequestBytes < request || r.RequestBytes > request+request/100+200 ||
			r.Method == "GET" && r.Status == 200 && (r.ResponseBytes < response || r.ResponseBytes > response+response/100+300) {
			p.errorf("sizes: %s", r)
		}
	}
}

// goServer2 serves HTTP/2 without TLS until the test ends.
func (p *peers) goServer2(h http.Handler) int {
	p.t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		p.t.Fatal(err)
	}
	s := &http.Server{Handler: h, Protocols: new(http.Protocols)}
	s.Protocols.SetUnencryptedHTTP2(true)
	s.Protocols.SetHTTP1(true)
	go func() { _ = s.Serve(l) }()
	p.t.Cleanup(func() { s.Close() })
	return l.Addr().(*net.TCPAddr).Port
}

// goClient2 is a client of it.
func (p *peers) goClient2() *http.Client {
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	p.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// peerGo2 reads the heads of frames apart from their payloads, and answers out of order.
func peerGo2(t *testing.T, p *peers) {
	release := make(chan bool)
	port := p.goServer2(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/slow":
			<-release
		case "/large":
			_, _ = w.Write(make([]byte, 500_009))
		case "/echo":
			_, _ = io.Copy(w, r.Body)
		case "/trailers":
			w.Header().Set("Trailer", "X-End")
			_, _ = io.WriteString(w, "body")
			w.Header().Set("X-End", "1")
		case "/early":
			w.WriteHeader(http.StatusForbidden) // whatever the client still sends
		case "/abort":
			panic(http.ErrAbortHandler)
		case "/hang":
			<-r.Context().Done()
		case "/headers":
			w.Header().Set("X-Large", strings.Repeat("v", 60_000))
		case "/hints":
			w.Header().Set("Link", "</style>")
			w.WriteHeader(http.StatusEarlyHints)
		}
	}))
	p.trace(port)
	client := p.goClient2()
	get := func(ctx context.Context, method, path string, body io.Reader) {
		req, err := http.NewRequestWithContext(ctx, method, h2(port)+path, body)
		if err != nil {
			t.Fatal(err)
		}
		if path == "/headers" {
			req.Header.Set("X-Large", strings.Repeat("r", 40_000))
		}
		resp, err := client.Do(req)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	var wg sync.WaitGroup
	ctx := t.Context()
	wg.Go(func() { get(ctx, "GET", "/slow", nil) })
	for i := range 101 {
		get(ctx, "GET", fmt.Sprintf("/many/%d", i), nil)
	}
	get(ctx, "GET", "/large", nil)
	get(ctx, "POST", "/echo", strings.NewReader(strings.Repeat("e", 300_007)))
	get(ctx, "GET", "/trailers", nil)
	get(ctx, "GET", "/abort", nil)
	get(ctx, "GET", "/headers", nil)
	get(ctx, "GET", "/hints", nil)
	get(ctx, "HEAD", "/large", nil)
	brief, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	get(brief, "GET", "/hang", nil)
	cancel()
	close(release)
	wg.Wait()
	const n = 101 + 9
	rows := p.finish(n)
	want := []string{
		"both 2 GET /slow 200", "both 2 GET /large 200", "both 2 POST /echo 200", "both 2 GET /trailers 200",
		"both 2 GET /abort 0 reset by server INTERNAL_ERROR", "both 2 GET /headers 200", "both 2 GET /hints 200",
		"both 2 HEAD /large 200", "both 2 GET /hang 0 reset by client CANCEL",
	}
	for i := range 101 {
		want = append(want, fmt.Sprintf("both 2 GET /many/%d 200", i))
	}
	p.holdOutline(rows, want)
	for _, r := range rows {
		if r.Path == "/echo" && (r.RequestBytes < 300_007 || r.ResponseBytes < 300_007 || r.RequestBytes > 302_000) ||
			r.Path == "/headers" && (r.RequestBytes < 20_000 || r.ResponseBytes < 30_000) {
			p.errorf("sizes: %s", r)
		}
	}
}

// A talker is a program that says its port, and then does what the test asks it for.
type talker struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
}

// talk starts a program with which the test talks by lines.
func (p *peers) talk(name string, args ...string) *talker {
	p.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Stderr = p.dir, os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	p.run(cmd)
	return &talker{cmd, in, bufio.NewScanner(out)}
}

func (w *talker) hear(t *testing.T) string {
	t.Helper()
	deadline := time.AfterFunc(30*time.Second, func() { _ = w.cmd.Process.Kill() })
	defer deadline.Stop()
	if !w.lines.Scan() {
		t.Fatalf("%s says nothing", w.cmd.Path)
	}
	return w.lines.Text()
}

func (w *talker) hearPort(t *testing.T) int {
	t.Helper()
	port, err := strconv.Atoi(w.hear(t))
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func (w *talker) say(text string) { _, _ = io.WriteString(w.in, text+"\n") }

const node2 = `
const http2 = require('node:http2');
const server = http2.createServer();
server.on('stream', (s, h) => {
	const path = h[':path'];
	s.on('error', () => {});
	if (path === '/reset') return s.close(http2.constants.NGHTTP2_REFUSED_STREAM);
	if (path === '/hang') return;
	s.respond({ ':status': path === '/missing' ? 404 : 200 });
	if (path === '/large') return s.end(Buffer.alloc(400009));
	s.pipe(s);
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
let client;
const ask = (method, path, body) => new Promise((done) => {
	const s = client.request({ ':method': method, ':path': path }, { endStream: body === undefined });
	s.on('error', () => {});
	s.on('close', done).resume();
	if (path === '/hang') setTimeout(() => s.close(http2.constants.NGHTTP2_CANCEL), 30);
	if (body !== undefined) s.end(body);
});
require('node:readline').createInterface({ input: process.stdin }).on('line', async (line) => {
	const [what, n] = line.split(' ');
	if (what === 'connect') {
		client = http2.connect('http://127.0.0.1:' + n);
	} else if (what === 'many') {
		await Promise.all(Array.from({ length: +n }, (_, k) => ask('GET', '/many/' + k)));
	} else if (what === 'each') {
		for (let i = 0; i < +n; i++) await ask('POST', '/each/' + i, 'x'.repeat(i * 100));
	} else if (what === 'odd') {
		for (const path of ['/large', '/missing', '/reset', '/hang']) await ask('GET', path);
	} else {
		client.close();
		server.close();
		process.stdin.pause();
	}
	console.log('done');
});
`

func peerNode2(t *testing.T, p *peers) {
	node := p.talk("node", "-e", node2)
	port := node.hearPort(t)
	p.trace(port)
	for _, line := range []string{fmt.Sprint("connect ", port), "many 83", "each 47", "odd"} {
		node.say(line)
		node.hear(t)
	}
	p.output("curl", "-sS", "--http2-prior-knowledge", "-o", "/dev/null", h2(port)+"/curl")
	node.say("end")
	node.hear(t)
	want := []string{
		"both 2 GET /large 200", "both 2 GET /missing 404", "both 2 GET /reset 0 reset by server REFUSED_STREAM",
		"both 2 GET /hang 0 reset by client CANCEL", "both 2 GET /curl 200",
	}
	for i := range 83 {
		want = append(want, fmt.Sprintf("both 2 GET /many/%d 200", i))
	}
	for i := range 47 {
		want = append(want, fmt.Sprintf("both 2 POST /each/%d 200", i))
	}
	rows := p.finish(len(want))
	p.holdOutline(rows, want)
	for _, r := range rows {
		if n, err := strconv.Atoi(strings.TrimPrefix(r.Path, "/each/")); err == nil && (r.RequestBytes < int64(n*100) || r.ResponseBytes < int64(n*100) || r.RequestBytes > int64(n*100+200)) {
			p.errorf("sizes: %s", r)
		}
	}
}

// hypercorn starts python's h2, which makes a call of each frame.
func (p *peers) hypercorn() (port int) {
	p.t.Helper()
	port = p.freePorts(1)[0]
	p.write("app.py", `
async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 404 if scope["path"] == "/missing" else 200, "headers": []})
    for i in range(3):
        await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
`)
	cmd := exec.Command("hypercorn", "--bind", local(port), "--log-level", "critical", "app:app")
	cmd.Dir = p.dir // without stderr: it complains of connections that are closed
	p.run(cmd)
	p.await(port)
	return port
}

func peerPython2(t *testing.T, p *peers) {
	port := p.hypercorn()
	p.trace(port)
	var want []string
	args := []string{"-n"}
	for i := range 37 {
		want = append(want, fmt.Sprintf("both 2 GET /p/%d 200", i))
		args = append(args, fmt.Sprintf("%s/p/%d", h2(port), i))
	}
	p.output("nghttp", append(args, h2(port)+"/missing")...)
	p.output("curl", "-sS", "--http2-prior-knowledge", "-d", strings.Repeat("z", 20_011), "-o", "/dev/null", h2(port)+"/post")
	want = append(want, "both 2 GET /missing 404", "both 2 POST /post 200")
	p.holdOutline(p.finish(len(want)), want)
}

// peerHAProxy2 speaks HTTP/2 to its clients and HTTP/1 to its server: two rows each.
func peerHAProxy2(t *testing.T, p *peers) {
	ports := p.freePorts(2)
	front, back := ports[0], ports[1]
	p.nginx("behind", back, fmt.Sprintf(`server { listen %s; location / { return 200 "hello\n"; } }`, local(back)))
	p.haproxy2(front, back)
	p.trace(front, back)
	const n = 1009
	p.output("h2load", "-n", strconv.Itoa(n), "-c", "2", "-m", "20", h2(front)+"/both")
	rows := p.finish(2 * n)
	p.holdOutline(rows, count(n, "both 2 GET /both 200"), count(n, "both 1.1 GET /both 200"))
	atFront, atBack := pick(rows, toPort(front))
	p.both(atFront, "haproxy", "h2load")
	p.both(atBack, "nginx", "haproxy")
}

func (p *peers) haproxy2(front, back int) {
	p.t.Helper()
	conf := p.write("haproxy2.conf", fmt.Sprintf(`
defaults
	mode http
	timeout connect 5s
	timeout client 30s
	timeout server 30s
frontend front
	bind %s proto h2
	default_backend back
backend back
	server back %s
`, local(front), local(back)))
	p.start("haproxy", "-db", "-f", conf)
	p.await(front)
}

// peerUpgrade2 has a connection of HTTP/1 go on in HTTP/2.
func peerUpgrade2(t *testing.T, p *peers) {
	port := p.freePorts(1)[0]
	conf := p.write("apache2.conf", fmt.Sprintf(`
ServerName localhost
ServerRoot %[1]s
DefaultRuntimeDir %[1]s
PidFile %[1]s/apache.PID
Listen %[2]s
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule http2_module /usr/lib/apache2/modules/mod_http2.so
User nobody
Group nogroup
ErrorLog %[1]s/apache.error
LogLevel crit
Protocols h2c http/1.1
DocumentRoot %[1]s
`, p.dir, local(port)))
	p.write("small", "hello\n")
	if err := os.Chmod(filepath.Dir(p.dir), 0o755); err != nil {
		t.Fatal(err)
	}
	p.start("apache2", "-D", "FOREGROUND", "-f", conf)
	python := p.hypercorn()
	p.await(port)
	p.trace(port, python)
	const n = 7
	var want []string
	for i := range n {
		// The first request of each connection is stream 1. Apache's may end behind that.
		p.output("curl", "-sS", "--http2", "-o", "/dev/null", fmt.Sprintf("%s/small?%d", h2(port), i))
		p.output("curl", "-sS", "--http2", "-o", "/dev/null", "-o", "/dev/null",
			fmt.Sprintf("%s/first?%d", h2(python), i), fmt.Sprintf("%s/missing?%d", h2(python), i))
		want = append(want, fmt.Sprintf("both 2 GET /small?%d 200", i),
			fmt.Sprintf("both 2 GET /first?%d 200", i), fmt.Sprintf("both 2 GET /missing?%d 404", i))
	}
	p.output("curl", "-sS", "--http1.1", "-o", "/dev/null", h2(port)+"/small?old")
	want = append(want, "both 1.1 GET /small?old 200")
	p.holdOutline(p.finish(len(want)), want)
}

// grpcPeer builds the program of testdata/grpc, a module of its own.
func grpcPeer(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "grpcpeer")
	cmd := exec.Command("go", "build", "-o", program, ".")
	cmd.Dir = grpcDir(t)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	return program
}

func grpcDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../testdata/grpc")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// The calls of every kind of stream, errors, a deadline, a cancel; and their rows.
var (
	grpcCalls = strings.Fields("Unary:23 Unary:3:100003 ClientStream:7:100 ServerStream:11:1000 Bidi:13 NotFound Deadline Cancel Unary")
	grpcRows  = [][]string{
		count(27, "both 2 POST /tracer.test.Echo/Unary 200 gRPC 0"),
		{
			"both 2 POST /tracer.test.Echo/ClientStream 200 gRPC 0",
			"both 2 POST /tracer.test.Echo/ServerStream 200 gRPC 0",
			"both 2 POST /tracer.test.Echo/Bidi 200 gRPC 0",
			"both 2 POST /tracer.test.Echo/NotFound 200 gRPC 5 nothing here: 100 % sure",
		},
	}
)

// holdCalls holds the rows of grpcCalls to what took place. The ends of a deadline and of
// a cancel race: whose reset it is, and whether the server has answered.
func (p *peers) holdCalls(rows []httpRow, more ...[]string) {
	p.t.Helper()
	hangs, others := pick(rows, func(r httpRow) bool { return strings.HasSuffix(r.Path, "/Hang") })
	p.holdOutline(others, slices.Concat(grpcRows, more)...)
	if len(hangs) != 2 {
		p.errorf("%d calls that hang, want 2", len(hangs))
	}
	for _, r := range hangs {
		reset := r.Error == "reset" && r.ResetCode == "CANCEL" && r.GRPCStatus == nil
		answered := r.Error == "" && r.GRPCStatus != nil && (*r.GRPCStatus == 4 || *r.GRPCStatus == 1)
		if r.Role != "both" || !reset && !answered {
			p.errorf("neither reset nor answered: %s", r)
		}
	}
}

func peerGRPC(t *testing.T, p *peers) {
	program := grpcPeer(t)
	server := p.talk(program, "server")
	port := server.hearPort(t)
	p.trace(port)
	p.output(program, append([]string{"client", strconv.Itoa(port)}, append(grpcCalls, "Late", "Missing", "Early:3")...)...)
	rows := p.finish(27 + 4 + 2 + 3)
	p.holdCalls(rows, []string{
		"both 2 POST /tracer.test.Echo/Late 200 gRPC 15 half",
		"both 2 POST /tracer.test.Echo/Missing 200 gRPC 12 no method Missing",
		"both 2 POST /tracer.test.Echo/Early 200 gRPC 0",
	})
	for _, r := range rows {
		if r.Path == "/tracer.test.Echo/ServerStream" && (r.ResponseBytes < 11_000 || r.ResponseBytes > 11_500) ||
			r.Path == "/tracer.test.Echo/ClientStream" && (r.RequestBytes < 700 || r.RequestBytes > 1000) {
			p.errorf("sizes: %s", r)
		}
	}
}

// peerGRPCNode has a client and a server of grpc-js talk to those of grpc-go.
func peerGRPCNode(t *testing.T, p *peers) {
	program := grpcPeer(t)
	js := filepath.Join(t.TempDir(), "js")
	if err := os.CopyFS(js, os.DirFS(filepath.Join(grpcDir(t), "js"))); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	install := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	install.Dir = js
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v: %s", err, out)
	}
	peer := filepath.Join(js, "peer.js")
	ofGo, ofNode := p.talk(program, "server"), p.talk("node", peer, "server")
	ports := []int{ofGo.hearPort(t), ofNode.hearPort(t)}
	p.trace(ports...)
	p.output("node", append([]string{peer, "client", strconv.Itoa(ports[0])}, grpcCalls...)...)
	p.output(program, append([]string{"client", strconv.Itoa(ports[1])}, grpcCalls...)...)
	rows := p.finish(2 * (27 + 4 + 2))
	atGo, atNode := pick(rows, toPort(ports[0]))
	p.holdCalls(atGo)
	p.holdCalls(atNode)
}

// peersLate2 is tracing that begins in the middle of connections: what is told is right,
// what is not known is left out.
func peersLate2(t *testing.T, p *peers) {
	ports := p.freePorts(3)
	nginx, front, back := ports[0], ports[1], ports[2]
	p.nginx("late", nginx, fmt.Sprintf(`
server { listen %s http2; location / { return 200 "hello\n"; } }
server { listen %s; location / { return 200 "hello\n"; } }`, local(nginx), local(back)))
	p.haproxy2(front, back)
	goPort := p.goServer2(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))
	node := p.talk("node", "-e", node2)
	nodePort := node.hearPort(t)
	program := grpcPeer(t)
	server := p.talk(program, "server")
	grpcPort := server.hearPort(t)

	client := p.goClient2()
	ask := func(port int, path string) {
		resp, err := client.Post(h2(port)+path, "", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	goPorts := []int{nginx, front, goPort}
	for _, port := range goPorts {
		for i := range 5 {
			ask(port, fmt.Sprintf("/before/%d", i))
		}
	}
	node.say(fmt.Sprint("connect ", nodePort))
	node.hear(t)
	node.say("each 3")
	node.hear(t)
	caller := p.talk(program, "client", strconv.Itoa(grpcPort), "Unary:5", "wait", "Unary:97", "NotFound", "Bidi:3")
	for caller.hear(t) != "waits" {
	}
	p.trace(nginx, front, goPort, nodePort, grpcPort)
	const n = 41
	for _, port := range goPorts {
		for i := range n {
			ask(port, fmt.Sprintf("/after/%d", i))
		}
	}
	node.say("each 43")
	node.hear(t)
	caller.say("")
	for range 3 {
		caller.hear(t)
	}
	client.CloseIdleConnections()
	node.say("end")
	node.hear(t)
	server.in.Close()

	const all = 3*n + 43 + 99
	rows := p.finishLate(all)
	seen := map[string]bool{}
	for _, r := range rows {
		key := fmt.Sprint(r.ConnID, r.Stream)
		if seen[key] || r.Version != "2" {
			p.errorf("not a stream of its own: %s", r)
		}
		seen[key] = true
		var right bool
		switch r.DstPort {
		case nginx, front, goPort:
			right = strings.HasPrefix(r.Path, "/after/")
		case nodePort:
			right = strings.HasPrefix(r.Path, "/each/")
		case grpcPort:
			right = slices.Contains([]string{"/tracer.test.Echo/Unary", "/tracer.test.Echo/NotFound", "/tracer.test.Echo/Bidi"}, r.Path)
			if s := r.GRPCStatus; s != nil && (*s == 5) != (r.Path == "/tracer.test.Echo/NotFound") && r.Path != "" {
				p.errorf("a status of gRPC that nobody sent: %s", r)
			}
		}
		if !right && r.Path != "" || r.Method != "" && r.Method != "POST" || r.Status != 0 && r.Status != 200 && r.Status != 405 || r.Error != "" {
			p.errorf("told what was not so: %s", r)
		}
	}
	// Who sends whole names, or inserts and never refers to it, is known whole.
	for port, least := range map[int]int{nginx: n - 1, front: n - 1, goPort: n / 2, nodePort: 40, grpcPort: 90} {
		got, _ := pick(rows, toPort(port))
		if len(got) < least {
			t.Errorf("%d rows of port %d, want at least %d", len(got), port, least)
		}
	}
}

// finishLate is finish where a few exchanges may be unknown: all are shown or counted.
func (p *peers) finishLate(n int) []httpRow {
	p.t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		p.mu.Lock()
		got := len(p.rows)
		p.mu.Unlock()
		if got >= n {
			break
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
	account := p.notes[len(p.notes)-1]
	p.t.Logf("%d rows of %d, account %v", len(p.rows), n, account)
	if len(p.rows) > n {
		p.errorf("%d rows, want %d at most", len(p.rows), n)
	}
	for _, line := range p.bad {
		p.t.Error(line)
	}
	return p.rows
}
