package http_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// nginx starts one with these lines in its http block and returns its master's
// process; what its access_log is called.
func (p *peers) nginx(name string, port int, http string) (log string, workers func() []int) {
	p.t.Helper()
	log = filepath.Join(p.dir, name+".log")
	conf := p.write(name+".conf", fmt.Sprintf(`
daemon off;
worker_processes 2;
user root;
pid %[1]s/%[2]s.PID;
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
