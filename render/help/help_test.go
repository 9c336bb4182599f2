package help

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tracer/trace/option"
)

// tool is a small command line of its own.
func tool() (root, run *cobra.Command) {
	root = &cobra.Command{Use: "tool", Short: "do things", Long: "Do things.", SilenceErrors: true, SilenceUsage: true}
	run = &cobra.Command{Use: "run [flags]", Short: "run a thing", Long: "Run a thing.\n\nThere is more.", Example: "  tool run -p 1", RunE: func(*cobra.Command, []string) error { return nil }}
	var pids []uint32
	size, how := uint64(1024), "fast"
	common := pflag.NewFlagSet("", pflag.ContinueOnError)
	common.VarP(option.IDs(&pids), "pid", "p", "`N[,N…]` only these")
	common.Bool("wide", false, "use all the width")
	common.Bool("secret", false, "for tests")
	_ = common.MarkHidden("secret")
	Group(common, "common")
	run.Flags().Var(option.Size(&size, 1, 1<<20), "size", "`1KiB` read this much")
	run.Flags().Var(option.OneOf(&how, "fast", "slow"), "how", "`fast|slow` choose a way")
	run.Flags().AddFlagSet(common)
	Prepare(run, Values{"pid": func() []string { return []string{"1\tinit", "12\tsh"} }})
	root.AddCommand(run, Completion())
	Install(root, "1.0", func(string) []Section { return []Section{{"columns", []Entry{{"pid", "pid"}, {"rate", ""}}}} })
	return root, run
}

func said(t *testing.T, args ...string) string {
	t.Helper()
	root, _ := tool()
	var out strings.Builder
	root.SetOut(&out)
	root.SetArgs(args)
	if err := root.Execute(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestScreenExplainsOwnFlagsAndNamesOthers(t *testing.T) {
	want := `Run a thing.

Usage: tool run [flags]                                    (more: tool help run)
  tool run -p 1

      --how fast|slow  choose a way (default fast)
      --size 1KiB      read this much (default 1KiB)

  common  -p, --pid N[,N…]  --wide
`
	if diff := cmp.Diff(want, said(t, "run", "--help")); diff != "" {
		t.Error(diff)
	}
}

func TestHelpCommandExplainsEverything(t *testing.T) {
	want := `Run a thing.

There is more.

Usage: tool run [flags]
  tool run -p 1

      --how fast|slow  choose a way (default fast)
      --size 1KiB      read this much (default 1KiB)

common:
  -p, --pid N[,N…]  only these
      --wide        use all the width

columns:
  pid       pid
  rate
`
	if diff := cmp.Diff(want, said(t, "help", "run")); diff != "" {
		t.Error(diff)
	}
}

func TestManPage(t *testing.T) {
	want := `.TH TOOL\-RUN 1 "" "tracer 1.0" "User Commands"
.SH NAME
tool\-run \- run a thing
.SH SYNOPSIS
tool run [flags]
.SH DESCRIPTION
Run a thing.
.PP
There is more.
.SH OPTIONS
.TP
\fB\-\-how\fR \fIfast|slow\fR
choose a way (default fast)
.TP
\fB\-\-size\fR \fI1KiB\fR
read this much (default 1KiB)
.SS common
.TP
\fB\-p, \-\-pid\fR \fIN[,N…]\fR
only these
.TP
\fB\-\-wide\fR
use all the width
.SH COLUMNS
.TP
.B pid
pid
.TP
.B rate
.SH EXAMPLES
.nf
  tool run \-p 1
.fi
.SH SEE ALSO
.BR tool (1),
.BR tool\-completion (1)
`
	if diff := cmp.Diff(want, said(t, "help", "--man", "run")); diff != "" {
		t.Error(diff)
	}
}

// The last line of a page has the version on its left and the page's name on its right, as man(1) sets it on a terminal of 80
// cells.
func TestManPagesFooterDoesNotCollide(t *testing.T) {
	groff, err := exec.LookPath("groff")
	if err != nil {
		t.Skip("groff is not installed")
	}
	root, run := tool()
	root.Use = "tracer"
	for version, want := range map[string]string{
		"v1.2.3":  "tracer v1.2.3",
		"(devel)": "tracer (devel)",
		"v0.0.0-20261130123456-6b70e87d1c2b+dirty 6b70e87d1c2b4a5f6978877665544332211009f8": "tracer 6b70e87d1c2b",
	} {
		cmd := exec.Command(groff, "-man", "-Tascii", "-rLL=80n", "-P-c")
		cmd.Stdin = bytes.NewReader(AppendMan(nil, run, version, nil))
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		words := regexp.MustCompile(`\s{2,}`).Split(lines[len(lines)-1], -1)
		if last := lines[len(lines)-1]; len(last) > 80 || words[0] != want || words[len(words)-1] != "TRACER-RUN(1)" || len(words) < 2 {
			t.Errorf("%s: %q", version, last)
		}
	}
}

func TestWrongCommandLinesHaveHints(t *testing.T) {
	for args, want := range map[string]string{
		"rum":              `unknown command "rum" / did you mean "run"?`,
		"comp":             `unknown command "comp" / did you mean "completion"?`,
		"other":            `unknown command "other" / see tool --help`,
		"run --pids 1":     "unknown flag --pids / did you mean --pid?",
		"run --si 1":       "unknown flag --si / did you mean --size?",
		"run --WIDE":       "unknown flag --WIDE / did you mean --wide?",
		"run --secrets":    "unknown flag --secrets / see tool run --help",
		"run --other":      "unknown flag --other / see tool run --help",
		"completion --pid": "unknown flag --pid / --pid is a flag of tool run",
		"run -x":           "unknown flag -x / see tool run --help",
		"run -p":           "-p, --pid needs a value / see tool run --help",
		"run --size":       "--size needs a value / see tool run --help",
		"run -p x":         `--pid: invalid process id "x" / see tool run --help`,
		"run --wide=yes":   `--wide: invalid value "yes" (choose true or false) / see tool run --help`,
		"run --=x":         "bad flag syntax: --=x / see tool run --help",
		"completion ksh":   "completion needs the name of one shell / choose bash, zsh or fish",
		"help other":       `unknown command "other" / see tool --help`,
	} {
		root, _ := tool()
		root.Args = func(cmd *cobra.Command, args []string) error { return UnknownCommand(cmd, args[0]) }
		root.RunE = func(*cobra.Command, []string) error { return nil }
		root.SetArgs(strings.Fields(args))
		cmd, err := root.ExecuteC()
		err = Usage(cmd, err)
		var hinted interface{ Hint() string }
		if !errors.As(err, &hinted) {
			t.Errorf("%s: no hint: %v", args, err)
		} else if got := err.Error() + " / " + hinted.Hint(); got != want {
			t.Errorf("%s:\n%s, want\n%s", args, got, want)
		}
	}
}

func TestHintKeepsTheError(t *testing.T) {
	cause := errors.New("cause")
	if err := Hint(fmt.Errorf("wrapped: %w", cause), "do it"); !errors.Is(err, cause) || err.Error() != "wrapped: cause" {
		t.Error(err)
	}
}

// A name that a shell would have to quote is left out: a process may have any
// name, and it is root who presses Tab.
func TestOffer(t *testing.T) {
	names := []string{"nginx", "ng;reboot", "ng$(id)", "ng inx", "ng\x1b[2J", "ng\nx", "", "ngb\tits place", "nginx", "ng,x"}
	for _, c := range []struct {
		typed string
		list  bool
		want  string
	}{
		{"", false, "ng,x ngb\tits place nginx"},
		{"ngi", false, "nginx"},
		{"x", false, ""},
		{"a,ngi", true, "a,nginx"},
		{"ngi,", true, "ngi,ngb\tits place ngi,nginx"},
		{"a,ngi", false, ""},
	} {
		got, _ := offer(names, c.typed, c.list)
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%q, a list: %t: %q, want %q", c.typed, c.list, text, c.want)
		}
	}
}

// The distance of names is that of a metric, and one letter changes it by 1.
func FuzzDistance(f *testing.F) {
	f.Add("pid", "pdi", "uid")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		if len(a)+len(b)+len(c) > 100 {
			return
		}
		d := distance(a, b)
		if (d == 0) != (a == b) || d != distance(b, a) || d > distance(a, c)+distance(c, b) || distance(a, a+"x") != 1 {
			t.Errorf("%q, %q, %q: %d", a, b, c, d)
		}
	})
}
