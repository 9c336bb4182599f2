package http_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

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
PidFile %[1]s/apache.PID
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
