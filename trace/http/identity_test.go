package http

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"tracer/testdata/kit"
	"tracer/testdata/kit/record"
	"tracer/testdata/kit/work"
	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/session"
)

// Whatever way a connection was opened, its two ends are joined, and the exchange has
// the name that the connection had on the wire.
func TestKernelHTTPConnIDIsWhatWasOnTheWire(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	tiersOf(t, func(t *testing.T, tier kernel.Tier) {
		older := map[string]*work.Identity{"older": nil, "olderWaiting": nil}
		for name := range older {
			older[name] = work.StartIdentity(t, name)
			older[name].Hear("open")
		}
		v := traceHTTP(t, session.Options{Tier: tier})
		for _, test := range []struct {
			name  string
			joint int // exchanges of which both ends are told
		}{
			{"plain", 1},
			{"fastOpen", 4},
			{"fastOpenSlow", 2},
			{"syncookies", 1},
			{"sentAgain", 2},
			{"bothCall", 1},
			{"mptcp", 2},
			{"acceptedLate", 1},
			{"deferred", 1},
			{"resets", 2},
			{"large", 1},
			{"older", 2},
			{"olderWaiting", 1}, // and the answer that the client's end has no request of
		} {
			t.Run(test.name, func(t *testing.T) {
				w := older[test.name]
				begun := w == nil
				if begun {
					w = work.StartIdentity(t, test.name)
				} else {
					w.Say("go on")
				}
				w.Hear("done")
				for _, e := range testIdentity(t, v, w, test.joint) {
					if begun && e.Seq != 1 {
						t.Errorf("exchange %d of its connection, want the first: %v", e.Seq, rows([]*event.HTTP{e}))
					}
				}
			})
		}
	})
}

// Addresses are translated between the two ends, on one host or on the way: the two ends
// are one row, whose addresses are those that the client knows.
func TestKernelHTTPJoinsThroughAddressTranslation(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	tiersOf(t, func(t *testing.T, tier kernel.Tier) {
		v := traceHTTP(t, session.Options{Tier: tier})
		for name, dst := range map[string]string{"dnat": "198.18.96.1:4447", "redirect": "198.18.96.1:4447", "service": "198.18.97.1:4447"} {
			t.Run(name, func(t *testing.T) {
				w := work.StartIdentity(t, name)
				w.Hear("done")
				for _, e := range testIdentity(t, v, w, 1) {
					if e.Dst.String() != dst {
						t.Errorf("addresses %s and %s, want the client's, who called %s", e.Src, e.Dst, dst)
					}
				}
			})
		}
	})
}

// testIdentity checks the rows of one process.
func testIdentity(t *testing.T, v *view, w *work.Identity, joint int) (list []*event.HTTP) {
	t.Helper()
	both := 0
	v.Wait(record.Patience, func() bool {
		list, both = nil, 0
		for _, e := range record.All[*event.HTTP](v.Recorder) {
			if int(e.PID) != w.PID {
				continue
			}
			list = append(list, e)
			if e.Role == event.RoleBoth {
				both++
			}
		}
		return both >= joint
	})
	if both != joint {
		t.Errorf("%d exchanges of both ends, want %d: %v", both, joint, rows(list))
	}
	for _, e := range list {
		want, known := w.Names[e.Src.Port()]
		if got := e.ID.String(); !known || got != want {
			t.Errorf("%s on the wire, %q told: %v", want, got, rows([]*event.HTTP{e}))
		}
	}
	return list
}

// README's example, word by word, joins what two commands tell of the same connections.
func TestKernelConnAndHTTPAreJoinedByName(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	example := regexp.MustCompile(`(?m)^    (jq -rs '.*group_by\(.conn_id\).*' conn.jsonl http.jsonl)$`).FindSubmatch(text)
	if example == nil {
		t.Fatal("README has no example")
	}
	if _, err := exec.LookPath("jq"); err != nil {
		t.Skip(err)
	}
	conn, http := kit.Start(t, "conn"), kit.Start(t, "http")
	pid := kit.Run(t, kit.Workload(t, "web")) // three exchanges on one connection
	dir := t.TempDir()
	var latencies []any
	for name, tracer := range map[string]*kit.Tracer{"conn": conn, "http": http} {
		tracer.Stop()
		var lines []byte
		for _, e := range tracer.Events {
			if e["pid"] == float64(pid) {
				line, err := json.Marshal(e)
				if err != nil {
					t.Fatal(err)
				}
				lines = append(append(lines, line...), '\n')
			}
			if e["event"] == "http" && e["pid"] == float64(pid) {
				latencies = append(latencies, e["latency_us"])
			}
		}
		if err := os.WriteFile(filepath.Join(dir, name+".jsonl"), lines, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i, e := range http.Of("http", pid) {
		if e["seq"] != float64(i+1) {
			t.Errorf("exchange %d: %v", i+1, e)
		}
	}
	connect := conn.One("connect", pid)
	want := ""
	for _, latency := range latencies {
		want += fmt.Sprintf("/web\t%v\t%v\t0\n", latency, connect["latency_us"])
	}
	cmd := exec.Command("/bin/sh", "-c", string(example[1]))
	cmd.Dir = dir
	if got, status := kit.Output(cmd); status != 0 || len(latencies) != 3 || got != want {
		t.Errorf("status %d, got\n%swant\n%s", status, got, want)
	}
	for _, e := range conn.Events {
		if e["pid"] == float64(pid) && (e["conn_id"] == nil || e["conn_id"] != connect["conn_id"]) {
			t.Errorf("not of one name: %v and %v", connect, e)
		}
	}
}
