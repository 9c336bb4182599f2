package replay

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// day is when recordings of these tests begin.
var day = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// An end is an exchange as one host has recorded it.
type end struct {
	at       time.Duration // since day, by the host's clock
	role     string
	id       string // of the connection; empty: not known
	src, dst string
	seq      int
	stream   int
	latency  int // µs
	more     string
}

// recording is what a host has recorded.
func recording(host string, ends ...end) string {
	var b strings.Builder
	fmt.Fprintf(&b, `{"time":"%s","event":"start","format":1,"hostname":"%s","boot_id":"boot of %[2]s"}`+"\n", stamp(0), host)
	for _, e := range ends {
		fmt.Fprintf(&b, `{"time":"%s","event":"http","pid":%d,"comm":"%s","uid":0,"role":"%[3]s"`, stamp(e.at), 1+len(host), e.role)
		addr, port, _ := strings.Cut(e.src, ":")
		fmt.Fprintf(&b, `,"src_addr":"%s","src_port":%s`, addr, port)
		addr, port, _ = strings.Cut(e.dst, ":")
		fmt.Fprintf(&b, `,"dst_addr":"%s","dst_port":%s`, addr, port)
		if e.id != "" {
			fmt.Fprintf(&b, `,"conn_id":"%s"`, e.id)
		}
		if e.stream > 0 {
			fmt.Fprintf(&b, `,"stream_id":%d`, e.stream)
		}
		if e.seq > 0 {
			fmt.Fprintf(&b, `,"seq":%d`, e.seq)
		}
		fmt.Fprintf(&b, `,"method":"GET","path":"/%d","status":200,"latency_us":%d,"duration_us":%d,"request_bytes":1,"response_bytes":1%s}`+"\n", e.seq, e.latency, e.latency+10, e.more)
	}
	return b.String()
}

func stamp(at time.Duration) string { return day.Add(at).Format("2006-01-02T15:04:05.000000000Z") }

// rows are what is read of files: of each exchange the hosts, role, place and network time.
func rows(t *testing.T, files ...string) (list []string, joined uint64) {
	t.Helper()
	r, err := Open(write(t, files...), Options{})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := all(t, r)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range raw {
		var e struct {
			Event, Role, Hostname, Comm string
			PeerHostname                string `json:"peer_hostname"`
			PeerComm                    string `json:"peer_comm"`
			Seq                         int
			Stream                      int    `json:"stream_id"`
			Network                     *int64 `json:"network_us"`
			ServerTime                  string `json:"server_time"`
			Time                        string
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if e.Event != "http" {
			continue
		}
		text := fmt.Sprintf("%s %s %d", e.Role, e.Hostname, e.Seq+e.Stream)
		if e.Role == "both" {
			text += fmt.Sprintf(" from %s, %s of %s", e.PeerHostname, e.Comm, e.PeerComm)
		}
		if e.Network != nil {
			text += fmt.Sprintf(", network %d", *e.Network)
		}
		list = append(list, text)
	}
	return list, r.Stats().Joined
}

func TestTwoHostsEndsOfAnExchangeBecomeOneRow(t *testing.T) {
	const id, other = "00000001000000ff", "00000001000000fe"
	a, b := "10.0.0.1:40000", "10.0.0.2:80"
	client := func(at time.Duration, id string, seq int) end {
		return end{at, "client", id, a, b, seq, 0, 5000, ""}
	}
	server := func(at time.Duration, id string, seq int) end {
		return end{at, "server", id, a, b, seq, 0, 3000, ""}
	}
	stream := func(e end) end {
		e.stream, e.seq = e.seq, 0
		return e
	}
	via := func(e end, src, dst string) end {
		e.src, e.dst = src, dst
		return e
	}
	for _, test := range []struct {
		name  string
		files []string
		want  []string
	}{
		{"by the connection's name", []string{recording("web", client(1, id, 1), client(2, id, 2)), recording("api", server(1, id, 1), server(2, id, 2))},
			[]string{"both api 1 from web, server of client, network 2000", "both api 2 from web, server of client, network 2000"}},
		{"by the addresses, where it has no name", []string{recording("web", client(1, "", 1)), recording("api", server(1, "", 1))},
			[]string{"both api 1 from web, server of client, network 2000"}},
		{"through address translation", []string{recording("web", via(client(1, id, 1), "10.0.0.1:1", "10.9.9.9:80")), recording("api", via(server(1, id, 1), "10.8.8.8:2", "10.0.0.2:8080"))},
			[]string{"both api 1 from web, server of client, network 2000"}},
		{"streams of HTTP/2", []string{recording("web", stream(client(1, id, 3)), stream(client(2, id, 5))), recording("api", stream(server(1, id, 5)), stream(server(2, id, 3)))},
			[]string{"both api 3 from web, server of client, network 2000", "both api 5 from web, server of client, network 2000"}},
		{"clocks two seconds apart", []string{recording("web", client(1, id, 1)), recording("api", server(2*time.Second, id, 1))},
			[]string{"both api 1 from web, server of client, network 2000"}},
		{"clocks nine seconds apart, the server's is behind", []string{recording("web", client(9*time.Second, id, 1)), recording("api", server(1, id, 1), server(8*time.Second, other, 7))},
			[]string{"server api 7", "both api 1 from web, server of client, network 2000"}},
		{"clocks further apart than that", []string{recording("web", client(11*time.Second, id, 1)), recording("api", server(1, id, 1))},
			[]string{"server api 1", "client web 1"}},
		{"one end alone", []string{recording("web", client(1, id, 1), client(2, id, 2)), recording("api", server(2, id, 2))},
			[]string{"client web 1", "both api 2 from web, server of client, network 2000"}},
		{"other connections", []string{recording("web", client(1, id, 1)), recording("api", server(1, other, 1))},
			[]string{"server api 1", "client web 1"}},
		{"another place on the connection", []string{recording("web", client(1, id, 1)), recording("api", server(1, id, 2))},
			[]string{"server api 2", "client web 1"}},
		{"an unknown place on the connection", []string{recording("web", client(1, id, 0)), recording("api", server(1, id, 0))},
			[]string{"server api 0", "client web 0"}},
		{"loopback has the same addresses on all hosts", []string{
			recording("web", via(client(1, "", 1), "127.0.0.1:5", "127.0.0.1:80")), recording("api", via(server(1, "", 1), "127.0.0.1:5", "127.0.0.1:80"))},
			[]string{"server api 1", "client web 1"}},
		{"two clients with the same addresses are ambiguous", []string{recording("web", client(1, "", 1)), recording("other", client(2, "", 1)), recording("api", server(1, "", 1))},
			[]string{"server api 1", "client web 1", "client other 1"}},
		{"both ends of one host, which it did not join", []string{recording("web", client(1, id, 1), server(1, id, 1)), recording("api", server(1, other, 1))},
			[]string{"server api 1", "client web 1", "server web 1"}},
		{"one host", []string{recording("web", client(1, id, 1)), recording("web", server(1, id, 1))},
			[]string{"server  1", "client  1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, joined := rows(t, test.files...)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if want := strings.Count(strings.Join(test.want, "\n"), "both"); int(joined) != want {
				t.Errorf("%d are one row, want %d", joined, want)
			}
		})
	}
}

// What the row of two hosts tells is each end's own.
func TestTheRowOfTwoHostsHasWhatBothKnow(t *testing.T) {
	web := recording("web", end{time.Second, "client", "0000000100000002", "10.0.0.1:1", "10.0.0.2:80", 1, 0, 5000,
		`,"trace_state":"x"`})
	web = strings.Replace(web, `"uid":0,`, `"uid":0,"container":"c","container_id":"cc","pod":"p","namespace":"n",`, 1)
	api := recording("api", end{3 * time.Second, "server", "0000000100000002", "10.0.0.1:1", "10.0.0.2:80", 1, 0, 3000,
		`,"queue_us":20000`})
	api = strings.Replace(api, `"uid":0,`, `"uid":7,"container":"s","container_id":"ss",`, 1)
	r, err := Open(write(t, web, api), Options{})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := all(t, r)
	if err != nil || len(raw) != 3 {
		t.Fatalf("%v, %q", err, raw)
	}
	want := `{"time":"2026-01-01T12:00:01.000000000Z","event":"http","pid":4,"comm":"server","uid":7,"container":"s","container_id":"ss","hostname":"api",` +
		`"role":"both","family":"ipv4","src_addr":"10.0.0.1","src_port":1,"dst_addr":"10.0.0.2","dst_port":80,"conn_id":"0000000100000002","seq":1,` +
		`"method":"GET","path":"/1","status":200,"latency_us":5000,"duration_us":5010,"request_bytes":1,"response_bytes":1,` +
		`"peer_pid":4,"peer_comm":"client","peer_container":"c","peer_container_id":"cc","peer_pod":"p","peer_namespace":"n","peer_hostname":"web",` +
		`"server_time":"2026-01-01T12:00:03.000000000Z","server_latency_us":3000,"server_duration_us":3010,"network_us":2000,"queue_us":20000}`
	if diff := cmp.Diff(want, raw[2]); diff != "" {
		t.Error(diff)
	}
}

// Lines wait for another host's: however many there are, memory is bounded, the order is
// kept, and nothing is lost.
func TestManyLinesThatWaitAreBounded(t *testing.T) {
	const n = 60007
	var web, api []end
	for i := range n {
		web = append(web, end{time.Duration(i) * time.Microsecond, "client", fmt.Sprintf("%016x", i+1), "10.0.0.1:1", "10.0.0.2:80", 1, 0, 5000, ""})
		api = append(api, end{9*time.Second + time.Duration(i)*time.Microsecond, "server", fmt.Sprintf("%016x", n+i+1), "10.0.0.1:1", "10.0.0.2:80", 1, 0, 3000, ""})
	}
	r, err := Open(write(t, recording("web", web...), recording("api", api...)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	lines, most, before := 0, 0, time.Time{}
	for {
		l, err := r.Next()
		if err != nil {
			break
		}
		if lines++; l.Ended().Before(before) {
			t.Fatal("lines are not in order")
		}
		before = l.Ended()
		most = max(most, r.join.bytes)
	}
	if lines != 2*n+2 || most > maxHeld+heldBytes || most < maxHeld/2 {
		t.Errorf("%d lines, at most %d bytes held", lines, most)
	}
	if len(r.join.slots) > 0 || !r.join.empty() || r.join.bytes != 0 {
		t.Errorf("left behind: %d slots, %d bytes", len(r.join.slots), r.join.bytes)
	}
}
