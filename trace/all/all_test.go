package all_test

import (
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tracer/testdata/kit"
	"tracer/trace/all"
	"tracer/trace/session"
)

func tracers(t *testing.T, args ...string) (names []string) {
	t.Helper()
	tracer := all.Probe.New()
	flags := flag.NewFlagSet("all", flag.ContinueOnError)
	tracer.Flags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	for _, part := range session.Tracers(tracer) {
		names = append(names, fmt.Sprintf("%T", part))
	}
	return names
}

func TestPartsThatAreTraced(t *testing.T) {
	for args, want := range map[string][]string{
		"":                 {"*http.tracer", "*conn.tracer", "*exec.tracer"},
		"--only=http,exec": {"*http.tracer", "*exec.tracer"},
		"--only=conn":      {"*conn.tracer"},
	} {
		var list []string
		if args != "" {
			list = []string{args}
		}
		if diff := cmp.Diff(want, tracers(t, list...)); diff != "" {
			t.Errorf("%q: %s", args, diff)
		}
	}
}

// made is what some runs of the workload "web" and of a program that is not there are to
// tell, by event: each a program, a connection with both its ends here, and three
// exchanges.
func made(runs, failures int) map[string]int {
	return map[string]int{"exec": runs, "exit": runs + failures, "exec_failed": failures, "connect": runs, "accept": runs, "close": 2 * runs, "http": 3 * runs}
}

// script runs the workload, and what fails, so many times each, and no program beside.
func script(t *testing.T, runs, failures int) []string {
	t.Helper()
	text := fmt.Sprintf("i=0; while [ $i -lt %d ]; do \"$0\" web; i=$((i+1)); done; i=0; while [ $i -lt %d ]; do (exec /nonexistent/program) 2>/dev/null; i=$((i+1)); done; :", runs, failures)
	return []string{"--", "/bin/sh", "-c", text, kit.WorkloadBinary(t)}
}

// counts are the events by kind, but for those of the shell itself.
func counts(r *kit.Tracer, shell float64) map[string]int {
	n := map[string]int{}
	for _, e := range r.Events {
		if e["pid"] != shell {
			n[e["event"].(string)]++
		}
	}
	return n
}

// over is when an event was over.
func over(t *testing.T, e kit.Event) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, e["time"].(string))
	if err != nil {
		t.Fatal(err)
	}
	if d, ok := e["duration_us"].(float64); ok && e["event"] == "http" {
		at = at.Add(time.Duration(d) * time.Microsecond)
	}
	return at
}

func TestKernelAllShowsEachEventOnceInOrder(t *testing.T) {
	kit.Needs(t, kit.EndsKernel)
	runs, failures := kit.Size(31, 3), kit.Size(17, 2)
	r := kit.Start(t, append([]string{"all"}, script(t, runs, failures)...)...)
	account := r.Wait(0)
	shell := r.Events[0]["pid"].(float64)
	if diff := cmp.Diff(made(runs, failures), counts(r, shell)); diff != "" {
		t.Error(diff)
	}
	if account["seen"] != float64(len(r.Events)) || account["shown"] != account["seen"] || account["lost"] != 0.0 {
		t.Errorf("%d events, %v", len(r.Events), account)
	}
	kinds := map[string]int{}
	for kind, n := range account["kinds"].(map[string]any) {
		kinds[kind] = int(n.(float64))
	}
	want := made(runs, failures)
	want["exec"]++ // the shell
	want["exit"]++
	delete(want, "http")   // what sockets speak is counted instead
	delete(kinds, "http1") // sockets
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Error(diff)
	}
	if kit.Emulated() {
		return // what is told late is shown late
	}
	for i, e := range r.Events[1:] {
		// The wall clock is read once a second; an exchange's end is told in whole µs.
		if before := over(t, r.Events[i]); over(t, e).Before(before.Add(-kit.Within(kit.ClockError))) {
			t.Errorf("%v stands behind %v", e, r.Events[i])
		}
	}
}

func TestKernelAllShowsOnlyWhatIsAskedFor(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	const runs, failures = 5, 3
	for only, kinds := range map[string][]string{
		"exec":      {"exec", "exit", "exec_failed"},
		"conn":      {"connect", "accept", "close"},
		"http":      {"http"},
		"http,exec": {"exec", "exit", "exec_failed", "http"},
	} {
		r := kit.Start(t, append([]string{"all", "--only", only}, script(t, runs, failures)...)...)
		account := r.Wait(0)
		shell := 0.0
		if slices.Contains(kinds, "exec") {
			shell = r.Events[0]["pid"].(float64)
		}
		want := made(runs, failures)
		for kind := range want {
			if !slices.Contains(kinds, kind) {
				delete(want, kind)
			}
		}
		if diff := cmp.Diff(want, counts(r, shell)); diff != "" || account["seen"] != float64(len(r.Events)) {
			t.Errorf("--only %s: %v %s", only, account, diff)
		}
	}
}

// What the commands themselves show of one run is what all shows: the same lines but for
// times and numbers, and accounts that sum up to its own.
func TestKernelAllIsTheSumOfItsParts(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	const runs = 7
	filter := []string{"--comm", "workload"}
	var all []*kit.Tracer
	for _, args := range [][]string{{"all"}, {"exec", "--exits", "--failed"}, {"conn"}, {"http"}} {
		all = append(all, kit.Start(t, append(args, filter...)...))
	}
	pids := map[float64]bool{}
	for range runs {
		pids[float64(kit.Run(t, kit.Workload(t, "web")))] = true
	}
	lines := make([][]string, len(all))
	sums := make([]map[string]float64, len(all))
	for i, r := range all {
		account := r.Stop()
		sums[i] = map[string]float64{}
		for _, e := range r.Events {
			if pids[e["pid"].(float64)] {
				lines[i] = append(lines[i], fmt.Sprintln(e["event"], e["pid"], e["conn_id"], e["seq"], e["role"], e["path"], e["args"], e["exit_code"]))
			}
		}
		for _, key := range []string{"seen", "shown", "lost"} {
			sums[i][key] = account[key].(float64)
		}
		if account["lost"] != 0.0 {
			t.Errorf("%d: %v", i, account)
		}
	}
	parts := slices.Concat(lines[1:]...)
	slices.Sort(parts)
	slices.Sort(lines[0])
	if diff := cmp.Diff(parts, lines[0]); diff != "" || len(lines[0]) != 9*runs {
		t.Errorf("%d lines, want %d: %s", len(lines[0]), 9*runs, diff)
	}
	if shown := sums[1]["shown"] + sums[2]["shown"] + sums[3]["shown"]; shown != sums[0]["shown"] {
		t.Errorf("shown: %v", sums)
	}
}
