package help

import (
	"strings"

	"github.com/spf13/cobra"
)

// Command is `tracer help [COMMAND]`, which shows everything about a command.
// sections returns what is shown below the flags of the command of this name.
func Command(version string, sections func(name string) []Section) *cobra.Command {
	var man bool
	cmd := &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "explain a command: what it sees, what it misses, all flags and columns",
		Long:  "Explain a command: what it sees, what it misses, all flags and columns.",
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) (names []string, _ cobra.ShellCompDirective) {
			for _, c := range cmd.Root().Commands() {
				if len(args) == 0 && c.IsAvailableCommand() {
					names = append(names, c.Name()+"\t"+c.Short)
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return UnknownCommand(cmd.Root(), strings.Join(args, " "))
			}
			about.InitDefaultHelpFlag()
			switch {
			case man:
				show(cmd, AppendMan(nil, about, version, sections(about.Name())))
			case about.HasParent():
				show(cmd, AppendAll(nil, about, sections(about.Name())))
			default:
				return about.Help()
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&man, "man", false, "print the source of the man page")
	return cmd
}

// Install makes --help and `tracer help` show what this package writes.
func Install(root *cobra.Command, version string, sections func(name string) []Section) {
	root.SetHelpCommand(Command(version, sections))
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { show(cmd, AppendScreen(nil, cmd)) })
}

// show writes a text. Whoever set the output keeps the error.
func show(cmd *cobra.Command, text []byte) { _, _ = cmd.OutOrStdout().Write(text) }
