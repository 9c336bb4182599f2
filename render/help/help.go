// Package help explains the command line: one screen for --help, everything for
// `tracer help COMMAND`, man pages, completion in shells, and what to do about a
// wrong command line.
//
// All of it comes from the commands and flags themselves. The package does not
// know what can be traced: names of processes and the like come from functions
// that the caller passes to [Prepare].
//
// The three writers are own code. cobra's template lists all flags one below the
// other, without groups, on more than one screen. cobra/doc does the same in man
// pages, reads texts as Markdown, which turns *x* into italics, and leaves hyphens
// that cannot be copied into a shell. Commands, flags and the scripts for shells
// are cobra's.
package help

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Annotations of flags.
const (
	group = "group" // the title that it stands below; a flag without one is the command's own
	value = "value" // what its value is called
)

// Group puts flags below a title: the screen then only names them.
func Group(flags *pflag.FlagSet, title string) {
	flags.VisitAll(func(f *pflag.Flag) { _ = flags.SetAnnotation(f.Name, group, []string{title}) }) // it exists
}

func annotation(f *pflag.Flag, name string) string { return strings.Join(f.Annotations[name], "") }

// A Section is shown below the flags, on the long page and on the man page.
type Section struct {
	Title   string
	Entries []Entry
}

// An Entry is a name with what it stands for.
type Entry struct{ Name, Text string }

// page is everything that is shown of a command.
type page struct {
	command  string // as it is typed, "tracer exec"
	short    string // one line
	long     string // paragraphs; the first one opens the screen
	usage    string
	example  string
	commands []Entry // below this one
	flags    []flagGroup
	seeAlso  []string
}

// flagGroup is the flags below one title; those without one are the command's own.
type flagGroup struct {
	title string
	flags []shownFlag
}

// shownFlag is a flag as it is shown.
type shownFlag struct {
	name  string // "-p, --pid"
	value string // what its value is called; empty if it takes none
	text  string
}

func pageOf(cmd *cobra.Command) *page {
	p := &page{command: cmd.CommandPath(), short: cmd.Short, long: cmd.Long, usage: cmd.UseLine(), example: cmd.Example}
	if !cmd.HasParent() {
		p.usage = cmd.Name() + " COMMAND [flags] [-- COMMAND ARG...]"
	}
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() || c.Name() == "help" {
			p.commands = append(p.commands, Entry{c.Name(), c.Short})
		}
	}
	root := cmd.Root()
	for _, c := range append([]*cobra.Command{root}, root.Commands()...) {
		if c != cmd && (c == root || c.IsAvailableCommand()) {
			p.seeAlso = append(p.seeAlso, c.CommandPath())
		}
	}
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" && cmd.HasParent() {
			return
		}
		o := shownFlag{name: "--" + f.Name, value: annotation(f, value), text: f.Usage}
		if f.NoOptDefVal != "" && f.Value.Type() != "bool" { // its value may be left out
			o.name, o.value = o.name+"[="+o.value+"]", ""
		}
		if f.Shorthand != "" {
			o.name = "-" + f.Shorthand + ", " + o.name
		}
		switch f.DefValue {
		case "", "0", "0s", "false": // does nothing
		default:
			o.text += " (default " + f.DefValue + ")"
		}
		title := annotation(f, group)
		i := slices.IndexFunc(p.flags, func(g flagGroup) bool { return g.title == title })
		if i < 0 {
			i = len(p.flags)
			p.flags = append(p.flags, flagGroup{title: title})
		}
		p.flags[i].flags = append(p.flags[i].flags, o)
	})
	return p
}

// screenWidth and screenHeight are the size of a usual terminal.
const screenWidth, screenHeight = 80, 24

// AppendScreen appends the help that fits a screen: without an example where that has no
// room, and without empty lines where these have none.
func AppendScreen(b []byte, cmd *cobra.Command) []byte {
	p := pageOf(cmd)
	if screen := p.appendScreen(nil); bytes.Count(screen, []byte{'\n'}) <= screenHeight {
		return append(b, screen...)
	}
	p.example = "" // the long page has it
	screen := p.appendScreen(nil)
	if bytes.Count(screen, []byte{'\n'}) > screenHeight {
		screen = bytes.ReplaceAll(screen, []byte("\n\n"), []byte{'\n'})
	}
	return append(b, screen...)
}

func (p *page) appendScreen(b []byte) []byte {
	intro, rest, _ := strings.Cut(p.long, "\n\n")
	b = append(appendParagraph(b, intro), '\n')
	b = append(append(b, "Usage: "...), p.usage...)
	more := "(more: " + strings.Replace(p.command, " ", " help ", 1) + ")"
	if len(p.commands) > 0 {
		more = "(more: " + p.command + " COMMAND --help)"
	}
	if rest != "" {
		b = appendSpaces(b, max(2, screenWidth-len("Usage: ")-len(p.usage)-len(more)))
		b = append(b, more...)
	}
	b = append(b, '\n')
	if p.example != "" {
		b = append(append(b, p.example...), '\n')
	}
	if len(p.commands) > 0 {
		b = appendEntries(append(b, '\n'), p.commands)
	}
	for _, own := range []bool{true, false} {
		blank := true
		for _, g := range p.flags {
			if own != (g.title == "") {
				continue
			}
			if blank {
				b, blank = append(b, '\n'), false
			}
			if own {
				b = appendEntries(b, g.entries())
			} else {
				b = appendNames(b, g.title, g.names())
			}
		}
	}
	return b
}

// AppendAll appends everything.
func AppendAll(b []byte, cmd *cobra.Command, sections []Section) []byte {
	p := pageOf(cmd)
	for paragraph := range strings.SplitSeq(p.long, "\n\n") {
		b = append(appendParagraph(b, paragraph), '\n')
	}
	b = append(append(b, "Usage: "...), p.usage...)
	b = append(append(append(b, '\n'), p.example...), '\n')
	var all []Section
	for _, g := range p.flags {
		all = append(all, Section{g.title, g.entries()})
	}
	for _, s := range append(all, sections...) {
		b = append(b, '\n')
		if s.Title != "" {
			b = append(append(b, s.Title...), ":\n"...)
		}
		b = appendEntries(b, s.Entries)
	}
	return b
}

func appendParagraph(b []byte, text string) []byte {
	for _, line := range wrap(text, screenWidth) {
		b = append(append(b, line...), '\n')
	}
	return b
}

// entries are the flags with their texts; long names stand under each other.
func (g *flagGroup) entries() []Entry {
	entries := make([]Entry, len(g.flags))
	for i, o := range g.flags {
		name := strings.TrimSpace(o.name + " " + o.value)
		if strings.HasPrefix(name, "--") {
			name = "    " + name
		}
		entries[i] = Entry{name, o.text}
	}
	return entries
}

// names are the flags without their texts. Neighbours that call their value the
// same show it once.
func (g *flagGroup) names() []string {
	names := make([]string, len(g.flags))
	for i, o := range g.flags {
		names[i] = o.name
		if last := i == len(g.flags)-1; o.value != "" && (last || o.value != g.flags[i+1].value) {
			names[i] += " " + o.value
		}
	}
	return names
}

// appendEntries appends names with their texts beside them. The text of a name
// that is much longer than others stands below it.
func appendEntries(b []byte, entries []Entry) []byte {
	const most = 30
	column := 8
	for _, e := range entries {
		if w := width(e.Name); w <= most {
			column = max(column, w)
		}
	}
	indent := len("  ") + column + len("  ")
	for _, e := range entries {
		b = append(append(b, "  "...), e.Name...)
		at := len("  ") + width(e.Name)
		if e.Text == "" {
			b = append(b, '\n')
			continue
		}
		if at > indent-2 {
			b, at = append(b, '\n'), 0
		}
		for _, line := range wrap(e.Text, screenWidth-indent) {
			b = appendSpaces(b, indent-at)
			b, at = append(append(b, line...), '\n'), 0
		}
	}
	return b
}

// appendNames appends names beside their title.
func appendNames(b []byte, title string, names []string) []byte {
	const indent = 10
	b = appendSpaces(append(append(b, "  "...), title...), indent-2-len(title))
	at := indent
	for i, name := range names {
		w := width(name)
		switch {
		case i == 0:
		case at+2+w > screenWidth:
			b, at = appendSpaces(append(b, '\n'), indent), indent
		default:
			b, at = append(b, "  "...), at+2
		}
		b, at = append(b, name...), at+w
	}
	return append(b, '\n')
}

func appendSpaces(b []byte, n int) []byte { return append(b, strings.Repeat(" ", max(n, 0))...) }

// wrap breaks text between words. (Libraries also break at hyphens, which would
// take flags apart.)
func wrap(text string, most int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case width(line)+1+width(word) <= most:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
	}
	return append(lines, line)
}

// width is the number of cells that our own texts take.
func width(s string) int { return utf8.RuneCountInString(s) }
