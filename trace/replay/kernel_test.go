package replay_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tracer/testdata/kit"
)

// workload starts processes that wait for go: programs that start, fail and end, then
// connections and exchanges.
func workload(t *testing.T) (pid int, release func()) {
	t.Helper()
	script := `read gate; w=$1; /bin/true; /bin/false; "$w" exit 3; (/bin/echo sub >/dev/null); /nonexistent/x 2>/dev/null; ` +
		`"$w" web && "$w" network && "$w" web; sh -c '/bin/true; kill -9 $$'; true`
	cmd := exec.Command("/bin/sh", "-c", script, "sh", kit.WorkloadBinary(t))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	pid = kit.Launch(t, cmd)
	return pid, func() {
		t.Helper()
		if _, err := io.WriteString(in, "go\n"); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
	}
}

// recorder runs tracer with --json, stdout and stderr in a file each.
func recorder(t *testing.T, args ...string) (out string, stop func()) {
	t.Helper()
	return start(t, append(args, "--json")...)
}

func start(t *testing.T, args ...string) (out string, stop func()) {
	t.Helper()
	dir := t.TempDir()
	out = filepath.Join(dir, "out.jsonl")
	file, err := os.Create(out)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd := kit.Command(t, args...)
	cmd.Stdout = file
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	kit.Launch(t, cmd)
	first := make([]byte, 1)
	if _, err := io.ReadFull(stderr, first); err != nil { // it is ready
		t.Fatal(err)
	}
	said := make(chan []byte)
	go func() {
		b, _ := io.ReadAll(stderr) // to its end
		said <- append(first, b...)
	}()
	return out, func() {
		t.Helper()
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		b := <-said
		if err := cmd.Wait(); err != nil {
			t.Fatalf("%v: %s", err, b)
		}
		if err := os.WriteFile(filepath.Join(dir, "err.jsonl"), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// reading is what tracer shows of a recording, and its account.
func reading(t *testing.T, args ...string) (string, kit.Event) {
	t.Helper()
	cmd := kit.Command(t, args...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %v: %s", args, err, stderr.String())
	}
	said := strings.Split(strings.TrimSpace(stderr.String()), "\n")
	var account kit.Event
	_ = json.Unmarshal([]byte(said[len(said)-1]), &account) // text without --json
	return out.String(), account
}

// lasting are the lines of JSON without what differs between two tracers that see the same:
// times. Lines are in order of the rest.
func lasting(t *testing.T, text string) []string {
	t.Helper()
	var list []string
	for line := range strings.Lines(text) {
		var e kit.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		for key := range e {
			if strings.HasSuffix(key, "_us") || strings.HasSuffix(key, "time") {
				delete(e, key)
			}
		}
		b, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, string(b))
	}
	slices.Sort(list)
	return list
}

// summedUp is lasting for rows that tell of an interval: what they count is added up.
func summedUp(t *testing.T, text string) (list []string) {
	t.Helper()
	sums := map[string]map[string]float64{}
	for _, line := range lasting(t, text) {
		var e kit.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		counts := map[string]float64{}
		for key, v := range e {
			n, ok := v.(float64)
			if ok && key != "pid" && !strings.HasSuffix(key, "port") {
				counts[key] = n
			}
			if ok && key != "pid" && !strings.HasSuffix(key, "port") || key == "first" || key == "last" || key == "proto" {
				delete(e, key)
			}
		}
		b, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		sum := sums[string(b)]
		if sum == nil {
			sum = map[string]float64{}
			sums[string(b)] = sum
		}
		for key, n := range counts {
			sum[key] += n
		}
	}
	for row, sum := range sums {
		for key, n := range sum {
			if n != 0 && key != "uid" && key != "cgroup_id" {
				list = append(list, fmt.Sprint(row, " ", key, " ", n))
			}
		}
	}
	slices.Sort(list)
	return list
}

// A recording shows with any flags what a live trace shows with them, and without flags
// what was recorded, byte for byte.
func TestKernelARecordingShowsWhatTheLiveTraceDoes(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	for _, command := range []struct {
		name  string
		flags []string // of the recording
		cases [][]string
	}{
		{"exec", []string{"--exits", "--failed"}, [][]string{
			{}, {"--exits"}, {"--failed"}, {"--comm", "true,ec*"}, {"--uid", "0"}, {"--uid", "4242"}, {"--count", "2"}, {"--exits", "--tree"}, {"--container", "x"}, {"--summary"}, {"--summary", "--comm", "sh"},
		}},
		{"conn", nil, [][]string{
			{}, {"--failed"}, {"--slow", "1h"}, {"--port", "1"}, {"--comm", "workload"}, {"--uid", "0"}, {"--count", "3"}, {"--stuck", "0"}, {"--summary"}, {"--summary", "--sort", "max", "--failed"},
		}},
		{"http", nil, [][]string{
			{}, {"--method", "GET"}, {"--method", "POST"}, {"--path", "/we?"}, {"--path", "/x"}, {"--host", "127.*"}, {"--status", "2xx"}, {"--status", "5xx"},
			{"--slow", "1h"}, {"--count", "2"}, {"--comm", "nobody"}, {"--summary"}, {"--summary", "--sort", "count", "--path", "/w*"},
		}},
		{"traffic", nil, [][]string{{}, {"--by", "program"}, {"--by", "container"}, {"--by", "pod"}, {"--sort", "rx"}, {"--comm", "workload"}}},
	} {
		t.Run(command.name, func(t *testing.T) {
			pid, release := workload(t)
			own := fmt.Sprintf("--pid=%d", pid)
			recording, stop := recorder(t, append([]string{command.name, own}, command.flags...)...)
			stops := []func(){stop}
			var live []string
			for _, flags := range command.cases {
				out, stop := recorder(t, append([]string{command.name, own}, flags...)...)
				live, stops = append(live, out), append(stops, stop)
			}
			release()
			for i, stop := range stops {
				if i > 0 && slices.Contains(command.cases[i-1], "--count") {
					continue
				}
				stop()
			}
			recorded, err := os.ReadFile(recording)
			if err != nil || len(recorded) == 0 {
				t.Fatalf("nothing was recorded: %v", err)
			}
			got, account := reading(t, append([]string{command.name, "--json", "--read", recording}, command.flags...)...)
			if got != string(recorded) {
				t.Errorf("not as it was recorded: %s", cmp.Diff(string(recorded), got))
			}
			if account["reason"] != "recording" || account["lost"] != 0.0 || account["seen"] != account["shown"] {
				t.Errorf("account: %v", account)
			}
			// The same beside what was said, which names the filters and the losses.
			both := recording + "," + filepath.Join(filepath.Dir(recording), "err.jsonl")
			if got, _ := reading(t, append([]string{command.name, "--json", "--count", "1", "--read", both}, command.flags...)...); !strings.HasPrefix(got, `{"time":`) {
				t.Errorf("beside what was said: %q", got)
			}
			for i, flags := range command.cases {
				want, err := os.ReadFile(live[i])
				if err != nil {
					t.Fatal(err)
				}
				args := append([]string{command.name, "--json", "--read", recording}, flags...)
				if command.name == "exec" { // others do not tell who started whom
					args = append(args, own)
				}
				got, account := reading(t, args...)
				if slices.Contains(flags, "--count") {
					if n := strings.Count(got, "\n"); fmt.Sprint(n) != flags[1] || account["reason"] != "count" {
						t.Errorf("%v: %d lines, %v", flags, n, account)
					}
					continue
				}
				compare := lasting
				if command.name == "traffic" || slices.Contains(flags, "--summary") {
					compare = summedUp
				}
				if diff := cmp.Diff(compare(t, string(want)), compare(t, got)); diff != "" {
					t.Errorf("%v: %s", flags, diff)
				}
			}
		})
	}
}

// What a live trace has shown while it recorded, a recording shows again with the same
// flags: the same bytes.
func TestKernelARecordingIsShownAsTheTraceWas(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	pid, release := workload(t)
	type shown struct {
		args      []string
		out, file string
	}
	var all []shown
	var stops []func()
	for _, args := range [][]string{
		{"exec"}, {"exec", "--exits", "--failed"}, {"exec", "--exits", "--json"}, {"exec", "--exits", "--failed", "--tree", "--wide"},
		{"exec", "--columns", "comm,args,pid,uid,exe,cwd,duration"}, {"exec", "--comm", "true,false"},
		{"conn"}, {"conn", "--json"}, {"conn", "--failed"}, {"conn", "--columns", "comm,role,dst,result,latency,duration,tx,rx,srtt,conn_id"},
		{"http"}, {"http", "--json"}, {"http", "--status", "200"}, {"http", "--color", "always"}, {"http", "--columns", "peer,server,where,status,sent,src,dst,version"},
		{"traffic"}, {"traffic", "--json"}, {"traffic", "--by", "connection", "--sort", "tx", "--json"}, {"traffic", "--by", "program", "--top", "1", "--json"},
		{"all"}, {"all", "--json"},
	} {
		file := filepath.Join(t.TempDir(), "a.jsonl.gz")
		out, stop := start(t, append(slices.Clone(args), fmt.Sprintf("--pid=%d", pid), "--write", file)...)
		all, stops = append(all, shown{args, out, file}), append(stops, stop)
	}
	release()
	for _, stop := range stops {
		stop()
	}
	for _, s := range all {
		want, err := os.ReadFile(s.out)
		if err != nil || len(want) == 0 {
			t.Fatalf("%v: nothing was shown: %v", s.args, err)
		}
		got, _ := reading(t, append(s.args, "--read", s.file)...)
		// A closing table says how long it took until the probes were detached, too.
		elapsed := regexp.MustCompile(`(?m)^[^ ]+: sent`)
		was, is := elapsed.ReplaceAllString(string(want), ": sent"), elapsed.ReplaceAllString(got, ": sent")
		if was != is {
			t.Errorf("%v: %s", s.args, cmp.Diff(strings.Split(was, "\n"), strings.Split(is, "\n")))
		}
	}
}

// Reading takes nothing of the host: no privileges, no /proc, no /sys.
func TestKernelAnybodyCanReadARecordingAnywhere(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	if kit.Emulated() {
		t.Skip("this test needs unshare and setpriv") // report.awk knows these words
	}
	tracer := kit.CopyFile(t, kit.Binary(t))
	recording := filepath.Join(filepath.Dir(tracer), "a.jsonl")
	samples, err := filepath.Glob("../../testdata/samples/*.jsonl")
	if err != nil || len(samples) == 0 {
		t.Fatal("no samples: ", err)
	}
	for _, sample := range samples {
		b, err := os.ReadFile(sample)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(recording, b, 0o644); err != nil {
			t.Fatal(err)
		}
		name, _, _ := strings.Cut(filepath.Base(sample), "-")
		command := strings.TrimSuffix(name, ".jsonl")
		flags := []string{command}
		switch command {
		case "exec":
			flags = append(flags, "--exits", "--failed")
		case "conn":
			flags = append(flags, "--open")
		case "traffic":
			by := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(sample), "traffic-"), ".jsonl")
			flags = append(flags, "--by", by)
		case "http":
		default: // of several commands
			flags = []string{"all"}
		}
		for _, form := range []string{"--json", "--wide", "--verbose"} {
			inside := `mount -t tmpfs none /proc && mount -t tmpfs none /sys && exec setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set -all "$@"`
			args := append(slices.Clone(flags), "--read", recording, form)
			cmd := exec.Command("unshare", append([]string{"-m", "sh", "-c", inside, "sh", tracer}, args...)...)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			b, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v: %v: %s", args, err, stderr.String())
			}
			if got, _ := reading(t, args...); got != string(b) {
				t.Errorf("%v differ for nobody: %s", args, cmp.Diff(got, string(b)))
			}
		}
	}
}

// A file that grows is shown as it does, and the account comes at the end.
func TestTracerFollowsAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.jsonl")
	line := func(pid int) string {
		return fmt.Sprintf(`{"time":"2026-01-01T00:00:%02d.000000000Z","event":"exec","pid":%d,"comm":"a","uid":0,"ppid":1}`+"\n", pid, pid)
	}
	if err := os.WriteFile(path, []byte(line(1)), 0o600); err != nil {
		t.Fatal(err)
	}
	r := kit.StartCmd(t, kit.Command(t, "exec", "--json", "--read", path, "--follow"))
	r.Until(kit.Started(1))
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for pid := 2; pid < 5; pid++ {
		if _, err := f.WriteString(line(pid)); err != nil {
			t.Fatal(err)
		}
		r.Until(kit.Started(pid))
	}
	if a := r.Stop(); a["reason"] != "interrupted" || a["shown"] != 4.0 || a["duration_us"] != 3e6 {
		t.Errorf("account: %v", a)
	}
}
