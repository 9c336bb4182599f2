package render

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tracer/trace/event"
)

func TestMessages(t *testing.T) {
	lost := map[string]uint64{"ring_full": 12, "output_full": 3}
	for _, c := range []struct {
		name string
		say  func(*Messages)
		text string
		json string
	}{
		{
			"a start", func(m *Messages) { m.Start(&event.Start{Command: "exec", PID: 7}, "tracing exec; Ctrl-C ends it") },
			"tracing exec; Ctrl-C ends it",
			`{"event":"start","command":"exec","pid":7}`,
		},
		{
			"a warning", func(m *Messages) { m.Notice(&event.Notice{Kind: "warning", Message: "no BTF"}) },
			"tracer: warning: no BTF",
			`{"event":"warning","message":"no BTF"}`,
		},
		{
			"a note with a stranger's text", func(m *Messages) { m.Notice(&event.Notice{Kind: "note", Message: "a\n\x1b[2J"}) },
			`tracer: note: a\x0a\x1b[2J`,
			`{"event":"note","message":"a\n\u001b[2J"}`,
		},
		{
			"a loss", func(m *Messages) { m.Notice(&event.Notice{Kind: "lost", Message: "15 events", Lost: 15, LostBy: lost}) },
			"tracer: lost: 15 events (output_full 3, ring_full 12)",
			`{"event":"lost","message":"15 events","lost":15,"lost_by":{"output_full":3,"ring_full":12}}`,
		},
		{
			"an account", func(m *Messages) {
				m.Account(&event.Account{Seen: 5, Shown: 4, Duration: 90 * time.Second, CPU: 12300 * time.Microsecond})
			},
			"5 events seen, 4 shown, 0 lost in 1m30s; cost: CPU 12.3ms",
			`{"event":"end","seen":5,"shown":4,"lost":0,"duration_us":90000000,"cpu_us":12300}`,
		},
		{
			"an account of one event", func(m *Messages) { m.Account(&event.Account{Seen: 1, Shown: 1, Incomplete: 1, Duration: time.Second}) },
			"1 event seen, 1 shown, 0 lost in 1s; 1 detail lost, some rows lack a field; cost: CPU 0ns",
			`{"event":"end","seen":1,"shown":1,"lost":0,"incomplete":1,"duration_us":1000000,"cpu_us":0}`,
		},
		{
			"an account of losses", func(m *Messages) {
				m.Account(&event.Account{
					Seen: 20, Shown: 4, Lost: 15, LostBy: lost, Incomplete: 2,
					Duration: 4210 * time.Millisecond, CPU: time.Millisecond, BPF: 840 * time.Microsecond, HasBPF: true,
				})
			},
			"20 events seen, 4 shown, 15 lost (output_full 3, ring_full 12) in 4.21s; 2 details lost, some rows lack a field; cost: CPU 1ms, kernel 840µs",
			`{"event":"end","seen":20,"shown":4,"lost":15,"lost_by":{"output_full":3,"ring_full":12},"incomplete":2,"duration_us":4210000,"cpu_us":1000,"bpf_ns":840000}`,
		},
		{
			"an account of what a second sink has not", func(m *Messages) {
				m.Account(&event.Account{Seen: 4, Shown: 4, Undelivered: map[string]uint64{"recording": 3}, Duration: time.Second})
			},
			"4 events seen, 4 shown, 0 lost in 1s; shown and not delivered: recording 3; cost: CPU 0ns",
			`{"event":"end","seen":4,"shown":4,"lost":0,"undelivered":{"recording":3},"duration_us":1000000,"cpu_us":0}`,
		},
		{
			"why nothing is shown", func(m *Messages) {
				m.Explain(&event.Account{
					Seen: 3, Kinds: map[string]uint64{"http1": 1, "tls": 2, "new": 3}, Filtered: map[string]uint64{"status": 3, "pid": 4, "self": 5},
					Unseen: []string{"what goes through io_uring"},
				})
			},
			"tracer: note: no events matched; seen: HTTP/1 sockets 1, new 3, TLS sockets (encrypted) 2; filtered out: 4 by --pid, 5 by default (tracer itself; --self shows it), 3 by --status; not visible on this host: what goes through io_uring",
			`{"event":"note","message":"no events matched; seen: HTTP/1 sockets 1, new 3, TLS sockets (encrypted) 2; filtered out: 4 by --pid, 5 by default (tracer itself; --self shows it), 3 by --status; not visible on this host: what goes through io_uring"}`,
		},
		{
			"that nothing of the wanted processes was seen", func(m *Messages) {
				m.Explain(&event.Account{LeftOut: map[string]uint64{"pid": 4, "self": 1}, Unseen: []string{"HTTP over Unix sockets is not traced"}})
			},
			"tracer: note: no events were seen of what --pid wants; not visible on this host: HTTP over Unix sockets is not traced",
			`{"event":"note","message":"no events were seen of what --pid wants; not visible on this host: HTTP over Unix sockets is not traced"}`,
		},
		{
			"that nothing happened", func(m *Messages) { m.Explain(&event.Account{}) },
			"tracer: note: no events were seen",
			`{"event":"note","message":"no events were seen"}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			for form, want := range map[bool]string{false: c.text, true: c.json} {
				var b bytes.Buffer
				c.say(NewMessages(&b, form))
				if diff := cmp.Diff(want+"\n", b.String()); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// writes counts writes; each must be one line.
type writes struct {
	t *testing.T
	n int
}

func (w *writes) Write(b []byte) (int, error) {
	w.n++
	if bytes.Count(b, []byte{'\n'}) != 1 || b[len(b)-1] != '\n' {
		w.t.Errorf("not a line: %q", b)
	}
	return len(b), nil
}

// A recording gets what is told as JSON, whatever stderr shows, and no sums.
func TestMessagesAreRecorded(t *testing.T) {
	for _, json := range []bool{false, true} {
		var kept []string
		m := NewMessages(io.Discard, json)
		m.Record(func(line []byte) { kept = append(kept, string(line)) })
		m.Start(&event.Start{Command: "exec"}, "tracing exec")
		m.Notice(&event.Notice{Kind: event.KindWarning, Message: "a"})
		m.Notice(&event.Notice{Kind: event.KindTotal})
		m.Notice(&event.Notice{Kind: event.KindSlowest, Message: "b"})
		m.Error(errors.New("c"))
		m.Account(&event.Account{Seen: 1, Shown: 1})
		want := []string{
			`{"event":"start","command":"exec"}` + "\n",
			`{"event":"warning","message":"a"}` + "\n",
			`{"event":"end","seen":1,"shown":1,"lost":0,"duration_us":0,"cpu_us":0}` + "\n",
		}
		if diff := cmp.Diff(want, kept); diff != "" {
			t.Errorf("json %t: %s", json, diff)
		}
	}
}

func TestMessagesAreWholeLinesFromManyGoroutines(t *testing.T) {
	w := &writes{t: t}
	m := NewMessages(w, false)
	done := make(chan struct{})
	for range 7 {
		go func() {
			defer func() { done <- struct{}{} }()
			for range 101 {
				m.Notice(&event.Notice{Kind: "note", Message: "a\nb"})
			}
		}()
	}
	for range 7 {
		<-done
	}
	if w.n != 7*101 {
		t.Errorf("%d lines", w.n)
	}
}

// hinted is an error with a hint.
type hinted struct{ what, hint string }

func (e hinted) Error() string { return e.what }
func (e hinted) Hint() string  { return e.hint }

func TestAppendError(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"an error without a hint", errors.New("open x: no such file"), "tracer: error: open x: no such file\n"},
		{"one with a hint", hinted{"load: not permitted", "run it with sudo"}, "tracer: error: load: not permitted\ntracer: hint: run it with sudo\n"},
		{"one that wraps another with a hint", fmt.Errorf("trace: %w", hinted{"load", "run it with sudo"}), "tracer: error: trace: load\ntracer: hint: run it with sudo\n"},
		{"several, of which one has a hint", fmt.Errorf("trace: %w, %w", errors.New("a"), hinted{"b", "c"}), "tracer: error: trace: a, b\ntracer: hint: c\n"},
		{"an empty hint", hinted{"load", ""}, "tracer: error: load\n"},
		{"strangers' text", hinted{"run \x1b[2J", "a\nb"}, "tracer: error: run \\x1b[2J\ntracer: hint: a\\x0ab\n"},
	} {
		if diff := cmp.Diff("x"+c.want, string(AppendError([]byte("x"), c.err))); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
		var b bytes.Buffer
		NewMessages(&b, true).Error(c.err)
		if diff := cmp.Diff(c.want, b.String()); diff != "" {
			t.Errorf("%s, with JSON: %s", c.name, diff)
		}
	}
}

func TestErrorWaitsForTheEndOfALiveScreen(t *testing.T) {
	var b bytes.Buffer
	m := NewMessages(&b, false)
	var shown []string
	m.share(func(text string) bool { shown = append(shown, text); return true })
	m.Error(hinted{"load", "run it with sudo"})
	if b.Len() > 0 || len(shown) != 1 {
		t.Errorf("%q is written, %q is shown", b.String(), shown)
	}
	m.release()
	if want := "tracer: error: load\ntracer: hint: run it with sudo\n"; b.String() != want {
		t.Errorf("%q", b.String())
	}
}

// Rows that are shown must not hide that most of what moved could not be read.
func TestFullQueuesAreToldAndSummedUp(t *testing.T) {
	for json, want := range map[bool]string{
		false: "tracer: overflow: 37 connections dropped at port 80 by flask[7]\n" +
			"2 events seen, 2 shown, 0 lost in 1s; 37 attempts to connect dropped by full queues of listeners; cost: CPU 1ms\n",
		true: `{"event":"overflow","message":"37 connections dropped at port 80 by flask[7]","pid":7,"comm":"flask","port":80,"dropped":37}` + "\n" +
			`{"event":"end","seen":2,"shown":2,"lost":0,"overflows":37,"duration_us":1000000,"cpu_us":1000}` + "\n",
	} {
		var b bytes.Buffer
		m := NewMessages(&b, json)
		m.Notice(&event.Notice{Kind: event.KindOverflow, Message: "37 connections dropped at port 80 by flask[7]", PID: 7, Comm: "flask", Port: 80, Dropped: 37})
		m.Account(&event.Account{Seen: 2, Shown: 2, Overflows: 37, Duration: time.Second, CPU: time.Millisecond})
		if diff := cmp.Diff(want, b.String()); diff != "" {
			t.Error(diff)
		}
	}
}

func TestAccountSaysWhatIsNotReadable(t *testing.T) {
	for _, c := range []struct {
		kinds map[string]uint64
		want  string
	}{
		{nil, "125 events seen, 125 shown, 0 lost in 5s; cost: CPU 1ms\n"},
		{map[string]uint64{"http1": 3, "http": 125, "other": 7}, "125 events seen, 125 shown, 0 lost in 5s; cost: CPU 1ms\n"},
		{map[string]uint64{"tls": 1}, "125 events seen, 125 shown, 0 lost in 5s; 1 socket not readable (TLS 1); cost: CPU 1ms\n"},
		{map[string]uint64{"tls": 41, "unread": 2, "http1": 3}, "125 events seen, 125 shown, 0 lost in 5s; 43 sockets not readable (TLS 41, by no program of this kernel 2); cost: CPU 1ms\n"},
	} {
		var b bytes.Buffer
		NewMessages(&b, false).Account(&event.Account{Seen: 125, Shown: 125, Kinds: c.kinds, Duration: 5 * time.Second, CPU: time.Millisecond})
		if diff := cmp.Diff(c.want, b.String()); diff != "" {
			t.Error(diff)
		}
	}
}

// Who sees no HTTP because nothing listens is told which command shows that.
func TestUnopenedConnectionsNameTheNextCommand(t *testing.T) {
	for n, want := range map[uint64]string{
		0:  "",
		1:  "tracer: note: 1 TCP connection could not be opened on this host meanwhile: tracer conn --failed shows which\n",
		17: "tracer: note: 17 TCP connections could not be opened on this host meanwhile: tracer conn --failed shows which\n",
	} {
		var b bytes.Buffer
		NewMessages(&b, false).Unopened(&event.Account{Unopened: n})
		if b.String() != want {
			t.Errorf("%d: %q", n, b.String())
		}
	}
}
