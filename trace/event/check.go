package event

// Check is what can be traced on this host by this user.
type Check struct {
	Kernel   string       // release, as uname -r
	Arch     string       // as Go names it
	Blocked  string       // why nothing could be tried; all that follows but the commands' errors is unknown then
	BTF      string       // file that the kernel's types come from, empty if there is none
	Lockdown string       // none, integrity or confidentiality; empty if the kernel knows no such thing
	Buffer   string       // how events travel: ring or perf; empty if that could not be tried
	Missing  []Capability // that this process lacks
	Grant    string       // how to get what is missing
	Warnings []string     // what else is in the way, as sentences
	Cgroups  string       // v2, v1, hybrid (both), or empty
	Runtimes []string     // of containers, those that are running
	TLS      []CheckedTLS // libraries that processes have, those that can be read first
	Commands []CheckedCommand
}

// CheckedTLS is a file with a TLS library, or a program that has TLS in another way.
type CheckedTLS struct {
	Library   string // as the key tls of an exchange names it; empty if it cannot be read
	Path      string // as its processes see it
	Processes int    // that have it mapped
	Why       string // it cannot be read; empty if it can
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
	Remedy   string // what to do about it
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

func (c *Check) fields(t *table) {
	t.derived("event", "check")
	ok := c.OK()
	t.flag("ok", &ok, true)
	t.text("kernel", &c.Kernel, true)
	t.text("arch", &c.Arch, true)
	t.text("blocked", &c.Blocked, c.Blocked != "")
	t.text("btf", &c.BTF, c.BTF != "")
	t.text("lockdown", &c.Lockdown, c.Lockdown != "")
	t.text("buffer", &c.Buffer, c.Buffer != "")
	objects(t, "missing_capabilities", c.Missing)
	t.text("remedy", &c.Grant, c.Grant != "")
	t.texts("warnings", &c.Warnings, len(c.Warnings) > 0)
	t.text("cgroups", &c.Cgroups, c.Cgroups != "")
	t.texts("runtimes", &c.Runtimes, true)
	objects(t, "tls_libraries", c.TLS)
	objects(t, "commands", c.Commands)
}

func (c *CheckedTLS) fields(t *table) {
	t.text("library", &c.Library, c.Library != "")
	t.text("path", &c.Path, true)
	t.int("processes", &c.Processes, true)
	ok := c.Why == ""
	t.flag("ok", &ok, true)
	t.text("why", &c.Why, c.Why != "")
}

func (c *Capability) fields(t *table) {
	t.text("name", &c.Name, true)
	t.flag("needed", &c.Needed, true)
	t.text("for", &c.For, true)
}

func (c *CheckedCommand) fields(t *table) {
	t.text("command", &c.Name, true)
	ok := c.Error == ""
	t.flag("ok", &ok, true)
	t.text("error", &c.Error, c.Error != "")
	t.text("remedy", &c.Remedy, c.Remedy != "")
	objects(t, "features", c.Features)
}

func (f *CheckedFeature) fields(t *table) {
	t.text("feature", &f.Name, true)
	t.text("hooks", &f.Hooks, f.Hooks != "")
	t.text("misses", &f.Misses, f.Misses != "")
	t.text("remedy", &f.Remedy, f.Remedy != "")
}

// AppendJSON appends c as one object.
func (c *Check) AppendJSON(dst []byte) []byte { return appendMembers(dst, c.fields) }

// objects is a list of objects that are only written.
func objects[V any, P interface {
	*V
	fields(*table)
}](t *table, key string, list []V) {
	t.writes(key, true)
	t.out = append(t.out, '[')
	for i := range list {
		if i > 0 {
			t.out = append(t.out, ',')
		}
		t.out = appendMembers(t.out, P(&list[i]).fields)
	}
	t.out = append(t.out, ']')
}

// appendMembers appends what has a table, but is no Object.
func appendMembers(dst []byte, fields func(*table)) []byte {
	t := table{out: dst}
	fields(&t)
	return t.close(len(dst))
}
