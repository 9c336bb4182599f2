package trace

import (
	"tracer/trace/all"
	"tracer/trace/conn"
	"tracer/trace/exec"
	"tracer/trace/http"
	"tracer/trace/session"
	"tracer/trace/traffic"
)

// Probes is the table of what can be traced: each row is a subcommand. To add one
// takes a package beside these, its bpf/*.bpf.c, and a row each here, in bpf/gen.go, in
// the columns of package render, and in README.md.
var Probes = []session.Probe{exec.Probe, conn.Probe, traffic.Probe, http.Probe, all.Probe}

// Single are the rows of Probes that stand for themselves. What can be said of one that
// stands for others is said of those.
func Single() (list []*session.Probe) {
	for i := range Probes {
		if _, several := Probes[i].New().(session.Several); !several {
			list = append(list, &Probes[i])
		}
	}
	return list
}
