package replay

import (
	"os"
	"strings"
	"testing"
	"time"
)

// A growing is a file that a test writes to while it is followed.
type growing struct {
	t    *testing.T
	path string
	r    *Reader
}

func follow(t *testing.T, text string) *growing {
	t.Helper()
	g := &growing{t: t, path: write(t, text)[0]}
	var err error
	if g.r, err = Open([]string{g.path}, Options{Follow: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.r.Stop)
	return g
}

func (g *growing) append(text string) {
	g.t.Helper()
	f, err := os.OpenFile(g.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		g.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		g.t.Fatal(err)
	}
}

// wants waits for these lines.
func (g *growing) wants(lines ...string) {
	g.t.Helper()
	for _, want := range lines {
		ok, err := g.r.Wait(30 * time.Second)
		if !ok || err != nil {
			g.t.Fatalf("waiting for %s: %v, %v", want, ok, err)
		}
		l, err := g.r.Next()
		if err != nil {
			g.t.Fatal(err)
		}
		if string(l.Raw) != want {
			g.t.Fatalf("got %s, want %s", l.Raw, want)
		}
	}
}

// nothing says that no line is there: what was written has been read, since a line
// behind it was.
func (g *growing) nothing() {
	g.t.Helper()
	if ok, err := g.r.Wait(0); ok || err != nil {
		g.t.Fatalf("there is more: %v", err)
	}
}

func TestAFileThatGrowsIsFollowed(t *testing.T) {
	g := follow(t, program(1)+"\n")
	g.wants(program(1))
	g.nothing()
	g.append(program(2) + "\n" + program(3)[:20])
	g.wants(program(2))
	g.nothing()
	g.append(program(3)[20:] + "\n")
	g.wants(program(3))
	if n := len(g.r.Stats().Unread); n > 0 {
		t.Errorf("%v could not be read", g.r.Stats().Unread)
	}
}

func TestAnEmptyFileIsFollowed(t *testing.T) {
	g := follow(t, "")
	g.nothing()
	g.append(program(1) + "\n")
	g.wants(program(1))
}

func TestAFileThatWasRotatedIsReadToItsEndAndThenTheNewOne(t *testing.T) {
	g := follow(t, program(1)+"\n")
	g.wants(program(1))
	old, err := os.OpenFile(g.path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := os.Rename(g.path, g.path+".1"); err != nil {
		t.Fatal(err)
	}
	if _, err := old.WriteString(program(2) + "\n"); err != nil { // nobody has the name now
		t.Fatal(err)
	}
	g.wants(program(2))
	g.append(program(3) + "\n")
	g.wants(program(3))
	g.append(program(4) + "\n")
	g.wants(program(4))
}

func TestAFileThatWasCutBeginsAnew(t *testing.T) {
	g := follow(t, strings.Repeat(program(1)+"\n", 3))
	g.wants(program(1), program(1), program(1))
	if err := os.Truncate(g.path, 0); err != nil {
		t.Fatal(err)
	}
	g.append(program(2) + "\n")
	g.wants(program(2))
}

func TestAGzipFileThatGrowsIsFollowed(t *testing.T) {
	g := follow(t, gzipped(program(1)+"\n"))
	g.wants(program(1))
	g.append(gzipped(program(2) + "\n")) // another member
	g.wants(program(2))
}

// A file at whose end nothing comes does not hold up others.
func TestFilesThatGrowAreMergedAsTheyDo(t *testing.T) {
	paths := write(t, program(1)+"\n"+program(5)+"\n", program(2)+"\n")
	r, err := Open(paths, Options{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Stop)
	g := &growing{t: t, path: paths[1], r: r}
	name := func(n int, host string) string {
		return strings.TrimSuffix(program(n), "}") + `,"hostname":"` + host + `"}`
	}
	g.wants(name(1, "0"), name(2, "1"), name(5, "0"))
	g.append(program(6) + "\n")
	g.wants(name(6, "1"))
}
