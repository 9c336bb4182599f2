package render

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tracer/trace/event"
)

// deadline bounds what is waited for.
const deadline = 10 * time.Second

// fixed is a format of lines that are all the same.
type fixed string

func (f fixed) AppendEvent(b []byte, _ event.Event) []byte { return append(b, f...) }

// numbered is a format of lines with numbers, each of a different length, that
// begins with two lines that are no events.
type numbered struct{ n *int }

func (f numbered) AppendEvent(b []byte, _ event.Event) []byte {
	if *f.n == 0 {
		b = append(b, "HEADER\nHEADER\n"...)
	}
	b = fmt.Appendf(b, "%d %s\n", *f.n, strings.Repeat("x", *f.n%41))
	*f.n++
	return b
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	if err := r.SetReadDeadline(time.Now().Add(deadline)); err != nil {
		t.Fatal(err)
	}
	return r, w
}

func waitBroken(t *testing.T, o *Output) {
	t.Helper()
	select {
	case <-o.Broken():
	case <-time.After(deadline):
		t.Fatal("not broken")
	}
}

func mustFlush(t *testing.T, o *Output) {
	t.Helper()
	if err := o.Flush(); err != nil {
		t.Fatal(err)
	}
}

func mustClose(t *testing.T, o *Output) {
	t.Helper()
	if n, err := o.Close(); n != 0 || err != nil {
		t.Fatalf("%d unwritten, %v", n, err)
	}
}

func TestOutputToAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var n int
	o := NewOutput(f, numbered{&n})
	var want []byte
	var m int
	for i := range 10007 {
		if !o.Event(nil) {
			t.Fatalf("event %d is not accepted", i)
		}
		want = numbered{&m}.AppendEvent(want, nil)
		if i%13 == 0 {
			mustFlush(t, o)
		}
	}
	mustClose(t, o)
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, got) {
		t.Errorf("%d bytes, want %d", len(got), len(want))
	}
}

func TestOutputOfNothing(t *testing.T) {
	r, w := pipe(t)
	o := NewOutput(w, JSON{})
	mustFlush(t, o)
	mustClose(t, o)
	if b := drain(t, r); len(b) > 0 {
		t.Errorf("%q", b)
	}
}

func TestOutputWritesNothingBeforeFlush(t *testing.T) {
	r, w := pipe(t)
	o := NewOutput(w, fixed("line\n"))
	for range 3 {
		o.Event(nil)
	}
	o.mu.Lock()
	if len(o.pending.text) != 0 || o.writing != 0 {
		t.Errorf("%q is passed on, %d bytes are written", o.pending.text, o.writing)
	}
	o.mu.Unlock()
	mustFlush(t, o)
	// Without Close: a reader sees it at once.
	b := make([]byte, 15)
	if _, err := io.ReadFull(r, b); string(b) != "line\nline\nline\n" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	mustClose(t, o)
}

// A socket of packets keeps writes apart.
func TestOutputWritesWholeLines(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	w, r := os.NewFile(uintptr(fds[0]), "writer"), os.NewFile(uintptr(fds[1]), "reader")
	defer r.Close()
	defer w.Close()
	var n int
	o := NewOutput(w, numbered{&n})
	const events = 307
	read := make(chan error, 1)
	go func() {
		lines, packet := 0, make([]byte, 1<<20)
		for lines < events+2 {
			n, err := r.Read(packet)
			if err != nil || n == 0 || packet[n-1] != '\n' {
				read <- fmt.Errorf("%q, %w", packet[:n], err)
				return
			}
			lines += bytes.Count(packet[:n], []byte{'\n'})
		}
		read <- nil
	}()
	for i := range events {
		if !o.Event(nil) {
			t.Fatalf("event %d is not accepted", i)
		}
		if i%3 == 0 {
			mustFlush(t, o)
		}
	}
	mustClose(t, o)
	select {
	case err := <-read:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(deadline):
		t.Error("not all lines came")
	}
}

func TestOutputWhoseReaderLeaves(t *testing.T) {
	for name, fill := range map[string]int{"with nothing to write": 0, "with a line to write": 1, "with more than a pipe holds": 1 << 17} {
		t.Run(name, func(t *testing.T) {
			r, w := pipe(t)
			o := NewOutput(w, fixed("0123456\n"))
			for range fill {
				if !o.Event(nil) {
					t.Fatal("not accepted")
				}
			}
			mustFlush(t, o)
			if fill > 0 {
				if _, err := r.Read(make([]byte, 3)); err != nil {
					t.Fatal(err)
				}
			}
			select {
			case <-o.Broken():
				t.Fatal("broken, though the reader is there")
			default:
			}
			r.Close()
			waitBroken(t, o)
			o.Event(nil)
			for range 2 {
				if err := o.Flush(); !errors.Is(err, ErrReaderGone) {
					t.Errorf("flush: %v", err)
				}
			}
			if n, err := o.Close(); n != 0 || err != nil {
				t.Errorf("%d unwritten, %v", n, err)
			}
		})
	}
}

func TestOutputWhoseReaderLeavesWhileItIsClosed(t *testing.T) {
	r, w := pipe(t)
	o := NewOutput(w, fixed("0123456\n"))
	for range 1 << 17 {
		o.Event(nil)
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		if n, err := o.Close(); n != 0 || err != nil {
			t.Errorf("%d unwritten, %v", n, err)
		}
	}()
	if _, err := r.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	r.Close()
	select {
	case <-closed:
	case <-time.After(deadline):
		t.Fatal("Close does not return")
	}
}

func TestOutputToAFullDevice(t *testing.T) {
	f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("needs /dev/full:", err)
	}
	defer f.Close()
	o := NewOutput(f, fixed("line\n"))
	for range 7 {
		o.Event(nil)
	}
	mustFlush(t, o)
	waitBroken(t, o)
	for range 3 {
		o.Event(nil)
	}
	const want = "write to stdout: no space left on device"
	if err := o.Flush(); err == nil || err.Error() != want {
		t.Errorf("flush: %v", err)
	}
	if n, err := o.Close(); n != 10 || err == nil || err.Error() != want {
		t.Errorf("%d unwritten, %v", n, err)
	}
}

func TestOutputThatCannotBeWritten(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	o := NewOutput(f, fixed("line\n"))
	o.Event(nil)
	if n, err := o.Close(); n != 1 || !errors.Is(err, unix.EBADF) {
		t.Errorf("%d unwritten, %v", n, err)
	}
}

func TestWriteError(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"a pipe without a reader", unix.EPIPE, ErrReaderGone.Error()},
		{"a connection that was reset", unix.ECONNRESET, ErrReaderGone.Error()},
		{"a full disk", unix.ENOSPC, "write to stdout: no space left on device"},
		{"a full quota", unix.EDQUOT, "write to stdout: disk quota exceeded"},
		{"a broken disk", unix.EIO, "write to stdout: input/output error"},
	} {
		got := WriteError(&os.PathError{Op: "write", Path: "/dev/stdout", Err: c.err})
		if got.Error() != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// fillOutput gives events to an Output until it accepts no more, and returns
// how many it has accepted.
func fillOutput(t *testing.T, o *Output) (accepted uint64) {
	t.Helper()
	for o.Event(nil) {
		accepted++
		if accepted%101 == 0 {
			mustFlush(t, o)
		}
		if accepted > queueBytes {
			t.Fatal("there is no bound")
		}
	}
	return accepted
}

// numberedText is what so many numbered events give.
func numberedText(events uint64) []byte {
	var b []byte
	var n int
	for range events {
		b = numbered{&n}.AppendEvent(b, nil)
	}
	return b
}

// drain reads what is in a pipe now.
func drain(t *testing.T, r *os.File) []byte {
	t.Helper()
	fd := int(r.Fd())
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	var all []byte
	b := make([]byte, fileBytes)
	for {
		n, err := unix.Read(fd, b)
		if n <= 0 {
			if err != nil && !errors.Is(err, unix.EAGAIN) {
				t.Error(err)
			}
			return all
		}
		all = append(all, b[:n]...)
	}
}

func TestOutputToASlowReader(t *testing.T) {
	r, w := pipe(t)
	var n int
	o := NewOutput(w, numbered{&n})
	accepted := fillOutput(t, o)
	o.mu.Lock()
	if waiting := len(o.pending.text) + o.writing + len(o.queue.text); waiting <= queueBytes || waiting > queueBytes+100 {
		t.Errorf("%d bytes wait", waiting)
	}
	o.mu.Unlock()
	if o.Event(nil) {
		t.Error("accepted, though nothing was read since")
	}
	want := numberedText(accepted)
	got, read := make([]byte, len(want)), make(chan error)
	go func() {
		_, err := io.ReadFull(r, got)
		read <- err
	}()
	mustClose(t, o) // the reader takes it all
	if err := <-read; err != nil {
		t.Fatal(err)
	}
	if rest := drain(t, r); !bytes.Equal(want, got) || len(rest) > 0 {
		t.Errorf("%d events accepted, but what was read is different; then %q", accepted, rest)
	}
}

func TestOutputAcceptsAgainWhenTheReaderHasCaughtUp(t *testing.T) {
	r, w := pipe(t)
	o := NewOutput(w, fixed(strings.Repeat("x", 999)+"\n"))
	accepted := int64(fillOutput(t, o))
	mustFlush(t, o)
	// All but what the pipe and one piece hold.
	if _, err := io.CopyN(io.Discard, r, accepted*1000-2*fileBytes); err != nil {
		t.Fatal(err)
	}
	if !o.Event(nil) {
		t.Error("not accepted, though there is room")
	}
	read := make(chan error)
	go func() {
		_, err := io.CopyN(io.Discard, r, 2*fileBytes+1000)
		read <- err
	}()
	mustClose(t, o)
	if err := <-read; err != nil {
		t.Error(err)
	}
}

// Close does not wait for ever for a reader that takes nothing, and counts exactly
// what was not written.
func TestOutputToAReaderThatIsStuck(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		first int // events that are written before the others
	}{
		{"at the start of a pipe", 0},
		{"in the middle of a page", 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, w := pipe(t)
			var n int
			o := NewOutput(w, numbered{&n})
			var accepted uint64
			for range c.first {
				o.Event(nil)
				accepted++
			}
			mustFlush(t, o)
			if c.first > 0 {
				// Until it is in the pipe.
				fds := []unix.PollFd{{Fd: int32(r.Fd()), Events: unix.POLLIN}}
				if n, err := unix.Poll(fds, int(deadline.Milliseconds())); n != 1 || err != nil {
					t.Fatal(n, err)
				}
			}
			for range 100003 {
				if !o.Event(nil) {
					t.Fatal("not accepted")
				}
				accepted++
			}
			unwritten, err := o.Close()
			if err != nil {
				t.Error(err)
			}
			got := drain(t, r)
			if !bytes.HasPrefix(numberedText(accepted), got) {
				t.Error("what was read is not what was given")
			}
			read := uint64(bytes.Count(got, []byte{'\n'})) - 2 // headers
			if got[len(got)-1] != '\n' {
				t.Error("half a line is left in the pipe")
			}
			if read == 0 || unwritten == 0 || read+unwritten != accepted {
				t.Errorf("%d accepted, %d read and %d unwritten, which is %d", accepted, read, unwritten, read+unwritten)
			}
		})
	}
}

// asChild makes this program, run by a test, write events instead of testing: to
// stdout without an end, or to a full disk.
const asChild = "RENDER_TEST_CHILD"

// writeForever writes to stdout until it is killed.
func writeForever() {
	var n int
	o := NewOutput(os.Stdout, numbered{&n})
	for {
		o.Event(nil)
		_ = o.Flush()
	}
}

// fillDisk writes to a file of a disk that is full soon. It tells how many events
// were accepted and how many not written, then what the file holds.
func fillDisk(dir string) error {
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		return err
	}
	var n int
	o := NewFileOutput("recording", f, numbered{&n})
	const events = 20011
	for i := range events {
		if !o.Event(nil) {
			return errors.New("not accepted")
		}
		if i%997 == 0 {
			_ = o.Flush() // Close returns the error, too
		}
	}
	unwritten, err := o.Close()
	if err == nil {
		return errors.New("no error")
	}
	b, readErr := os.ReadFile(f.Name())
	fmt.Printf("%d %d %s: %v\n%s", events, unwritten, o.Name(), err, b)
	return readErr
}

func TestFullDiskEndsWithAWholeLine(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), asChild+"=disk", "DIR="+dir)
	ids := []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: ids, GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
	}
	out, err := cmd.Output()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		t.Fatalf("%v: %s", err, exit.Stderr)
	} else if err != nil {
		t.Skip("needs user and mount namespaces:", err)
	}
	said, got, _ := bytes.Cut(out, []byte("\n"))
	var accepted, unwritten uint64
	var rest string
	if _, err := fmt.Sscanf(string(said), "%d %d %s", &accepted, &unwritten, &rest); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("recording: write to %s/out: no space left on device", dir); !strings.HasSuffix(string(said), want) {
		t.Errorf("%s", said)
	}
	if len(got) < 200<<10 || !bytes.HasPrefix(numberedText(accepted), got) || got[len(got)-1] != '\n' {
		t.Errorf("%d bytes, which end with %q", len(got), got[max(len(got)-100, 0):])
	}
	if written := uint64(bytes.Count(got, []byte{'\n'})) - 2; written+unwritten != accepted {
		t.Errorf("%d accepted, %d written and %d unwritten", accepted, written, unwritten)
	}
}

func TestKilledProcessLeavesWholeLinesInAPipe(t *testing.T) {
	for i := range 23 {
		r, w := pipe(t)
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), asChild+"=forever")
		cmd.Stdout = w
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 1+i*i*997)
		if _, err := io.ReadFull(r, got); err != nil {
			t.Error(err)
		}
		// Until the pipe is full, and a write has to wait.
		for until := time.Now().Add(deadline); time.Now().Before(until); runtime.Gosched() {
			if n, err := unix.Poll([]unix.PollFd{{Fd: int32(w.Fd()), Events: unix.POLLOUT}}, 0); n == 0 || err != nil {
				break
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		w.Close()
		rest, err := io.ReadAll(r)
		if got = append(got, rest...); err != nil || got[len(got)-1] != '\n' {
			t.Errorf("%d bytes, which end with %q, %v", len(got), got[len(got)-100:], err)
		}
		_ = cmd.Wait() // killed
	}
}

func TestQueueKeepsPiecesWhole(t *testing.T) {
	full := func() *queue {
		q := &queue{}
		for _, piece := range []string{"header\nrow\n", "x\n", "", strings.Repeat("y", 40) + "\n"} {
			before := len(q.text)
			q.text = append(q.text, piece...)
			q.add(before, true)
		}
		before := len(q.text)
		q.text = append(q.text, "page\nline\nunfinished"...)
		q.addLines(before)
		return q
	}
	for _, c := range []struct {
		name       string
		most, next int // written at once
		written    int
		events     uint64 // left
		left       int    // bytes
		torn       int
	}{
		{"as many as fit", 13, 13, 13, 1, 61, 0},
		{"one that is longer than is written at once", 5, 11, 11, 2, 63, 0},
		{"nothing was written", 64, 64, 0, 3, 74, 0},
		{"a piece was torn", 64, 64, 12, 2, 63, 1},
		{"a long piece was torn", 64, 64, 53, 1, 61, 40},
		{"all", 100, 74, 74, 0, 0, 0},
		{"lines of a page are pieces", 64, 64, 59, 0, 15, 0},
	} {
		q := full()
		if n := q.next(c.most); n != c.next {
			t.Errorf("%s: %d bytes at once, want %d", c.name, n, c.next)
		}
		if torn := q.drop(c.written); torn != c.torn || q.events != c.events || len(q.text) != c.left {
			t.Errorf("%s: %d torn, %d events and %d bytes left; want %d, %d, %d", c.name, torn, q.events, len(q.text), c.torn, c.events, c.left)
		}
	}
	q := full()
	q.take(full())
	if q.events != 6 || len(q.text) != 148 || len(q.parts) != 12 {
		t.Errorf("both: %d events in %d bytes, %d pieces", q.events, len(q.text), len(q.parts))
	}
}

// Other processes share the pipe.
func TestOutputLeavesTheGivenPipeBlocking(t *testing.T) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	r, w := os.NewFile(uintptr(fds[0]), "reader"), os.NewFile(uintptr(fds[1]), "writer")
	defer r.Close()
	defer w.Close()
	o := NewOutput(w, fixed("line\n"))
	flags, err := unix.FcntlInt(uintptr(fds[1]), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_NONBLOCK != 0 {
		t.Errorf("flags %#x, %v", flags, err)
	}
	mustClose(t, o)
	if _, err := w.WriteString("still open\n"); err != nil {
		t.Error(err)
	}
}

func TestJSONFormat(t *testing.T) {
	e := execEvents()[11]
	b := JSON{}.AppendEvent([]byte("x"), e)
	if want := "x" + string(event.AppendJSON(nil, e)) + "\n"; string(b) != want {
		t.Errorf("%q, want %q", b, want)
	}
	if bytes.Count(b, []byte{'\n'}) != 1 || !json.Valid(b[1:]) {
		t.Errorf("not a line of JSON: %q", b)
	}
}
