package render_test

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tracer/testdata/kit"
)

// An event is on stdout within 100 ms of happening: as a rule, since a busy
// machine may run anybody later.
func TestKernelEventsAreShownAtOnce(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	limit := kit.Within(kit.ShownAtOnce)
	for _, command := range [][]string{{"exec"}, {"all"}, {"all", "--buffer", "perf"}} {
		r := kit.Start(t, append(command, "--pid", strconv.Itoa(os.Getpid()))...)
		var took []time.Duration
		for range 21 {
			pid := kit.Launch(t, kit.Workload(t, "nothing"))
			e := r.Until(kit.Started(pid))
			arrived := time.Now()
			at, err := time.Parse(time.RFC3339Nano, e["time"].(string))
			if err != nil {
				t.Fatal(err)
			}
			took = append(took, arrived.Sub(at))
			time.Sleep(20 * time.Millisecond) // each comes after a pause, when the reader dozes
		}
		r.Stop()
		slices.Sort(took)
		if median := took[len(took)/2]; median > limit {
			t.Errorf("%v: half of them take longer than %v: %v", command, median, took)
		}
		t.Logf("%v: from %v to %v, median %v", command, took[0], took[len(took)-1], took[len(took)/2])
	}
}

func TestKernelSlowReaderLosesNothingUnsaid(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	begin := time.Now()
	r := kit.Start(t, "exec", "--pid", strconv.Itoa(os.Getpid()))
	// The pipe is full after 64 KiB, the queue behind it after 16 MiB more. A
	// control character takes six bytes of JSON.
	const n, size = 113, 31000
	arg := strings.Repeat("\x01", size)
	for range n {
		if err := exec.Command("/bin/true", arg).Run(); err != nil {
			t.Fatal(err)
		}
	}
	// Told while it goes on, without anything being read from stdout.
	r.Note(kit.OfKind("lost"))
	a := r.Stop()
	told := 0
	for _, note := range r.Notes {
		if note["event"] == "lost" {
			told++
		}
	}
	// Each second, and the rest at the end.
	if seconds := int(time.Since(begin)/time.Second) + 1; told > seconds+1 {
		t.Errorf("told %d times in %d seconds", told, seconds)
	}
	shown, lost := a["shown"].(float64), a["lost"].(float64)
	if shown+lost != n || lost == 0 || int(shown) != len(r.Events) {
		t.Errorf("made %d, read %d: %v", n, len(r.Events), a)
	}
}

func TestEmptyOutputIsExplained(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	workload := kit.WorkloadBinary(t)
	for _, c := range []struct {
		args []string
		want string // regular expression; others on this host are left out, too
	}{
		{[]string{"exec", "--comm", "nosuch", "--", workload, "nothing"}, "no events matched; seen: exec 1; filtered out: 1 by --comm.*\n1 event seen, 0 shown"},
		{[]string{"exec", "--comm", "nosuch,workload", "--", workload, "nothing"}, ""},
		{[]string{"exec", "--verbose", "--", workload, "nothing"}, "tracer: note: seen: exec 1.*\n1 event seen, 1 shown"},
		{[]string{"conn", "--failed", "--", workload, "web"}, "filtered out: .*4 by --failed"},
		{[]string{"conn", "--port", "1", "--", workload, "web"}, "filtered out: .*2 by --port"},
		{[]string{"http", "--status", "404", "--", workload, "web"}, "no events matched; seen: HTTP/1 sockets 2; filtered out: .*3 by --status"},
		{[]string{"http", "--pid", "1", "--duration", "100ms"}, "no events were seen.*HTTP over Unix sockets is not traced"},
		{[]string{"http", "--", "bash", "-c", "for i in 1 2 3; do : < /dev/tcp/127.0.0.1/1; done; true"}, "TCP connections could not be opened on this host meanwhile: tracer conn --failed shows which"},
		{[]string{"http", "--uid", "65534", "--", workload, "web"}, "no events were seen|filtered out: .* by --uid"},
	} {
		cmd := kit.Command(t, c.args...)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v: %s", err, errs.String())
		}
		lines := strings.Split(strings.TrimSpace(errs.String()), "\n")
		if last := lines[len(lines)-1]; !regexp.MustCompile(" events? seen, ").MatchString(last) {
			t.Errorf("%v: the account is not the last line: %q", c.args, lines)
		}
		if c.want == "" && strings.Contains(errs.String(), "seen: ") || !regexp.MustCompile(c.want).MatchString(errs.String()) {
			t.Errorf("%v: no %q in %s", c.args, c.want, errs.String())
		}
	}
	// For programs the account has it, whether they ask or not.
	r := kit.Start(t, "exec", "--comm", "nosuch", "--", "/bin/sh", "-c", "exit 0")
	a := r.Wait(0)
	if diff := cmp.Diff(map[string]any{"exec": 1.0}, a["kinds"]); diff != "" {
		t.Error(diff)
	}
	if f, ok := a["filtered"].(map[string]any); !ok || f["comm"] != 1.0 {
		t.Errorf("filtered: %v", a["filtered"])
	}
}
