// Package render shows events: as tables or as JSON lines, on a terminal or in a
// file. Text from the traced world is escaped on the way, so that it cannot control
// the terminal.
//
// It imports package event, never trace or bpf: it does not know where events come
// from. Start with Open, then Output, which writes, and Table, Lines, Live and
// JSON, which format. To add a command, write its columns and a row of Views.
package render

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"tracer/trace/event"
)

// Messages writes what goes to stderr: one line each, text or JSON. It is safe for
// concurrent use.
type Messages struct {
	terminal bool // w is one
	json     bool

	mu   sync.Mutex
	w    io.Writer
	show func(string) bool // shows a message elsewhere, if it can; nil: it cannot
	held []byte            // what show has shown
	keep func([]byte)      // takes what is told as lines of JSON, too; nil: nobody does
	last string            // warning or loss that was written last
}

// NewMessages writes to w, usually os.Stderr.
func NewMessages(w io.Writer, json bool) *Messages {
	file, ok := w.(*os.File)
	return &Messages{w: w, json: json, terminal: ok && isTerminal(file)}
}

// Record has what is told passed to keep as well, each as a line of JSON, whatever stderr
// shows. What sums up events is not: who keeps those can sum them up.
func (m *Messages) Record(keep func(line []byte)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keep = keep
}

// record passes an object on to who keeps them.
func (m *Messages) record(json func([]byte) []byte) {
	m.mu.Lock()
	keep := m.keep
	m.mu.Unlock()
	if keep != nil {
		keep(append(json(nil), '\n'))
	}
}

// share holds messages back while show takes them: w is the terminal of a live
// screen. A warning that was written before is shown as well, since the screen hides it.
func (m *Messages) share(show func(string) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.show = show
	if m.last != "" {
		show(m.last)
	}
}

// release writes what was held back, and ends that.
func (m *Messages) release() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.show = nil
	m.write(m.held)
	m.held = nil
}

// Interrupted begins a new line on the terminal, which shows ^C where the cursor
// was.
func (m *Messages) Interrupted() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.terminal && !m.json && m.show == nil {
		m.write([]byte{'\n'})
	}
}

// write writes to w. The caller holds the lock.
func (m *Messages) write(b []byte) {
	_, _ = m.w.Write(b) // there is nowhere left to report an error
}

// Error says that something failed, why, and what can be done: see AppendError. It
// is text, also where other messages are JSON.
func (m *Messages) Error(err error) {
	b := AppendError(nil, err)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.show != nil && m.show("tracer: error: "+err.Error()) {
		m.held = append(m.held, b...)
		return
	}
	m.write(b)
}

// Start says that tracing has begun.
func (m *Messages) Start(s *event.Start, text string) {
	m.record(s.AppendJSON)
	m.line(s.AppendJSON, text)
}

// Notice passes on a warning or a loss.
func (m *Messages) Notice(n *event.Notice) {
	if n.Message == "" && !m.json {
		return // the closing table shows it
	}
	if n.Kind != event.KindTotal && n.Kind != event.KindSlowest {
		m.record(n.AppendJSON)
	}
	text := "tracer: " + n.Kind + ": " + n.Message + causes(n.LostBy)
	if n.Kind != event.KindNote {
		m.mu.Lock()
		m.last = text
		m.mu.Unlock()
	}
	m.line(n.AppendJSON, text)
}

// kindNames are the kinds of an account that need more than their key, in words.
var kindNames = map[string]string{
	"http1":  "HTTP/1 sockets",
	"http2":  "HTTP/2 sockets",
	"tls":    "TLS sockets (encrypted)",
	"other":  "sockets of other protocols",
	"unread": "sockets whose data could not be read",
}

// unreadableKinds are those of kindNames whose sockets cannot be looked into, in short.
var unreadableKinds = map[string]string{
	"http2":  "HTTP/2",
	"tls":    "TLS",
	"unread": "by no program of this kernel",
}

// unreadable says how many sockets could not be looked into, and why: rows that are shown
// must not hide it. Empty if there were none.
func unreadable(a *event.Account) string {
	sum, by := uint64(0), map[string]uint64{}
	for kind, why := range unreadableKinds {
		if n := a.Kinds[kind]; n > 0 {
			sum += n
			by[why] = n
		}
	}
	if sum == 0 {
		return ""
	}
	return plural(sum, "socket") + " not readable (" + tally(by, func(why string, n uint64) string { return fmt.Sprintf("%s %d", why, n) }) + ")"
}

// filterNames are the filters of an account, as the flags that set them. Other
// filters are the flag of their name.
var filterNames = map[string]string{
	"place": "--container, --pod or --namespace",
	"self":  "default (tracer itself; --self shows it)",
}

// Explain says what else is in an account: what was seen, what filters left out and
// what cannot be seen. It is for people who wonder why they see little.
func (m *Messages) Explain(a *event.Account) {
	filtered := map[string]uint64{} // in user space and, in units of its own, in the kernel
	for _, by := range []map[string]uint64{a.Filtered, a.LeftOut} {
		for flag, n := range by {
			filtered[flag] += n
		}
	}
	var text []string
	switch {
	case a.Shown > 0:
	case a.Seen == 0 && len(a.Kinds)+len(filtered) == 0:
		text = append(text, "no events were seen")
	case a.Seen == 0 && len(a.Kinds)+len(a.Filtered) == 0 && onlyOthers(a.LeftOut):
		// Nothing of the wanted processes: it is no filter that left that out.
		text = append(text, "no events were seen of what --pid wants")
		filtered = nil
	default:
		text = append(text, "no events matched")
	}
	if len(a.Kinds) > 0 {
		text = append(text, "seen: "+tally(a.Kinds, func(kind string, n uint64) string {
			return fmt.Sprintf("%s %d", cmp.Or(kindNames[kind], kind), n)
		}))
	}
	if len(filtered) > 0 {
		text = append(text, "filtered out: "+tally(filtered, func(filter string, n uint64) string {
			return fmt.Sprintf("%d by %s", n, cmp.Or(filterNames[filter], "--"+filter))
		}))
	}
	if len(a.Skipped) > 0 {
		text = append(text, "recorded, but not shown by this command: "+tally(a.Skipped, func(kind string, n uint64) string {
			return fmt.Sprintf("%s %d", kind, n)
		}))
	}
	if len(a.Unseen) > 0 {
		text = append(text, "not visible on this host: "+strings.Join(a.Unseen, "; "))
	}
	if len(text) > 0 {
		m.Notice(&event.Notice{Time: a.Time, Kind: event.KindNote, Message: strings.Join(text, "; ")})
	}
}

// Unopened names the command that shows connections which could not be opened.
func (m *Messages) Unopened(a *event.Account) {
	if a.Unopened == 0 {
		return
	}
	what := "connections could"
	if a.Unopened == 1 {
		what = "connection could"
	}
	m.Notice(&event.Notice{Time: a.Time, Kind: event.KindNote, Message: fmt.Sprintf("%d TCP %s not be opened on this host meanwhile: tracer conn --failed shows which", a.Unopened, what)})
}

// onlyOthers reports whether what was left out is other processes'.
func onlyOthers(leftOut map[string]uint64) bool {
	for flag := range leftOut {
		if flag != "pid" && flag != "self" {
			return false
		}
	}
	return leftOut["pid"] > 0
}

// Unreadable names the connections whose plaintext was not seen, a line for each kind. As
// JSON the account has them.
func (m *Messages) Unreadable(a *event.Account) {
	if m.json {
		return
	}
	for _, u := range a.Unreadable {
		text := fmt.Sprintf("not readable: %s of %s", plural(u.Connections, "TLS connection"), u.Comm)
		if u.ServerName != "" {
			text += " with " + u.ServerName
		}
		if len(u.ALPN) > 0 {
			text += " (" + strings.Join(u.ALPN, ", ") + ")"
		}
		if u.Why != "" {
			text += ": " + u.Why
		}
		m.Notice(&event.Notice{Time: a.Time, Kind: event.KindNote, Message: text})
	}
}

// tally lists counts in the order of their keys.
func tally(counts map[string]uint64, say func(key string, n uint64) string) string {
	var list []string
	for _, key := range slices.Sorted(maps.Keys(counts)) {
		list = append(list, say(key, counts[key]))
	}
	return strings.Join(list, ", ")
}

// Account writes the closing line.
func (m *Messages) Account(a *event.Account) {
	b := fmt.Appendf(nil, "%s seen, %d shown, %d lost%s in ", plural(a.Seen, "event"), a.Shown, a.Lost, causes(a.LostBy))
	b = AppendDuration(b, a.Duration)
	if text := unreadable(a); text != "" {
		b = append(append(b, "; "...), text...)
	}
	if len(a.Undelivered) > 0 {
		b = append(b, "; shown and not delivered: "+tally(a.Undelivered, func(sink string, n uint64) string { return fmt.Sprintf("%s %d", sink, n) })...)
	}
	if n := sum(a.Unread); n > 0 {
		b = append(append(b, "; "...), plural(n, "line")+" could not be read"...)
	}
	if a.Overflows > 0 {
		b = fmt.Appendf(b, "; %s to connect dropped by full queues of listeners", plural(a.Overflows, "attempt"))
	}
	if a.Incomplete > 0 {
		b = fmt.Appendf(b, "; %s lost, some rows lack a field", plural(a.Incomplete, "detail"))
	}
	b = AppendDuration(append(b, "; cost: CPU "...), a.CPU)
	if a.HasBPF {
		b = AppendDuration(append(b, ", kernel "...), a.BPF)
	}
	m.record(a.AppendJSON)
	m.line(a.AppendJSON, string(b))
}

func (m *Messages) line(json func([]byte) []byte, text string) {
	var b []byte
	if m.json {
		b = json(nil)
	} else {
		b = AppendMessage(nil, text)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.show != nil && m.show(text) {
		m.held = append(append(m.held, b...), '\n')
		return
	}
	m.write(append(b, '\n'))
}

func sum(by map[string]uint64) (n uint64) {
	for _, more := range by {
		n += more
	}
	return n
}

// plural is a number of things, as "1 event" and "2 events".
func plural(n uint64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return strconv.FormatUint(n, 10) + " " + thing + "s"
}

// causes lists losses by cause, as " (ring_full 12)".
func causes(by map[string]uint64) string {
	if len(by) == 0 {
		return ""
	}
	return " (" + tally(by, func(cause string, n uint64) string { return fmt.Sprintf("%s %d", cause, n) }) + ")"
}
