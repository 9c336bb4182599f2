package help

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Hint adds to an error what the user can do about it. The error then has a
// method Hint, by which it is found: see package render.
func Hint(err error, hint string) error { return &hinted{err, hint} }

type hinted struct {
	error
	hint string
}

func (h *hinted) Unwrap() error { return h.error }
func (h *hinted) Hint() string  { return h.hint }

// Usage explains why the command line of cmd is wrong: the sentence names the
// flag, and there is a hint.
func Usage(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var missing *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	see := "see " + cmd.CommandPath() + " --help"
	switch {
	case errors.As(err, &unknown):
		name := unknown.GetSpecifiedName()
		if unknown.GetSpecifiedShortnames() != "" {
			return Hint(fmt.Errorf("unknown flag -%s", name), see)
		}
		err = fmt.Errorf("unknown flag --%s", name)
		if meant := nearest(name, flagsOf(cmd)); meant != "" {
			return Hint(err, "did you mean --"+meant+"?")
		}
		if of := commandsWith(cmd.Root(), name); len(of) > 0 {
			return Hint(err, fmt.Sprintf("--%s is a flag of %s", name, strings.Join(of, ", ")))
		}
	case errors.As(err, &missing):
		f := missing.GetFlag()
		err = fmt.Errorf("--%s needs a value", f.Name)
		if f.Shorthand != "" {
			err = fmt.Errorf("-%s, --%s needs a value", f.Shorthand, f.Name)
		}
	case errors.As(err, &invalid):
		f := invalid.GetFlag()
		err = fmt.Errorf("--%s: %w", f.Name, errors.Unwrap(invalid))
		if f.Value.Type() == "bool" {
			err = fmt.Errorf("--%s: invalid value %q (choose true or false)", f.Name, invalid.GetValue())
		}
	}
	if errors.As(err, new(interface{ Hint() string })) {
		return err
	}
	return Hint(err, see)
}

// UnknownCommand says that there is no command of this name.
func UnknownCommand(root *cobra.Command, name string) error {
	var names []string
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() || c.Name() == "help" {
			names = append(names, c.Name())
		}
	}
	err := fmt.Errorf("unknown command %q", name)
	if meant := nearest(name, names); meant != "" {
		return Hint(err, fmt.Sprintf("did you mean %q?", meant))
	}
	return Hint(err, "see "+root.Name()+" --help")
}

func flagsOf(cmd *cobra.Command) (names []string) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	return names
}

// commandsWith are the commands that have a flag of this name.
func commandsWith(root *cobra.Command, name string) (list []string) {
	for _, c := range append([]*cobra.Command{root}, root.Commands()...) {
		if f := c.Flags().Lookup(name); f != nil && !f.Hidden {
			list = append(list, c.CommandPath())
		}
	}
	return list
}

// nearest returns the name that was probably meant: one that begins with what
// was typed, or differs from it in a letter or two. It is empty if none does.
func nearest(typed string, names []string) (meant string) {
	typed = strings.ToLower(typed)
	least := min(2, len(typed)-1) + 1
	for _, name := range names {
		d := distance(typed, name)
		if strings.HasPrefix(name, typed) {
			d = min(d, 1)
		}
		if d < least {
			meant, least = name, d
		}
	}
	return meant
}

// distance counts the letters to insert, delete or replace to make a become b,
// by Levenshtein's algorithm. cobra has it too, but only for commands.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}
