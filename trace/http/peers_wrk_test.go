package http_test

import (
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

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
	if answered < n-conns-int(p.lost) {
		t.Errorf("%d rows with an answer and %v lost, nginx answered %d", answered, p.lost, n)
	}
}
