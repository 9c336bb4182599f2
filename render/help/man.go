package help

import (
	"strings"

	"github.com/spf13/cobra"
)

// AppendMan appends the man page, in the language of man(7).
func AppendMan(b []byte, cmd *cobra.Command, version string, sections []Section) []byte {
	p := pageOf(cmd)
	name := strings.ReplaceAll(p.command, " ", "-")
	line := func(parts ...string) { b = append(append(b, strings.Join(parts, "")...), '\n') }
	line(".TH ", strings.ToUpper(roff(name)), ` 1 "" "tracer `, roff(footer(version)), `" "User Commands"`)
	line(".SH NAME")
	line(roff(name), ` \- `, roff(p.short))
	line(".SH SYNOPSIS")
	line(roff(p.usage))
	line(".SH DESCRIPTION")
	line(strings.Join(strings.Split(roff(p.long), "\n\n"), "\n.PP\n"))
	if len(p.commands) > 0 {
		line(".SH COMMANDS")
	}
	for _, c := range p.commands {
		line(".TP\n.B ", roff(c.Name))
		line(roff(c.Text))
	}
	if len(p.flags) > 0 {
		line(".SH OPTIONS")
	}
	for _, g := range p.flags {
		if g.title != "" {
			line(".SS ", roff(g.title))
		}
		for _, o := range g.flags {
			text := `\fB` + roff(o.name) + `\fR`
			if o.value != "" {
				text += ` \fI` + roff(o.value) + `\fR`
			}
			line(".TP\n", text)
			line(roff(o.text))
		}
	}
	for _, s := range sections {
		line(".SH ", strings.ToUpper(roff(s.Title)))
		for _, e := range s.Entries {
			line(".TP\n.B ", roff(e.Name))
			if e.Text != "" {
				line(roff(e.Text))
			}
		}
	}
	if p.example != "" {
		line(".SH EXAMPLES\n.nf")
		line(roff(p.example))
		line(".fi")
	}
	line(".SH SEE ALSO")
	for i, also := range p.seeAlso {
		comma := ","
		if i == len(p.seeAlso)-1 {
			comma = ""
		}
		line(".BR ", roff(strings.ReplaceAll(also, " ", "-")), " (1)", comma)
	}
	return b
}

// maxFooter is how long a version may be: the name of the page stands beside it.
const maxFooter = 24

// footer is a version that fits the last line of a page: of one that is too long, as a
// commit's between releases, the beginning of the commit's own name, which is the last
// word.
func footer(version string) string {
	if len(version) <= maxFooter {
		return version
	}
	words := strings.Fields(version)
	last := words[len(words)-1]
	return last[:min(12, len(last))]
}

// roff escapes what man(7) would not print as it is.
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
