package http

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"tracer/testdata/kit"

	"github.com/google/go-cmp/cmp"

	"tracer/testdata/kit/container"
	"tracer/testdata/kit/work"
	"tracer/trace/event"
	"tracer/trace/place"
	"tracer/trace/session"
)

func TestKernelHTTPFiltersLeaveOutAllElse(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	server := func(t *testing.T) (int, *work.Process) {
		w := work.Start(t, "serveHTTP")
		return w.HearInt(), w
	}
	fetch := func(t *testing.T, port int, path string, n int) *work.Process {
		w := work.Start(t, "getHTTP", fmt.Sprintf("http://127.0.0.1:%d%s", port, path), strconv.Itoa(n), "1", "kept")
		return w
	}
	port, _ := server(t)
	cases := []struct {
		name string
		args []string
		rows map[string]int
	}{
		{"--port of the server", []string{fmt.Sprint("--port=1,", port)}, map[string]int{"both /status/204 204": 3, "both /sleep/200 200": 2, "both /nothing?a=1 200": 5}},
		{"--port of none", []string{"--port=1,2"}, map[string]int{}},
		{"--status by class", []string{"--status=2xx"}, map[string]int{"both /status/204 204": 3, "both /sleep/200 200": 2, "both /nothing?a=1 200": 5}},
		{"--status by range", []string{"--status=500,201-299"}, map[string]int{"both /status/204 204": 3}},
		{"--path", []string{"--path=/s*"}, map[string]int{"both /status/204 204": 3, "both /sleep/200 200": 2}},
		{"--path with a query", []string{"--path=/nothing?a=?"}, map[string]int{"both /nothing?a=1 200": 5}},
		{"--host", []string{"--host=127.0.0.1:*"}, map[string]int{"both /status/204 204": 3, "both /sleep/200 200": 2, "both /nothing?a=1 200": 5}},
		{"--host of none", []string{"--host=example.org"}, map[string]int{}},
		{"--method", []string{"--method=get,POST"}, map[string]int{"both /status/204 204": 3, "both /sleep/200 200": 2, "both /nothing?a=1 200": 5}},
		{"--method of none", []string{"--method=POST"}, map[string]int{}},
		{"--slow", []string{"--slow=150ms"}, map[string]int{"both /sleep/200 200": 2}},
		{"--role client", []string{"--role=client"}, map[string]int{"client /status/204 204": 3, "client /sleep/200 200": 2, "client /nothing?a=1 200": 5}},
		{"--role server", []string{"--role=server"}, map[string]int{"server /status/204 204": 3, "server /sleep/200 200": 2, "server /nothing?a=1 200": 5}},
	}
	var sessions []*view
	for _, tc := range cases {
		if !strings.HasPrefix(tc.name, "--port") {
			tc.args = append(tc.args, atPorts(port))
		}
		sessions = append(sessions, traceHTTP(t, session.Options{}, tc.args...))
	}
	for path, n := range map[string]int{"/status/204": 3, "/sleep/200": 2, "/nothing?a=1": 5} {
		w := fetch(t, port, path, n)
		w.Say("go")
		w.Hear()
	}
	for i, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			c, total := sessions[i], 0
			for _, n := range tc.rows {
				total += n
			}
			c.await(port, total)
			seen := uint64(10)
			switch {
			case tc.name == "--port of none": // what the kernel filters is not seen at all
				seen = 0
			case strings.HasPrefix(tc.name, "--role"): // the other end is left out
				seen = 20
			}
			if a := c.Stop(); a.Seen != seen || a.Shown != uint64(total) {
				t.Errorf("%d seen, %d shown, want %d and %d", a.Seen, a.Shown, seen, total)
			}
			got := map[string]int{}
			for _, e := range c.of(port) {
				got[fmt.Sprintf("%s %s %d", e.Role, e.Path, e.Status)]++
			}
			if diff := cmp.Diff(tc.rows, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("--pid of one end, and of what it starts", func(t *testing.T) {
		port, _ := server(t)
		one, other := fetch(t, port, "/one", 7), fetch(t, port, "/other", 11)
		c := traceHTTP(t, session.Options{Filter: session.Filter{PIDs: []uint32{uint32(one.PID)}}}, atPorts(port))
		for _, w := range []*work.Process{one, other} {
			w.Say("go")
			w.Hear()
		}
		c.await(port, 7)
		if a := c.Stop(); a.Seen != 7 {
			t.Errorf("%d seen", a.Seen)
		}
		if diff := cmp.Diff(map[string]int{"client /one": 7}, byPath(c.of(port))); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("--uid of nobody here", func(t *testing.T) {
		port, _ := server(t)
		one, nobody := fetch(t, port, "/one", 3), uint32(54321)
		c := traceHTTP(t, session.Options{Filter: session.Filter{UID: &nobody}})
		one.Say("go")
		one.Hear()
		if a := c.Stop(); a.Seen != 0 {
			t.Errorf("%d seen: %v", a.Seen, rows(c.of(port)))
		}
	})
}

// The client's container is wanted, and what is known of the server's is not enough to
// say whether it is: the client's end is shown for itself.
func TestKernelHTTPWantedEndIsShownWhateverTheOtherIs(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	const n = 3
	for name, tree := range container.Trees(t) {
		t.Run(name, func(t *testing.T) {
			wanted := container.New(t, tree, "pod-0", "wanted")
			nameless := container.At(t, filepath.Join(filepath.Dir(wanted.Dir), strings.Repeat("c0", 32)))
			server := work.Start(t, "serveHTTP")
			port := server.HearInt()
			client := work.Start(t, "getHTTP", fmt.Sprintf("http://127.0.0.1:%d/a", port), strconv.Itoa(n), "1", "kept")
			wanted.Add(client.PID)
			nameless.Add(server.PID)
			t.Cleanup(func() {
				client.Kill()
				server.Kill()
				kit.Eventually(t, "the cgroup is removed", func() error { return os.Remove(nameless.Dir) })
			})
			c := traceHTTP(t, session.Options{Place: place.Filter{Container: "wanted"}}, atPorts(port))
			client.Say("go")
			client.Hear()
			c.await(port, n)
			a := c.Stop()
			if diff := cmp.Diff(map[string]int{"client /a": n}, byPath(c.of(port))); diff != "" {
				t.Error(diff)
			}
			if a.Shown != n || a.Lost != 0 || a.Seen != n {
				t.Error(inWords(a))
			}
		})
	}
}

// A row of both ends tells of each where it runs, and of the server when it had the request.
func TestKernelHTTPRowOfBothEndsTellsWhereEachRuns(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	const n = 3
	for name, tree := range container.Trees(t) {
		t.Run(name, func(t *testing.T) {
			asks, answers := container.New(t, tree, "front-0", "asks"), container.New(t, tree, "back-0", "answers")
			server := work.Start(t, "serveHTTP")
			port := server.HearInt()
			client := work.Start(t, "getHTTP", fmt.Sprintf("http://127.0.0.1:%d/a", port), strconv.Itoa(n), "1", "kept")
			asks.Add(client.PID)
			answers.Add(server.PID)
			t.Cleanup(func() {
				client.Kill()
				server.Kill()
			})
			c := traceHTTP(t, session.Options{}, atPorts(port))
			client.Say("go")
			client.Hear()
			c.await(port, n)
			c.Stop()
			for _, e := range c.of(port) {
				type place struct{ container, id, pod, namespace string }
				want := []place{{answers.Container, answers.ContainerID, answers.Pod, answers.Namespace}, {asks.Container, asks.ContainerID, asks.Pod, asks.Namespace}}
				got := []place{{e.Container, e.ContainerID, e.Pod, e.Namespace}, {e.PeerContainer, e.PeerContainerID, e.PeerPod, e.PeerNamespace}}
				if !slices.Equal(got, want) {
					t.Errorf("%+v, want %+v", got, want)
				}
				if after := e.ServerTime.Sub(e.Time); e.Role != event.RoleBoth || after < 0 || after > e.Latency || e.ServerDuration < e.ServerLatency || e.ServerDuration > e.Duration {
					t.Errorf("%s: the server has it after %v, of %v; it took %v of %v", e.Role, after, e.Latency, e.ServerDuration, e.Duration)
				}
			}
		})
	}
}

// A filter on one end shows the row of that end, whatever the flag.
func TestKernelHTTPOneEndIsShownTheSameByAnyFlag(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	const n = 3
	script, answers := both(slices.Repeat([]move{send(get), send(ok5)}, n)...)
	server, ports := serve(t, answers)
	port, self := ports[0], os.Getpid() // which is the client
	comm := func(pid int) string {
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSuffix(string(name), "\n")
	}
	if comm(self) == comm(server.PID) {
		t.Fatalf("both ends are %q", comm(self))
	}
	for _, c := range []struct {
		name string
		session.Filter
		row string
	}{
		{"--comm of the server", session.Filter{Comms: []string{comm(server.PID)}}, "server /a"},
		{"--comm of the client", session.Filter{Comms: []string{comm(self)}}, "client /a"},
		{"--pid of the server", session.Filter{PIDs: []uint32{uint32(server.PID)}}, "server /a"},
		{"--pid of the client", session.Filter{PIDs: []uint32{uint32(self)}}, "client /a"},
		{"--pid of both", session.Filter{PIDs: []uint32{uint32(self), uint32(server.PID)}}, "both /a"},
		{"--comm of both", session.Filter{Comms: []string{"*"}}, "both /a"},
	} {
		v := traceHTTP(t, session.Options{Filter: c.Filter}, atPorts(port))
		defer func() {
			v.await(port, n)
			a := v.Stop()
			if diff := cmp.Diff(map[string]int{c.row: n}, byPath(v.of(port))); diff != "" || a.Seen != n {
				t.Errorf("%s: %s %s", c.name, diff, inWords(a))
			}
		}()
	}
	call(t, port, script)
	server.Hear()
}

func byPath(events []*event.HTTP) map[string]int {
	n := map[string]int{}
	for _, e := range events {
		n[e.Role+" "+e.Path]++
	}
	return n
}
