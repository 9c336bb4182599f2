// Package sinks is where the events of a session can go: what flags of a tracing
// command say about it, and the sinks that they open.
//
// Each sink has a type here with the methods of [Stdout], and a field in main's config.
// How events look there is in package render.
package sinks

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"tracer/render"
	"tracer/render/help"
	"tracer/trace/option"
)

// Stdout is the first sink of every session: tables, live screens and JSON lines.
type Stdout struct {
	render.Options
	color   string
	noColor bool
	columns []string
	view    render.View
	keys    *render.Keyboard
}

// Flags declares its flags.
func (s *Stdout) Flags(f *pflag.FlagSet) {
	s.color = "auto"
	f.BoolVar(&s.JSON, "json", false, "write JSON, one object per line")
	f.Var(option.Names(&s.columns), "columns", "`a,b,c` show these columns, in this order")
	f.BoolVar(&s.Wide, "wide", false, "do not cut cells to the width of the terminal")
	f.Var(option.OneOf(&s.color, "auto", "always", "never"), "color", "`WHEN` use colour: always, never, or auto, which is on a terminal, unless NO_COLOR is set or TERM is dumb")
	f.BoolVar(&s.noColor, "no-color", false, "the same as --color never")
}

// Resolve checks what the flags say about view, one of [render.Views], and picks its
// columns and colours.
func (s *Stdout) Resolve(flags *pflag.FlagSet, view string) (err error) {
	if s.noColor {
		s.color = "never"
	}
	if s.Color, err = render.ParseColor(s.color); err != nil {
		return fmt.Errorf("--color: %w", err)
	}
	s.view = render.Views[view]
	s.Closing = s.Recorded && strings.HasSuffix(view, "-summary")
	all := render.WithPlaces(s.view.Columns, s.view.Paged)
	if !flags.Changed("columns") {
		s.view.Columns = render.Defaults(all)
		return nil
	}
	picked, bad := render.Select(all, s.columns)
	if len(picked) == 0 {
		return help.Hint(fmt.Errorf("--columns: unknown column %q", bad), "choose from "+strings.Join(columns(view), ", "))
	}
	s.view.Columns = picked
	return nil
}

// Shows reports whether the table has a column, after Resolve.
func (s *Stdout) Shows(column string) bool {
	return !s.JSON && slices.ContainsFunc(s.view.Columns, func(c render.Column) bool { return c.Name == column })
}

// Values offers the columns of a view for completion.
func (s *Stdout) Values(view func() string) map[string]func() []string {
	return map[string]func() []string{"columns": func() []string { return columns(view()) }}
}

func columns(view string) []string {
	v := render.Views[view]
	return render.Names(render.WithPlaces(v.Columns, v.Paged))
}

// Prepare does what must be done before tracing begins and privileges are dropped.
// Release undoes it, if Open is not called.
func (s *Stdout) Prepare() (release func()) {
	s.keys = render.OpenKeyboard(os.Stdout, s.view, s.Options)
	return s.keys.Close
}

// Open starts writing, after Resolve and Prepare. Messages go to the same terminal in a
// way that both can be read; release is to be called after the last event, and whatever
// happens.
func (s *Stdout) Open(messages *render.Messages) (out *render.Output, release func()) {
	out = render.Open(os.Stdout, s.view, s.Options)
	return out, out.Share(messages, s.keys)
}
