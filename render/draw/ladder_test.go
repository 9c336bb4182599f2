package draw

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

// release is the recording of testdata/release, by three commands.
func release(t *testing.T) *Recording {
	t.Helper()
	files, err := filepath.Glob("../../testdata/samples/release-*.jsonl")
	if err != nil || len(files) != 3 {
		t.Fatal(files, err)
	}
	r, err := read(files, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("../../testdata/golden", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s: %s", name, diff)
	}
}

func TestLaddersFitTheTerminal(t *testing.T) {
	for _, width := range []int{60, 80, 120} {
		text, err := release(t).Ladder(Options{Group: Grouping{Pod: true, Container: true}}, width)
		if err != nil {
			t.Fatal(err)
		}
		holdLadder(t, text, width)
		golden(t, fmt.Sprintf("draw-%d.txt", width), text)
	}
}

func TestMermaidOfARelease(t *testing.T) {
	golden(t, "draw.mmd", []byte(mermaid(t, release(t), Options{Group: Grouping{Pod: true, Container: true}})))
}

func TestLoopsInLadders(t *testing.T) {
	r := recorded(web(1, 2, 80, "/a", 0, 10), web(2, 3, 81, "/x", 2, 3), web(1, 2, 80, "/a", 20, 40), web(2, 3, 81, "/x", 22, 24), web(1, 2, 80, "/b", 50, 60))
	late := web(1, 2, 80, "/late", 70, 90)
	late.Status, late.Latency, late.Error = 0, 0, "reset"
	r.Add(one, late)
	text, err := r.Ladder(Options{}, 80)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "draw-loops-80.txt", text)
}
