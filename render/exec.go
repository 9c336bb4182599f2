package render

import (
	"strconv"

	"tracer/trace/event"
)

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
	{Name: "parent", Title: "PARENT", Width: 15, Min: 8, Rank: 15, Room: 110, Cell: func(b []byte, e event.Event) []byte {
		return AppendText(b, execOf(e).parent)
	}},
	{Name: "command", Title: "COMMAND", Width: 24, Min: 8, Rank: 100, Cell: appendExecCommand},
	extra(eventColumn), extra(commColumn), extra(uidColumn), extra(cgroupColumn),
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

// execRow is what the events of exec have in common.
type execRow struct {
	program           *event.Program
	ppid              uint32
	parent, user, cwd string
	cut               bool
	depth             int
}

func execOf(e event.Event) execRow {
	switch e := e.(type) {
	case *event.Exec:
		return execRow{&e.Program, e.PPID, e.ParentComm, e.User, e.Cwd, e.ArgsTruncated, e.Depth}
	case *event.Exit:
		return execRow{&e.Program, e.PPID, "", e.User, "", e.ArgsTruncated, e.Depth}
	case *event.ExecFailed:
		return execRow{&e.Program, e.PPID, e.ParentComm, e.User, "", e.ArgsTruncated, e.Depth}
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

const (
	indent  = 2  // cells for each program that another one stands below
	deepest = 12 // what stands deeper is indented as much: the command matters more
)

// appendExecCommand appends the result, if there is one, and the arguments.
func appendExecCommand(b []byte, e event.Event) []byte {
	x := execOf(e)
	b = appendSpaces(b, indent*min(x.depth, deepest))
	if _, ok := e.(*event.Exec); !ok {
		b = append(appendExecResult(b, e), ": "...)
	}
	args := x.program.Args
	if f, ok := e.(*event.ExecFailed); ok {
		// The file that could not be run. The first argument can be any text.
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
			b = AppendText(append(b, "killed by "...), e.Signal)
			if e.Core {
				b = append(b, " (core dumped)"...)
			}
		} else {
			b = strconv.AppendInt(append(b, "exit "...), int64(e.Code), 10)
		}
		return AppendDuration(append(b, " after "...), e.Duration)
	case *event.ExecFailed:
		return AppendText(append(b, "failed with "...), e.Error)
	}
	return b
}
