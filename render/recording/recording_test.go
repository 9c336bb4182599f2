package recording

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"tracer/testdata/kit"
	"tracer/trace/event"
)

// The test binary is also the process that rotates.
func TestMain(m *testing.M) {
	Become()
	os.Exit(m.Run())
}

func TestNamesOfOlderFiles(t *testing.T) {
	for name, want := range map[string]string{
		"a":           "a.3",
		"a.jsonl":     "a.jsonl.3",
		"a.jsonl.gz":  "a.jsonl.3.gz",
		"a.jsonl.zst": "a.jsonl.3.zst",
		"a.b.c":       "a.b.c.3",
		".gz":         ".3.gz",
	} {
		if got := older(name, 3); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
		if got := older(name, 0); got != name {
			t.Errorf("the file %s itself: %s", name, got)
		}
	}
}

func TestRotateMovesOlderFilesOn(t *testing.T) {
	for name, tt := range map[string]struct {
		keep         uint64
		before, want map[string]string
	}{
		"the first time":             {3, map[string]string{"a.gz": "0"}, map[string]string{"a.gz": "", "a.1.gz": "0"}},
		"there is room":              {3, map[string]string{"a.gz": "0", "a.1.gz": "1"}, map[string]string{"a.gz": "", "a.1.gz": "0", "a.2.gz": "1"}},
		"the oldest goes":            {3, map[string]string{"a.gz": "0", "a.1.gz": "1", "a.2.gz": "2"}, map[string]string{"a.gz": "", "a.1.gz": "0", "a.2.gz": "1"}},
		"one file":                   {1, map[string]string{"a.gz": "0", "a.1.gz": "1"}, map[string]string{"a.gz": "", "a.1.gz": "1"}},
		"a gap is filled":            {5, map[string]string{"a.gz": "0", "a.1.gz": "1", "a.3.gz": "3"}, map[string]string{"a.gz": "", "a.1.gz": "0", "a.2.gz": "1", "a.3.gz": "3"}},
		"all are kept":               {0, map[string]string{"a.gz": "0", "a.1.gz": "1", "a.2.gz": "2"}, map[string]string{"a.gz": "", "a.1.gz": "0", "a.2.gz": "1", "a.3.gz": "2"}},
		"somebody has taken it":      {3, map[string]string{"a.1.gz": "1"}, map[string]string{"a.gz": "", "a.2.gz": "1"}},
		"others are left alone":      {2, map[string]string{"a.gz": "0", "a.9.gz": "9", "a.gz.1": "x"}, map[string]string{"a.gz": "", "a.1.gz": "0", "a.9.gz": "9", "a.gz.1": "x"}},
		"there is nothing to rename": {2, nil, map[string]string{"a.gz": ""}},
	} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir()
			for name, text := range tt.before {
				if err := os.WriteFile(filepath.Join(path, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			dir, err := os.OpenRoot(path)
			if err != nil {
				t.Fatal(err)
			}
			defer dir.Close()
			file, err := rotate(dir, "a.gz", tt.keep, nil)
			if err != nil {
				t.Fatal(err)
			}
			file.Close()
			got := map[string]string{}
			for _, name := range list(t, path) {
				text, err := os.ReadFile(filepath.Join(path, name))
				if err != nil {
					t.Fatal(err)
				}
				got[name] = string(text)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func list(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// told keeps warnings.
type told struct {
	mu   sync.Mutex
	list []string
}

func (n *told) notice(e *event.Notice) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list = append(n.list, e.Message)
}

func (n *told) all() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.list...)
}

// begin opens a recording that has its first line.
func begin(t *testing.T, o Options) (*Recording, *told) {
	t.Helper()
	target, err := Prepare(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(target.Close)
	var n told
	r, err := target.Open(n.notice)
	if err != nil {
		t.Fatal(err)
	}
	r.Line([]byte("start\n"))
	return r, &n
}

// numbered is an event that can be told from others.
func numbered(i int) event.Event {
	return &event.Exec{Common: event.Common{Kind: event.KindExec, Process: event.Process{PID: uint32(i + 1), Comm: "x"}}}
}

func text(i int) string { return string(event.AppendJSON(nil, numbered(i))) }

// record passes events from one number to another.
func record(r *Recording, from, to int) (refused int) {
	for i := from; i < to; i++ {
		if !r.Event(numbered(i)) {
			refused++
		}
		if i%100 == 99 {
			_ = r.Flush()
		}
	}
	_ = r.Flush()
	return refused
}

// unpack reads a file as far as it can be read.
func unpack(t *testing.T, path string) (lines []string, err error) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var from io.Reader = bytes.NewReader(b)
	switch compressionOf(path) {
	case gzipped:
		if from, err = gzip.NewReader(from); err != nil {
			return nil, err
		}
	case zstandard:
		d, err := zstd.NewReader(from)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		from = d
	}
	in := bufio.NewReader(from)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			if line != "" {
				lines = append(lines, line) // half of one
			}
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return lines, err
		}
		lines = append(lines, strings.TrimSuffix(line, "\n"))
	}
}

func TestRecordingHasEachLineOnce(t *testing.T) {
	const n = 10007
	want := []string{"start"}
	for i := range n {
		if i == 5000 {
			want = append(want, "warning")
		}
		want = append(want, text(i))
	}
	want = append(want, "end")
	for _, name := range []string{"a", "a.jsonl", "a.jsonl.gz", "a.jsonl.zst"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), name)
			if err := os.WriteFile(path, bytes.Repeat([]byte("older\n"), 1<<20), 0o644); err != nil {
				t.Fatal(err)
			}
			r, told := begin(t, Options{Path: path})
			record(r, 0, 5000)
			r.Line([]byte("warning\n"))
			record(r, 5000, n)
			if undelivered, err := r.Close(); undelivered != 0 || err != nil {
				t.Errorf("%d undelivered, %v", undelivered, err)
			}
			r.Line([]byte("end\n"))
			if err := r.Finish(); err != nil || len(told.all()) > 0 {
				t.Errorf("%v, %q", err, told.all())
			}
			got, err := unpack(t, path)
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("%v %s", err, diff)
			}
			if st, err := os.Stat(path); err != nil || st.Mode() != 0o600 {
				t.Errorf("%v, %v", st.Mode(), err)
			}
		})
	}
}

// What was taken can be read soon, also if the process is killed then.
func TestLinesAreSafeWhileRecordingGoesOn(t *testing.T) {
	const n = 1009
	for _, name := range []string{"a", "a.gz", "a.zst"} {
		path := filepath.Join(t.TempDir(), name)
		r, _ := begin(t, Options{Path: path})
		record(r, 0, n)
		kit.Eventually(t, name, func() error {
			if lines, _ := unpack(t, path); len(lines) != n+1 || lines[n] != text(n-1) {
				return fmt.Errorf("%d lines", len(lines))
			}
			return nil
		})
		if err := r.Finish(); err != nil {
			t.Error(err)
		}
	}
}

func TestRotationKeepsTheLastFilesWhole(t *testing.T) {
	const n, size = 1013, 4 << 10
	for _, name := range []string{"a.jsonl", "a.jsonl.gz", "a.jsonl.zst"} {
		for _, keep := range []uint64{0, 1, 5} {
			t.Run(fmt.Sprint(name, " ", keep), func(t *testing.T) {
				dir := t.TempDir()
				path := filepath.Join(dir, name)
				r, told := begin(t, Options{Path: path, Rotate: size, Keep: keep})
				record(r, 0, n)
				if undelivered, err := r.Close(); undelivered != 0 || err != nil {
					t.Errorf("%d undelivered, %v", undelivered, err)
				}
				r.Line([]byte("end\n"))
				if err := r.Finish(); err != nil || len(told.all()) > 0 {
					t.Fatalf("%v, %q", err, told.all())
				}
				files := list(t, dir)
				if keep > 0 && len(files) != int(keep) || len(files) < 1 || keep == 0 && len(files) < 10 {
					t.Fatalf("%d files: %q", len(files), files)
				}
				var all []string
				for i := len(files) - 1; i >= 0; i-- { // the oldest first
					lines, err := unpack(t, filepath.Join(dir, older(name, uint64(i))))
					if err != nil || lines[0] != "start" {
						t.Fatalf("%d: %v, begins with %q", i, err, lines[0])
					}
					bytes := 0
					for _, line := range lines {
						bytes += len(line) + 1
					}
					if bytes > size+len("end\n") || i > 0 && bytes < size*9/10 {
						t.Errorf("file %d has %d bytes of lines", i, bytes)
					}
					all = append(all, lines[1:]...)
				}
				var want []string
				for i := n - len(all) + 1; i < n; i++ {
					want = append(want, text(i))
				}
				want = append(want, "end")
				if keep == 0 && len(all) != n+1 {
					t.Errorf("%d lines, want %d", len(all), n+1)
				}
				if diff := cmp.Diff(want, all); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// A device that is full: each event is counted, it is said at once, and why.
func TestFullDeviceIsToldAndCounted(t *testing.T) {
	const n = 101
	r, told := begin(t, Options{Path: "/dev/full"})
	refused := record(r, 0, n)
	select {
	case <-r.Broken():
	case <-time.After(kit.Within(kit.Arrival)):
		t.Fatal("it does not break")
	}
	refused += record(r, n, 2*n)
	undelivered, err := r.Close()
	if int(undelivered)+refused != 2*n || err != nil {
		t.Errorf("%d undelivered, %d refused, %v", undelivered, refused, err)
	}
	r.Line([]byte("end\n"))
	err = r.Finish()
	var hinted interface{ Hint() string }
	if !errors.Is(err, unix.ENOSPC) || !errors.As(err, &hinted) || hinted.Hint() == "" {
		t.Errorf("%v", err)
	}
	if diff := cmp.Diff([]string{"record: write to /dev/full: no space left on device; nothing more is recorded"}, told.all()); diff != "" {
		t.Error(diff)
	}
}

// Who reads a pipe too slowly makes tracing no slower: what finds no room is counted.
func TestSlowReaderOfAPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	o := Options{Path: path}
	target, err := Prepare(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := target.Open(nil); err == nil || err.Error() != "open "+path+": nobody reads from this pipe" {
		t.Errorf("without a reader: %v", err)
	}
	reader, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	r, told := begin(t, o)
	const n = 300007 // more than the queue takes
	refused := record(r, 0, n)
	undelivered, err := r.Close()
	if err != nil || refused == 0 || r.Finish() == nil {
		t.Errorf("%d refused, %v, %v", refused, err, r.Failed())
	}
	said := told.all()
	if len(said) < 2 || !strings.HasSuffix(said[len(said)-1], "it takes nothing any more; nothing more is recorded") || !strings.HasSuffix(said[len(said)-2], fmt.Sprintf("%d events are not in the recording so far: %s is too slow", refused, path)) {
		t.Errorf("%d refused: %q", refused, said)
	}
	// What is in the pipe is what was delivered.
	_ = reader.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	b, _ := io.ReadAll(reader)
	whole := bytes.Count(b, []byte("\n")) - 1 // without the start
	if whole+int(undelivered)+refused != n {
		t.Errorf("%d whole lines, %d undelivered, %d refused of %d", whole, undelivered, refused, n)
	}
}

// What comes of files can wait, so that nothing of it is lost to a slow one.
func TestWaitLosesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.gz")
	r, told := begin(t, Options{Path: path})
	const n = 300007 // more than the queue takes
	for from := 0; from < n; from += 64 {
		if refused := record(r, from, min(from+64, n)); refused > 0 {
			t.Fatalf("%d refused", refused)
		}
		r.Wait(nil)
	}
	if undelivered, err := r.Close(); undelivered != 0 || err != nil || r.Finish() != nil || len(told.all()) > 0 {
		t.Errorf("%d undelivered, %v, %v, %q", undelivered, err, r.Failed(), told.all())
	}
	if lines, err := unpack(t, path); err != nil || len(lines) != n+1 || lines[n] != text(n-1) {
		t.Errorf("%v, %d lines", err, len(lines))
	}
	// A pipe that nobody empties is waited for as long as one wants.
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(pipe, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	r, _ = begin(t, Options{Path: pipe})
	record(r, 0, n)
	stop := make(chan struct{})
	close(stop)
	r.Wait(stop)
	_, _ = r.Close()
}

// The reader of a pipe that leaves is told like a disk that is full.
func TestReaderOfAPipeThatLeaves(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	r, told := begin(t, Options{Path: path})
	reader.Close()
	refused := record(r, 0, 7)
	undelivered, _ := r.Close()
	if int(undelivered)+refused != 7 || r.Finish() == nil || len(told.all()) != 1 {
		t.Errorf("%d undelivered, %d refused, %v, %q", undelivered, refused, r.Failed(), told.all())
	}
}

func TestWhatCannotBeRecordedInto(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"link": file, "nowhere": filepath.Join(dir, "nothing")} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	stdout := os.Stdout
	defer func() { os.Stdout = stdout }()
	var err error
	if os.Stdout, err = os.Open(file); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		o    Options
		want string
	}{
		"a folder":                  {Options{Path: dir}, "open " + dir + ": is a directory"},
		"a folder that is missing":  {Options{Path: dir + "/no/file"}, "open " + dir + "/no/file: no such file or directory"},
		"a file as a folder":        {Options{Path: file + "/file"}, "not a directory"},
		"a link to a file":          {Options{Path: dir + "/link"}, "open " + dir + "/link: it is a symbolic link; name the file that it leads to"},
		"a link to nothing":         {Options{Path: dir + "/nowhere"}, "it is a symbolic link; name the file that it leads to"},
		"stdout":                    {Options{Path: file}, "open " + file + ": stdout or stderr goes there already"},
		"a device that is rotated":  {Options{Path: "/dev/null", Rotate: 1 << 10}, "rotate /dev/null: it is no regular file"},
		"the folder that one is in": {Options{Path: "."}, "open .: is a directory"},
	} {
		target, err := Prepare(tt.o)
		if err == nil {
			_, err = target.Open(nil)
		}
		if err == nil || !strings.HasSuffix(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "kept" {
		t.Errorf("%q, %v", text, err)
	}
}

// Until Open an older recording is still there: what else fails leaves it.
func TestOlderRecordingStaysUntilTracingBegins(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	if err := os.WriteFile(path, []byte("older"), 0o600); err != nil {
		t.Fatal(err)
	}
	target, err := Prepare(Options{Path: path, Rotate: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	target.Close()
	if text, err := os.ReadFile(path); err != nil || string(text) != "older" {
		t.Errorf("%q, %v", text, err)
	}
}

func BenchmarkEvent(b *testing.B) {
	for _, name := range []string{"a", "a.gz", "a.zst"} {
		b.Run(name, func(b *testing.B) {
			target, err := Prepare(Options{Path: filepath.Join(b.TempDir(), name)})
			if err != nil {
				b.Fatal(err)
			}
			r, err := target.Open(func(*event.Notice) {})
			if err != nil {
				b.Fatal(err)
			}
			e := numbered(1)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				for !r.Event(e) {
					time.Sleep(time.Millisecond)
				}
				if i%100 == 0 {
					_ = r.Flush()
				}
			}
			if n, err := r.Close(); n != 0 || err != nil {
				b.Error(n, err)
			}
			_ = r.Finish()
		})
	}
}
