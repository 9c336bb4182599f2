// Package event holds what tracer reports, as plain Go values, and their JSON
// names.
//
// It knows nothing of the kernel's records, of tables or of terminals: package
// trace fills events, package render shows them. Start with Common, which every
// event begins with, and Exec, the simplest event.
//
// Events are reused: one is valid until the call that it was passed to returns.
// Strings that come from the traced world (arguments, names, paths) are raw
// bytes of a stranger: not always UTF-8, and never fit for a terminal as they
// are.
package event

import "time"

// Event is anything that tracer can report.
type Event interface {
	// Head returns what all events share; it may be changed in place.
	Head() *Common
	// appendJSON returns o with the keys added that are the event's own. (By
	// value: a pointer would cost an allocation for every event.)
	appendJSON(o object) object
}

// Kinds of events: the values of the JSON key "event".
const (
	KindExec       = "exec"
	KindExit       = "exit"
	KindExecFailed = "exec_failed"
)

// Common is what every event begins with.
type Common struct {
	Time time.Time // when it happened, UTC
	Kind string    // one of the Kind constants
	Process
}

// Head returns c itself.
func (c *Common) Head() *Common { return c }

// Process says whose event it is.
type Process struct {
	PID      uint32 // thread-group id in the host's namespace
	Comm     string // as in /proc/PID/comm
	UID      uint32 // real user id in the host's namespace
	CgroupID uint64 // inode of the cgroup's directory, 0 if unknown
	Place
}

// Place is the container and the pod that a process runs in; what is unknown
// or does not apply is empty.
type Place struct {
	Container   string
	ContainerID string
	Pod         string
	Namespace   string
	PodUID      string
}

// Program is what a process runs, as far as it is known.
type Program struct {
	Exe  string   // absolute path; as asked for in ExecFailed; empty if unknown
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
}

// Exit is the end of a process: sched_process_exit of its last thread.
type Exit struct {
	Common
	Program
	PPID     uint32
	User     string
	Signal   string        // name of the signal that killed it, as SIGKILL; empty if it exited
	Code     int           // exit status if Signal is empty
	Core     bool          // a core was dumped
	Duration time.Duration // since the process began, also where that was before tracing
}

// ExecFailed is a call of execve or execveat that failed. Several in a row for
// one command (a walk through PATH) make one event.
type ExecFailed struct {
	Common
	Program
	PPID          uint32
	ParentComm    string
	ArgsTruncated bool
	User          string
	Error         string // errno name, as ENOENT
}
