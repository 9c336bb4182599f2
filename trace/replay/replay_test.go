package replay

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"tracer/trace/event"
)

// lines are those of a recording of one host: a start, n programs, an end.
func lines(host string, n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, `{"time":"2026-01-01T00:00:00.000000000Z","event":"start","format":1,"hostname":"%s","boot_id":"boot of %[1]s"}`+"\n", host)
	for i := range n {
		b.WriteString(program(i) + "\n")
	}
	fmt.Fprintf(&b, `{"time":"2026-01-01T00:59:59.000000000Z","event":"end","seen":%d,"shown":%[1]d,"lost":0,"duration_us":1,"cpu_us":1}`+"\n", n)
	return b.String()
}

// program is a line, of the second n.
func program(n int) string {
	return fmt.Sprintf(`{"time":"2026-01-01T00:%02d:%02d.000000000Z","event":"exec","pid":%d,"comm":"a","uid":0,"ppid":1,"new":[1,{"x":null}]}`, n/60, n%60, n+100)
}

func gzipped(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(s)) // into memory
	_ = z.Close()
	return b.String()
}

func zstandard(s string) string {
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b)
	if err != nil {
		panic(err) // there are no options
	}
	_, _ = z.Write([]byte(s)) // into memory
	_ = z.Close()
	return b.String()
}

// write writes files, which are named by what stands before a colon, and returns their
// paths.
func write(t *testing.T, texts ...string) (paths []string) {
	t.Helper()
	dir := t.TempDir()
	for i, text := range texts {
		path := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

// all reads everything.
func all(t *testing.T, r *Reader) (raw []string, err error) {
	t.Helper()
	for {
		l, err := r.Next()
		if err == io.EOF {
			return raw, nil
		}
		if err != nil {
			return raw, err
		}
		raw = append(raw, string(l.Raw))
	}
}

func read(t *testing.T, files ...string) (string, Stats, error) {
	t.Helper()
	r, err := Open(files, Options{})
	if err != nil {
		return "", Stats{}, err
	}
	raw, err := all(t, r)
	return strings.Join(raw, "\n"), r.Stats(), err
}

func TestLinesComeAsTheyWereRecorded(t *testing.T) {
	const n = 3001
	want := strings.TrimSuffix(lines("a", n), "\n")
	for name, text := range map[string]string{
		"plain":                        lines("a", n),
		"without a newline at its end": want,
		"gzip":                         gzipped(lines("a", n)),
		"zstd":                         zstandard(lines("a", n)),
		"gzip in two members":          gzipped(want[:1000]) + gzipped(want[1000:]),
		"with empty lines":             strings.ReplaceAll(lines("a", n), "\n", "\n\n"),
	} {
		t.Run(name, func(t *testing.T) {
			got, stats, err := read(t, write(t, text)...)
			if err != nil {
				t.Fatal(err)
			}
			if got != want {
				t.Error(cmp.Diff(want, got))
			}
			if diff := cmp.Diff(Stats{Lines: n + 2, Unread: map[string]uint64{}}, stats); diff != "" {
				t.Error(diff)
			}
		})
		t.Run(name+", of standard input", func(t *testing.T) {
			r, err := Open([]string{Stdin}, Options{Stdin: strings.NewReader(text)})
			if err != nil {
				t.Fatal(err)
			}
			if got, err := all(t, r); err != nil || strings.Join(got, "\n") != want {
				t.Errorf("%d lines: %v", len(got), err)
			}
		})
	}
}

func TestWhatCannotBeReadIsCountedAndTheRestIsThere(t *testing.T) {
	good := program(1)
	long := `{"time":"` + strings.Repeat("x", event.MaxLine+1) + `"}`
	whole := gzipped(strings.Repeat(good+"\n", 5000))
	for _, test := range []struct {
		name   string
		text   string
		lines  uint64
		unread map[string]uint64
		told   bool // in a sentence
	}{
		{"a line cut at its end", good + "\n" + good[:50], 1, map[string]uint64{UnreadCut: 1}, false},
		{"a line cut in the middle of the file", good + "\n" + good[:50] + "\n" + good, 2, map[string]uint64{UnreadCut: 1}, false},
		{"a line that is too long", good + "\n" + long + "\n" + good + "\n", 2, map[string]uint64{UnreadTooLong: 1}, false},
		{"a line that is too long, at the end", good + "\n" + long, 1, map[string]uint64{UnreadTooLong: 1}, false},
		{"two lines that are too long", long + "\n" + long + "\n" + good, 1, map[string]uint64{UnreadTooLong: 2}, false},
		{"a foreign line", good + "\n{\"a\":1}\n" + good, 2, map[string]uint64{UnreadForeign: 1}, false},
		{"bytes that are no text", good + "\n\x00\xff\x80\n" + good, 2, map[string]uint64{UnreadCut: 1}, false},
		{"a newer kind", `{"time":"2026-01-01T00:00:00Z","event":"dns"}` + "\n" + good, 1, map[string]uint64{UnreadNewer: 1}, false},
		{"half a gzip file", whole[:len(whole)/2], 0, map[string]uint64{UnreadCut: 1}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, stats, err := read(t, write(t, test.text)...)
			if err != nil {
				t.Fatal(err)
			}
			if test.lines == 0 { // as many as there are
				if stats.Lines == 0 || stats.Lines >= 5000 {
					t.Errorf("%d lines of half a file", stats.Lines)
				}
			} else if stats.Lines != test.lines {
				t.Errorf("%d lines, want %d", stats.Lines, test.lines)
			}
			if diff := cmp.Diff(test.unread, stats.Unread); diff != "" {
				t.Error(diff)
			}
			if told := len(stats.Problems) > 0; told != test.told {
				t.Errorf("told: %q", stats.Problems)
			}
		})
	}
}

func TestFilesThatCannotBeReadAreErrors(t *testing.T) {
	for name, text := range map[string]string{
		"empty":                    "",
		"of something else":        "hello\nworld\n",
		"binary":                   strings.Repeat("\x00\x01\x02", 100000),
		"JSON of something else":   `{"event":"x"}` + "\n",
		"gzip of nothing":          gzipped(""),
		"of a later format":        `{"event":"start","time":"2026-01-01T00:00:00Z","format":2}` + "\n" + program(1),
		"the first bytes of a zip": "\x1f\x8b",
	} {
		t.Run(name, func(t *testing.T) {
			if got, _, err := read(t, write(t, text)...); err == nil {
				t.Errorf("no error, but %q", got)
			}
		})
	}
	for _, path := range []string{"/nonexistent", t.TempDir()} {
		if _, err := Open([]string{path}, Options{}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestAFileWithNothingIsAnErrorBehindWhatOthersHave(t *testing.T) {
	got, _, err := read(t, write(t, "", lines("a", 3))...)
	if err == nil || strings.Count(got, `"exec"`) != 3 {
		t.Errorf("%v, %s", err, got)
	}
}

func TestStopEndsWaiting(t *testing.T) {
	in, out := io.Pipe()
	defer out.Close()
	r, err := Open([]string{Stdin}, Options{Stdin: in})
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := r.Wait(time.Millisecond); ok || err != nil {
		t.Fatal(ok, err)
	}
	time.AfterFunc(time.Millisecond, r.Stop)
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}
