package render

import (
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
	release := o.Share(m)
	if m.show == nil {
		t.Error("messages are not shared")
	}
	release()
	if m.show != nil {
		t.Error("messages are still shared")
	}
	mustClose(t, o)
	plain := NewOutput(openNull(t), JSON{})
	plain.Share(m)()
	if m.show != nil {
		t.Error("messages are shared though there is no screen")
	}
	mustClose(t, plain)
}
