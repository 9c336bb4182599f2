package draw

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tracer/trace/event"
)

// diagram is what Mermaid makes of a text: testdata/mermaid/parse.mjs.
type diagram struct {
	Error        string
	Type         string
	Participants []string
	Lines        []struct {
		Kind, From, To, Text string
		Wrap                 bool
	}
}

// parsed has Mermaid's own parser read texts. Its packages are installed once and kept
// for the next run.
func parsed(t *testing.T, texts []string) []diagram {
	t.Helper()
	skip := t.Skip
	if os.Getenv("CI") != "" {
		skip = t.Fatal
	}
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			skip("there is no " + program)
		}
	}
	dir := mermaidDir(t)
	input, err := json.Marshal(texts)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", "parse.mjs")
	cmd.Dir = dir
	cmd.Stdin = strings.NewReader(string(input))
	var problems strings.Builder
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("node parse.mjs: %v\n%s", err, problems.String())
	}
	var found []diagram
	if err := json.Unmarshal(out, &found); err != nil {
		t.Fatal(err)
	}
	if len(found) != len(texts) {
		t.Fatalf("%d of %d were read", len(found), len(texts))
	}
	return found
}

// mermaidDir is a folder with Mermaid in it, named by what is to be in it.
func mermaidDir(t *testing.T) string {
	const from = "../../testdata/mermaid"
	sum := sha256.New()
	for _, name := range []string{"package-lock.json", "parse.mjs"} {
		b, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		sum.Write(b)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "tracer-test", fmt.Sprintf("mermaid-%.6x", sum.Sum(nil)))
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	made, err := os.MkdirTemp(filepath.Dir(dir), "making")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(made)
	if err := os.CopyFS(filepath.Join(made, "whole"), os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	install := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	install.Dir = filepath.Join(made, "whole")
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v: %s", err, out)
	}
	// Another test may have been quicker.
	if err := os.Rename(filepath.Join(made, "whole"), dir); err != nil {
		if _, there := os.Stat(dir); there != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// said is a text as Mermaid must show it: spaces at its ends and beside one another are
// none.
func said(s string) string { return strings.Join(strings.Fields(s), " ") }

// Each hostile text stands as a path, a method, an error, a name of a process, of a pod,
// of a program and of a host. Mermaid shows every one of them as it is, and nothing else.
func TestMermaidShowsHostileTextsAsTheyAre(t *testing.T) {
	var texts []string
	for _, s := range hostile {
		texts = append(texts, mermaid(t, strange(s), Options{Group: Grouping{Pod: true}}))
	}
	for i, d := range parsed(t, texts) {
		s := hostile[i]
		if d.Error != "" || d.Type != "sequence" {
			t.Errorf("%q: %s\n%s", s, d.Error, texts[i])
			continue
		}
		want := visibleTexts(t, strange(s))
		var names []string
		for _, n := range d.Participants {
			names = append(names, said(n))
		}
		if diff := cmp.Diff(want.names, names); diff != "" {
			t.Errorf("participants of %q: %s", s, diff)
		}
		var lines []string
		for _, l := range d.Lines {
			if l.Wrap {
				t.Errorf("%q is wrapped: %q", s, l.Text)
			}
			if l.Kind != "start" && l.Kind != "stop" {
				lines = append(lines, said(l.Text))
			}
		}
		if diff := cmp.Diff(want.lines, lines); diff != "" {
			t.Errorf("texts of %q: %s", s, diff)
		}
	}
}

// strange is a recording with a text in every place that a stranger can fill.
func strange(s string) *Recording {
	r, host := NewRecording(), Host{Name: s}
	e := web(1, 2, 80, "/"+s, 0, 10)
	e.Comm, e.PeerComm, e.Method = s, s+"'", s
	r.Add(host, e)
	failed := web(1, 2, 80, "/", 20, 30)
	failed.Status, failed.Latency, failed.Error, failed.PeerComm, failed.Comm = 0, 0, "x"+s, s+"'", s
	r.Add(host, failed)
	x := &event.Exec{Common: event.Common{Time: at(40), Kind: event.KindExec, Process: event.Process{PID: 9, Comm: s, Place: event.Place{Pod: s + ".", Namespace: s}}}}
	x.Exe = s
	r.Add(host, x)
	return r
}

// texts are what is to be seen of a picture.
type texts struct{ names, lines []string }

// visibleTexts is what must be seen of a recording, whatever language it is drawn in.
func visibleTexts(t *testing.T, r *Recording) (out texts) {
	t.Helper()
	one := func(text string) string {
		if text = said(visible(text)); text == "" {
			return "?"
		}
		return text
	}
	if err := r.draw(Options{Group: Grouping{Pod: true}}, mermaidSeats, func(p *picture) bool {
		for _, n := range p.names {
			out.names = append(out.names, one(n))
		}
		for _, s := range p.told {
			out.lines = append(out.lines, one(s))
		}
		for _, s := range p.steps {
			out.lines = append(out.lines, one(s.text))
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// What is drawn of the samples, and of ten thousand exchanges, is a diagram.
func TestMermaidTakesPictures(t *testing.T) {
	texts := []string{
		mermaid(t, busy(), Options{}), mermaid(t, busy(), Options{Max: 1000}), mermaid(t, busy(), Options{Max: 2}),
	}
	files, err := filepath.Glob("../../testdata/samples/*.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		r, err := read([]string{file}, os.Stderr)
		if err != nil {
			t.Fatal(err)
		}
		if text, err := r.Mermaid(Options{Group: Grouping{Pod: true, Container: true}}); err == nil {
			texts = append(texts, string(text))
		}
	}
	if file := os.Getenv("TRACER_PICTURE"); file != "" { // that make demo has drawn
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		holdSyntax(t, text)
		texts = append(texts, string(text))
	}
	if len(texts) < 8 {
		t.Fatalf("there are %d pictures", len(texts))
	}
	for i, d := range parsed(t, texts) {
		if d.Error != "" || d.Type != "sequence" || len(d.Lines) < 3 {
			t.Errorf("%s\n%s", d.Error, texts[i])
		}
	}
}
