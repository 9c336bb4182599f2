package traffic

import (
	"strings"
	"testing"
)

func TestOptionsAreValidated(t *testing.T) {
	for args, want := range map[string]string{
		"--by host":           "--by: ",
		"--by=":               "--by: ",
		"--sort pid":          "--sort: ",
		"--interval 0s":       "--interval: ",
		"--interval -1s":      "--interval: ",
		"--interval 9ms":      "--interval: ",
		"--top -1":            "--top: ",
		"--by pod --top 7":    "",
		"--interval 10ms":     "",
		"--sort tx --by peer": "",
	} {
		err := parse(t, strings.Fields(args)...).Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%s: %v", args, err)
		}
	}
}
