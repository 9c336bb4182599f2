// Package event holds what tracer reports, as plain Go values, and their JSON
// names.
//
// It knows nothing of the kernel's records, of tables or of terminals: other
// packages fill events, package render shows them. Start with Common, which
// every event begins with, and Exec, the simplest event. AppendJSON writes a
// line, Decode and DecodeLine read it.
//
// Each type has one table of its keys, the method fields, which both writes and
// reads. A new key is a field of the struct and a row of that table. A new kind
// of event is a type with a table, a constant for its kind, and a line in each
// of newEvent and table.event. Tests fail where one of these is missing.
//
// Events are reused by those who fill them: one is valid until the call that it
// was passed to returns. Strings that come from the traced world (arguments,
// names, paths) are raw bytes of a stranger: not always UTF-8, and never fit for
// a terminal as they are.
//
//	event.go    what events have in common
//	exec.go     events of processes
//	conn.go     events of connections
//	open.go     connections that were open before tracing
//	connsum.go  connections, summed up
//	connid.go   the names of connections
//	traffic.go  events of traffic
//	http.go     events of HTTP
//	traceid.go  the names of traces and spans
//	kinds.go    all kinds of events; AppendJSON
//	account.go  what is told on stderr
//	check.go    what check tells
//	clone.go    copies for who keeps events; when they are over
//	page.go     rows of a table, as a whole
//	decode.go   Decode and DecodeLine
//	table.go    the rows that fields is made of
//	json.go     strings and times as JSON
//	scan.go     the other way round, value by value
package event

import "time"

// Object is what one line tells: an Event, or a *Start, an *Account or a
// *Notice.
type Object interface {
	// fields is the table of the object's keys.
	fields(t *table)
}

// Event is anything that tracer can report.
type Event interface {
	Object
	// Head returns what all events share; it may be changed in place.
	Head() *Common
}

// Common is what every event begins with.
type Common struct {
	Time time.Time // when it happened, UTC
	Kind string    // one of the Kind constants
	Process
	Hostname string // of the process's host, where events of several come together; empty: of the only one

	// Recorded is the line that DecodeRecorded has read; empty if there is none, or if the
	// event tells something else by now. AppendJSON gives it as it is.
	Recorded string
}

// Head returns c itself.
func (c *Common) Head() *Common { return c }

// Process says whose event it is.
type Process struct {
	PID      uint32 // thread-group id in the host's namespace
	Comm     string // as in /proc/PID/comm
	UID      uint32 // real user id in the host's namespace
	CgroupID uint64 // inode of the cgroup's directory, 0 if unknown
	Cgroup   string // for tables: its path, from systemd's unit on; empty if unknown or not asked for
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

// common is what every event begins with.
func (t *table) common(c *Common) {
	process := c.PID != 0
	t.time("time", &c.Time, true)
	t.kind("event", &c.Kind)
	t.uint32("pid", &c.PID, process)
	t.text("comm", &c.Comm, process)
	t.uint32("uid", &c.UID, process)
	t.text("container", &c.Container, c.Container != "")
	t.text("container_id", &c.ContainerID, c.ContainerID != "")
	t.text("pod", &c.Pod, c.Pod != "")
	t.text("namespace", &c.Namespace, c.Namespace != "")
	t.text("pod_uid", &c.PodUID, c.PodUID != "")
	t.uint64("cgroup_id", &c.CgroupID, c.CgroupID != 0)
	t.text("hostname", &c.Hostname, c.Hostname != "")
}
