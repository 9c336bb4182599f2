package exec

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"tracer/trace/event"
	"tracer/trace/session"
)

// walkQuiet is how long after a failed attempt the next one of the same walk through
// PATH may come.
const walkQuiet = 60 * time.Millisecond

// noPath are the folders that commands are looked for in where the environment has no
// PATH: those of C libraries (glibc, musl) and of busybox.
var noPath = []string{"/bin:/usr/bin", "/usr/local/bin:/bin:/usr/bin", "/sbin:/usr/sbin:/bin:/usr/bin"}

// walks passes on events in the order of their times, and makes one event of a walk
// through PATH: execvp(3) and shells try a command in one folder after the other, and
// only what comes next tells whether an attempt was one of those. What happens meanwhile
// waits: as good as always for some microseconds, as the last folder ends the walk, and
// at most for walkQuiet.
//
// Any other attempt is an event of its own.
type walks struct {
	host  *session.Host
	emit  func(event.Event) // what the events are passed on to
	timer *session.Timer

	open  map[uint32]*walk // by thread
	queue []waiting        // behind the walk that began first and is not over
}

// waiting is an event, or a walk that may become one.
type waiting struct {
	event event.Event
	walk  *walk
}

// A walk is a command that was not found yet.
type walk struct {
	event.ExecFailed
	name    string   // of the command
	folders []string // in which it is looked for next, as PATH has them
	time    uint64   // of the last attempt, boot clock
	over    bool
	found   bool // after all: that it was not there before is part of it
}

func newWalks(h *session.Host, emit func(event.Event)) *walks {
	w := &walks{host: h, emit: emit, open: map[uint32]*walk{}}
	w.timer = h.Timer(w.endQuiet)
	return w
}

// pass passes on an event, which may be used again when pass returns.
func (ws *walks) pass(e event.Event) {
	if len(ws.queue) == 0 {
		ws.emit(e)
		return
	}
	switch x := e.(type) {
	case *event.Exec:
		c := *x
		e = &c
	case *event.Exit:
		c := *x
		e = &c
	case *event.ExecFailed:
		c := *x
		e = &c
	}
	ws.queue = append(ws.queue, waiting{event: e})
}

// failed takes an attempt of a thread, and the PATH that belongs to it: none if its
// environment has none. Of one that is cut the last folder may not be whole.
func (ws *walks) failed(tid uint32, at uint64, e event.ExecFailed, path []byte, cut bool) {
	w := ws.open[tid]
	if w != nil && !(at-w.time < uint64(walkQuiet) && w.isNext(e.Exe) && slices.Equal(w.Args, e.Args)) {
		ws.close(tid, w)
		w = nil
	}
	if w != nil {
		// What was asked for is the bare name, and execvp reports EACCES if that was
		// among the errors.
		w.Exe = w.name
		if w.Error != "EACCES" || !walksOn(e.Error) {
			w.Error = e.Error
		}
		w.folders = w.folders[1:]
	} else if w = begin(e, path, cut); w == nil {
		ws.pass(&e)
		return
	} else {
		ws.open[tid] = w
		ws.queue = append(ws.queue, waiting{walk: w})
	}
	w.time = at
	if len(w.folders) == 0 || !walksOn(e.Error) {
		ws.close(tid, w)
		return
	}
	ws.timer.At(at + uint64(walkQuiet))
}

// begin returns the walk that an attempt is the beginning of, or nil.
func begin(e event.ExecFailed, path []byte, cut bool) *walk {
	name := e.Exe[strings.LastIndexByte(e.Exe, '/')+1:]
	if name == "" || !walksOn(e.Error) {
		return nil
	}
	lists := noPath
	if len(path) > 0 {
		list := string(bytes.TrimSuffix(path, []byte{0}))
		if cut {
			list = list[:max(0, strings.LastIndexByte(list, ':'))]
		}
		lists = []string{list}
	}
	for _, list := range lists {
		w := &walk{ExecFailed: e, name: name, folders: strings.Split(list, ":")}
		if len(w.folders) > 1 && w.isNext(e.Exe) {
			w.folders = w.folders[1:]
			return w
		}
	}
	return nil
}

// isNext reports whether the walk goes on with this file.
func (w *walk) isNext(file string) bool {
	folder, ok := strings.CutSuffix(file, w.name)
	return ok && len(w.folders) > 0 && strings.TrimRight(folder, "/") == strings.TrimRight(w.folders[0], "/") &&
		(folder == "" || folder[len(folder)-1] == '/')
}

// walksOn reports whether execvp tries the next folder after this error: see walks_on()
// in exec.bpf.c.
func walksOn(name string) bool {
	switch name {
	case "ENOENT", "EACCES", "ENODEV", "ENOTDIR", "ETIMEDOUT", "ESTALE":
		return true
	}
	return false
}

// started takes the start of a program, of which it is known how its file was asked for.
// It ends the thread's walk. Of a script the first arguments are others.
func (ws *walks) started(tid uint32, file []byte, args []string, cut bool) {
	w := ws.open[tid]
	if w == nil {
		return
	}
	tail := w.Args[min(1, len(w.Args)):]
	w.found = w.isNext(string(bytes.TrimSuffix(file, []byte{0}))) &&
		(cut || w.ArgsTruncated || len(args) >= len(tail) && slices.Equal(args[len(args)-len(tail):], tail))
	ws.close(tid, w)
}

// ended takes the end of a process.
func (ws *walks) ended(pid uint32) {
	for tid, w := range ws.open {
		if w.PID == pid { // whichever of its threads it was
			ws.close(tid, w)
		}
	}
}

// endQuiet ends walks that did not go on.
func (ws *walks) endQuiet() {
	now := ws.host.Horizon()
	next := uint64(0)
	for tid, w := range ws.open {
		if over := w.time + uint64(walkQuiet); now > over {
			ws.close(tid, w)
		} else if next == 0 || over < next {
			next = over
		}
	}
	if next > 0 {
		ws.timer.At(next)
	}
}

// end ends all walks.
func (ws *walks) end() {
	for tid, w := range ws.open {
		ws.close(tid, w)
	}
}

// close ends a walk and passes on what has waited for that.
func (ws *walks) close(tid uint32, w *walk) {
	delete(ws.open, tid)
	w.over = true
	n := 0
	for ; n < len(ws.queue); n++ {
		q := &ws.queue[n]
		switch {
		case q.walk == nil:
			ws.emit(q.event)
		case !q.walk.over:
			ws.queue = slices.Delete(ws.queue, 0, n)
			return
		case !q.walk.found:
			ws.emit(&q.walk.ExecFailed)
		}
	}
	clear(ws.queue)
	ws.queue = ws.queue[:0]
}
