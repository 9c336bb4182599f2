package http_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
)

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
