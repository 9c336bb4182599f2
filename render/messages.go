// Package render shows events: as tables, as JSON lines, on a terminal or in a
// file, and makes strangers' text harmless on the way.
//
// It imports package event, never trace or bpf: it does not know where events
// come from. Start with Output, which writes, then Table and JSON, which format.
package render

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"tracer/trace/event"
)

// Messages is what goes to stderr: one line each, text or JSON. It is safe for
// concurrent use.
type Messages struct {
	mu   sync.Mutex
	w    io.Writer
	json bool
	show func(string) bool // nil: nothing else writes to where w leads
	held []byte            // what show has shown
}

// NewMessages writes to w.
func NewMessages(w io.Writer, json bool) *Messages { return &Messages{w: w, json: json} }

// Share is for a w that is the terminal on which also a Live shows pages: while
// show takes messages they are written only when Release is called.
func (m *Messages) Share(show func(string) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.show = show
}

// Release writes what was held back.
func (m *Messages) Release() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.show = nil
	_, _ = m.w.Write(m.held) // there is nowhere left to say it
	m.held = nil
}

// Start says that tracing has begun.
func (m *Messages) Start(s *event.Start, text string) {
	m.line(s.AppendJSON, text)
}

// Notice passes on a warning or a loss.
func (m *Messages) Notice(n *event.Notice) {
	if n.Message == "" && !m.json {
		return // the table tells it
	}
	m.line(n.AppendJSON, "tracer: "+n.Kind+": "+n.Message+causes(n.LostBy))
}

// What Explain calls the keys of an account.
var (
	kindNames = map[string]string{
		"http1": "HTTP/1 sockets", "http2": "HTTP/2 sockets (cannot be read)", "tls": "TLS sockets (cannot be looked into)",
		"other": "other sockets", "unread": "sockets whose bytes cannot be read",
	}
	filterNames = map[string]string{
		"pid": "other processes", "uid": "other users", "place": "other containers and pods", "self": "tracer itself",
		"comm": "other names", "port": "other ports", "failed": "did not fail", "slow": "fast enough",
		"method": "other methods", "path": "other paths", "host": "other hosts", "status": "other statuses", "role": "the other role",
	}
)

// Explain says what an account tells only programs: why little or nothing was
// shown.
func (m *Messages) Explain(a *event.Account) {
	var text []string
	if a.Shown == 0 {
		text = append(text, "nothing was shown")
	}
	if len(a.Kinds) > 0 {
		text = append(text, "seen: "+tally(a.Kinds, kindNames))
	}
	if len(a.Filtered) > 0 {
		text = append(text, "left out by filters: "+tally(a.Filtered, filterNames))
	}
	if len(a.Kinds)+len(a.Filtered) == 0 && a.Seen == 0 {
		text = append(text, "nothing of the kind happened where it can be seen")
	}
	if len(a.Unseen) > 0 {
		text = append(text, "cannot be seen here: "+strings.Join(a.Unseen, "; "))
	}
	if len(text) > 0 {
		m.Notice(&event.Notice{Kind: "note", Message: strings.Join(text, "; ")})
	}
}

// tally lists what was counted, as "HTTP/1 12, other 3".
func tally(counts map[string]uint64, names map[string]string) string {
	var list []string
	for _, key := range slices.Sorted(maps.Keys(counts)) {
		name := names[key]
		if name == "" {
			name = key
		}
		list = append(list, fmt.Sprintf("%s %d", name, counts[key]))
	}
	return strings.Join(list, ", ")
}

// Account gives the closing line.
func (m *Messages) Account(a *event.Account) {
	b := fmt.Appendf(nil, "%d events seen, %d shown, %d lost%s in ", a.Seen, a.Shown, a.Lost, causes(a.LostBy))
	b = AppendDuration(b, a.Duration)
	if a.Incomplete > 0 {
		b = fmt.Appendf(b, "; %d details lost, some rows lack a field", a.Incomplete)
	}
	b = AppendDuration(append(b, "; cost: CPU "...), a.CPU)
	if a.HasBPF {
		b = AppendDuration(append(b, ", kernel "...), a.BPF)
	}
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
	_, _ = m.w.Write(append(b, '\n')) // there is nowhere left to say it
}

// causes lists losses by cause, as " (ring_full 12)".
func causes(by map[string]uint64) string {
	if len(by) == 0 {
		return ""
	}
	var list []string
	for cause, n := range by {
		list = append(list, fmt.Sprintf("%s %d", cause, n))
	}
	slices.Sort(list)
	return " (" + strings.Join(list, ", ") + ")"
}
