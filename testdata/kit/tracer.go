package kit

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"
)

// An Event is a line of JSON that tracer wrote.
type Event = map[string]any

// A Tracer is tracer running with --json. It is for one goroutine.
type Tracer struct {
	Cmd    *exec.Cmd
	PID    int
	Events []Event  // lines of stdout, as far as they were read
	Notes  []Event  // lines of stderr that are tracer's
	Other  []string // lines of stderr that are not

	t           testing.TB
	out, stderr <-chan string
}

// Start runs tracer with these arguments and --json, before the command if there is one. It returns when tracing has
// begun.
func Start(t testing.TB, args ...string) *Tracer {
	t.Helper()
	command := slices.Index(args, "--")
	if command < 0 {
		command = len(args)
	}
	return StartCmd(t, Command(t, slices.Insert(slices.Clone(args), command, "--json")...))
}

// StartCmd is Start of a command that is tracer with --json, or whose output is.
func StartCmd(t testing.TB, cmd *exec.Cmd) *Tracer {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	// What a command writes is on stderr, too, and may come before tracer's first line.
	r := &Tracer{t: t, Cmd: cmd, PID: Launch(t, cmd), out: lines(out), stderr: lines(stderr)}
	if start := r.Note(func(Event) bool { return true }); start["event"] != "start" {
		t.Fatalf("first line on stderr: %v", start)
	}
	return r
}

// lines hands over what is read line by line, and reads no further than the line that is wanted next: a reader that is
// slow fills the pipe.
func lines(r io.Reader) <-chan string {
	c := make(chan string)
	go func() {
		defer close(c)
		in := bufio.NewReader(r)
		for {
			line, err := in.ReadString('\n')
			if line != "" {
				c <- line
			}
			if err != nil {
				return
			}
		}
	}()
	return c
}

// read waits for one line of c; there is none if what writes it has ended.
func (r *Tracer) read(c <-chan string, what string) (line string, ok bool) {
	r.t.Helper()
	timeout := time.NewTimer(Within(Arrival))
	defer timeout.Stop()
	select {
	case line, ok = <-c:
	case <-timeout.C:
		r.t.Fatalf("%s does not come; %d events did, the last: %v; stderr: %q, %v", what, len(r.Events), r.Events[max(0, len(r.Events)-5):], r.Other, r.Notes)
	}
	return line, ok
}

func (r *Tracer) keepEvent(line string) Event {
	r.t.Helper()
	var e Event
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		r.t.Fatalf("line %q: %v", line, err)
	}
	r.Events = append(r.Events, e)
	return e
}

// keepNote returns the note that a line of stderr is, or nil.
func (r *Tracer) keepNote(line string) (note Event) {
	if json.Unmarshal([]byte(line), &note) == nil {
		r.Notes = append(r.Notes, note)
		return note
	}
	r.Other = append(r.Other, line[:max(0, len(line)-1)])
	return nil
}

// Until reads events until one satisfies f, and returns it.
func (r *Tracer) Until(f func(Event) bool) Event {
	r.t.Helper()
	for {
		line, ok := r.read(r.out, "the awaited event")
		if !ok {
			r.t.Fatalf("the awaited event did not come; %d did, the last: %v, stderr: %q", len(r.Events), r.Events[max(0, len(r.Events)-5):], r.Other)
		}
		if e := r.keepEvent(line); f(e) {
			return e
		}
	}
}

// Note reads stderr until one of tracer's lines satisfies f, and returns it.
func (r *Tracer) Note(f func(Event) bool) Event {
	r.t.Helper()
	for {
		line, ok := r.read(r.stderr, "the awaited note")
		if !ok {
			r.t.Fatalf("tracer ended: %v; stderr %q, %v", r.Cmd.Wait(), r.Other, r.Notes)
		}
		if note := r.keepNote(line); note != nil && f(note) {
			return note
		}
	}
}

// Said reads stderr until a line is this one, which is not tracer's.
func (r *Tracer) Said(want string) {
	r.t.Helper()
	for !slices.Contains(r.Other, want) {
		line, ok := r.read(r.stderr, want)
		if !ok {
			r.t.Fatalf("%q is not said: stderr %q, %v", want, r.Other, r.Notes)
		}
		r.keepNote(line)
	}
}

// Stop interrupts tracer and returns its account.
func (r *Tracer) Stop() Event {
	r.t.Helper()
	if err := r.Cmd.Process.Signal(os.Interrupt); err != nil {
		r.t.Fatal(err)
	}
	return r.Wait(0)
}

// Wait reads everything until tracer ends, with this status, and returns the account.
func (r *Tracer) Wait(status int) Event {
	r.t.Helper()
	out, stderr := r.out, r.stderr
	timeout := time.NewTimer(Within(Arrival))
	defer timeout.Stop()
	for out != nil || stderr != nil {
		select {
		case line, ok := <-out:
			if !ok {
				out = nil
				continue
			}
			r.keepEvent(line)
		case line, ok := <-stderr:
			if !ok {
				stderr = nil
				continue
			}
			r.keepNote(line)
		case <-timeout.C:
			r.t.Fatalf("tracer does not end; %d events, stderr %q, %v", len(r.Events), r.Other, r.Notes)
		}
		timeout.Reset(Within(Arrival))
	}
	err := r.Cmd.Wait()
	if got := r.Cmd.ProcessState.ExitCode(); got != status {
		r.t.Fatalf("tracer: %v, want exit status %d; stderr %q %v", err, status, r.Other, r.Notes)
	}
	account := r.Notes[len(r.Notes)-1]
	if account["event"] != "end" {
		r.t.Fatalf("last line on stderr: %v", account)
	}
	return account
}

// Of lists the events of a kind and a process; 0 is any.
func (r *Tracer) Of(kind string, pid int) (found []Event) {
	for _, e := range r.Events {
		if e["event"] == kind && (pid == 0 || e["pid"] == float64(pid)) {
			found = append(found, e)
		}
	}
	return found
}

// One is the only event of a kind and a process.
func (r *Tracer) One(kind string, pid int) Event {
	r.t.Helper()
	found := r.Of(kind, pid)
	if len(found) != 1 {
		r.t.Fatalf("%d events %q of process %d, want one: %v", len(found), kind, pid, found)
	}
	return found[0]
}

// Is tells events of a kind and a process from others, for Until.
func Is(kind string, pid int) func(Event) bool {
	return func(e Event) bool { return e["event"] == kind && e["pid"] == float64(pid) }
}

// OfKind is Is of any process, or of none.
func OfKind(kind string) func(Event) bool {
	return func(e Event) bool { return e["event"] == kind }
}

// Started and Ended are Is of a program's start and a process's end.
func Started(pid int) func(Event) bool { return Is("exec", pid) }
func Ended(pid int) func(Event) bool   { return Is("exit", pid) }
