package event

// Check is what can be traced on this host by this user.
type Check struct {
	Kernel   string       // release, as uname -r
	Arch     string       // as Go names it
	BTF      string       // file that the kernel's types come from, empty if there is none
	Lockdown string       // none, integrity or confidentiality; empty if the kernel knows no such thing
	Buffer   string       // how events travel: ring or perf; empty if that could not be tried
	Missing  []Capability // that this process lacks
	Grant    string       // how to get what is missing
	Warnings []string     // what else is in the way, as sentences
	Cgroups  string       // v2, v1, hybrid (both), or empty
	Runtimes []string     // of containers, those that are running
	Commands []CheckedCommand
}

// Capability is one of capabilities(7).
type Capability struct {
	Name   string
	Needed bool   // nothing works without it
	For    string // what it is for
}

// CheckedCommand is a tracing command.
type CheckedCommand struct {
	Name     string
	Error    string // why it cannot run; empty if it can
	Features []CheckedFeature
}

// CheckedFeature is something that a command sees, if it can.
type CheckedFeature struct {
	Name   string
	Hooks  string // kind of hook in use: fentry, kprobe or tracepoint; empty if it cannot be had
	Misses string // what is not seen for that reason
	Remedy string // what to do about it
}

// OK reports whether all commands can run.
func (c *Check) OK() bool {
	for _, command := range c.Commands {
		if command.Error != "" {
			return false
		}
	}
	return true
}

// AppendJSON appends c as one object.
func (c *Check) AppendJSON(dst []byte) []byte {
	o := object{buf: append(dst, '{')}
	o.str("event", "check")
	o.bool("ok", c.OK())
	o.str("kernel", c.Kernel)
	o.str("arch", c.Arch)
	o.optional("btf", c.BTF)
	o.optional("lockdown", c.Lockdown)
	o.optional("buffer", c.Buffer)
	list(&o, "missing_capabilities", c.Missing, func(o *object, m Capability) {
		o.str("name", m.Name)
		o.bool("needed", m.Needed)
		o.str("for", m.For)
	})
	o.optional("remedy", c.Grant)
	if len(c.Warnings) > 0 {
		o.strings("warnings", c.Warnings)
	}
	o.optional("cgroups", c.Cgroups)
	o.strings("runtimes", c.Runtimes)
	list(&o, "commands", c.Commands, func(o *object, command CheckedCommand) {
		o.str("command", command.Name)
		o.bool("ok", command.Error == "")
		o.optional("error", command.Error)
		list(o, "features", command.Features, func(o *object, f CheckedFeature) {
			o.str("feature", f.Name)
			o.optional("hooks", f.Hooks)
			o.optional("misses", f.Misses)
			o.optional("remedy", f.Remedy)
		})
	})
	return append(o.buf, '}')
}

// list appends an array of objects.
func list[T any](o *object, k string, items []T, members func(*object, T)) {
	o.key(k)
	o.buf = append(o.buf, '[')
	for i, item := range items {
		if i > 0 {
			o.buf = append(o.buf, ',')
		}
		o.buf = append(o.buf, '{')
		members(o, item)
		o.buf = append(o.buf, '}')
	}
	o.buf = append(o.buf, ']')
}
