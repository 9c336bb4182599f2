package exec

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tracer/bpf"
	"tracer/testdata/kit"
	"tracer/testdata/kit/record"
	"tracer/trace/event"
	"tracer/trace/session"
)

// Records of a process: of its fork, of a program that starts or cannot, and of its end.
func forked(pid, ppid uint32) []byte {
	return sample(bpf.ExecExecRecord{Type: bpf.ExecEventForked, Pid: pid, Tid: pid, Ppid: ppid}, "", "", "")
}

func start(pid, ppid uint32, name string) []byte {
	return sample(bpf.ExecExecRecord{Type: bpf.ExecEventStarted, Pid: pid, Tid: pid, Ppid: ppid, Comm: comm(name), ParentComm: comm("p")}, name+"\x00", "", name+"\x00")
}

func end(pid, ppid uint32, name string) []byte {
	return sample(bpf.ExecExecRecord{Type: bpf.ExecEventEnded, Pid: pid, Tid: pid, Ppid: ppid, Comm: comm(name)}, "", "", "")
}

func miss(pid, ppid uint32, name string) []byte {
	return sample(bpf.ExecExecRecord{Type: bpf.ExecEventExecFailed, Pid: pid, Tid: pid, Ppid: ppid, Code: -8}, name+"\x00", "", name+"\x00")
}

func TestTreeTellsWhoStartedWhom(t *testing.T) {
	for name, c := range map[string]struct {
		records [][]byte
		want    []string // depth, kind, program
	}{
		"each below the one that started it": {
			[][]byte{start(10, 9, "a"), forked(11, 10), start(11, 10, "b"), forked(12, 11), start(12, 11, "c"), forked(13, 10), start(13, 10, "d")},
			[]string{"0 exec /a", "1 exec /b", "2 exec /c", "1 exec /d"}},
		"a process between that starts none is no level": {
			[][]byte{start(10, 9, "a"), forked(11, 10), forked(12, 11), start(12, 11, "b")},
			[]string{"0 exec /a", "1 exec /b"}},
		"a program that replaces another one was started by it": {
			[][]byte{start(10, 9, "env"), start(10, 9, "a"), forked(11, 10), start(11, 10, "b")},
			[]string{"0 exec /env", "1 exec /a", "2 exec /b"}},
		"ends and failures stand where the program stood": {
			[][]byte{start(10, 9, "a"), forked(11, 10), start(11, 10, "b"), end(11, 10, "b"), forked(12, 10), miss(12, 10, "/no"), end(12, 10, "a"), end(10, 9, "a")},
			[]string{"0 exec /a", "1 exec /b", "1 exit /b", "1 exec_failed /no", "1 exit /a", "0 exit /a"}},
		"who started it is gone": {
			[][]byte{start(10, 9, "a"), forked(11, 10), end(10, 9, "a"), start(11, 1, "b")},
			[]string{"0 exec /a", "0 exit /a", "1 exec /b"}},
		"an id that is used again is another process": {
			[][]byte{start(10, 9, "a"), forked(11, 10), start(11, 10, "b"), forked(11, 8), start(11, 8, "c")},
			[]string{"0 exec /a", "1 exec /b", "0 exec /c"}},
	} {
		t.Run(name, func(t *testing.T) {
			x, got := offline(t)
			x.depths = tree{}
			for _, r := range c.records {
				if !x.Decode(r) {
					t.Fatal("rejected")
				}
			}
			if diff := cmp.Diff(c.want, depths(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func depths(r *record.Recorder) (list []string) {
	for _, e := range r.Events() {
		switch e := e.(type) {
		case *event.Exec:
			list = append(list, fmt.Sprint(e.Depth, " exec ", e.Exe))
		case *event.Exit:
			list = append(list, fmt.Sprint(e.Depth, " exit ", e.Exe))
		case *event.ExecFailed:
			list = append(list, fmt.Sprint(e.Depth, " exec_failed ", e.Exe))
		}
	}
	return list
}

// Without --exits ends are no rows, and the tree knows of them all the same.
func TestKernelTreeOfPrograms(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"--tree"}, []string{"0 exec sh", "1 exec sh", "2 exec env", "3 exec true", "1 exec true"}},
		{[]string{"--tree", "--exits"}, []string{"0 exec sh", "1 exec sh", "2 exec env", "3 exec true", "3 exit true", "2 exit sh", "1 exit sh", "1 exec true", "1 exit true", "0 exit sh"}},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			var opts session.Options
			opts.Filter = itself
			r := record.Open(t, Probe, opts, c.args...)
			r.Run()
			// The brackets are a process that starts no program itself.
			const script = `/bin/sh -c '(:; /usr/bin/env /bin/true; :); :'; /bin/true; :`
			if err := exec.Command("/bin/sh", "-c", script).Run(); err != nil {
				t.Fatal(err)
			}
			a := r.Stop()
			var got []string
			for _, line := range depths(r) {
				depth, path, _ := strings.Cut(line, " /")
				name := path[strings.LastIndexByte(path, '/')+1:]
				if name != "env" && name != "true" {
					name = "sh" // whichever shell that is
				}
				got = append(got, depth+" "+name)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if a.Lost != 0 {
				t.Errorf("account: %+v", a)
			}
		})
	}
}
