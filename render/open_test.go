package render

import (
	"bytes"
	"os"
	"reflect"
	"strings"
	"testing"

	"tracer/trace/event"
)

func TestFormatOfStdout(t *testing.T) {
	tty, null := terminal(t, 80, 24), openNull(t)
	page, plain := Views["traffic"], Views["exec"]
	for _, c := range []struct {
		name  string
		file  *os.File
		view  View
		opts  Options
		env   map[string]string
		want  Format
		color bool
	}{
		{"rows with colours on a terminal", tty, plain, Options{}, nil, &Table{}, true},
		{"rows without colours in a file", null, plain, Options{}, nil, &Table{}, false},
		{"no colours where NO_COLOR is set", tty, plain, Options{}, map[string]string{"NO_COLOR": "1"}, &Table{}, false},
		{"no colours on a dumb terminal", tty, plain, Options{}, map[string]string{"TERM": "dumb"}, &Table{}, false},
		{"no colours if they are not wanted", tty, plain, Options{Color: ColorNever}, nil, &Table{}, false},
		{"colours that are wanted, in a file", null, plain, Options{Color: ColorAlways}, nil, &Table{}, true},
		{"colours that are wanted, whatever NO_COLOR and TERM say", tty, plain, Options{Color: ColorAlways}, map[string]string{"NO_COLOR": "1", "TERM": "dumb"}, &Table{}, true},
		{"a live screen for pages on a terminal", tty, page, Options{}, nil, &Live{}, true},
		{"lines for pages on a dumb terminal", tty, page, Options{}, map[string]string{"TERM": "dumb"}, &Lines{}, false},
		{"lines for pages in a file", null, page, Options{}, nil, &Lines{}, false},
		{"JSON wherever it is asked for", tty, page, Options{JSON: true}, nil, JSON{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("NO_COLOR", "")
			t.Setenv("TERM", "xterm")
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			f := formatFor(c.file, c.view, c.opts)
			if reflect.TypeOf(f) != reflect.TypeOf(c.want) {
				t.Fatalf("%T, want %T", f, c.want)
			}
			var b []byte
			if p, ok := f.(Pager); ok {
				b = p.AppendPage(nil, &event.Page{Closing: true, Rows: func(func(event.Event) bool) {}, Sum: &event.Traffic{}})
			} else {
				b = f.AppendEvent(nil, &event.ExecFailed{Error: "ENOENT"})
			}
			if got := strings.Contains(string(b), "\x1b[1m"); got != c.color {
				t.Errorf("colour %t: %q", got, b)
			}
		})
	}
}

func openNull(t *testing.T) *os.File {
	t.Helper()
	f, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestParseColor(t *testing.T) {
	for text, want := range map[string]Color{"auto": ColorAuto, "always": ColorAlways, "never": ColorNever} {
		if got, err := ParseColor(text); got != want || err != nil {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	if _, err := ParseColor("yes"); err == nil || err.Error() != `unknown value "yes" (want auto, always or never)` {
		t.Errorf("yes: %v", err)
	}
}

func TestMessagesHaveTheTerminalOfALiveScreen(t *testing.T) {
	tty := terminal(t, 80, 24)
	m := NewMessages(tty, false)
	o := NewOutput(openNull(t), NewLive(trafficOptions("traffic", TableOptions{Terminal: tty})))
	release := o.Share(m, nil)
	if m.show == nil {
		t.Error("messages are not shared")
	}
	release()
	if m.show != nil {
		t.Error("messages are still shared")
	}
	mustClose(t, o)
	plain := NewOutput(openNull(t), JSON{})
	plain.Share(m, nil)()
	if m.show != nil {
		t.Error("messages are shared though there is no screen")
	}
	mustClose(t, plain)
}

// What is said before the first page would be hidden by it: the screen shows it, too.
func TestWarningBeforeTheFirstPageIsOnTheScreen(t *testing.T) {
	for name, warn := range map[string]func(m *Messages, share func()){
		"before the screen is shared": func(m *Messages, share func()) {
			m.Notice(&event.Notice{Kind: event.KindWarning, Message: "only TLS"})
			m.Notice(&event.Notice{Kind: event.KindNote, Message: "tracer itself is left out"})
			share()
		},
		"after that": func(m *Messages, share func()) {
			share()
			m.Notice(&event.Notice{Kind: event.KindWarning, Message: "only TLS"})
		},
	} {
		tty := terminal(t, 30, 6)
		m := NewMessages(tty, false)
		var written bytes.Buffer
		m.w = &written
		live := NewLive(liveOptions(tty))
		o := NewOutput(openNull(t), live)
		warn(m, func() { t.Cleanup(o.Share(m, nil)) })
		s := newScreen(t, 30, 6)
		s.write(live.AppendPage(nil, livePage(make([]event.Exec, 2))))
		if lines := s.lines(); lines[len(lines)-1] != "tracer: warning: only TLS" {
			t.Errorf("%s: %q", name, lines)
		}
		if !strings.HasPrefix(written.String(), "tracer: warning: only TLS\n") {
			t.Errorf("%s: stderr: %q", name, written.String())
		}
		mustClose(t, o)
	}
}
