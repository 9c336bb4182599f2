package render

import "strings"

// Help is the documentation of a command, to be shown as one screen, in full, or as a
// man page.
type Help struct {
	Command  string // as it is typed, "tracer exec"
	Short    string // one line
	Long     string // paragraphs; the screen shows the first
	Usage    string
	Example  string
	Commands []HelpEntry // below this one
	Flags    []FlagGroup // the first are the command's own
}

// FlagGroup are flags with a common purpose.
type FlagGroup struct {
	Title string
	Flags []Flag
	// Own: the screen explains these flags. It lists others by name only.
	Own bool
}

// Flag is a flag of a command.
type Flag struct {
	Name  string // "-p, --pid"
	Value string // what its value is called; "" if it takes none
	Text  string
}

// HelpEntry is a name and its explanation.
type HelpEntry struct{ Name, Text string }

// helpWidth is the width of an ordinary terminal.
const helpWidth = 80

// AppendScreen appends help that fits a screen.
func AppendScreen(b []byte, h *Help) []byte {
	intro, rest, _ := strings.Cut(h.Long, "\n\n")
	b = append(appendParagraph(b, intro), '\n')
	b = append(append(b, "Usage: "...), h.Usage...)
	more := "(more: " + strings.Replace(h.Command, " ", " help ", 1) + ")"
	if len(h.Commands) > 0 {
		more = "(more: " + h.Command + " COMMAND --help)"
	}
	if rest != "" {
		b = appendSpaces(b, max(2, helpWidth-len("Usage: ")-len(h.Usage)-len(more)))
		b = append(b, more...)
	}
	b = append(b, '\n')
	if h.Example != "" {
		b = append(append(b, h.Example...), '\n')
	}
	if len(h.Commands) > 0 {
		b = appendEntries(append(b, '\n'), h.Commands)
	}
	for _, own := range []bool{true, false} {
		blank := true
		for _, g := range h.Flags {
			if g.Own != own || len(g.Flags) == 0 {
				continue
			}
			if blank {
				b, blank = append(b, '\n'), false
			}
			if own {
				b = appendEntries(b, g.entries())
			} else {
				b = appendNames(b, g.Title, g.names())
			}
		}
	}
	return b
}

// AppendHelp appends the help in full.
func AppendHelp(b []byte, h *Help) []byte {
	for paragraph := range strings.SplitSeq(h.Long, "\n\n") {
		b = append(appendParagraph(b, paragraph), '\n')
	}
	b = append(append(b, "Usage: "...), h.Usage...)
	b = append(append(append(b, '\n'), h.Example...), '\n')
	for _, g := range h.Flags {
		if len(g.Flags) == 0 {
			continue
		}
		b = append(b, '\n')
		if !g.Own {
			b = append(append(b, g.Title...), ":\n"...)
		}
		b = appendEntries(b, g.entries())
	}
	return b
}

func appendParagraph(b []byte, text string) []byte {
	for _, line := range wrap(text, helpWidth) {
		b = append(append(b, line...), '\n')
	}
	return b
}

// entries are the flags with their explanations. Long names are aligned.
func (g *FlagGroup) entries() []HelpEntry {
	entries := make([]HelpEntry, len(g.Flags))
	for i, f := range g.Flags {
		name := strings.TrimSpace(f.Name + " " + f.Value)
		if strings.HasPrefix(name, "--") {
			name = "    " + name
		}
		entries[i] = HelpEntry{name, f.Text}
	}
	return entries
}

// names are the names of the flags. A value that neighbours share is named once.
func (g *FlagGroup) names() []string {
	names := make([]string, len(g.Flags))
	for i, f := range g.Flags {
		names[i] = f.Name
		if last := i == len(g.Flags)-1; f.Value != "" && (last || f.Value != g.Flags[i+1].Value) {
			names[i] += " " + f.Value
		}
	}
	return names
}

// appendEntries appends names with their texts beside them, below where a name is
// long.
func appendEntries(b []byte, entries []HelpEntry) []byte {
	const most = 30
	column := 8
	for _, e := range entries {
		if w := textWidth([]byte(e.Name)); w <= most {
			column = max(column, w)
		}
	}
	indent := len("  ") + column + len("  ")
	for _, e := range entries {
		b = append(append(b, "  "...), e.Name...)
		at := len("  ") + textWidth([]byte(e.Name))
		if at > indent-2 {
			b, at = append(b, '\n'), 0
		}
		for _, line := range wrap(e.Text, helpWidth-indent) {
			b = appendSpaces(b, indent-at)
			b, at = append(append(b, line...), '\n'), 0
		}
	}
	return b
}

// appendNames appends the purpose of flags and their names.
func appendNames(b []byte, title string, names []string) []byte {
	const indent = 10
	b = appendSpaces(append(append(b, "  "...), title...), indent-2-len(title))
	at := indent
	for i, name := range names {
		width := textWidth([]byte(name))
		switch {
		case i == 0:
		case at+2+width > helpWidth:
			b, at = appendSpaces(append(b, '\n'), indent), indent
		default:
			b, at = append(b, "  "...), at+2
		}
		b, at = append(b, name...), at+width
	}
	return append(b, '\n')
}

// AppendMan appends the man page, in the words of man(7).
func AppendMan(b []byte, h *Help, version string) []byte {
	page := strings.ReplaceAll(h.Command, " ", "-")
	b = append(b, ".TH "+strings.ToUpper(roff(page))+" 1 \"\" \"tracer "+roff(version)+"\"\n"...)
	b = append(b, ".SH NAME\n"+roff(page)+` \- `+roff(h.Short)+"\n"...)
	b = append(b, ".SH SYNOPSIS\n"+roff(h.Usage)+"\n"...)
	b = append(b, ".SH DESCRIPTION\n"...)
	for i, paragraph := range strings.Split(h.Long, "\n\n") {
		if i > 0 {
			b = append(b, ".PP\n"...)
		}
		b = append(b, roff(paragraph)+"\n"...)
	}
	if len(h.Commands) > 0 {
		b = append(b, ".SH COMMANDS\n"...)
		for _, c := range h.Commands {
			b = append(b, ".TP\n.B "+roff(c.Name)+"\n"+roff(c.Text)+"\n"...)
		}
	}
	if len(h.Flags) > 0 {
		b = append(b, ".SH OPTIONS\n"...)
	}
	for _, g := range h.Flags {
		if !g.Own && len(g.Flags) > 0 {
			b = append(b, ".SS "+roff(g.Title)+"\n"...)
		}
		for _, f := range g.Flags {
			b = append(b, ".TP\n"+`\fB`+roff(f.Name)+`\fR`...)
			if f.Value != "" {
				b = append(b, ` \fI`+roff(f.Value)+`\fR`...)
			}
			b = append(b, "\n"+roff(f.Text)+"\n"...)
		}
	}
	if h.Example != "" {
		b = append(b, ".SH EXAMPLES\n.nf\n"+roff(h.Example)+"\n.fi\n"...)
	}
	return b
}

// roff escapes what has a meaning in man(7).
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
