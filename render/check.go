package render

import (
	"strings"

	"tracer/trace/event"
)

// AppendCheck appends what can be traced here as lines for people, none longer
// than width cells (0: no limit).
func AppendCheck(b []byte, c *event.Check, width int) []byte {
	types := "types from " + c.BTF
	if c.BTF == "" {
		types = "does not describe its types: pass a BTF file made for exactly this kernel with --btf FILE"
	}
	kernel := c.Kernel + " (" + c.Arch + "), " + types
	if c.Lockdown != "" {
		kernel += ", lockdown " + c.Lockdown
	}
	b = appendFact(b, "kernel", kernel, width)
	switch c.Buffer {
	case "ring":
		b = appendFact(b, "events", "by ring buffer", width)
	case "perf":
		b = appendFact(b, "events", "by perf event arrays", width)
	}
	privileges := "all that tracing can use"
	if len(c.Missing) > 0 {
		var missing []string
		for _, m := range c.Missing {
			missing = append(missing, m.Name+" is missing, to "+m.For)
		}
		privileges = strings.Join(missing, "; ") + ". To have all, " + c.Grant
	}
	b = appendFact(b, "privileges", privileges, width)
	for _, w := range c.Warnings {
		b = appendFact(b, "", w, width)
	}
	cgroups := map[string]string{"v2": "v2", "v1": "v1", "hybrid": "v2 and v1 (hybrid)"}[c.Cgroups]
	if cgroups == "" {
		cgroups = "none in sight: no containers and pods in events; mount cgroup2 at /sys/fs/cgroup, or give the host's to the container"
	}
	b = appendFact(b, "cgroups", cgroups, width)
	runtimes := strings.Join(c.Runtimes, ", ")
	if runtimes == "" {
		runtimes = "none running"
	}
	b = appendFact(b, "runtimes", runtimes, width)
	b = append(b, '\n')
	for i, command := range c.Commands {
		if command.Error == "" {
			b = appendCommand(b, &command, width)
			continue
		}
		// What keeps one from running mostly keeps all.
		if i == 0 || c.Commands[i-1].Error != command.Error {
			b = appendFact(b, command.Name, "cannot run: "+command.Error, width)
		} else {
			b = appendFact(b, command.Name, "nor can this, for the same reason", width)
		}
	}
	return b
}

// appendCommand appends by which hooks a command sees what, and what it misses.
func appendCommand(b []byte, c *event.CheckedCommand, width int) []byte {
	var hooks []string
	by := map[string][]string{}
	for _, f := range c.Features {
		if by[f.Hooks] == nil && f.Hooks != "" {
			hooks = append(hooks, f.Hooks)
		}
		by[f.Hooks] = append(by[f.Hooks], f.Name)
	}
	name := c.Name
	for i, h := range hooks {
		text := "by " + h + ": " + strings.Join(by[h], "; ")
		if i == 0 {
			text = "works " + text
		}
		b = appendFact(b, name, text, width)
		name = ""
	}
	for _, f := range c.Features {
		switch {
		case f.Misses == "":
		case f.Hooks == "": // then it is a sentence
			b = appendFact(b, "", f.Misses+". To see it: "+f.Remedy, width)
		default:
			b = appendFact(b, "", "misses "+f.Misses+". To see it: "+f.Remedy, width)
		}
	}
	return b
}

// appendFact appends a name and what is to be said of it, on as many lines as
// it takes.
func appendFact(b []byte, name, text string, width int) []byte {
	const indent = 12
	text = string(AppendMessage(nil, text))
	own := strings.Repeat(" ", len(text)-len(strings.TrimLeft(text, " ")))
	lines := []string{text}
	if width > 0 {
		lines = wrap(text, max(width-indent-len(own), 20))
	} else {
		lines[0] = strings.TrimLeft(text, " ")
	}
	for i, line := range lines {
		if i > 0 {
			name = ""
		}
		b = append(b, name...)
		b = appendSpaces(b, indent-len(name))
		b = append(b, own...)
		b = append(b, strings.TrimRight(line, " ")...)
		b = append(b, '\n')
	}
	return b
}
