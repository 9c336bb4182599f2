package find

import (
	"bufio"
	"context"
	"crypto/tls"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tracer/testdata/kit"
	"tracer/trace/tls/library"
)

// As a helper the test maps the code of the files that its standard input names, a line
// each, says "mapped" for each, and ends with its input.
const helper = "TRACER_FIND_HELPER"

func TestMain(m *testing.M) {
	if os.Getenv(helper) != "" {
		mapFiles()
		return
	}
	os.Exit(m.Run())
}

func mapFiles() {
	if len(os.Args) > 1 { // never: the linker leaves out what nobody calls
		if c, err := tls.Dial("tcp", os.Args[1], nil); err == nil {
			_, _ = c.Write(nil)
			_, _ = c.Read(nil)
		}
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		f, err := os.Open(lines.Text())
		if err == nil {
			var info os.FileInfo
			if info, err = f.Stat(); err == nil {
				_, err = unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
			}
			f.Close()
		}
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println("mapped")
	}
}

// A process is a helper.
type process struct {
	t    testing.TB
	cmd  *exec.Cmd
	in   io.WriteCloser
	said *bufio.Reader
}

func start(t testing.TB, program string, attr *unix.SysProcAttr) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(program)}
	p.cmd.Env = append(os.Environ(), helper+"=1")
	p.cmd.SysProcAttr = attr
	p.cmd.Stderr = os.Stderr
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.said = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.end)
	return p
}

func startHelper(t testing.TB) *process {
	return start(t, os.Args[0], nil)
}

func (p *process) pid() uint32 { return uint32(p.cmd.Process.Pid) }

func (p *process) maps(path string) {
	p.t.Helper()
	fmt.Fprintln(p.in, path)
	if said, err := p.said.ReadString('\n'); err != nil || said != "mapped\n" {
		p.t.Fatalf("the helper said %q, %v", said, err)
	}
}

func (p *process) end() {
	_ = p.in.Close()
	_ = p.cmd.Wait()
}

// copies makes a copy of this test, which is a Go program with TLS.
func copies(t testing.TB, path string) {
	t.Helper()
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	copyFile(t, own, path)
}

func copyFile(t testing.TB, from, path string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err == nil {
		err = os.WriteFile(path, b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A told is what a finder has told of files below a folder.
type told struct {
	below       string
	mu          sync.Mutex
	found, gone []string
	files       []*File
	changed     chan struct{}
}

func newTold(below string) *told { return &told{below: below, changed: make(chan struct{}, 1)} }

func (s *told) Found(f *File) {
	var b [4]byte
	if _, err := f.Handle.ReadAt(b[:], 0); err != nil || string(b[1:]) != "ELF" {
		panic(fmt.Sprintf("the handle of %s gives %q, %v", f.Path, b, err))
	}
	s.note(f, &s.found)
}

func (s *told) Gone(f *File) { s.note(f, &s.gone) }

func (s *told) note(f *File, list *[]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if strings.HasPrefix(f.Path, s.below) {
		*list = append(*list, strings.TrimPrefix(f.Path, s.below))
		s.files = append(s.files, f)
		select {
		case s.changed <- struct{}{}:
		default:
		}
	}
}

// wait waits until what was told is this.
func (s *told) wait(t testing.TB, found, gone []string) {
	t.Helper()
	deadline := time.After(kit.Within(kit.Arrival))
	for {
		s.mu.Lock()
		f, g := slices.Sorted(slices.Values(s.found)), slices.Sorted(slices.Values(s.gone))
		s.mu.Unlock()
		if slices.Equal(f, found) && slices.Equal(g, gone) {
			return
		}
		select {
		case <-s.changed:
		case <-deadline:
			t.Fatalf("found %q and gone %q, want %q and %q", f, g, found, gone)
		}
	}
}

// run scans and runs until the test ends.
func run(t testing.TB, f *Finder, s *told) {
	t.Helper()
	f.Scan(s)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.Run(ctx, s)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		f.Close()
	})
}

func newFinder(t testing.TB, o Options) *Finder {
	t.Helper()
	if o.Budget == 0 {
		o.Budget = kit.Within(kit.Arrival) // however slow the machine is
	}
	f, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// noEvents is a finder on a kernel that does not tell of mappings.
func noEvents(t testing.TB, o Options) *Finder {
	o.Quiet = true
	return newFinder(t, o)
}

func TestKernelTellsWhatIsMapped(t *testing.T) {
	kit.Needs(t, kit.EndsKernel)
	dir := t.TempDir()
	for _, name := range []string{"before", "after", "by exec", "deleted", "liblater.so"} {
		copies(t, filepath.Join(dir, name))
	}
	before, deleted := start(t, filepath.Join(dir, "before"), nil), start(t, filepath.Join(dir, "deleted"), nil)
	if err := os.Remove(filepath.Join(dir, "deleted")); err != nil {
		t.Fatal(err)
	}
	f, s := newFinder(t, Options{}), newTold(dir+"/")
	if ok, err := f.HasEvents(); !ok {
		t.Fatalf("the kernel does not tell of mappings: %v", err)
	}
	run(t, f, s)
	s.wait(t, []string{"before", "deleted"}, nil)
	for _, file := range s.files {
		if want := map[string]uint32{"before": before.pid(), "deleted": deleted.pid()}[filepath.Base(file.Path)]; file.First != want {
			t.Errorf("%s was first seen in process %d, want %d", file.Path, file.First, want)
		}
		if file.Library.Kind != library.Go {
			t.Errorf("%s is %v", file.Path, file.Library.Kind)
		}
	}
	h := startHelper(t)
	h.maps(filepath.Join(dir, "after"))
	s.wait(t, []string{"after", "before", "deleted"}, nil)
	start(t, filepath.Join(dir, "by exec"), nil)
	s.wait(t, []string{"after", "before", "by exec", "deleted"}, nil)
	// A second process and a second name of a file are nothing new.
	if err := os.Link(filepath.Join(dir, "after"), filepath.Join(dir, "again")); err != nil {
		t.Fatal(err)
	}
	startHelper(t).maps(filepath.Join(dir, "again"))
	h.maps(filepath.Join(dir, "liblater.so"))
	s.wait(t, []string{"after", "before", "by exec", "deleted", "liblater.so"}, nil)
	// Nobody has it mapped any more, and no name leads to it.
	deleted.end()
	s.wait(t, []string{"after", "before", "by exec", "deleted", "liblater.so"}, []string{"deleted"})
}

func TestHintsAreEnoughWithoutEvents(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	dir := t.TempDir()
	copies(t, filepath.Join(dir, "hinted"))
	f, s := noEvents(t, Options{}), newTold(dir+"/")
	run(t, f, s)
	h := startHelper(t)
	h.maps(filepath.Join(dir, "hinted"))
	f.Hint(h.pid())
	s.wait(t, []string{"hinted"}, nil)
}

// A file below an overlay is one, through whatever mount it is mapped, and below it too. A
// copy that a container has written to is another.
func TestOverlayMountsOfAFileAreOne(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	dir := t.TempDir()
	copies(t, filepath.Join(dir, "lower", "program"))
	for i := range 3 {
		var at [3]string
		for j, name := range []string{"upper", "work", "merged"} {
			at[j] = filepath.Join(dir, fmt.Sprint(name, i))
			if err := os.Mkdir(at[j], 0o755); err != nil {
				t.Fatal(err)
			}
		}
		options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", filepath.Join(dir, "lower"), at[0], at[1])
		if err := unix.Mount("overlay", at[2], "overlay", 0, options); err != nil {
			t.Fatalf("mount an overlay: %v", err)
		}
		t.Cleanup(func() { _ = unix.Unmount(at[2], unix.MNT_DETACH) })
	}
	merged := func(i int) string { return filepath.Join(dir, fmt.Sprint("merged", i), "program") }
	// Written to: it is the upper folder's now.
	if err := os.Chtimes(merged(2), time.Now(), time.Now()); err != nil {
		t.Fatal(err)
	}
	h := startHelper(t)
	h.maps(merged(0))
	f, s := newFinder(t, Options{}), newTold(dir+"/")
	run(t, f, s)
	s.wait(t, []string{"merged0/program"}, nil)
	h.maps(merged(1))
	h.maps(filepath.Join(dir, "lower", "program"))
	h.maps(merged(2))
	s.wait(t, []string{"merged0/program", "merged2/program"}, nil)
	// The finder has come to all of them: another one is found after them.
	copies(t, filepath.Join(dir, "last"))
	h.maps(filepath.Join(dir, "last"))
	s.wait(t, []string{"last", "merged0/program", "merged2/program"}, nil)
}

// The folders of a host are looked through, and again when an upgrade has replaced what
// was found there.
func TestAnUpgradeIsFoundInItsFolder(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	dir := t.TempDir()
	old, replacement := filepath.Join(dir, "usr/lib/libssl.so.3"), filepath.Join(dir, "new")
	copies(t, old)
	copies(t, replacement)
	if err := os.MkdirAll(filepath.Join(dir, "etc/ld.so.conf.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "etc/ld.so.conf.d/opt.conf"), []byte("# ours\n/opt/lib\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	copies(t, filepath.Join(dir, "opt/lib/libgnutls.so.30"))
	copies(t, filepath.Join(dir, "opt/lib/libother.so"))
	f, s := newFinder(t, Options{Root: dir}), newTold("/")
	s.below = "/" // paths are as those that have this root see them
	f.Scan(only(s, dir))
	found := []string{"opt/lib/libgnutls.so.30", "usr/lib/libssl.so.3"}
	s.wait(t, found, nil)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.Run(ctx, only(s, dir))
	}()
	defer func() {
		cancel()
		<-done
		f.Close()
	}()
	if err := os.Rename(replacement, old); err != nil {
		t.Fatal(err)
	}
	s.wait(t, append(found, "usr/lib/libssl.so.3"), []string{"usr/lib/libssl.so.3"})
}

// only passes on what is about files that are, or were, below a folder of the host.
func only(s Sink, dir string) Sink { return filtered{s, dir} }

type filtered struct {
	Sink
	dir string
}

func (f filtered) is(file *File) bool {
	link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", file.Handle.Fd()))
	return err == nil && strings.HasPrefix(link, f.dir+"/")
}

func (f filtered) Found(file *File) {
	if f.is(file) {
		f.Sink.Found(file)
	}
}

func (f filtered) Gone(file *File) {
	if f.is(file) {
		f.Sink.Gone(file)
	}
}

// In a container paths and links are its own; when its last process has ended, what was
// found there is gone.
func TestLibrariesOfAContainer(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	dir := t.TempDir()
	if own, err := elf.Open(os.Args[0]); err != nil {
		t.Fatal(err)
	} else if own.Section(".interp") != nil {
		t.Fatal("a container has no libc for this test: build it with CGO_ENABLED=0")
	}
	copies(t, filepath.Join(dir, "program"))
	copies(t, filepath.Join(dir, "usr/lib/libssl.so.3"))
	copies(t, filepath.Join(dir, "real/libgnutls.so.30"))
	if err := os.Symlink("/real/libgnutls.so.30", filepath.Join(dir, "usr/lib/libgnutls.so")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/real", filepath.Join(dir, "usr/lib64")); err != nil {
		t.Fatal(err)
	}
	f, s := newFinder(t, Options{}), newTold("/")
	f.Scan(only(s, dir))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.Run(ctx, only(s, dir))
	}()
	defer func() {
		cancel()
		<-done
		f.Close()
	}()
	p := start(t, "/program", &unix.SysProcAttr{Chroot: dir})
	found := func() []string {
		s.mu.Lock()
		defer s.mu.Unlock()
		list := slices.Clone(s.found)
		for i, path := range list {
			if strings.HasSuffix(path, "libgnutls.so") || strings.HasSuffix(path, "libgnutls.so.30") {
				list[i] = "libgnutls" // through whichever name it was seen first
			}
		}
		slices.Sort(list)
		return list
	}
	want := []string{"libgnutls", "program", "usr/lib/libssl.so.3"}
	deadline := time.After(kit.Within(kit.Arrival))
	for !slices.Equal(found(), want) {
		select {
		case <-s.changed:
		case <-deadline:
			t.Fatalf("found %q, want %q", found(), want)
		}
	}
	p.end()
	for {
		s.mu.Lock()
		gone := len(s.gone)
		s.mu.Unlock()
		if gone == len(want) {
			break
		}
		select {
		case <-s.changed:
		case <-deadline:
			t.Fatalf("%d files are gone, want %d", gone, len(want))
		}
	}
}

// mapped makes processes that have mapped as many libraries each.
func mapped(t testing.TB, from string, processes, libraries int) (dir string, names []string) {
	dir = t.TempDir()
	for i := range libraries {
		names = append(names, fmt.Sprintf("libssl-%02d.so.3", i))
		copyFile(t, from, filepath.Join(dir, names[i]))
	}
	for range processes {
		h := startHelper(t)
		for _, name := range names {
			h.maps(filepath.Join(dir, name))
		}
	}
	return dir, names
}

func TestAllLibrariesOfAllProcessesAreFound(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, names := mapped(t, own, 5, 20)
	f, s := newFinder(t, Options{}), newTold(dir+"/")
	run(t, f, s)
	s.wait(t, names, nil)
}

// The bar: what a scan takes of the time to the first event.
func BenchmarkScan(b *testing.B) {
	openssl, err := filepath.Glob("/usr/lib/*/libssl.so.[13]*")
	if err != nil || len(openssl) == 0 {
		b.Skip("no libssl here to make copies of")
	}
	_, names := mapped(b, openssl[0], 40, 20)
	for b.Loop() {
		f, s := newFinder(b, Options{}), newTold("/")
		f.Scan(s)
		f.Close()
		if len(s.found) < len(names) {
			b.Fatalf("%d files found", len(s.found))
		}
		for _, file := range s.files {
			_ = file.Handle.Close()
		}
	}
}

func TestAFileSystemThatDoesNotAnswerHoldsUpNothing(t *testing.T) {
	f := noEvents(t, Options{})
	defer f.Close()
	f.pool.patience = 10 * time.Millisecond
	stuck := make(chan struct{})
	late, ran := 0, false
	for range maxWorkers + 1 {
		f.do(true, func() outcome { <-stuck; return func(Sink) { late++ } })
	}
	f.do(false, func() outcome { return func(Sink) { ran = true } })
	deadline := time.After(kit.Within(kit.Arrival))
	until := func(what string, done func() bool) {
		for !done() {
			select {
			case <-f.wake:
			case <-deadline:
				t.Fatal(what)
			}
		}
	}
	until("the jobs are waited for", func() bool { return f.tell(nil) })
	if !ran || late != 0 {
		t.Errorf("the job behind those that are kept waiting ran: %v; of them %d", ran, late)
	}
	close(stuck)
	until("what is late does not count", func() bool { f.tell(nil); return late == maxWorkers+1 })
}

func TestTheFirstErrorOfNewIsASentence(t *testing.T) {
	_, err := New(Options{Proc: t.TempDir()})
	if err == nil || !strings.HasPrefix(err.Error(), "look for TLS libraries: ") || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

// From a mapping to its place being told, of a file that nobody knows.
func BenchmarkFound(b *testing.B) {
	openssl, err := filepath.Glob("/usr/lib/*/libssl.so.[13]*")
	if err != nil || len(openssl) == 0 {
		b.Skip("no libssl here to make copies of")
	}
	dir := b.TempDir()
	f, s := newFinder(b, Options{}), newTold(dir+"/")
	run(b, f, s)
	h := startHelper(b)
	var names []string
	for b.Loop() {
		b.StopTimer()
		names = append(names, fmt.Sprintf("lib%06d.so", len(names)))
		path := filepath.Join(dir, names[len(names)-1])
		copyFile(b, openssl[0], path)
		b.StartTimer()
		h.maps(path)
		s.wait(b, names, nil)
	}
}
