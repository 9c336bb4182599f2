package http_test

import (
	"strconv"
	"testing"
)

// tlsTimeSpent: what a thread does between the plaintext that it reads and that which it
// writes is told as without TLS.
func tlsTimeSpent(t *testing.T, p *peers) {
	p.certificate()
	p.write("server.py", `
import http.server, ssl, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    def do_GET(self):
        if self.path == "/works":
            end = time.thread_time() + 0.1
            while time.thread_time() < end: pass
        elif self.path == "/sleeps":
            time.sleep(0.1)
        self.send_response(204)
        self.end_headers()
        if self.path == "/goes-on":
            time.sleep(0.3)
    def log_message(self, *more): pass
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("cert.pem", "key.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
`)
	p.write("client.py", `
import http.client, ssl, sys
c = http.client.HTTPSConnection("127.0.0.1", int(sys.argv[1]), context=ssl._create_unverified_context())
for path in sys.argv[2:]:
    c.request("GET", path)
    c.getresponse().read()
`)
	port := p.freePorts(1)[0]
	p.start("/usr/bin/python3", "server.py", strconv.Itoa(port))
	p.await(port)
	p.trace(port)
	p.output("/usr/bin/python3", "client.py", strconv.Itoa(port), "/first", "/works", "/sleeps", "/goes-on", "/behind")
	const slack = 60_000 // µs: other processes take the processor
	between := func(got, low, high int64) bool { return got >= low && got <= high+slack }
	for _, r := range p.finish(5) {
		right := r.TLS == "openssl"
		switch r.Path {
		case "/first", "/goes-on":
			right = right && r.CPU < slack && r.Blocked == 0
		case "/works":
			right = right && between(r.CPU, 90_000, 100_000) && r.Blocked == 0
		case "/sleeps":
			right = right && between(r.Blocked, 90_000, 100_000) && r.CPU < slack
		case "/behind":
			right = right && between(r.Queue, 200_000, 300_000) && r.Blocked == 0
		default:
			right = false
		}
		if !right {
			p.errorf("%s", r)
		}
	}
}
