package http

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tracer/testdata/kit/work"
	"tracer/trace/event"
)

// What an end of a connection does: see package work.
type move = work.Move

func send(data string) move { return work.Send(data) }
func recv(n int) move       { return work.Recv(n) }
func pause(ms int) move     { return work.Pause(ms) }

// serve starts a process that plays scripts, each to whom connects to its port.
func serve(t *testing.T, scripts ...[]move) (w *work.Process, ports []int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "scripts") // an argument may be too long
	var text bytes.Buffer
	if err := errors.Join(gob.NewEncoder(&text).Encode(scripts), os.WriteFile(path, text.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
	w = work.Start(t, "play", path)
	for range scripts {
		ports = append(ports, w.HearInt())
	}
	return w, ports
}

// call plays a script as a client.
func call(t *testing.T, port int, script []move) {
	t.Helper()
	fd := work.Dial("127.0.0.1", port)
	work.Timeouts(fd)
	if err := work.Play(fd, script); err != nil {
		t.Errorf("client: %v", err)
	}
}

// perform plays a part of a script on a connection that goes on.
func perform(t *testing.T, fd int, moves ...move) {
	t.Helper()
	if err := work.Perform(fd, moves...); err != nil {
		t.Fatal(err)
	}
}

// both are the scripts of a client and a server that take turns in sending; the
// client begins.
func both(moves ...move) (client, server []move) {
	for i, m := range moves {
		n := len(m.Send) * max(m.Repeat, 1)
		if i%2 == 0 {
			client, server = append(client, m), append(server, recv(n))
		} else {
			client, server = append(client, recv(n)), append(server, m)
		}
	}
	return client, server
}

const (
	get     = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"                    // 28 bytes
	ok5     = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"     // 43 bytes
	evil    = "HTTP/1.1 500 NO\r\nContent-Length: 0\r\n\r\n"          // 38 bytes, in bodies
	chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" // 47 bytes
	toClose = "HTTP/1.1 200 OK\r\n\r\n"                               // 19 bytes
	mega    = 1 << 20
)

func request(method, path, more string) string {
	return method + " " + path + " HTTP/1.1\r\nHost: h\r\n" + more + "\r\n"
}

func response(status string, more string) string {
	return "HTTP/1.1 " + status + "\r\n" + more + "\r\n"
}

func length(n int) string { return fmt.Sprintf("Content-Length: %d\r\n", n) }

// row is what an exchange of these messages gives.
func row(role, method, path string, status int, request, response string, more ...string) string {
	return strings.Join(append([]string{fmt.Sprintf("%s %s %s %d %d+%d", role, method, path, status, len(request), len(response))}, more...), " ")
}

// rows is what matters of events, one line each.
func rows(events []*event.HTTP) []string {
	var list []string
	for _, e := range events {
		s := fmt.Sprintf("%s %s %s %d %d+%d", e.Role, e.Method, e.Path, e.Status, e.RequestBytes, e.ResponseBytes)
		if e.PathTruncated {
			s += " cut"
		}
		if e.Incomplete {
			s += " incomplete"
		}
		if e.Error != "" {
			s += " " + e.Error
		}
		if e.ClosedBy != "" {
			s += " by " + e.ClosedBy
		}
		if e.Kind != event.KindHTTP {
			s = e.Kind + " " + s
		}
		list = append(list, s)
	}
	return list
}
