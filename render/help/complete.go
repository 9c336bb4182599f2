package help

import (
	"bytes"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tracer/render"
)

// Values by the name of the flag: what a shell may complete. A description may
// follow a value, after a tab.
type Values map[string]func() []string

// Prepare makes the flags of a command known to help and completion. It is
// called once, when all of them are declared. Flags that are not in known offer
// what their own values say: see package option.
func Prepare(cmd *cobra.Command, known Values) {
	flags := cmd.Flags()
	flags.VisitAll(func(f *pflag.Flag) {
		// `N` a text: the value's name and the text are shown apart.
		name, text := pflag.UnquoteUsage(f)
		f.Usage = strings.TrimPrefix(text, name+" ")
		_ = flags.SetAnnotation(f.Name, value, []string{name}) // it exists

		if name == "FILE" {
			return // shells complete files by themselves
		}
		v, _ := f.Value.(interface {
			IsList() bool
			Offers() []string
		})
		offers := known[f.Name]
		if offers == nil {
			offers = func() []string { return nil }
			if v != nil {
				offers = v.Offers
			}
		}
		_ = cmd.RegisterFlagCompletionFunc(f.Name, func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
			return offer(offers(), typed, v != nil && v.IsList())
		})
	})
	cmd.ValidArgsFunction = func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		if cmd.ArgsLenAtDash() < 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return nil, cobra.ShellCompDirectiveDefault
	}
}

// offer returns the values that begin with what is typed. After each comma of a
// list another one begins. Values that a shell would have to quote are left out:
// a process may have any name, and it is root who presses Tab.
func offer(values []string, typed string, list bool) (offered []string, how cobra.ShellCompDirective) {
	how = cobra.ShellCompDirectiveNoFileComp
	before := ""
	if list {
		how |= cobra.ShellCompDirectiveNoSpace
		before = typed[:strings.LastIndexByte(typed, ',')+1]
	}
	for _, v := range values {
		name, about, described := strings.Cut(v, "\t")
		if described { // a process may have any name
			v = name + "\t" + string(render.AppendText(nil, about))
		}
		if list && strings.Contains(name, ",") {
			continue
		}
		if name != "" && string(render.AppendShell(nil, name, false)) == name && strings.HasPrefix(before+name, typed) {
			offered = append(offered, before+v)
		}
	}
	slices.Sort(offered)
	return slices.Compact(offered), how
}

// Completion is the command that writes scripts for shells.
func Completion() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "print a script that lets a shell complete commands, flags and their values",
		Long: `Print a script that lets a shell complete commands, flags and their values. It also
completes the names of the processes, users, containers and pods on this host.`,
		Example: `  source <(tracer completion bash)
  tracer completion zsh >"${fpath[1]}/_tracer"
  tracer completion fish >~/.config/fish/completions/tracer.fish`,
		ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			switch strings.Join(args, " ") {
			case "bash":
				return writeBash(root)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			}
			return Hint(errors.New("completion needs the name of one shell"), "choose bash, zsh or fish")
		},
	}
}

// writeBash writes the script for bash. cobra's quotes each value, so that
// time,pid becomes time\,pid on the line. offer lets no value pass that needs
// quotes.
func writeBash(root *cobra.Command) error {
	var script bytes.Buffer
	if err := root.GenBashCompletionV2(&script, true); err != nil {
		return err
	}
	_, err := root.OutOrStdout().Write(bytes.ReplaceAll(script.Bytes(), []byte(`"%q`), []byte(`"%s`)))
	return err
}
