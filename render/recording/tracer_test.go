package recording_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"tracer/testdata/kit"
)

// recorded reads the lines of a recording, as far as they can be unpacked: a file of a
// process that was killed has no end. Each line must be whole.
func recorded(t *testing.T, path string) (lines []string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	from := io.Reader(bytes.NewReader(b))
	switch filepath.Ext(path) {
	case ".gz":
		if from, err = gzip.NewReader(from); err != nil {
			return nil
		}
	case ".zst":
		d, err := zstd.NewReader(from)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		from = d
	}
	in := bufio.NewReader(from)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			if line != "" {
				t.Errorf("%s: half a line: %q", path, line)
			}
			return lines
		}
		if lines = append(lines, strings.TrimSuffix(line, "\n")); !json.Valid([]byte(line)) {
			t.Errorf("%s: %q", path, line)
		}
	}
}

// parts are the lines of a recording: events, and what else is told.
func parts(t *testing.T, lines []string) (events []string, others []kit.Event) {
	t.Helper()
	for _, line := range lines {
		var e kit.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		switch e["event"] {
		case "start", "end", "warning", "lost", "note":
			others = append(others, e)
		default:
			events = append(events, line)
		}
	}
	return events, others
}

// programs runs so many programs, one after the other, in a shell.
func programs(n int) []string {
	return []string{"--", "/bin/sh", "-c", fmt.Sprintf("i=0; while [ $i -lt %d ]; do /bin/true; i=$((i+1)); done", n)}
}

// run runs tracer and returns the lines of stdout and of stderr, and its status.
func runTracer(t *testing.T, env []string, args ...string) (out, said []string, status int) {
	t.Helper()
	cmd := kit.Command(t, args...)
	cmd.Env = append(cmd.Env, env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	lines := func(b []byte) []string { return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n") }
	return lines(stdout.Bytes()), lines(stderr.Bytes()), cmd.ProcessState.ExitCode()
}

// What is recorded beside stdout is what --json shows there and on stderr, line by line.
func TestKernelRecordingIsWhatIsShown(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	const n = 31
	for _, name := range []string{"a.jsonl", "a.jsonl.gz", "a.jsonl.zst"} {
		path := filepath.Join(t.TempDir(), name)
		out, said, status := runTracer(t, nil, append([]string{"exec", "--exits", "--json", "-w", path}, programs(n)...)...)
		lines := recorded(t, path)
		want := append(append([]string{said[0]}, out...), said[1:]...)
		if diff := cmp.Diff(want, lines); diff != "" || status != 0 || len(out) != 2*n+2 {
			t.Errorf("%s: %d lines shown, status %d: %s", name, len(out), status, diff)
		}
	}
}

// Where stdout sums up the recording has what was summed up, and nothing of the sums.
func TestKernelRecordingOfASummaryHasEachEvent(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	const n = 5
	web := []string{"--", "/bin/sh", "-c", fmt.Sprintf(`i=0; while [ $i -lt %d ]; do "$0" web; i=$((i+1)); done; :`, n), kit.WorkloadBinary(t)}
	for command, want := range map[string]map[string]int{
		"exec":    {"exec": n + 1, "exit": n + 1},
		"conn":    {"connect": n, "accept": n, "close": 2 * n},
		"http":    {"http": 3 * n},
		"traffic": nil, // rows of intervals, as they are
	} {
		for _, form := range []string{"--json", "--no-color"} {
			path := filepath.Join(t.TempDir(), "a.jsonl")
			args := []string{command, form, "-w", path}
			if want != nil {
				args = append(args, "--summary")
			}
			out, said, status := runTracer(t, nil, append(args, web...)...)
			events, others := parts(t, recorded(t, path))
			got := map[string]int{}
			for _, line := range events {
				var e kit.Event
				_ = json.Unmarshal([]byte(line), &e) // it was read before
				got[e["event"].(string)]++
			}
			if want == nil {
				if got["traffic"] == 0 || form == "--json" && got["traffic"] != len(out) {
					t.Errorf("traffic %s: %d lines on stdout, recorded %v", form, len(out), got)
				}
				continue
			}
			if diff := cmp.Diff(want, got); diff != "" || status != 0 {
				t.Errorf("%s %s: status %d, %q: %s", command, form, status, said, diff)
			}
			if first, last := others[0], others[len(others)-1]; first["event"] != "start" || last["event"] != "end" || last["undelivered"] != nil {
				t.Errorf("%s %s: %v … %v", command, form, first, last)
			}
		}
	}
}

// The reader of stdout leaves: that ends tracing, and the recording is whole.
func TestKernelRecordingOutlivesTheReaderOfStdout(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	path := filepath.Join(t.TempDir(), "a.jsonl.gz")
	cmd := exec.Command("/bin/sh", "-c", `{ "$0" exec --json -w "$1" 2>/dev/null; echo $? >"$2"; } | head -n 3`, kit.Binary(t), path, path+".status")
	kit.Launch(t, cmd)
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	ended := false
	kit.Eventually(t, "the end of tracer", func() error {
		kit.Run(t, exec.Command("/bin/true"))
		select {
		case <-done:
			ended = true
		default:
		}
		if !ended {
			return errors.New("it goes on")
		}
		return nil
	})
	lines := recorded(t, path)
	events, others := parts(t, lines)
	last := others[len(others)-1]
	if status, _ := os.ReadFile(path + ".status"); string(status) != "0\n" || last["event"] != "end" || last["reason"] != "reader" || len(events) < 3 {
		t.Errorf("status %q, %d events, %v", status, len(events), last)
	}
}

// After SIGKILL everything up to a second ago is there, in whole lines.
func TestKernelRecordingSurvivesSIGKILL(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	const n = 101
	for _, name := range []string{"a.jsonl", "a.jsonl.gz", "a.jsonl.zst"} {
		path := filepath.Join(t.TempDir(), name)
		r := kit.Start(t, "exec", "--comm", "workload", "-w", path)
		want := map[int]bool{}
		for range n {
			want[kit.Run(t, kit.Workload(t, "nothing"))] = true
		}
		count := func() int {
			events, _ := parts(t, recorded(t, path))
			got := map[int]bool{}
			for _, line := range events {
				var e kit.Event
				_ = json.Unmarshal([]byte(line), &e) // it was read before
				if pid := int(e["pid"].(float64)); want[pid] {
					got[pid] = true
				}
			}
			return len(got)
		}
		began := time.Now()
		kit.Eventually(t, name, func() error {
			if n := count(); n != len(want) {
				return fmt.Errorf("%d programs", n)
			}
			return nil
		})
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("%s: safe after %v", name, took)
		}
		if err := r.Cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = r.Cmd.Wait()
		if n := count(); n != len(want) {
			t.Errorf("%s: %d programs after SIGKILL, want %d", name, n, len(want))
		}
	}
}

// A disk that is full is told at once and counted; tracing and stdout go on.
func TestKernelRecordingOnAFullDisk(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	const n = 997
	for name, size := range map[string]string{"a.jsonl": "64k", "a.jsonl.gz": "24k", "a.jsonl.zst": "16k"} {
		t.Run(name, func(t *testing.T) {
			disk := t.TempDir()
			if err := syscall.Mount("none", disk, "tmpfs", 0, "size="+size); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
			path := filepath.Join(disk, name)
			out, said, status := runTracer(t, nil, append([]string{"exec", "--exits", "--json", "-w", path}, programs(n)...)...)
			events, others := parts(t, recorded(t, path))
			var account kit.Event
			if err := json.Unmarshal([]byte(said[len(said)-1]), &account); err != nil {
				t.Fatal(err)
			}
			undelivered, _ := account["undelivered"].(map[string]any)
			missing, _ := undelivered["recording"].(float64)
			if len(out) != 2*n+2 || len(events)+int(missing) != len(out) || len(events) == 0 || missing == 0 || status != 1 {
				t.Errorf("%d shown, %d recorded, status %d: %v", len(out), len(events), status, account)
			}
			if account["shown"] != float64(len(out)) || account["lost"] != 0.0 {
				t.Errorf("%v", account)
			}
			if diff := cmp.Diff(out[:len(events)], events); diff != "" {
				t.Error(diff)
			}
			if len(others) != 1 { // the start
				t.Errorf("%v", others)
			}
			text := strings.Join(said, "\n")
			for _, want := range []string{
				`"event":"warning","message":"record: write to ` + path + `: no space left on device; nothing more is recorded"`,
				"tracer: error: record: write to " + path + ": no space left on device\ntracer: hint: free some space",
			} {
				if strings.Count(text, want) != 1 {
					t.Errorf("%q is not said once: %s", want, text)
				}
			}
		})
	}
}

// A file that is as large as may be is told like a disk that is full.
func TestKernelRecordingBeyondTheLimitOfFiles(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	const n = 199
	path := filepath.Join(t.TempDir(), "a.jsonl")
	cmd := exec.Command("/bin/sh", append([]string{"-c", `ulimit -f 32; exec "$0" "$@"`, kit.Binary(t), "exec", "--exits", "--json", "-w", path}, programs(n)...)...)
	var said strings.Builder
	cmd.Stderr = &said
	out, _ := cmd.Output() // the status is told
	events, _ := parts(t, recorded(t, path))
	shown := bytes.Count(out, []byte("\n"))
	want := fmt.Sprintf(`"undelivered":{"recording":%d}`, shown-len(events))
	if status := cmd.ProcessState.ExitCode(); shown != 2*n+2 || len(events) == 0 || status != 1 || !strings.Contains(said.String(), want) || !strings.Contains(said.String(), "file too large") {
		t.Errorf("%d shown, %d recorded, status %d: %s", shown, len(events), status, said.String())
	}
}

// Files are rotated when privileges were dropped, in a folder of the user behind sudo,
// which they belong to: all that was made is there, nothing twice.
func TestKernelRecordingIsRotatedWhileConfined(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	const n = 199
	for _, name := range []string{"a.jsonl", "a.jsonl.gz"} {
		dir := t.TempDir()
		if err := errors.Join(os.Chown(dir, 65534, 65534), os.Chmod(dir, 0o700)); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		out, said, status := runTracer(t, []string{"SUDO_UID=65534", "SUDO_GID=65534"},
			append([]string{"exec", "--exits", "--json", "--write", path, "--rotate", "16KiB"}, programs(n)...)...)
		if status != 0 {
			t.Fatalf("status %d: %q", status, said)
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) < 5 {
			t.Fatalf("%d files, %v", len(entries), err)
		}
		var all []string
		for i := len(entries) - 1; i >= 0; i-- {
			file := path
			if i > 0 {
				base, packed := strings.CutSuffix(path, ".gz")
				file = fmt.Sprintf("%s.%d", base, i)
				if packed {
					file += ".gz"
				}
			}
			st, err := os.Stat(file)
			if err != nil {
				t.Fatal(err)
			}
			if owner := st.Sys().(*syscall.Stat_t); owner.Uid != 65534 || owner.Gid != 65534 || st.Mode() != 0o600 {
				t.Errorf("%s: %d:%d, %v", file, owner.Uid, owner.Gid, st.Mode())
			}
			lines := recorded(t, file)
			events, others := parts(t, lines)
			if others[0]["event"] != "start" || lines[0] != said[0] {
				t.Errorf("%s begins with %s", file, lines[0])
			}
			all = append(all, events...)
		}
		if diff := cmp.Diff(out, all); diff != "" || len(out) != 2*n+2 {
			t.Errorf("%s: %d lines: %s", name, len(out), diff)
		}
	}
}

// Who cannot record is told before anything is traced, and no command runs.
func TestKernelRecordingThatCannotBegin(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	dir := t.TempDir()
	shown := filepath.Join(dir, "shown")
	for name, tt := range map[string]struct{ path, want string }{
		"a folder":  {dir, "tracer: error: --write: open " + dir + ": is a directory\n"},
		"no folder": {dir + "/no/a", "tracer: error: --write: open " + dir + "/no/a: no such file or directory\n"},
		"stdout":    {shown, "tracer: error: --write: open " + shown + ": stdout or stderr goes there already\n"},
	} {
		out, err := os.Create(shown)
		if err != nil {
			t.Fatal(err)
		}
		var said strings.Builder
		cmd := kit.Command(t, "exec", "--json", "-w", tt.path, "--", "/bin/sh", "-c", "echo it runs >&2")
		cmd.Stdout, cmd.Stderr = out, &said
		_ = cmd.Run()
		out.Close()
		if status := cmd.ProcessState.ExitCode(); status != 1 || said.String() != tt.want {
			t.Errorf("%s: status %d, %q", name, status, said.String())
		}
	}
}

// A command's own status stays, and what it did is recorded.
func TestKernelRecordingKeepsTheCommandsStatus(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	path := filepath.Join(t.TempDir(), "a")
	_, said, status := runTracer(t, nil, "all", "-w", path, "--", "/bin/sh", "-c", "exit 7")
	if events, _ := parts(t, recorded(t, path)); status != 7 || len(events) != 2 {
		t.Errorf("status %d, %d events, %q", status, len(events), said)
	}
}
