package trace

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tracer/trace/event"
)

// What a package of this module may import of it.
var directions = map[string][]string{
	"tracer":                      {"tracer/trace/kernel/attach", "tracer/render", "tracer/trace", "tracer/trace/event", "tracer/trace/place", "tracer/trace/proc"},
	"tracer/bpf":                  nil,
	"tracer/render":               {"tracer/trace/event"},
	"tracer/trace":                {"tracer/bpf", "tracer/trace/event", "tracer/trace/http1", "tracer/trace/kernel/confine", "tracer/trace/place", "tracer/trace/proc"},
	"tracer/trace/event":          nil,
	"tracer/trace/http1":          nil,
	"tracer/trace/kernel/attach":  {"tracer/trace/kernel/confine"},
	"tracer/trace/kernel/confine": nil,
	"tracer/trace/place":          {"tracer/trace/event"},
	"tracer/trace/proc":           nil,
}

func TestImportsPointOneWay(t *testing.T) {
	if os.Getenv("TRACER_VM") != "" {
		t.Skip("this kernel's machine has no Go")
	}
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, "tracer/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		allowed, known := directions[f[0]]
		if !known {
			t.Errorf("package %s has no place in the picture", f[0])
		}
		for _, imported := range f[1:] {
			if !strings.HasPrefix(imported, "tracer/") {
				continue
			}
			ok := false
			for _, a := range allowed {
				ok = ok || a == imported
			}
			if !ok {
				t.Errorf("%s must not import %s", f[0], imported)
			}
		}
	}
}

// Adding a probe touches a few places. This finds the one that was forgotten.
func TestEveryProbeHasAllItsPieces(t *testing.T) {
	read := func(path string) string {
		b, err := os.ReadFile(filepath.Join("..", path))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	gen, columns, readme := read("bpf/gen.go"), read("render/columns.go"), read("README.md")
	for _, p := range Probes {
		if p.Short == "" || p.Long == "" || p.Example == "" || p.New == nil {
			t.Errorf("%s: the row of the table is not complete", p.Name)
		}
		for _, file := range []string{"bpf/" + p.Name + ".bpf.c", "bpf/" + p.Name + "_bpfel.o", "trace/" + p.Name + ".go", "trace/" + p.Name + "_test.go"} {
			if _, err := os.Stat(filepath.Join("..", file)); err != nil {
				t.Errorf("%s: %v", p.Name, err)
			}
		}
		for where, text := range map[string]string{"bpf/gen.go": gen, "render/columns.go": columns, "README.md": readme} {
			want := map[string]string{
				"bpf/gen.go":        " " + p.Name + ".bpf.c",
				"render/columns.go": `"` + p.Name + `": `,
				"README.md":         "| `tracer " + p.Name + "` |",
			}[where]
			if !strings.Contains(text, want) {
				t.Errorf("%s: no row %q in %s", p.Name, want, where)
			}
		}
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"sh", "sh", true},
		{"sh", "bash", false},
		{"*sh", "bash", true},
		{"ba*", "bash", true},
		{"b*s*h", "bash", true},
		{"b*x*h", "bash", false},
		{"b?sh", "bash", true},
		{"b?sh", "bsh", false},
		{"b?sh", "bäsh", true},
		{"?", "ä", true},
		{"*", "", true},
		{"?", "", false},
		{"**a**", "xay", true},
		{"kworker/*", "kworker/0:1", true},
		{"[a]", "[a]", true},
		{"[a]", "a", false},
		{`\*`, "*", false},
		{"", "", true},
	} {
		if got := Match(c.pattern, c.text); got != c.want {
			t.Errorf("Match(%q, %q) = %v", c.pattern, c.text, got)
		}
	}
}

// A pattern made of the text itself, with any part of it replaced by a star,
// matches the text.
func FuzzMatch(f *testing.F) {
	f.Add("bash", 1, 3)
	f.Fuzz(func(t *testing.T, s string, from, to int) {
		if strings.ContainsAny(s, "*?") || from < 0 || to < from || to > len(s) {
			return
		}
		if p := s[:from] + "*" + s[to:]; !Match(p, s) || !Match(s, s) || Match(s+"x", s) {
			t.Errorf("pattern %q, text %q", p, s)
		}
	})
}

func TestClockAgreesWithTheWall(t *testing.T) {
	c := newClock()
	before := time.Now()
	got := c.wall(bootNow())
	after := time.Now()
	const off = 5 * time.Millisecond // the tolerance, and a machine that is busy
	if got.Before(before.Add(-off)) || got.After(after.Add(off)) {
		t.Errorf("%v is not between %v and %v", got, before, after)
	}
	// Somebody set the clock: the next look takes it over.
	c.offset -= int64(time.Hour)
	c.anchor()
	if d := time.Since(c.wall(bootNow())); d > off || d < -off {
		t.Errorf("an hour off before, %v after", d)
	}
}

// runEnded runs a session whose time is over: it shows what was sent before.
func runEnded(t *testing.T, s *Session, sink Sink) *event.Account {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx, sink); err != nil {
		t.Fatal(err)
	}
	a, err := s.Account()
	if err != nil {
		t.Fatal(err)
	}
	return a
}
