package replay_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"tracer/testdata/kit"
	"tracer/testdata/kit/work"
)

func TestMain(m *testing.M) {
	work.Main()
	os.Exit(m.Run())
}

// asHost makes what one tracer has recorded the recording of a host of its own, whose clock
// is off by this much.
func asHost(t *testing.T, out, name string, off time.Duration) string {
	t.Helper()
	var lines []string
	for _, file := range []string{"err.jsonl", "out.jsonl"} { // the start object comes first
		text, err := os.ReadFile(filepath.Join(filepath.Dir(out), file))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var e struct {
				Time     time.Time
				Event    string
				Hostname string
				BootID   string `json:"boot_id"`
			}
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			if e.Event == "end" {
				continue
			}
			line = strings.Replace(line, e.Time.Format("2006-01-02T15:04:05.000000000Z"), e.Time.Add(off).Format("2006-01-02T15:04:05.000000000Z"), 1)
			if e.Event == "start" {
				line = strings.Replace(strings.Replace(line, strconv.Quote(e.Hostname), strconv.Quote(name), 1), e.BootID, name, 1)
			}
			lines = append(lines, line)
		}
	}
	path := filepath.Join(t.TempDir(), name+".jsonl")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The two ends of an exchange, in two network namespaces between which addresses are
// translated, as two hosts would have recorded them: one row, that has of each what it saw.
func TestKernelTwoHostsExchangesAreJoinedThroughAddressTranslation(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	for _, name := range []string{"dnat", "redirect", "service"} {
		t.Run(name, func(t *testing.T) {
			client, stopClient := recorder(t, "http", "--role", "client", "--path", "/identity")
			server, stopServer := recorder(t, "http", "--role", "server", "--path", "/identity")
			w := work.StartIdentity(t, name)
			w.Hear("done")
			stopClient()
			stopServer()
			web, api := asHost(t, client, "web", 0), asHost(t, server, "api", 2*time.Second)
			out, account := reading(t, "http", "--json", "--pid", strconv.Itoa(w.PID), "--read", web+","+api)
			var rows []kit.Event
			for line := range strings.Lines(out) {
				var e kit.Event
				if err := json.Unmarshal([]byte(line), &e); err != nil {
					t.Fatal(err)
				}
				rows = append(rows, e)
			}
			if len(rows) != 1 {
				t.Fatalf("%d rows, account %v: %s", len(rows), account, out)
			}
			e := rows[0]
			for key, want := range map[string]any{
				"role": "both", "hostname": "api", "peer_hostname": "web", "status": 200.0, "path": "/identity", "seq": 1.0, "dst_port": map[string]float64{"dnat": 4447, "redirect": 4447, "service": 4447}[name],
			} {
				if e[key] != want {
					t.Errorf("%s is %v, want %v", key, e[key], want)
				}
			}
			network, latency, part := e["network_us"], e["latency_us"].(float64), e["server_latency_us"].(float64)
			if network != latency-part {
				t.Errorf("the network has %v of %v, the server %v", network, latency, part)
			}
			at, err := time.Parse(time.RFC3339Nano, e["server_time"].(string))
			if err != nil {
				t.Fatal(err)
			}
			begun, err := time.Parse(time.RFC3339Nano, e["time"].(string))
			if err != nil {
				t.Fatal(err)
			}
			if d := at.Sub(begun); d < 2*time.Second || d > 2*time.Second+time.Second {
				t.Errorf("the server has it after %v by clocks that are two seconds apart", d)
			}
		})
	}
}
