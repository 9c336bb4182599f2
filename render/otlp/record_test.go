package otlp

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tracer/trace/event"
)

func TestEventsAreLogRecords(t *testing.T) {
	at := event.Common{Time: began, Kind: event.KindExec, Process: event.Process{PID: 42, Comm: "sh", UID: 1000, CgroupID: 1 << 63}}
	resource := map[string]any{"service.name": "sh", "host.name": "here", "process.pid": int64(42), "tracer.comm": "sh"}
	record := func(kind, severity string, attributes map[string]any) map[string]any {
		m := map[string]any{
			"resource": resource, "timeUnixNano": "1700000000123456789", "eventName": "tracer." + kind, "body": kind, "attributes": attributes,
			"severityText": severity, "severityNumber": map[string]string{"INFO": "9", "WARN": "13"}[severity],
		}
		attributes["process.real_user.id"], attributes["tracer.cgroup_id"] = int64(1000), "9223372036854775808"
		return m
	}
	kind := func(kind string) event.Common { c := at; c.Kind = kind; return c }
	connection := event.Connection{Role: event.RoleClient, Src: client, Dst: server, ID: conn}
	for _, c := range []struct {
		name  string
		event event.Event
		want  map[string]any
	}{
		{"a program", &event.Exec{Common: at, Program: event.Program{Exe: "/bin/sh", Args: []string{"sh", "-c", "a \"b\" \xff"}}, PPID: 7, Cwd: "/", User: "ann", ArgsTruncated: true},
			record("exec", "INFO", map[string]any{
				"process.parent_pid": int64(7), "process.executable.path": "/bin/sh", "process.command_args": []any{"sh", "-c", "a \"b\" \ufffd"},
				"process.working_directory": "/", "process.real_user.name": "ann", "tracer.args_truncated": true,
			})},
		{"its end", &event.Exit{Common: kind(event.KindExit), Duration: time.Second},
			record("exit", "INFO", map[string]any{"process.parent_pid": int64(0), "process.exit.code": int64(0), "tracer.duration_us": int64(1000000)})},
		{"its end by a signal", &event.Exit{Common: kind(event.KindExit), Signal: "SIGKILL"},
			record("exit", "WARN", map[string]any{"process.parent_pid": int64(0), "tracer.signal": "SIGKILL", "tracer.duration_us": int64(0)})},
		{"a connection that failed", &event.ConnectFailed{Common: kind(event.KindConnectFailed), Connection: connection, Error: "ECONNREFUSED"},
			record("connect_failed", "WARN", map[string]any{
				"tracer.role": "client", "network.type": "ipv4", "client.address": "10.0.0.1", "client.port": int64(40000), "server.address": "10.0.0.2", "server.port": int64(8080),
				"tracer.conn_id": "deadbeef01020304", "error.type": "ECONNREFUSED",
			})},
		{"traffic", &event.Traffic{Common: kind(event.KindTraffic), Interval: time.Second, Proto: "tcp", Tx: 5, Rx: 6},
			record("traffic", "INFO", map[string]any{"tracer.interval_us": int64(1000000), "network.transport": "tcp", "tracer.tx_bytes": int64(5), "tracer.rx_bytes": int64(6)})},
	} {
		got := sentOf(t, Options{}, c.event)
		if len(got) > 1 { // traffic is sums, too
			got = got[:1]
		}
		if diff := cmp.Diff([]map[string]any{c.want}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// A request that waits is no span: it has no end. Its record belongs to the span that it
// will be.
func TestStuckRequestsBelongToTheirSpan(t *testing.T) {
	for _, role := range []string{event.RoleClient, event.RoleServer, event.RoleBoth} {
		stuck := one(role, func(e *event.HTTP) { e.Kind, e.Age = event.KindHTTPStuck, time.Minute })
		span := sentOf(t, Options{}, one(role, nil))
		got := sentOf(t, Options{}, stuck)
		if len(got) != 1 || got[0]["eventName"] != "tracer.http_stuck" || got[0]["severityText"] != "WARN" {
			t.Fatalf("%s: %v", role, got)
		}
		if last := span[len(span)-1]; got[0]["traceId"] != last["traceId"] || got[0]["spanId"] != last["spanId"] {
			t.Errorf("%s: %v, span %v", role, got[0], last)
		}
	}
}

// All keys of all kinds of events are in their records, but those that are said elsewhere.
func TestNoKeyIsForgotten(t *testing.T) {
	for _, e := range everything() {
		if _, ok := e.(*event.HTTP); ok {
			continue
		}
		m := sentOf(t, Options{}, e)[0]
		var keys map[string]any
		if err := json.Unmarshal(event.AppendJSON(nil, e), &keys); err != nil {
			t.Fatal(err)
		}
		attributes := m["attributes"].(map[string]any)
		for key := range keys {
			name, known := conventional[key]
			if !known {
				name = "tracer." + key
			}
			if _, ok := attributes[name]; name != "" && !ok {
				t.Errorf("%T: %s is not there", e, key)
			}
			delete(attributes, name)
		}
		if len(attributes) > 0 {
			t.Errorf("%T: there is more: %v", e, attributes)
		}
	}
}

// Lines of recordings may be of newer versions, with keys and values of all sorts. What
// comes out of valid JSON has all its members; what comes out of anything is a message.
func FuzzKeys(f *testing.F) {
	f.Add(`{"time":"x","a":1,"b":[1,{"c":"]"}],"c":{"d":[]},"e":-5,"f":1.5,"g":null,"h":true,"i":"\u001b\"","j":["x",""]}`)
	f.Add(" { \"a\" : \"b\" , \"c\" : [ \"d\" ] } ")
	f.Add(`{"a":1`)
	f.Fuzz(func(t *testing.T, line string) {
		m := parse(t, appendKeys(nil, line))
		all := m.all(t, recordAttributes)
		for _, kv := range all {
			if v := kv.bytes(2); len(v) > 0 {
				value(t, v)
			}
		}
		var keys map[string]json.RawMessage
		if json.Unmarshal([]byte(line), &keys) != nil || strings.ContainsAny(line, "\\") {
			return // which of two equal keys counts is not for us
		}
		have := map[string]bool{}
		for _, kv := range all {
			have[kv.text(1)] = true
		}
		for key, raw := range keys {
			name, known := conventional[key]
			if !known {
				name = "tracer." + key
			}
			if name = valid(name); !have[name] && name != "" && string(raw) != "null" {
				t.Errorf("%q of %q is not there: %v", key, line, fmt.Sprint(have))
			}
		}
	})
}

// Answers are a stranger's.
func FuzzAnswer(f *testing.F) {
	f.Add("application/x-protobuf", partialSuccess(3, "why"))
	f.Add("application/json", []byte(`{"partialSuccess":{"rejectedLogRecords":4}}`))
	f.Add("", []byte{})
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		a := accepted(kind, body)
		if a.rejected < 0 || a.rejected > 0 && a.why == "" || a.again {
			t.Errorf("%+v", a)
		}
		for _, c := range a.why {
			if c < ' ' || c > 0x7e && c != '…' {
				t.Errorf("%q", a.why)
			}
		}
	})
}
