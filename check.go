package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"tracer/render"
	"tracer/render/help"
	"tracer/trace"
)

// newCheck is the command that says what could be traced.
func newCheck(status *int) *cobra.Command {
	var json bool
	var opts trace.Options
	var tier string
	buffer := "auto"
	cmd := &cobra.Command{
		Use:   "check [flags]",
		Short: "what this kernel and this user can trace, and how to get the rest",
		Long: `Show what this kernel and this user can trace, and how to get the rest.

For each command all its programs are loaded, attached, and detached again. Events
that happen meanwhile are not reported. The exit status is 0 if all commands can
run, and 1 if one cannot.`,
		Example: `  tracer check
  tracer check --json | jq '.commands[] | select(.ok | not)'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unexpected argument %q", args[0])
			}
			if err := setKernel(&opts, buffer, tier); err != nil {
				return err
			}
			check := trace.Check(opts)
			var text []byte
			if json {
				text = append(check.AppendJSON(nil), '\n')
			} else {
				width := 0
				if fd := int(os.Stdout.Fd()); term.IsTerminal(fd) {
					width, _, _ = term.GetSize(fd) // 0: unknown
				}
				text = render.AppendCheck(nil, check, width)
			}
			_, _ = cmd.OutOrStdout().Write(text) // stdout keeps the error
			if !check.OK() {
				*status = exitFailed
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&json, "json", false, "write one JSON object")
	declareKernel(cmd.Flags(), &opts, &buffer, &tier)
	help.Prepare(cmd, nil)
	return cmd
}
