package trace

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tracer/bpf"
	"tracer/render"
	"tracer/testdata/kit/circles"
	"tracer/trace/session"
)

// What a package of this module may import of it: the picture in README, from the top
// down. Tests and their kit are not in it.
var directions = map[string][]string{
	"tracer":                      {"tracer/render", "tracer/render/draw", "tracer/render/help", "tracer/render/sinks", "tracer/trace", "tracer/trace/command", "tracer/trace/event", "tracer/trace/kernel/attach", "tracer/trace/session"},
	"tracer/render/sinks":         {"tracer/render", "tracer/render/help", "tracer/render/otlp", "tracer/render/recording", "tracer/trace/event", "tracer/trace/option"},
	"tracer/render/recording":     {"tracer/render", "tracer/trace/event", "tracer/trace/kernel/confine"},
	"tracer/render/draw":          {"tracer/render", "tracer/render/help", "tracer/trace/event", "tracer/trace/exchange", "tracer/trace/option", "tracer/trace/replay"},
	"tracer/render/otlp":          {"tracer/trace/event", "tracer/trace/exchange"},
	"tracer/render/help":          {"tracer/render"},
	"tracer/render":               {"tracer/trace/event"},
	"tracer/trace":                {"tracer/trace/all", "tracer/trace/conn", "tracer/trace/event", "tracer/trace/exec", "tracer/trace/http", "tracer/trace/kernel", "tracer/trace/place", "tracer/trace/proc", "tracer/trace/session", "tracer/trace/tls/find", "tracer/trace/traffic"},
	"tracer/trace/all":            {"tracer/trace/conn", "tracer/trace/exec", "tracer/trace/http", "tracer/trace/option", "tracer/trace/session"},
	"tracer/trace/exec":           {"tracer/bpf", "tracer/trace/event", "tracer/trace/kernel", "tracer/trace/option", "tracer/trace/proc", "tracer/trace/session"},
	"tracer/trace/conn":           {"tracer/bpf", "tracer/trace/account", "tracer/trace/event", "tracer/trace/kernel", "tracer/trace/option", "tracer/trace/session"},
	"tracer/trace/traffic":        {"tracer/bpf", "tracer/trace/account", "tracer/trace/event", "tracer/trace/kernel", "tracer/trace/option", "tracer/trace/session"},
	"tracer/trace/http":           {"tracer/bpf", "tracer/trace/account", "tracer/trace/event", "tracer/trace/exchange", "tracer/trace/http1", "tracer/trace/http2", "tracer/trace/kernel", "tracer/trace/message", "tracer/trace/option", "tracer/trace/session", "tracer/trace/stream", "tracer/trace/tls", "tracer/trace/tls/hello"},
	"tracer/trace/tls":            {"tracer/bpf", "tracer/trace/kernel", "tracer/trace/tls/find", "tracer/trace/tls/library"},
	"tracer/trace/session":        {"tracer/bpf", "tracer/trace/account", "tracer/trace/event", "tracer/trace/kernel", "tracer/trace/option", "tracer/trace/place", "tracer/trace/proc", "tracer/trace/replay"},
	"tracer/trace/replay":         {"tracer/trace/event"},
	"tracer/trace/exchange":       {"tracer/trace/event", "tracer/trace/message", "tracer/trace/stream"},
	"tracer/trace/http2":          {"tracer/trace/message", "tracer/trace/stream"},
	"tracer/trace/http1":          {"tracer/trace/message", "tracer/trace/stream"},
	"tracer/trace/message":        {"tracer/trace/stream"},
	"tracer/trace/stream":         nil,
	"tracer/trace/tls/find":       {"tracer/trace/tls/elf", "tracer/trace/tls/library"},
	"tracer/trace/tls/library":    {"tracer/trace/tls/code", "tracer/trace/tls/elf"},
	"tracer/trace/tls/code":       nil,
	"tracer/trace/tls/elf":        nil,
	"tracer/trace/tls/hello":      nil,
	"tracer/trace/kernel":         {"tracer/bpf", "tracer/trace/kernel/attach", "tracer/trace/kernel/confine"},
	"tracer/trace/kernel/attach":  {"tracer/trace/kernel/confine"},
	"tracer/trace/kernel/confine": nil,
	"tracer/trace/account":        {"tracer/trace/event"},
	"tracer/trace/place":          {"tracer/trace/event", "tracer/trace/option"},
	"tracer/trace/command":        {"tracer/trace/event"},
	"tracer/trace/option":         nil,
	"tracer/trace/proc":           nil,
	"tracer/trace/event":          nil,
	"tracer/bpf":                  nil,
}

func TestImportsPointOneWay(t *testing.T) {
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

// Files of a package depend on one another in one direction: who opens one need not
// read all.
func TestNoCirclesOfFiles(t *testing.T) {
	for pkg := range directions {
		dir := filepath.Join("..", strings.TrimPrefix(strings.TrimPrefix(pkg, "tracer"), "/"))
		circles.Check(t, dir)
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
	gen, readme := read("bpf/gen.go"), read("README.md")
	for _, p := range Probes {
		tracer := p.New()
		tracer.Flags(flag.NewFlagSet(p.Name, flag.ContinueOnError)) // sets the defaults
		if p.Short == "" || p.Long == "" || p.Example == "" || p.New == nil {
			t.Errorf("%s: the row of the table is not complete", p.Name)
		}
		// What stands for other probes has no programs of its own.
		_, several := tracer.(session.Several)
		files := []string{"trace/" + p.Name + "/" + p.Name + ".go", "trace/" + p.Name + "/" + p.Name + "_test.go"}
		if !several {
			files = append(files, "bpf/"+p.Name+".bpf.c", "bpf/"+p.Name+"_bpfel.o")
		}
		for _, file := range files {
			if _, err := os.Stat(filepath.Join("..", file)); err != nil {
				t.Errorf("%s: %v", p.Name, err)
			}
		}
		for where, found := range map[string]bool{
			"bpf/gen.go":                     several || strings.Contains(gen, " "+p.Name+".bpf.c"),
			"bpf.Objects":                    several || slices.ContainsFunc(bpf.Objects, func(o bpf.Object) bool { return o.Name == p.Name }),
			"render.Views":                   len(render.Views[p.View(tracer)].Columns) > 0,
			"the keys of render's columns":   len(render.ColumnKeys(p.Name)) > 0,
			"README's table of commands":     strings.Contains(readme, "| `tracer "+p.Name+"` |"),
			"README's table of what it sees": several || strings.Contains(readme, "\n| `"+p.Name+"` | "),
		} {
			if !found {
				t.Errorf("%s has no row in %s", p.Name, where)
			}
		}
	}
	for _, o := range bpf.Objects {
		if !strings.Contains(gen, " "+o.Name+".bpf.c") {
			t.Errorf("object %s has no row in bpf/gen.go", o.Name)
		}
	}
}

// Every package has its place in the README.
func TestEveryPackageIsInTheReadme(t *testing.T) {
	b, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, packages, _ := strings.Cut(string(b), "### Packages")
	packages, _, _ = strings.Cut(packages, "\n###")
	for pkg := range directions {
		name := strings.TrimPrefix(pkg, "tracer/")
		if pkg == "tracer" {
			name = "main.go"
		}
		short := "`" + strings.TrimPrefix(name, "trace/") + "`" // beside one with its whole path
		if !strings.Contains(packages, "`"+name+"`") && !strings.Contains(packages, short) {
			t.Errorf("package %s is not in README's table", pkg)
		}
	}
}
