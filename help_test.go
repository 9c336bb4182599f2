package main

import (
	"bytes"
	"flag"
	"testing"
	"unicode/utf8"

	"github.com/spf13/pflag"

	"tracer/render/help"
	"tracer/trace"
)

// The screen has 24 lines and 80 cells. Both helps name every flag.
func TestHelpFitsAScreen(t *testing.T) {
	root := newRoot(new(int))
	for _, cmd := range append(root.Commands(), root) {
		screen := help.AppendScreen(nil, cmd)
		if lines := bytes.Count(screen, []byte{'\n'}); lines > 24 {
			t.Errorf("%s --help has %d lines", cmd.CommandPath(), lines)
		}
		all := help.AppendAll(nil, cmd, columnsOf(cmd.Name()))
		for _, text := range [][]byte{screen, all} {
			for line := range bytes.Lines(text) {
				if n := utf8.RuneCount(line) - 1; n > 80 {
					t.Errorf("%s: %d cells: %s", cmd.CommandPath(), n, line)
				}
			}
			cmd.Flags().VisitAll(func(f *pflag.Flag) {
				if !f.Hidden && f.Name != "help" && !bytes.Contains(text, []byte("--"+f.Name)) {
					t.Errorf("%s: --%s is missing in\n%s", cmd.CommandPath(), f.Name, text)
				}
			})
		}
	}
}

// The flags of one command are explained on its screen. Those of all commands
// are only named, below the title of their group.
func TestFlagsOfAllCommandsAreGrouped(t *testing.T) {
	root := newRoot(new(int))
	for _, p := range trace.Probes {
		own := flag.NewFlagSet("", flag.ContinueOnError)
		p.New().Flags(own)
		cmd, _, err := root.Find([]string{p.Name})
		if err != nil {
			t.Fatal(err)
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if grouped := len(f.Annotations["group"]) > 0; grouped == (own.Lookup(f.Name) != nil) && f.Name != "help" {
				t.Errorf("%s: --%s: grouped: %t", p.Name, f.Name, grouped)
			}
		})
	}
}
