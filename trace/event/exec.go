package event

import "time"

// Kinds of events: the values of the JSON key "event".
const (
	KindExec       = "exec"
	KindExit       = "exit"
	KindExecFailed = "exec_failed"

	KindExecSummary = "exec_summary"
)

// Program is what a process runs, as far as it is known.
type Program struct {
	Exe  string   // absolute path; of ExecFailed as asked for, of a walk through PATH the bare name; empty if unknown
	Args []string // nil if unknown
}

// Exec is a program that was started: sched_process_exec.
type Exec struct {
	Common
	Program
	PPID          uint32
	ParentComm    string
	ArgsTruncated bool // Args is not all
	Cwd           string
	User          string // name of UID, empty if it has none

	// For tables: how many programs it stands below, each started by the one before.
	Depth int
}

// Exit is the end of a process: sched_process_exit of its last thread.
type Exit struct {
	Common
	Program
	PPID          uint32
	ArgsTruncated bool
	User          string        // name of UID, empty if it has none
	Signal        string        // name of the signal that killed it, as SIGKILL; empty if it exited
	Code          int           // exit status if Signal is empty
	Core          bool          // a core was dumped
	Duration      time.Duration // since the process began, also where that was before tracing

	Depth int // as of Exec
}

// ExecFailed is a call of execve or execveat that failed. Those of one walk through
// PATH make one event.
type ExecFailed struct {
	Common
	Program
	PPID          uint32
	ParentComm    string
	ArgsTruncated bool // also if Exe is cut: then it ends with "…"
	User          string
	Error         string // errno name, as ENOENT

	Depth int // as of Exec
}

// ExecSummary is what came of one program that one parent started (KindExecSummary): in
// an interval that ends at Time or, on a page, since tracing began.
type ExecSummary struct {
	Common
	Interval   time.Duration // that it tells of
	Exe        string        // of ExecFailed as asked for; empty if unknown, and in what sums several up
	ParentComm string        // empty if unknown
	Count      uint64        // programs that started
	Failed     uint64        // that ended with an exit status other than 0
	Killed     uint64        // that a signal ended
	ExecFailed uint64        // that could not be started; they are in no other number
	Total, Max time.Duration // how long those ran that ended, in all and the longest; 0: none has

	// For tables.
	Rate    float64 // programs a second: of the interval, in a closing table of the whole run
	Failing bool    // one of Failed, Killed and ExecFailed has grown meanwhile
}

func (t *table) program(p *Program) {
	t.text("exe", &p.Exe, p.Exe != "")
	t.texts("args", &p.Args, p.Args != nil)
}

func (e *Exec) fields(t *table) {
	t.common(&e.Common)
	t.uint32("ppid", &e.PPID, true)
	t.text("parent_comm", &e.ParentComm, e.ParentComm != "")
	t.program(&e.Program)
	t.flag("args_truncated", &e.ArgsTruncated, e.ArgsTruncated)
	t.text("cwd", &e.Cwd, e.Cwd != "")
	t.text("user", &e.User, e.User != "")
}

func (e *Exit) fields(t *table) {
	t.common(&e.Common)
	t.uint32("ppid", &e.PPID, true)
	t.program(&e.Program)
	t.flag("args_truncated", &e.ArgsTruncated, e.ArgsTruncated)
	t.text("user", &e.User, e.User != "")
	t.text("signal", &e.Signal, e.Signal != "")
	t.flag("core_dumped", &e.Core, e.Core && e.Signal != "")
	t.int("exit_code", &e.Code, e.Signal == "")
	t.micros("duration_us", &e.Duration, true)
}

func (e *ExecFailed) fields(t *table) {
	t.common(&e.Common)
	t.uint32("ppid", &e.PPID, true)
	t.text("parent_comm", &e.ParentComm, e.ParentComm != "")
	t.program(&e.Program)
	t.flag("args_truncated", &e.ArgsTruncated, e.ArgsTruncated)
	t.text("user", &e.User, e.User != "")
	t.text("error", &e.Error, true)
}

func (e *ExecSummary) fields(t *table) {
	t.common(&e.Common)
	t.micros("interval_us", &e.Interval, true)
	t.text("exe", &e.Exe, e.Exe != "")
	t.text("parent_comm", &e.ParentComm, e.ParentComm != "")
	t.uint64("count", &e.Count, true)
	t.uint64("failed", &e.Failed, true)
	t.uint64("killed", &e.Killed, true)
	t.uint64("exec_failed", &e.ExecFailed, true)
	t.micros("total_us", &e.Total, true)
	t.knownMicros("max_us", &e.Max)
}
