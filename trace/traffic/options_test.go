package traffic

import (
	"flag"
	"io"
	"strings"
	"testing"
)

func TestOptionsAreValidated(t *testing.T) {
	for args, want := range map[string]string{
		"--by host":           "-by: ",
		"--by=":               "-by: ",
		"--sort pid":          "-sort: ",
		"--interval 0s":       "-interval: ",
		"--interval -1s":      "-interval: ",
		"--interval 9ms":      "-interval: ",
		"--top -1":            "-top: ",
		"--by pod --top 7":    "",
		"--interval 10ms":     "",
		"--sort tx --by peer": "",
	} {
		flags := flag.NewFlagSet("traffic", flag.ContinueOnError)
		flags.SetOutput(io.Discard)
		Probe.New().Flags(flags)
		err := flags.Parse(strings.Fields(args))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", args, err)
		}
	}
}
