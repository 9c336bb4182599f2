package replay

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"tracer/trace/event"
)

// Whatever a file has, reading it ends, and each line of it is told as it is or counted:
// what comes out is in the file, in its order.
func FuzzRead(f *testing.F) {
	good := program(1)
	f.Add([]byte(good+"\n"+good[:30]+"\n{\"a\":1}\n"), 1)
	f.Add([]byte(gzipped(good+"\n"+good)), 7)
	f.Add([]byte(zstandard(lines("a", 3))), 100)
	f.Add([]byte(gzipped(lines("a", 3)))[:60], 3)
	f.Add([]byte("\x28\xb5\x2f\xfd\n\n"), 2)
	f.Fuzz(func(t *testing.T, text []byte, size int) {
		r, err := Open([]string{Stdin}, Options{Stdin: &pieces{text, max(1, min(size, 1<<16))}})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Stop()
		rest := text
		compressed := bytes.HasPrefix(text, gzipMagic) || bytes.HasPrefix(text, zstdMagic)
		told := uint64(0)
		for {
			l, err := r.Next()
			if err != nil {
				break
			}
			told++
			if _, err := event.DecodeLine(l.Raw); err != nil {
				t.Fatalf("%q: %v", l.Raw, err)
			}
			if compressed || len(r.Hosts()) > 1 {
				continue
			}
			at := bytes.Index(rest, l.Raw)
			if at < 0 {
				t.Fatalf("%q is not in the file, or not in its order", l.Raw)
			}
			rest = rest[at+len(l.Raw):]
		}
		stats := r.Stats()
		if stats.Lines < told {
			t.Fatalf("%d lines were told, %d read", told, stats.Lines)
		}
		if compressed {
			return
		}
		sum := stats.Lines
		for _, n := range stats.Unread {
			sum += n
		}
		want := uint64(0)
		for line := range bytes.Lines(text) {
			if len(bytes.TrimSpace(line)) > 0 {
				want++
			}
		}
		if _, refused := r.Wait(0); sum != want && refused == io.EOF && len(r.hosts) < 2 {
			t.Fatalf("%d of %d lines are accounted for: %+v", sum, want, stats)
		}
	})
}

// pieces hands over a text in pieces.
type pieces struct {
	text []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.text) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.text[:min(p.size, len(p.text))])
	p.text = p.text[n:]
	return n, nil
}

// The samples are what tracer wrote: each line of them is one that can be read.
func TestSamplesAreRead(t *testing.T) {
	files, err := filepath.Glob("../../testdata/samples/*.jsonl")
	if err != nil || len(files) == 0 {
		t.Fatal("no samples: ", err)
	}
	for _, file := range files {
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Open([]string{file}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		for {
			l, err := r.Next()
			if err != nil {
				break
			}
			got = append(append(got, l.Raw...), '\n')
		}
		if !bytes.Equal(want, got) {
			t.Errorf("%s does not come as it is; not read: %v", file, r.Stats().Unread)
		}
	}
}
