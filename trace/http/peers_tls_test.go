package http_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tracer/testdata/kit"
)

// TestKernelHTTPSPeersAgree has other people's programs talk HTTPS to each other: each
// request is one row, with both ends of it, on the connection that it went by.
func TestKernelHTTPSPeersAgree(t *testing.T) {
	if kit.Emulated() {
		t.Skip("this kernel's machine has no other programs")
	}
	kit.Needs(t, kit.ThisKernelOnly)
	tracer := kit.Binary(t)
	for _, c := range []struct {
		name  string
		needs string // programs
		test  func(t *testing.T, p *peers)
	}{
		{"everybody asks everybody", "nginx apache2 haproxy node python3 curl wget openssl", tlsEverybody},
		{"records", "python3", tlsRecords},
		{"early data, a peek, a second handshake", "python3", tlsRareCalls},
		{"where the time went", "python3", tlsTimeSpent},
		{"not HTTP", "python3", tlsNotHTTP},
		{"HTTP/2", "node curl", tlsHTTP2},
		{"probes come and go", "nginx apache2 haproxy node python3 curl wget", tlsComeAndGo},
		{"not readable", "python3", tlsNotReadable},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, name := range strings.Fields(c.needs) {
				needPeer(t, name)
			}
			c.test(t, &peers{t: t, tracer: tracer, dir: t.TempDir(), began: time.Now()})
		})
	}
}

// certificate writes cert.pem, key.pem and both.pem, which are localhost's own.
func (p *peers) certificate() tls.Certificate {
	p.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		p.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		p.t.Fatal(err)
	}
	cert := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	own := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	p.write("cert.pem", cert)
	p.write("key.pem", own)
	p.write("both.pem", cert+own)
	if err := os.Chmod(filepath.Dir(p.dir), 0o755); err != nil { // others serve from it
		p.t.Fatal(err)
	}
	pair, err := tls.X509KeyPair([]byte(cert), []byte(own))
	if err != nil {
		p.t.Fatal(err)
	}
	return pair
}

// A tlsServer is one whose answers are its path.
type tlsServer struct {
	comm, library string
	port          int
}

// goTLSServer is this process as a server of HTTP/1.
func (p *peers) goTLSServer(cert tls.Certificate, h http.Handler) int {
	p.t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		p.t.Fatal(err)
	}
	s := &http.Server{Handler: h}
	go func() {
		_ = s.Serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}}))
	}()
	p.t.Cleanup(func() { s.Close() })
	return l.Addr().(*net.TCPAddr).Port
}

// servers starts one of each kind; back is the port of a plain one behind a proxy.
func (p *peers) servers(cert tls.Certificate) (all []tlsServer, back int) {
	ports := p.freePorts(6)
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Fprintln(w, r.URL.Path)
	})
	back, _ = p.goServer(echo)
	p.nginx("nginx", ports[0], fmt.Sprintf(`
	server {
		listen %s ssl;
		ssl_certificate %[2]s/cert.pem;
		ssl_certificate_key %[2]s/key.pem;
		location / { return 200 "$uri\n"; }
	}`, local(ports[0]), p.dir))
	haproxy := p.write("haproxy.conf", fmt.Sprintf(`
global
	maxconn 100
defaults
	mode http
	timeout connect 5s
	timeout client 30s
	timeout server 30s
frontend front
	bind %s ssl crt %s/both.pem
	default_backend back
backend back
	http-reuse always
	server back %s
`, local(ports[1]), p.dir, local(back)))
	p.start("haproxy", "-db", "-f", haproxy)
	const modules = "/usr/lib/apache2/modules"
	apache := p.write("apache.conf", fmt.Sprintf(`
ServerName localhost
ServerRoot %[1]s
DefaultRuntimeDir %[1]s
PidFile %[1]s/apache.PID
Listen %[2]s
LoadModule mpm_event_module %[3]s/mod_mpm_event.so
LoadModule authz_core_module %[3]s/mod_authz_core.so
LoadModule rewrite_module %[3]s/mod_rewrite.so
LoadModule socache_shmcb_module %[3]s/mod_socache_shmcb.so
LoadModule ssl_module %[3]s/mod_ssl.so
User nobody
Group nogroup
StartServers 1
ServerLimit 1
ThreadsPerChild 7
MaxRequestWorkers 7
ErrorLog %[1]s/apache.error
LogLevel crit
DocumentRoot %[1]s
MaxKeepAliveRequests 0
SSLEngine on
SSLCertificateFile %[1]s/cert.pem
SSLCertificateKeyFile %[1]s/key.pem
RewriteEngine on
RewriteRule .* /cert.pem [L]
`, p.dir, local(ports[2]), modules))
	p.start("apache2", "-D", "FOREGROUND", "-f", apache)
	p.write("server.js", `
const https = require('https'), fs = require('fs')
https.createServer({ key: fs.readFileSync('key.pem'), cert: fs.readFileSync('cert.pem') }, (request, response) => {
	request.resume()
	request.on('end', () => response.end(request.url + '\n'))
}).listen(Number(process.argv[2]), '127.0.0.1')
`)
	p.start("node", "server.js", strconv.Itoa(ports[3]))
	p.write("asyncio-server.py", `
import asyncio, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("cert.pem", "key.pem")
async def serve(reader, writer):
    try:
        while True:
            request = await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            if b"Connection: close" in request: # as s_client asks, who waits for it
                writer.close()
                return
    except (asyncio.IncompleteReadError, OSError):
        writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), ssl=context)
    await server.serve_forever()
asyncio.run(main())
`)
	p.start("/usr/bin/python3", "asyncio-server.py", strconv.Itoa(ports[4]))
	for _, port := range ports[:5] {
		p.await(port)
	}
	return []tlsServer{
		{"nginx", "openssl", ports[0]},
		{"haproxy", "openssl", ports[1]},
		{"apache2", "openssl", ports[2]},
		{"node", "openssl", ports[3]},
		{"python3", "openssl", ports[4]},
		{ownComm(p.t), "go", p.goTLSServer(cert, echo)},
	}, back
}

// tlsEverybody: each kind of client asks each kind of server.
func tlsEverybody(t *testing.T, p *peers) {
	cert := p.certificate()
	servers, back := p.servers(cert)
	python := "/usr/bin/python3" // no wrapper
	p.write("client.py", `
import http.client, ssl, sys
context = ssl._create_unverified_context()
c = http.client.HTTPSConnection("127.0.0.1", int(sys.argv[1]), context=context)
for path in sys.argv[2:]:
    c.request("GET", path)
    c.getresponse().read()
`)
	// Two connections that go on at the same time.
	p.write("asyncio-client.py", `
import asyncio, ssl, sys
context = ssl._create_unverified_context()
async def ask(paths):
    reader, writer = await asyncio.open_connection("127.0.0.1", int(sys.argv[1]), ssl=context)
    for path in paths:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        if "content-length:" in head:
            await reader.readexactly(int(head.split("content-length:")[1].split("\r\n")[0]))
        else: # chunked
            while (size := int((await reader.readuntil(b"\r\n")), 16)) > 0:
                await reader.readexactly(size + 2)
            await reader.readexactly(2)
    writer.close()
async def main():
    await asyncio.gather(ask(sys.argv[2::2]), ask(sys.argv[3::2]))
asyncio.run(main())
`)
	p.write("client.js", `
const https = require('https')
const agent = new https.Agent({ keepAlive: true, maxSockets: 1, rejectUnauthorized: false })
const paths = process.argv.slice(3)
let n = 0
for (const path of paths)
	https.get({ agent, host: '127.0.0.1', port: process.argv[2], path }, (response) => {
		response.resume()
		response.on('end', () => { if (++n == paths.length) agent.destroy() })
	})
`)
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}
	t.Cleanup(transport.CloseIdleConnections)
	own := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	urls := func(port int, paths []string) (list []string) {
		for _, path := range paths {
			list = append(list, fmt.Sprintf("https://%s%s", local(port), path))
		}
		return list
	}
	curl := func(args ...string) func(int, []string) {
		return func(port int, paths []string) {
			p.output("curl", append(append([]string{"-sSk", "--http1.1", "-o", "#1"}, args...), urls(port, paths)...)...)
		}
	}
	clients := []struct {
		name, comm string
		ask        func(port int, paths []string)
	}{
		{"curl", "curl", curl()},
		{"curl12", "curl", curl("--tls-max", "1.2")},
		{"wget", "wget", func(port int, paths []string) {
			p.output("wget", append([]string{"-q", "--no-check-certificate", "-O", "/dev/null"}, urls(port, paths)...)...)
		}},
		{"python", "python3", func(port int, paths []string) {
			p.output(python, append([]string{"client.py", strconv.Itoa(port)}, paths...)...)
		}},
		{"asyncio", "python3", func(port int, paths []string) {
			p.output(python, append([]string{"asyncio-client.py", strconv.Itoa(port)}, paths...)...)
		}},
		{"node", "node", func(port int, paths []string) {
			p.output("node", append([]string{"client.js", strconv.Itoa(port)}, paths...)...)
		}},
		{"go", ownComm(t), func(port int, paths []string) {
			for _, url := range urls(port, paths) {
				resp, err := own.Get(url)
				if err != nil {
					t.Error(err)
					continue
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		}},
		{"s_client", "openssl", func(port int, paths []string) {
			var text strings.Builder
			for i, path := range paths {
				fmt.Fprintf(&text, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: %s\r\n\r\n", path,
					map[bool]string{true: "close", false: "keep-alive"}[i == len(paths)-1])
			}
			p.write("requests", text.String())
			p.output("sh", "-c", "exec openssl s_client -quiet -ign_eof -connect "+local(port)+" <requests 2>/dev/null")
		}},
	}
	var ports []int
	for _, s := range servers {
		ports = append(ports, s.port)
	}
	p.trace(append(ports, back)...)
	const each = 3
	type who struct{ server, client, library string }
	want := map[string]who{}
	behind := 0
	for _, s := range servers {
		for _, c := range clients {
			var paths []string
			for i := range each {
				path := fmt.Sprintf("/%s/%s/%d", c.name, s.comm, i)
				paths = append(paths, path)
				want[path] = who{s.comm, c.comm, s.library}
			}
			if s.comm == "haproxy" {
				behind += each
			}
			c.ask(s.port, paths)
		}
	}
	rows := p.finish(len(want) + behind)
	plain, encrypted := pick(rows, toPort(back))
	for _, r := range plain {
		if r.TLS != "" || r.Comm != ownComm(t) || r.PeerComm != "haproxy" {
			p.errorf("want plain HTTP from haproxy: %s", r)
		}
	}
	for _, r := range encrypted {
		w, asked := want[r.Path]
		if !asked || r.Role != "both" || r.Comm != w.server || r.PeerComm != w.client || r.TLS != w.library || r.Status != 200 {
			p.errorf("want %+v: %s", w, r)
		}
		delete(want, r.Path)
	}
	for path, w := range want {
		p.errorf("no row: %s %+v", path, w)
	}
}

// tlsRecords: messages in records of one byte and of 16 KiB, in writes that would block,
// after a peek, by many threads, by half-closed ends and without a handshake of its own.
func tlsRecords(t *testing.T, p *peers) {
	p.certificate()
	port := p.freePorts(1)[0]
	p.write("server.py", `
import socket, ssl, sys, threading
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("cert.pem", "key.pem")
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
def serve(s):
    try:
        c = context.wrap_socket(s, server_side=True)
        data = b""
        while True:
            while b"\r\n\r\n" not in data:
                more = c.recv(65536)
                if not more: return
                data += more
            head, data = data.split(b"\r\n\r\n", 1)
            length = 0
            for line in head.split(b"\r\n"):
                if line.lower().startswith(b"content-length:"): length = int(line.split(b":")[1])
            while len(data) < length:
                data += c.recv(65536)
            data = data[length:]
            path = head.split(b" ")[1].decode()
            if path.startswith("/big"):
                body = b"x" * 1000003
                c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            elif path.startswith("/bytes"):
                for b in b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello":
                    c.sendall(bytes([b]))
            else:
                c.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
    except OSError:
        pass
    finally:
        s.close()
while True:
    s, _ = listener.accept()
    threading.Thread(target=serve, args=(s,), daemon=True).start()
`)
	p.write("client.py", `
import select, socket, ssl, sys, threading
port = int(sys.argv[1])
context = ssl._create_unverified_context()
def connect(**more):
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port)), **more)
def answer(c):
    data = b""
    while b"\r\n\r\n" not in data:
        data += c.recv(65536)
    head, data = data.split(b"\r\n\r\n", 1)
    length = 0
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"): length = int(line.split(b":")[1])
    while len(data) < length:
        data += c.recv(65536)
def request(path, body=b""):
    return b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (path.encode(), len(body)) + body
# One byte a record, both ways.
c = connect()
for i in range(3):
    for b in request(f"/bytes/{i}"):
        c.sendall(bytes([b]))
    answer(c)
# Large records, and writes that would block: the library is called with the same bytes again.
c.setblocking(False)
for i in range(5):
    left = memoryview(request(f"/big/{i}", b"y" * 3000017))
    while left:
        try: left = left[c.send(left):]
        except ssl.SSLWantWriteError: select.select([], [c], [])
    got = b""
    total = 0
    while total < 1000003:
        try:
            n = len(c.recv(65536))
            total += n
        except ssl.SSLWantReadError: select.select([c], [], [])
c.close()
# The handshake happens within the first read or write.
c = connect(do_handshake_on_connect=False)
c.sendall(request("/implicit/0"))
answer(c)
# Several requests in a record.
c.sendall(request("/pipelined/0") + request("/pipelined/1") + request("/pipelined/2"))
data = b""
while data.count(b"\r\n\r\n") < 3:
    data += c.recv(65536)
# The client says that it sends nothing more.
c.sendall(request("/last/0"))
answer(c)
c.close()
# Threads take turns on one object.
c = connect()
lock = threading.Lock()
def turn(n):
    with lock:
        c.sendall(request(f"/thread/{n}"))
        answer(c)
threads = [threading.Thread(target=turn, args=(n,)) for n in range(13)]
for t in threads: t.start()
for t in threads: t.join()
`)
	p.start("/usr/bin/python3", "server.py", strconv.Itoa(port))
	p.await(port)
	p.trace(port)
	p.output("/usr/bin/python3", "client.py", strconv.Itoa(port))
	request := func(path string, body int) int64 {
		return int64(len(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", path, body)) + body)
	}
	want := map[string]truth{}
	add := func(kind string, n, status, body int, response int64) {
		for i := range n {
			path := fmt.Sprintf("/%s/%d", kind, i)
			want[path] = truth{status, request(path, body), response}
		}
	}
	const none = int64(len("HTTP/1.1 204 No Content\r\n\r\n"))
	add("bytes", 3, 200, 0, int64(len("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")))
	add("big", 5, 200, 3_000_017, int64(len("HTTP/1.1 200 OK\r\nContent-Length: 1000003\r\n\r\n")+1_000_003))
	add("implicit", 1, 204, 0, none)
	add("pipelined", 3, 204, 0, none)
	add("last", 1, 204, 0, none)
	add("thread", 13, 204, 0, none)
	rows := p.finish(len(want))
	p.holdTo(rows, want)
	p.both(rows, "python3", "python3")
	for _, r := range rows {
		if r.TLS != "openssl" {
			p.errorf("want openssl: %s", r)
		}
	}
}

// tlsRareCalls: calls of OpenSSL that Python's module has not, made by both ends: each byte
// is peeked at before it is read, a request comes before the handshake is over, and one
// behind a second handshake. Of early data the client's end is told if its library was seen
// to keep records back before, which BIO_write tells: that is attached when it is needed. Else
// it is lost, and counted: the request has no socket, and so the answer no request.
func tlsRareCalls(t *testing.T, p *peers) {
	p.certificate()
	port := p.freePorts(1)[0]
	p.write("libssl.py", `
import ctypes, socket, sys
ssl = ctypes.CDLL("libssl.so.3")
for name in "SSL_CTX_new SSL_new TLS_server_method TLS_client_method SSL_get1_session".split():
    getattr(ssl, name).restype = ctypes.c_void_p
P = ctypes.c_void_p
def call(name, *args):
    return getattr(ssl, name)(*[P(a) if type(a) is int and a > 1 << 30 else a for a in args])
def fails(what): raise SystemExit(what + " failed")
def write(s, data, name="SSL_write_ex"):
    n = ctypes.c_size_t()
    if call(name, s, data, ctypes.c_size_t(len(data)), ctypes.byref(n)) != 1 or n.value != len(data): fails(name)
def read(s, name="SSL_read_ex", most=4096):
    buf, n = ctypes.create_string_buffer(most), ctypes.c_size_t()
    got = call(name, s, buf, ctypes.c_size_t(most), ctypes.byref(n))
    return got, buf.raw[:n.value]
def message(s, data=b""):
    while b"\r\n\r\n" not in data:
        ok, seen = read(s, "SSL_peek_ex")
        if ok != 1: return b""
        ok, more = read(s, most=len(seen))
        if ok != 1 or more != seen: fails("reading what was peeked at")
        data += more
    return data
`)
	p.write("server.py", `
from libssl import *
ctx = call("SSL_CTX_new", call("TLS_server_method"))
call("SSL_CTX_use_certificate_file", ctx, b"cert.pem", 1)
call("SSL_CTX_use_PrivateKey_file", ctx, b"key.pem", 1)
call("SSL_CTX_set_max_early_data", ctx, 16384)
ssl.SSL_CTX_set_options.argtypes = [P, ctypes.c_uint64]
ssl.SSL_CTX_set_options(ctx, 1 << 24 | 1 << 8)  # no anti-replay, renegotiation by the client
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    c, _ = listener.accept()
    s = call("SSL_new", ctx)
    call("SSL_set_fd", s, c.fileno())
    early = b""
    while True:
        got, data = read(s, "SSL_read_early_data")
        early += data
        if got != 1: break
    while got == 2:
        if not message(s, early): break
        early = b""
        write(s, b"HTTP/1.1 204 No Content\r\n\r\n")
    c.close()
`)
	p.write("client.py", `
from libssl import *
ctx = call("SSL_CTX_new", call("TLS_client_method"))
def open(session=None, old=False, early=None):
    c = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    s = call("SSL_new", ctx)
    call("SSL_set_fd", s, c.fileno())
    if old: ssl.SSL_ctrl(P(s), 124, ctypes.c_long(0x0303), None)  # at most TLS 1.2
    if session: call("SSL_set_session", s, session)
    if early: write(s, early, "SSL_write_early_data")
    if call("SSL_connect", s) != 1: fails("the handshake")
    return c, s
def request(path): return b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode()
c, s = open()
for i in range(3):
    write(s, request(f"/peek/{i}"))
    message(s)
session = call("SSL_get1_session", s)
call("SSL_shutdown", s)
c.close()
for i in range(2):
    c, s = open(session, early=request(f"/early/{i}"))
    if call("SSL_get_early_data_status", s) != 2: fails("early data")
    message(s)
    session = call("SSL_get1_session", s)
    call("SSL_shutdown", s)
    c.close()
c, s = open(old=True)
for i in range(3):
    write(s, request(f"/again/{i}"))
    message(s)
    if call("SSL_renegotiate", s) != 1 or call("SSL_do_handshake", s) != 1: fails("the second handshake")
c.close()
`)
	p.start("/usr/bin/python3", "server.py", strconv.Itoa(port))
	p.await(port)
	p.file = filepath.Join(p.dir, "rows") // something may be lost
	p.trace(port)
	p.output("/usr/bin/python3", "client.py", strconv.Itoa(port))
	want := map[string]truth{}
	for kind, n := range map[string]int{"peek": 3, "early": 2, "again": 3} {
		for i := range n {
			path := fmt.Sprintf("/%s/%d", kind, i)
			want[path] = truth{204, int64(len("GET HTTP/1.1\r\nHost: x\r\n\r\n ") + len(path)), int64(len("HTTP/1.1 204 No Content\r\n\r\n"))}
		}
	}
	rows := p.finish(len(want))
	p.holdTo(rows, want)
	alone := 0
	for _, r := range rows {
		if r.Role != "both" {
			alone++
			if r.Role != "server" || !strings.HasPrefix(r.Path, "/early/") {
				p.errorf("one end alone: %s", r)
			}
		}
	}
	account := p.notes[len(p.notes)-1]
	if p.lost != float64(2*alone) || len(rows) != len(want) {
		p.errorf("%d rows, %d of them of the server alone: %v", len(rows), alone, account)
	}
}

// tlsNotHTTP: what is no HTTP gives no rows, whatever it looks like in between.
func tlsNotHTTP(t *testing.T, p *peers) {
	p.certificate()
	ports := p.freePorts(1)
	p.write("server.py", `
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("cert.pem", "key.pem")
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    s, _ = listener.accept()
    try:
        if s.recv(8, socket.MSG_PEEK)[:1] == b"\x00":  # as Postgres is asked for TLS
            s.recv(8)
            s.sendall(b"S")
        c = context.wrap_socket(s, server_side=True)
        while True:
            data = c.recv(4096)
            if not data: break
            c.sendall(b"Q\x00\x00\x00\x10" + data)
    except OSError: pass
    s.close()
`)
	p.write("client.py", `
import socket, ssl, sys
context = ssl._create_unverified_context()
for asks, n in ((False, 50), (True, 50), (True, 1)):
    s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    if asks:
        s.sendall(b"\x00\x00\x00\x08\x04\xd2\x16\x2f")
        s.recv(1)
    c = context.wrap_socket(s)
    for i in range(n):
        c.sendall(b"\x00\x00\x00\x26\x00\x03\x00\x00user\x00postgres\x00")
        c.recv(4096)
    c.close()
`)
	p.start("/usr/bin/python3", "server.py", strconv.Itoa(ports[0]))
	p.await(ports[0])
	p.trace(ports[0])
	p.output("/usr/bin/python3", "client.py", strconv.Itoa(ports[0]))
	p.finish(0)
	// It was read, and is none that could not be.
	if account := p.notes[len(p.notes)-1]; account["unreadable"] != nil {
		t.Errorf("%v", account)
	}
}

// tlsHTTP2: what ALPN chooses by itself, where it can.
func tlsHTTP2(t *testing.T, p *peers) {
	p.certificate()
	port := p.freePorts(1)[0]
	p.write("server.js", `
const http2 = require('http2'), fs = require('fs')
http2.createSecureServer({ key: fs.readFileSync('key.pem'), cert: fs.readFileSync('cert.pem') }, (request, response) => {
	request.resume()
	request.on('end', () => response.end(request.url + '\n'))
}).listen(Number(process.argv[2]), '127.0.0.1')
`)
	p.start("node", "server.js", strconv.Itoa(port))
	p.await(port)
	p.trace(port)
	want := map[string]truth{}
	args := []string{"-sSk", "-d", "hello"}
	for i := range 5 {
		path := fmt.Sprintf("/h2/%d", i)
		want[path] = truth{200, -1, -1}
		args = append(args, "https://"+local(port)+path)
	}
	p.output("curl", args...)
	rows := p.finish(len(want))
	p.holdTo(rows, want)
	p.both(rows, "node", "curl")
	for _, r := range rows {
		if r.TLS != "openssl" {
			p.errorf("want openssl: %s", r)
		}
	}
}

// tlsComeAndGo: probes are put into libraries and taken out again while these work. No
// program ends for that, and each byte arrives.
func tlsComeAndGo(t *testing.T, p *peers) {
	cert := p.certificate()
	all, _ := p.servers(cert)
	servers := slices.DeleteFunc(all, func(s tlsServer) bool { return s.comm == "apache2" || s.comm == "python3" }) // which say the same whatever is asked
	const times, parallel = 11, 3
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}
	defer transport.CloseIdleConnections()
	own := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	over := make(chan struct{})
	var group sync.WaitGroup
	var asked atomic.Int64
	loop := func(ask func(urls []string) (string, error)) {
		group.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-over:
					return
				default:
				}
				s := servers[n%len(servers)]
				var urls []string
				want := ""
				for i := range 5 {
					path := fmt.Sprintf("/%d/%d", n, i)
					urls = append(urls, "https://"+local(s.port)+path)
					want += path + "\n"
				}
				if got, err := ask(urls); err != nil || got != want {
					t.Errorf("%s: %q, %v, want %q", s.comm, got, err, want)
					return
				}
				asked.Add(5)
			}
		})
	}
	for range parallel {
		loop(func(urls []string) (text string, err error) {
			for _, url := range urls {
				resp, err := own.Get(url)
				if err != nil {
					return text, err
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil {
					return text, err
				}
				text += string(body)
			}
			return text, nil
		})
	}
	command := func(args ...string) func(urls []string) (string, error) {
		return func(urls []string) (string, error) {
			out, err := exec.Command(args[0], append(args[1:len(args):len(args)], urls...)...).Output()
			return string(out), err
		}
	}
	loop(command("curl", "-sSk", "--http1.1"))
	loop(command("wget", "-qO-", "--no-check-certificate"))
	seen := 0
	for range times {
		out, err := exec.Command(p.tracer, "http", "--json", "-d", "100ms").Output()
		if err != nil {
			t.Errorf("tracer: %v", err)
		}
		seen += strings.Count(string(out), `"tls":`)
	}
	close(over)
	group.Wait()
	if asked.Load() < 100 || seen < 100 {
		t.Errorf("%d requests, %d in rows", asked.Load(), seen)
	}
	t.Logf("%d requests while probes came and went %d times; %d in rows", asked.Load(), times, seen)
}

// tlsNotReadable: a connection whose plaintext is nowhere is named, with what its
// ClientHello says, once though both ends are here; and at once where a port was chosen.
func tlsNotReadable(t *testing.T, p *peers) {
	near, far := net.Pipe()
	go func() {
		_ = tls.Client(near, &tls.Config{ServerName: "dark.example", NextProtos: []string{"h2", "http/1.1"}}).Handshake()
	}()
	hello := make([]byte, 4096)
	n, err := far.Read(hello)
	if err != nil {
		t.Fatal(err)
	}
	far.Close()
	if err := os.WriteFile(filepath.Join(p.dir, "hello"), hello[:n], 0o644); err != nil {
		t.Fatal(err)
	}
	p.write("dark.py", `
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
accepted, _ = server.accept()
client.sendall(open("hello", "rb").read())
print(len(accepted.recv(65536)), flush=True)
sys.stdin.read()
`)
	port := p.freePorts(1)[0]
	p.trace(port)
	cmd := exec.Command("/usr/bin/python3", "dark.py", strconv.Itoa(port))
	cmd.Dir = p.dir
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.run(cmd)
	warned := func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, note := range p.notes {
			text, _ := note["message"].(string)
			if note["event"] == "warning" && strings.Contains(text, "python3 to dark.example (h2, http/1.1): own library") {
				return true
			}
		}
		return false
	}
	for end := time.Now().Add(kit.Within(kit.Arrival)); !warned() && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
	if !warned() {
		t.Error("nobody was warned")
	}
	stdin.Close()
	p.finish(0)
	account := p.notes[len(p.notes)-1]
	got, _ := json.Marshal(account["unreadable"])
	want := `[{"alpn":["h2","http/1.1"],"comm":"python3","connections":1,"server_name":"dark.example","why":"own library"}]`
	if string(got) != want {
		t.Errorf("unreadable %s, want %s", got, want)
	}
}

// TestKernelHTTPSOfGo is for every kernel: how programs are attached to a file differs
// by kernel, and how a socket's call is seen within which the library is. Go is all that
// an emulated machine has.
//
// Not the newest one, which preempts programs: those at functions of libraries have no
// copies there. What they miss is told, but the plaintext behind it has another place then.
func TestKernelHTTPSOfGo(t *testing.T) {
	kit.Needs(t, kit.OldestKernel|kit.KernelsBetween)
	tracer := kit.Binary(t)
	for _, tier := range []string{"fentry", "kprobe", "tracepoint"} {
		t.Run(tier, func(t *testing.T) {
			if !kit.Emulated() && tier != "tracepoint" {
				t.Skip("functions cannot be hooked here")
			}
			p := &peers{t: t, tracer: tracer, dir: t.TempDir(), began: time.Now()}
			tlsGo(t, p, tier)
		})
	}
}

func tlsGo(t *testing.T, p *peers, tier string) {
	port := p.goTLSServer(p.certificate(), http.HandlerFunc(goHandler))
	if !p.tryTrace([]string{"--tier", tier}, port) {
		if said := fmt.Sprint(p.notes); tier == "tracepoint" && strings.Contains(said, "not supported") {
			t.Skip("this kernel tells too little by tracepoints")
		}
		t.Fatalf("tracer did not start: %v", p.notes)
	}
	const conns, each = 3, 23
	want := map[string]truth{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range conns {
		wg.Go(func() {
			transport := &http.Transport{
				MaxConnsPerHost: 1, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
				TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{},
			}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport, Timeout: kit.Within(kit.Arrival)}
			for j := range each {
				method, body := "GET", io.Reader(nil)
				if j%3 == 1 {
					method, body = "POST", sized(70_001)
				}
				path := fmt.Sprintf("/%s/%d/%d", []string{"plain", "big", "none", "sized"}[j%4], i, j)
				r, err := http.NewRequest(method, "https://"+local(port)+path, body)
				if err != nil {
					t.Error(err)
					return
				}
				resp, err := client.Do(r)
				if err != nil {
					t.Error(err)
					return
				}
				_, err = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				want[path] = truth{resp.StatusCode, -1, -1}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	rows := p.finish(len(want))
	p.holdTo(rows, want)
	p.both(rows, ownComm(t), ownComm(t), os.Getpid())
	for _, r := range rows {
		if r.TLS != "go" || r.Seq == 0 {
			p.errorf("want go, and the position: %s", r)
		}
	}
}
