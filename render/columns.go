package render

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"tracer/trace/event"
)

// View is how the events of one command are shown as a table.
type View struct {
	Columns []Column
	Mark    func(event.Event) Mark
	// Paged: its rows are things, not happenings, and on a terminal they are
	// refreshed in place: see event.Page.
	Paged bool
	Title func(b []byte, p *event.Page) []byte // of pages; nil: none
	Below func(b []byte, e event.Event) []byte // a line for each event below a closing page; nil: none
}

// Views by the name of the probe; of one that has several by what its tracer
// calls them.
var Views = map[string]View{
	"exec": {Columns: execColumns, Mark: execMark},
	"conn": {Columns: connColumns, Mark: connMark},

	"traffic": trafficView(ranked(pidColumn, 55), commColumn, extra(trafficProto)),

	"traffic by connection": trafficView(ranked(pidColumn, 55), trafficComm, trafficProto, trafficSrc, trafficDst),
	"traffic by peer":       trafficView(trafficPeer, extra(trafficProto)),
	"traffic by container":  trafficView(always("container"), ranked(always("pod"), 57), extra(trafficProto)),
	"traffic by pod":        trafficView(always("namespace"), always("pod"), extra(trafficProto)),

	"http":         {Columns: httpColumns, Mark: httpMark},
	"http-summary": {Columns: summaryColumns, Mark: summaryMark, Paged: true, Title: appendSummaryTitle, Below: appendSlowest},
}

// The columns that every command has.
var (
	timeColumn = Column{Name: "time", Title: "TIME", Width: 12, Rank: 65, Cell: func(b []byte, e event.Event) []byte {
		return e.Head().Time.In(time.Local).AppendFormat(b, "15:04:05.000")
	}}
	pidColumn = Column{Name: "pid", Title: "PID", Width: 7, Right: true, Rank: 80, Cell: func(b []byte, e event.Event) []byte {
		return appendID(b, e.Head().PID)
	}}
	commColumn = Column{Name: "comm", Title: "COMM", Width: 15, Min: 8, Rank: 70, Spare: 18, Cell: func(b []byte, e event.Event) []byte {
		return AppendText(b, e.Head().Comm)
	}}
	uidColumn = Column{Name: "uid", Title: "UID", Width: 6, Right: true, Rank: 10, Cell: func(b []byte, e event.Event) []byte {
		return strconv.AppendUint(b, uint64(e.Head().UID), 10)
	}}
	cgroupColumn = Column{Name: "cgroup", Title: "CGROUP", Width: 8, Right: true, Rank: 9, Cell: func(b []byte, e event.Event) []byte {
		return strconv.AppendUint(b, e.Head().CgroupID, 10)
	}}
	eventColumn = Column{Name: "event", Title: "EVENT", Width: 14, Rank: 40, Cell: func(b []byte, e event.Event) []byte {
		return append(b, e.Head().Kind...)
	}}
)

// placeColumns are every command's too. Containers and pods are shown from the
// first event on that is in one, and tell more than the program's name there.
var placeColumns = []Column{
	{Name: "pod", Title: "POD", Width: 24, Min: 10, Rank: 72, When: inPod, Cell: func(b []byte, e event.Event) []byte {
		h := e.Head()
		return AppendText(b, cmp.Or(h.Pod, h.PodUID))
	}},
	{Name: "container", Title: "CONTAINER", Width: 16, Min: 8, Rank: 71, When: inContainerAlone, Cell: func(b []byte, e event.Event) []byte {
		return AppendText(b, e.Head().Container)
	}},
	{Name: "namespace", Title: "NAMESPACE", Width: 16, Min: 8, Rank: 45, Extra: true, Cell: func(b []byte, e event.Event) []byte {
		return AppendText(b, e.Head().Namespace)
	}},
	{Name: "container_id", Title: "CONTAINER ID", Width: 12, Rank: 20, Extra: true, Cell: func(b []byte, e event.Event) []byte {
		id := e.Head().ContainerID
		return AppendText(b, id[:min(12, len(id))])
	}},
	{Name: "pod_uid", Title: "POD UID", Width: 36, Min: 8, Rank: 11, Extra: true, Cell: func(b []byte, e event.Event) []byte {
		return AppendText(b, e.Head().PodUID)
	}},
}

func inPod(e event.Event) bool { return e.Head().PodUID != "" }

func inContainerAlone(e event.Event) bool {
	h := e.Head()
	return h.ContainerID != "" && h.PodUID == ""
}

// always is one of placeColumns for views whose rows it names.
func always(name string) Column {
	c := placeColumns[slices.IndexFunc(placeColumns, func(c Column) bool { return c.Name == name })]
	c.When, c.Extra = nil, false
	cell := c.Cell
	c.Cell = func(b []byte, e event.Event) []byte {
		if start := len(b); len(cell(b, e)) > start {
			return cell(b, e)
		}
		return append(b, '-') // on the host, or the name is not known
	}
	return c
}

// WithPlaces adds the columns that say in which container and pod an event
// happened: before the last one that is always shown, which takes what is left
// of a line. Those that there are already stay where they are. On pages, whose
// rows are drawn anew each time, they are shown if asked for.
func WithPlaces(columns []Column, paged bool) []Column {
	last := 0
	for i, c := range columns {
		if !c.Extra {
			last = i
		}
	}
	var usual, extra []Column
	for _, c := range placeColumns {
		switch {
		case slices.ContainsFunc(columns, func(o Column) bool { return o.Name == c.Name }):
		case c.Extra || paged:
			c.When, c.Extra = nil, true
			extra = append(extra, c)
		default:
			usual = append(usual, c)
		}
	}
	return slices.Concat(columns[:last], usual, columns[last:], extra)
}

var execColumns = []Column{
	timeColumn,
	pidColumn,
	{Name: "ppid", Title: "PPID", Width: 7, Right: true, Rank: 20, Cell: func(b []byte, e event.Event) []byte {
		return appendID(b, execOf(e).ppid)
	}},
	{Name: "user", Title: "USER", Width: 8, Min: 4, Rank: 25, Cell: func(b []byte, e event.Event) []byte {
		if user := execOf(e).user; user != "" {
			return AppendText(b, user)
		}
		return strconv.AppendUint(b, uint64(e.Head().UID), 10)
	}},
	{Name: "command", Title: "COMMAND", Width: 24, Min: 8, Rank: 100, Cell: appendExecCommand},
	extra(eventColumn), extra(commColumn), extra(uidColumn), extra(cgroupColumn),
	{Name: "parent", Title: "PARENT", Width: 15, Min: 8, Rank: 15, Extra: true, Cell: func(b []byte, e event.Event) []byte {
		return AppendText(b, execOf(e).parent)
	}},
	{Name: "exe", Title: "EXE", Width: 24, Min: 8, Rank: 50, Extra: true, Cell: func(b []byte, e event.Event) []byte {
		return AppendText(b, execOf(e).program.Exe)
	}},
	{Name: "cwd", Title: "CWD", Width: 20, Min: 8, Rank: 12, Extra: true, Cell: func(b []byte, e event.Event) []byte {
		return AppendText(b, execOf(e).cwd)
	}},
	{Name: "args", Title: "ARGS", Width: 24, Min: 8, Rank: 90, Extra: true, Cell: func(b []byte, e event.Event) []byte {
		x := execOf(e)
		return appendArgs(b, x.program.Args, x.cut)
	}},
	{Name: "result", Title: "RESULT", Width: 24, Min: 8, Rank: 85, Extra: true, Cell: appendExecResult},
	{Name: "duration", Title: "DURATION", Width: 8, Right: true, Rank: 60, Extra: true, Cell: func(b []byte, e event.Event) []byte {
		if x, ok := e.(*event.Exit); ok {
			return AppendDuration(b, x.Duration)
		}
		return b
	}},
}

func extra(c Column) Column {
	c.Extra = true
	return c
}

// execRow is what the events of exec have in common.
type execRow struct {
	program           *event.Program
	ppid              uint32
	parent, user, cwd string
	cut               bool
}

func execOf(e event.Event) execRow {
	switch e := e.(type) {
	case *event.Exec:
		return execRow{&e.Program, e.PPID, e.ParentComm, e.User, e.Cwd, e.ArgsTruncated}
	case *event.Exit:
		return execRow{&e.Program, e.PPID, "", e.User, "", false}
	case *event.ExecFailed:
		return execRow{&e.Program, e.PPID, e.ParentComm, e.User, "", e.ArgsTruncated}
	}
	return execRow{program: &event.Program{}}
}

func execMark(e event.Event) Mark {
	switch e := e.(type) {
	case *event.Exit:
		if e.Signal == "" && e.Code == 0 {
			return Quiet
		}
		return Failed
	case *event.ExecFailed:
		return Failed
	}
	return Usual
}

// appendExecCommand appends the arguments, behind the outcome if there is one.
func appendExecCommand(b []byte, e event.Event) []byte {
	x := execOf(e)
	if _, ok := e.(*event.Exec); !ok {
		b = append(appendExecResult(b, e), ": "...)
	}
	args := x.program.Args
	if f, ok := e.(*event.ExecFailed); ok {
		// What could not be run is the file; the first argument may be any
		// text.
		args = append([]string{f.Exe}, args[min(1, len(args)):]...)
	}
	switch {
	case len(args) > 0:
		return appendArgs(b, args, x.cut)
	case x.program.Exe != "":
		return AppendShell(b, x.program.Exe, true)
	}
	return append(AppendText(append(b, '['), e.Head().Comm), ']')
}

func appendArgs(b []byte, args []string, cut bool) []byte {
	b = AppendCommand(b, args)
	if cut {
		b = append(b, " [arguments cut]"...)
	}
	return b
}

func appendExecResult(b []byte, e event.Event) []byte {
	switch e := e.(type) {
	case *event.Exit:
		if e.Signal != "" {
			b = append(append(b, "killed by "...), e.Signal...)
			if e.Core {
				b = append(b, " (core dumped)"...)
			}
		} else {
			b = strconv.AppendInt(append(b, "exit "...), int64(e.Code), 10)
		}
		return AppendDuration(append(b, " after "...), e.Duration)
	case *event.ExecFailed:
		return append(append(b, "failed with "...), e.Error...)
	}
	return b
}

// appendID appends a process id; an unknown one is left empty.
func appendID(b []byte, id uint32) []byte {
	if id == 0 {
		return b
	}
	return strconv.AppendUint(b, uint64(id), 10)
}
