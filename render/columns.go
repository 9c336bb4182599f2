package render

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"tracer/trace/event"
)

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
	cgroupColumn = Column{Name: "cgroup", Title: "CGROUP", Width: 24, Min: 8, Rank: 9, KeepEnd: true, Cell: func(b []byte, e event.Event) []byte {
		if path := e.Head().Cgroup; path != "" {
			return AppendText(b, path)
		}
		return strconv.AppendUint(b, e.Head().CgroupID, 10) // its path is not known
	}}
	eventColumn = Column{Name: "event", Title: "EVENT", Width: 14, Rank: 40, Cell: func(b []byte, e event.Event) []byte {
		return AppendText(b, e.Head().Kind)
	}}
)

// placeColumns are the columns of hosts, containers and pods, which every command has,
// too. They appear with the first event from one of several hosts, or from a container. There they say more than the name of
// the program, so that their rank is higher.
var placeColumns = []Column{
	{Name: "hostname", Title: "HOST", Width: 12, Min: 6, Rank: 73, When: ofHost, Cell: func(b []byte, e event.Event) []byte {
		return AppendText(b, e.Head().Hostname)
	}},
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

// ofHost reports whether events of several hosts come together.
func ofHost(e event.Event) bool { return e.Head().Hostname != "" }

func inPod(e event.Event) bool { return e.Head().PodUID != "" }

func inContainerAlone(e event.Event) bool {
	h := e.Head()
	return h.ContainerID != "" && h.PodUID == ""
}

// always is one of placeColumns, shown from the start: for views of which it names
// the rows.
func always(name string) Column {
	c := placeColumns[slices.IndexFunc(placeColumns, func(c Column) bool { return c.Name == name })]
	c.When, c.Extra = nil, false
	cell := c.Cell
	c.Cell = func(b []byte, e event.Event) []byte {
		if start := len(b); len(cell(b, e)) > start {
			return cell(b, e)
		}
		return append(b, '-') // not in a container, or its name is unknown
	}
	return c
}

// WithPlaces adds the columns of placeColumns that are not there yet: before the
// last column that is shown by default, which takes the rest of a line. On pages
// they are shown only if asked for, since columns that appear would make rows jump.
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

func extra(c Column) Column {
	c.Extra = true
	return c
}

// appendID appends a process id; an unknown one is left empty.
func appendID(b []byte, id uint32) []byte {
	if id == 0 {
		return b
	}
	return strconv.AppendUint(b, uint64(id), 10)
}
