package http

import (
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"tracer/testdata/kit"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"tracer/testdata/kit/record"
	"tracer/testdata/kit/work"
	"tracer/trace/event"
	"tracer/trace/session"
)

func TestKernelHTTPStuckRequestsAreToldOnce(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	// The first request of a connection, one behind an answer, and a server
	// that does not accept: of that one end has it only.
	scripts := [][2][]move{
		{{send(get), recv(len(ok5))}, {recv(len(get)), pause(900), send(ok5)}},
		{{send(get), recv(len(ok5)), send(get), recv(len(ok5))}, {recv(len(get)), send(ok5), recv(len(get)), pause(900), send(ok5)}},
	}
	server, ports := serve(t, scripts[0][1], scripts[1][1])
	fd, port := work.FixedListener()
	defer work.CloseFD(fd)
	c := traceHTTP(t, session.Options{}, "--stuck=300ms", atPorts(append(ports, port)...))
	for i, script := range scripts {
		call(t, ports[i], script[0])
		server.Hear()
		after := row("both", "GET", "/a", 200, get, ok5)
		want := append(slices.Repeat([]string{after}, len(script[0])/2-1), "http_stuck "+row("both", "GET", "/a", 0, get, ""), after)
		got := c.await(ports[i], len(want))
		if diff := cmp.Diff(want, rows(got)); diff != "" {
			t.Fatal(diff)
		}
		if stuck := got[len(got)-2]; stuck.Age < 300*time.Millisecond || stuck.Age > 300*time.Millisecond+kit.Within(kit.ShownAtOnce) || int(stuck.PID) != server.PID || int(stuck.PeerPID) != os.Getpid() {
			t.Errorf("after %v, process %d for %d", stuck.Age, stuck.PID, stuck.PeerPID)
		}
	}
	client := work.Dial("127.0.0.1", port)
	perform(t, client, send(get))
	got := c.await(port, 1)
	if diff := cmp.Diff([]string{"http_stuck " + row("client", "GET", "/a", 0, get, "")}, rows(got)); diff != "" {
		t.Error(diff)
	}
	work.CloseFD(client)
	c.await(port, 2)
	c.Stop()
	if diff := cmp.Diff([]string{"http_stuck " + row("client", "GET", "/a", 0, get, ""), row("client", "GET", "/a", 0, get, "", "closed by client")}, rows(c.of(port))); diff != "" {
		t.Error(diff)
	}
}

// A lone exchange is shown soon after its end, and one that is stuck soon after
// it became so: for people. Most, since others may take the processors.
func TestKernelHTTPRowsAreSoon(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	const n = 12
	w := work.Start(t, "serveHTTP")
	port := w.HearInt()
	c := traceHTTP(t, session.Options{}, atPorts(port), "--stuck=200ms")
	fd := work.Dial("127.0.0.1", port)
	defer work.CloseFD(fd)
	work.Timeouts(fd)
	var late []time.Duration
	for i := range n {
		path, want := "/", 1
		if i%4 == 3 {
			path, want = "/sleep/1300", 2
		}
		before := len(c.of(port))
		began := time.Now()
		perform(t, fd, send(request("GET", path, "")))
		_, err := unix.Read(fd, make([]byte, 4096))
		for errors.Is(err, unix.EINTR) { // by Go's own signal: a read with a time limit is not begun again
			_, err = unix.Read(fd, make([]byte, 4096))
		}
		work.Must(err)
		ended := time.Now()
		events := c.await(port, before+1)
		if want == 2 {
			late = append(late, events[before].Time.Add(events[before].Age).Sub(began)-200*time.Millisecond)
		}
		if len(c.await(port, before+want)) != before+want {
			t.Fatalf("%v", rows(c.of(port)))
		}
		late = append(late, time.Since(ended))
		time.Sleep(50 * time.Millisecond) // the reader dozes
	}
	slices.Sort(late)
	t.Logf("from the event to the row: median %v, longest %v", late[len(late)/2], late[len(late)-1])
	if most := late[len(late)*3/4]; most > kit.Within(kit.ShownAtOnce) {
		t.Errorf("a quarter took %v or more: %v", most, late)
	}
}

// Requests that wait are in the summary, each once also where both ends have it, until they are answered or over; then they
// count.
func TestKernelHTTPSummaryHasWhatWaits(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	server, ports := serve(t, []move{recv(len(get)), pause(1700), send(ok5)})
	fd, silent := work.FixedListener() // nobody accepts there
	defer work.CloseFD(fd)
	c := traceHTTP(t, session.Options{}, "--summary", "--stuck=0", atPorts(append(ports, silent)...))
	said := func(what string, f func(s *event.HTTPSummary) bool) {
		t.Helper()
		if !c.Wait(30*time.Second, func() bool { return slices.ContainsFunc(record.All[*event.HTTPSummary](c.Recorder), f) }) {
			t.Fatalf("%s: %+v", what, record.All[*event.HTTPSummary](c.Recorder))
		}
	}
	client := work.Dial("127.0.0.1", silent)
	perform(t, client, send(get))
	call(t, ports[0], []move{send(get), recv(len(ok5))}) // returns with the answer
	server.Hear()
	said("two wait", func(s *event.HTTPSummary) bool {
		return s.Waiting == 2 && s.Count == 0 && s.Errors == 0 && s.Route == "/a" && s.Method == "GET" && s.Oldest >= waitAge && s.Oldest < 30*time.Second
	})
	said("one was answered", func(s *event.HTTPSummary) bool { return s.Waiting == 1 && s.Count == 1 && s.Errors == 0 })
	work.CloseFD(client)
	said("the other one was given up", func(s *event.HTTPSummary) bool { return s.Waiting == 0 && s.Count == 1 && s.Errors == 1 })
	// What has just begun is in the closing table.
	client = work.Dial("127.0.0.1", silent)
	defer work.CloseFD(client)
	perform(t, client, send(get))
	time.Sleep(2 * lastWaitAge)
	a := c.Stop()
	all := record.All[*event.HTTPSummary](c.Recorder)
	if last := all[len(all)-1]; last.Waiting != 1 || last.Count != 0 || last.Oldest < lastWaitAge {
		t.Errorf("at the end: %+v", last)
	}
	if a.Seen != 2 || a.Shown != 2 || a.Lost != 0 {
		t.Errorf("%+v", a)
	}
}
