package draw

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Two hosts recorded the two ends of one exchange, with clocks that differ by two seconds,
// and the second one what its server asked meanwhile: one picture, in the right order.
func TestRecordingsOfTwoHostsAreOnePicture(t *testing.T) {
	dir := t.TempDir()
	start := func(host string) string {
		return fmt.Sprintf(`{"time":"2026-03-05T12:00:00Z","event":"start","format":1,"hostname":%q,"boot_id":%q}`, host, host)
	}
	row := func(second, micros int, role, conn string, pid int, comm string, port, latency int, path, more string) string {
		return fmt.Sprintf(`{"time":"2026-03-05T12:00:%02d.%06dZ","event":"http","pid":%d,"comm":%q,"uid":0,"role":%q,"family":"ipv4","src_addr":"10.0.0.1","src_port":4000,"dst_addr":"10.0.0.2","dst_port":%d,"conn_id":%q,"version":"1.1","seq":1,"method":"GET","path":%q,"status":200,"latency_us":%d,"duration_us":%d,"request_bytes":10,"response_bytes":20%s}`,
			second, micros, pid, comm, role, port, conn, path, latency, latency, more)
	}
	write := func(name string, lines ...string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	files := []string{
		write("a.jsonl", start("a"), row(10, 0, "client", "0000000100000002", 7, "curl", 80, 9000, "/outer", "")),
		write("b.jsonl", start("b"),
			row(12, 3000, "both", "0000000300000004", 9, "db", 81, 1000, "/inner", `,"peer_pid":8,"peer_comm":"web","server_latency_us":900`),
			row(12, 1000, "server", "0000000100000002", 8, "web", 80, 7000, "/outer", "")),
	}
	r, err := read(files, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	want := `participant p0 as curl on a
participant p1 as web :80 on b
participant p2 as db :81 on b
Note over p0,p2: 2026-03-05 12:00:10.000 UTC, 9ms
Note over p0,p2: 2 of 2 exchanges are drawn
p0->>+p1: GET /outer
p1->>+p2: GET /inner
p2-->>-p1: 200, 20B in 1ms
p1-->>-p0: 200, 20B in 9ms
`
	if diff := cmp.Diff(want, plain(mermaid(t, r, Options{}))); diff != "" {
		t.Error(diff)
	}
}
