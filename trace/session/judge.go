package session

import (
	"cmp"
	"time"

	"tracer/trace/event"
	"tracer/trace/place"
)

// A Refusal says why an event is not shown; the zero value is none.
type Refusal struct {
	Filter string // the flag that leaves it out, or
	Cause  string // why that is not known
}

// recorded are what takes the place of kernel and /proc for events of a recording: the
// time, and the filters that are decided there otherwise.
type recorded struct {
	opts  *Options
	now   time.Time // how far it has been read
	host  int       // that the event comes from
	known map[int]*processes

	programs, users bool // the recording tells of some
}

// missing says which filters cannot work as they do where it is traced, because the
// recording lacks what they need.
func (r *recorded) missing() (list []string) {
	if r.opts.User != "" && !r.users {
		list = append(list, "the recording has no names of users: --uid takes a number")
	}
	if len(r.opts.PIDs) > 0 && !r.programs {
		list = append(list, "the recording does not tell which process started which (tracer exec does): children of what --pid names are left out")
	}
	return list
}

// processes are what a recording tells of those of one host.
type processes struct {
	wanted map[uint32]bool   // by --pid: those that it names, and their descendants
	ended  map[uint32]bool   // of those, that have: another one may get the id
	users  map[uint32]string // by user id
}

// maxProcesses bounds what is remembered of processes, and of users.
const maxProcesses = 1 << 18

func newRecorded(opts *Options) *recorded {
	return &recorded{opts: opts, known: map[int]*processes{}}
}

// of is what is known of the host that the event comes from.
func (r *recorded) of() *processes {
	p := r.known[r.host]
	if p == nil {
		p = &processes{wanted: map[uint32]bool{}, ended: map[uint32]bool{}, users: map[uint32]string{}}
		for _, pid := range r.opts.PIDs {
			p.wanted[pid] = true
		}
		r.known[r.host] = p
	}
	return p
}

// observe learns from an event, whoever takes it, what filters need to know.
func (r *recorded) observe(e event.Event, host int) {
	r.host = host
	head := e.Head()
	p := r.of()
	var parent uint32
	var user string
	switch e := e.(type) {
	case *event.Exec:
		parent, user = e.PPID, e.User
	case *event.ExecFailed:
		parent, user = e.PPID, e.User
	case *event.Exit:
		parent, user = e.PPID, e.User
	default:
		return
	}
	r.programs = true
	if user != "" && len(p.users) < maxProcesses {
		p.users[head.UID], r.users = user, true
	}
	if len(r.opts.PIDs) == 0 {
		return
	}
	switch {
	case p.wanted[parent]:
		if len(p.wanted) < maxProcesses {
			p.wanted[head.PID] = true
		}
		delete(p.ended, head.PID)
	case p.ended[head.PID]: // the id is another process's by now
		delete(p.wanted, head.PID)
		delete(p.ended, head.PID)
	}
	if _, exit := e.(*event.Exit); exit && p.wanted[head.PID] {
		p.ended[head.PID] = true
	}
}

// judge says whether an event passes --pid, --uid, --comm and the place that is wanted: of
// one that both ends have told, whether one of them does.
func (r *recorded) judge(e event.Event) Refusal {
	head := e.Head()
	refusal := r.refuse(head, userOf(e))
	if h, ok := e.(*event.HTTP); ok && h.Role == event.RoleBoth && refusal != (Refusal{}) {
		peer := event.Common{Process: event.Process{PID: h.PeerPID, Comm: h.PeerComm, Place: event.Place{
			Container: h.PeerContainer, ContainerID: h.PeerContainerID, Pod: h.PeerPod, Namespace: h.PeerNamespace,
		}}}
		if r.opts.UID == nil && r.opts.User == "" && r.refuse(&peer, "") == (Refusal{}) { // whose the client is was not recorded
			return Refusal{}
		}
	}
	return refusal
}

func (r *recorded) refuse(head *event.Common, user string) Refusal {
	o := r.opts
	switch {
	case len(o.PIDs) > 0 && !r.of().wanted[head.PID]:
		return Refusal{Filter: "pid"}
	case o.UID != nil && (head.PID == 0 || head.UID != *o.UID):
		return Refusal{Filter: "uid"}
	case o.User != "" && (head.PID == 0 || cmp.Or(user, r.of().users[head.UID]) != o.User):
		return Refusal{Filter: "uid"}
	case !o.Wants(head.Comm):
		return Refusal{Filter: "comm"}
	}
	var at *place.Place
	if head.Place != (event.Place{}) {
		at = &head.Place
	}
	if !o.Place.Match(at) {
		return Refusal{Filter: "place"}
	}
	return Refusal{}
}

// userOf is the name of the user that an event tells; empty if it tells none.
func userOf(e event.Event) string {
	switch e := e.(type) {
	case *event.Exec:
		return e.User
	case *event.ExecFailed:
		return e.User
	case *event.Exit:
		return e.User
	}
	return ""
}
