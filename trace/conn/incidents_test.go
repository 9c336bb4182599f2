package conn

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"tracer/testdata/kit"
	"tracer/trace/kernel"
)

// Incidents as people meet them, staged with real programs.

// needProgram is for incidents of another program. Where all of them are promised, as in
// CI, a missing one is a failure.
func needProgram(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("no %s: make install-tools", name)
	}
	t.Skipf("no %s: make install-tools", name)
}

// run starts a program that serves until the test ends, and waits until it does at a port.
func run(t *testing.T, port int, name string, args ...string) (pid int) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	pid = kit.Launch(t, cmd)
	kit.Eventually(t, name, func() error {
		b, err := os.ReadFile("/proc/net/tcp")
		if err == nil && !strings.Contains(string(b), fmt.Sprintf(":%04X 00000000:0000 0A", port)) {
			err = errors.New("nobody listens")
		}
		return err
	})
	return pid
}

// freePort is a port at which nobody listens.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// Connections are cut by a proxy's idle timeout: each close says for how long nothing had
// moved, which is that timeout, and that the proxy was the first to close.
func TestKernelIncidentOfAnIdleTimeout(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	needProgram(t, "haproxy")
	const n, idle = 7, 700 * time.Millisecond
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	port := freePort(t)
	config := filepath.Join(t.TempDir(), "haproxy.conf")
	text := fmt.Sprintf(`
defaults
	mode tcp
	timeout connect 5s
	timeout client %[1]dms
	timeout server 1h
listen proxy
	bind 127.0.0.1:%[2]d
	server behind %[3]s
`, idle.Milliseconds(), port, l.Addr())
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	proxy := run(t, port, "haproxy", "-db", "-f", config)
	r := kit.Start(t, "conn", "--turns", "--port", strconv.Itoa(port))
	for range n {
		c, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(c)
		if string(b) != "x" || err != nil {
			t.Fatalf("the proxy says %q, %v", b, err)
		}
		c.Close()
	}
	for _, pid := range []int{proxy, os.Getpid()} {
		r.Until(func(kit.Event) bool { return len(r.Of("close", pid)) == n })
		for _, e := range r.Of("close", pid) {
			tick := kernel.Tick()
			least, most := (idle - tick).Microseconds(), (idle + tick + kit.Within(kit.Overslept)).Microseconds()
			if got, _ := e["idle_us"].(float64); int64(got) < least || int64(got) > most || e["closed_by"] != "server" || e["reason"] != "closed" || e["turns"] != 1.0 {
				t.Errorf("want %s idle, closed by the server, one turn: %v", idle, e)
			}
		}
	}
	r.Stop()
}

// A server that does one thing at a time has a queue that is soon full. Who waits in it, and
// how many are dropped, is told, with the server's name; not that those it serves are slow.
func TestKernelIncidentOfAFullBacklog(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	needProgram(t, "python3")
	const limit, n, serves = 3, 17, 60 * time.Millisecond
	port := freePort(t)
	server := run(t, port, "python3", "-c", fmt.Sprintf(`
import socket, time
l = socket.create_server(("127.0.0.1", %d), backlog=%d)
while True:
    c, _ = l.accept()
    time.sleep(%g)
    try:
        c.sendall(b"y")
    except OSError:
        pass
    c.close()
`, port, limit, serves.Seconds()))
	r := kit.Start(t, "conn", "--port", strconv.Itoa(port))
	results := make(chan error)
	for range n {
		go func() {
			c, err := net.DialTimeout("tcp4", fmt.Sprintf("127.0.0.1:%d", port), 500*time.Millisecond)
			if err == nil {
				_, err = io.ReadAll(c)
				c.Close()
			}
			results <- err
		}()
	}
	served := 0
	for range n {
		if err := <-results; err == nil {
			served++
		}
	}
	r.Until(func(kit.Event) bool { return len(r.Of("close", server)) == served })
	account := r.Stop()
	accepts := r.Of("accept", server)
	full, longest := 0, 0.0
	for _, e := range accepts {
		queued, _ := e["queue_us"].(float64)
		longest = max(longest, queued)
		if e["backlog"] == e["backlog_max"] {
			full++
		}
	}
	dropped := 0.0
	for _, e := range r.Notes {
		if e["event"] != "overflow" {
			continue
		}
		if n, _ := e["dropped"].(float64); e["pid"] != float64(server) || e["port"] != float64(port) || e["comm"] != "python3" {
			t.Errorf("not by the server: %v", e)
		} else {
			dropped += n
		}
	}
	// One more than the limit finds room, and so the last of the first has waited for all of them but one.
	if len(accepts) != served || served < limit+1 || full == 0 || longest < float64(((limit-1)*serves).Microseconds()) {
		t.Errorf("%d accepts of %d that were served, %d with a full queue, waiting %gµs: %v", len(accepts), served, full, longest, accepts)
	}
	if failed := len(r.Of("connect_failed", os.Getpid())); failed != n-served || dropped < float64(failed) || account["overflows"] != dropped {
		t.Errorf("%d of %d could not connect, %g were dropped: %v", failed, n-served, dropped, account)
	}
}
