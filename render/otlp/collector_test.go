package otlp

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"

	"tracer/trace/event"
)

// collectorFile is what TRACER_COLLECTOR names: testdata/otlp/collector, built. make
// test-otlp builds it.
const collectorFile = "TRACER_COLLECTOR"

// collector starts one, and returns its URL and a function that ends it and returns what
// it has written.
func collector(t *testing.T) (url string, end func() []byte) {
	t.Helper()
	program := os.Getenv(collectorFile)
	if program == "" {
		t.Skip(collectorFile + " names no Collector: make test-otlp builds one and runs this")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	dir := t.TempDir()
	config, err := os.ReadFile("../../testdata/otlp/collector.yaml")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "collector.yaml")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "otlp.jsonl")
	cmd := exec.Command(program, "--config", "file:"+file)
	cmd.Env = append(os.Environ(), "OTLP_LISTEN="+address, "OTLP_FILE="+out)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop := func() {
		if !stopped {
			stopped = true
			_ = cmd.Process.Signal(os.Interrupt)
			_ = cmd.Wait()
		}
	}
	t.Cleanup(stop)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if conn, err := net.Dial("tcp", address); err == nil {
			_ = conn.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the Collector does not listen: %s", said.Bytes())
		}
	}
	return "http://" + address, func() []byte {
		stop()
		text, err := os.ReadFile(out)
		if err != nil {
			t.Fatalf("%v: %s", err, said.Bytes())
		}
		return text
	}
}

// hexOf is what a field of bytes is called in JSON.
func hexOf(m message, n protowire.Number) string { return hex.EncodeToString(m.bytes(n)) }

// flat is an item as the tests compare it: its fields by their names in OTLP's JSON. Of an
// item with what has a list in it, that is its text.
func flat(t *testing.T, i item) map[string]any {
	m := map[string]any{"resource": i.resource}
	number := func(key string, n protowire.Number) {
		if v := i.number(n); v != 0 {
			m[key] = strconv.FormatUint(v, 10)
		}
	}
	text := func(key string, v string) {
		if v != "" {
			m[key] = v
		}
	}
	switch i.path {
	case "/v1/traces":
		text("traceId", hexOf(i.message, spanTraceID))
		text("spanId", hexOf(i.message, spanID))
		text("parentSpanId", hexOf(i.message, spanParent))
		text("name", i.text(spanName))
		number("kind", spanKind)
		number("startTimeUnixNano", spanStart)
		number("endTimeUnixNano", spanEnd)
		m["attributes"] = i.attributes(t, spanAttributes)
		if status := i.bytes(spanStatus); len(status) > 0 {
			s := parse(t, status)
			m["status"] = fmt.Sprintf("%d %s", s.number(statusCode), s.text(statusMessage))
		}
	case "/v1/logs":
		number("timeUnixNano", recordTime)
		number("observedTimeUnixNano", recordObserved)
		number("severityNumber", recordSeverity)
		text("severityText", i.text(recordLevel))
		text("body", fmt.Sprint(value(t, i.bytes(recordBody))))
		text("traceId", hexOf(i.message, recordTraceID))
		text("spanId", hexOf(i.message, recordSpanID))
		text("eventName", i.text(recordName))
		m["attributes"] = i.attributes(t, recordAttributes)
	case "/v1/metrics":
		text("name", i.text(metricName))
		text("description", i.text(metricDescription))
		text("unit", i.text(metricUnit))
		if sum := i.bytes(metricSum); sum != nil {
			s := parse(t, sum)
			p := parse(t, s.bytes(dataPoints))
			m["sum"] = fmt.Sprint(s.number(dataTemporality), s.number(sumMonotonic) == 1, p.number(pointStart), p.number(pointTime), p.number(numberInt))
			m["attributes"] = p.attributes(t, numberAttributes)
		}
		if histogram := i.bytes(metricHistogram); histogram != nil {
			h := parse(t, histogram)
			p := parse(t, h.bytes(dataPoints))
			m["histogram"] = fmt.Sprint(h.number(dataTemporality), p.number(pointStart), p.number(pointTime), p.number(histogramCount), p.double(histogramSum),
				fixed(p.bytes(histogramBuckets)), doubles(p.bytes(histogramBounds)), p.double(histogramLeast), p.double(histogramMost))
			m["attributes"] = p.attributes(t, histogramAttributes)
		}
	}
	if i.path == "/v1/metrics" && i.bytes(metricExponential) != nil {
		h := parse(t, i.bytes(metricExponential))
		p := parse(t, h.bytes(dataPoints))
		buckets := parse(t, p.bytes(expPositive))
		var counts []uint64
		for b := buckets.bytes(bucketsCounts); len(b) > 0; {
			count, n := protowire.ConsumeVarint(b)
			counts, b = append(counts, count), b[n:]
		}
		m["exponential"] = fmt.Sprint(h.number(dataTemporality), p.number(pointStart), p.number(pointTime), p.number(histogramCount), p.double(histogramSum),
			protowire.DecodeZigZag(p.number(expPointScale)), p.number(expZero), protowire.DecodeZigZag(buckets.number(bucketsOffset)), counts, p.double(expLeast), p.double(expMost))
		m["attributes"] = p.attributes(t, expAttributes)
	}
	return m
}

// Objects of OTLP's JSON, as far as the tests know them.
type (
	jsonAttributes []struct {
		Key   string
		Value jsonValue
	}
	jsonValue struct {
		StringValue *string
		IntValue    *json.Number
		BoolValue   *bool
		ArrayValue  *struct{ Values []jsonValue }
	}
	jsonNumbers []json.Number
	jsonPoint   struct {
		Attributes                      jsonAttributes
		StartTimeUnixNano, TimeUnixNano json.Number
		AsInt, Count                    json.Number
		ZeroCount                       json.Number
		Scale                           int
		Positive                        struct {
			Offset       int
			BucketCounts jsonNumbers
		}
		BucketCounts   jsonNumbers
		Sum, Min, Max  float64
		ExplicitBounds []float64
	}
	jsonItem struct {
		TraceID, SpanID, ParentSpanID, Name string
		Kind                                int
		StartTimeUnixNano, EndTimeUnixNano  json.Number
		Attributes                          jsonAttributes
		Status                              *struct {
			Code    int
			Message string
		}
		TimeUnixNano, ObservedTimeUnixNano         json.Number
		SeverityNumber                             int
		SeverityText, EventName, Description, Unit string
		Body                                       *jsonValue
		Sum                                        *struct {
			DataPoints             []jsonPoint
			AggregationTemporality int
			IsMonotonic            bool
		}
		ExponentialHistogram *struct {
			DataPoints             []jsonPoint
			AggregationTemporality int
		}
		Histogram *struct {
			DataPoints             []jsonPoint
			AggregationTemporality int
		}
	}
	jsonLine struct {
		ResourceSpans []struct {
			Resource   struct{ Attributes jsonAttributes }
			SchemaURL  string `json:"schemaUrl"`
			ScopeSpans []struct{ Spans []jsonItem }
		}
		ResourceLogs []struct {
			Resource  struct{ Attributes jsonAttributes }
			SchemaURL string `json:"schemaUrl"`
			ScopeLogs []struct{ LogRecords []jsonItem }
		}
		ResourceMetrics []struct {
			Resource     struct{ Attributes jsonAttributes }
			SchemaURL    string `json:"schemaUrl"`
			ScopeMetrics []struct{ Metrics []jsonItem }
		}
	}
)

func (v jsonValue) value() any {
	switch {
	case v.StringValue != nil:
		return *v.StringValue
	case v.IntValue != nil:
		n, _ := v.IntValue.Int64()
		return n
	case v.BoolValue != nil:
		return *v.BoolValue
	case v.ArrayValue != nil:
		list := []any{}
		for _, one := range v.ArrayValue.Values {
			list = append(list, one.value())
		}
		return list
	}
	return "" // an empty string is left out
}

func (l jsonAttributes) all() map[string]any {
	all := map[string]any{}
	for _, a := range l {
		all[a.Key] = a.Value.value()
	}
	return all
}

func (l jsonNumbers) String() string {
	var words []string
	for _, n := range l {
		words = append(words, string(n))
	}
	return "[" + strings.Join(words, " ") + "]"
}

// zero is a number that is left out where it is 0.
func zero(n json.Number) string { return cmp.Or(string(n), "0") }

// flat is the same as of an item that was sent.
func (i jsonItem) flat(resource jsonAttributes) map[string]any {
	m := map[string]any{"resource": resource.all()}
	put := func(key string, v any) {
		if s := fmt.Sprint(v); s != "" && s != "0" {
			m[key] = s
		}
	}
	put("traceId", i.TraceID)
	put("spanId", i.SpanID)
	put("parentSpanId", i.ParentSpanID)
	put("name", i.Name)
	put("kind", i.Kind)
	put("startTimeUnixNano", i.StartTimeUnixNano)
	put("endTimeUnixNano", i.EndTimeUnixNano)
	put("timeUnixNano", i.TimeUnixNano)
	put("observedTimeUnixNano", i.ObservedTimeUnixNano)
	put("severityNumber", i.SeverityNumber)
	put("severityText", i.SeverityText)
	put("eventName", i.EventName)
	put("description", i.Description)
	put("unit", i.Unit)
	m["attributes"] = i.Attributes.all()
	if i.Body != nil {
		put("body", i.Body.value())
	}
	if i.Status != nil && i.Status.Code != 0 {
		put("status", fmt.Sprintf("%d %s", i.Status.Code, i.Status.Message))
	}
	if i.Sum != nil {
		p := i.Sum.DataPoints[0]
		m["sum"] = fmt.Sprint(i.Sum.AggregationTemporality, " ", i.Sum.IsMonotonic, " ", p.StartTimeUnixNano, " ", p.TimeUnixNano, " ", p.AsInt)
		m["attributes"] = p.Attributes.all()
	}
	if i.ExponentialHistogram != nil {
		p := i.ExponentialHistogram.DataPoints[0]
		m["exponential"] = fmt.Sprint(i.ExponentialHistogram.AggregationTemporality, " ", p.StartTimeUnixNano, " ", p.TimeUnixNano, " ", p.Count, " ", p.Sum, " ",
			p.Scale, " ", zero(p.ZeroCount), " ", p.Positive.Offset, " ", p.Positive.BucketCounts, " ", p.Min, " ", p.Max)
		m["attributes"] = p.Attributes.all()
	}
	if i.Histogram != nil {
		p := i.Histogram.DataPoints[0]
		m["histogram"] = fmt.Sprint(i.Histogram.AggregationTemporality, " ", p.StartTimeUnixNano, " ", p.TimeUnixNano, " ", p.Count, " ", p.Sum, " ", p.BucketCounts, " ", p.ExplicitBounds, " ", p.Min, " ", p.Max)
		m["attributes"] = p.Attributes.all()
	}
	return m
}

// written are the items of what a Collector has written.
func written(t *testing.T, text []byte) (list []map[string]any) {
	t.Helper()
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var l jsonLine
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		add := func(resource jsonAttributes, items []jsonItem) {
			for _, i := range items {
				list = append(list, i.flat(resource))
			}
		}
		for _, r := range l.ResourceSpans {
			for _, s := range r.ScopeSpans {
				add(r.Resource.Attributes, s.Spans)
			}
		}
		for _, r := range l.ResourceLogs {
			for _, s := range r.ScopeLogs {
				add(r.Resource.Attributes, s.LogRecords)
			}
		}
		for _, r := range l.ResourceMetrics {
			for _, s := range r.ScopeMetrics {
				add(r.Resource.Attributes, s.Metrics)
			}
		}
	}
	return list
}

// Each span, log record and data point that was sent is in the Collector's file, as it was
// sent, and nothing else is.
func TestCollectorWritesWhatWasSent(t *testing.T) {
	url, end := collector(t)
	// Between the two stands who writes down what is sent.
	var mu sync.Mutex
	var sent []item
	between := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(raw))
		body, err := read(r)
		if err != nil {
			t.Error(err)
			return
		}
		on, err := http.NewRequest(r.Method, url+r.URL.Path, bytes.NewReader(raw))
		if err != nil {
			t.Error(err)
			return
		}
		on.Header = r.Header
		resp, err := http.DefaultClient.Do(on)
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		if resp.StatusCode == 200 {
			mu.Lock()
			sent = append(sent, items(t, r.URL.Path, body)...)
			mu.Unlock()
		}
		w.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	}))
	defer between.Close()
	env := map[string]string{envResource: "deployment.environment.name=test,x=%2C"}
	total := uint64(0)
	for run := range 3 {
		env[envHistogram] = map[int]string{2: growingHistogram}[run]
		x, told := open(t, between.URL, env, Options{Sums: run > 0, Routes: true, Version: "v1"})
		for _, e := range everything() {
			x.Event(e)
		}
		n, _ := x.Sent()
		undelivered, _ := x.Close()
		more, acknowledged := x.Sent()
		if undelivered != 0 || acknowledged != more || more < n {
			t.Errorf("%d undelivered, %d acknowledged of %d: %q", undelivered, acknowledged, more, told.list)
		}
		total += more
	}
	var want []map[string]any
	for _, i := range sent {
		want = append(want, flat(t, i))
	}
	got := written(t, end())
	if uint64(len(want)) != total || len(got) != len(want) {
		t.Fatalf("%d sent, %d on the way, %d written", total, len(want), len(got))
	}
	for _, list := range [][]map[string]any{want, got} {
		slices.SortFunc(list, func(a, b map[string]any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("(-sent +written):\n%s", diff)
	}
}

// What a Collector refuses is undelivered: too large a body.
func TestCollectorRefusesWhatIsTooLarge(t *testing.T) {
	url, end := collector(t)
	x, told := open(t, url, nil, Options{queue: 128 << 20})
	x.Event(&event.Exec{Common: event.Common{Time: time.Now(), Kind: event.KindExec}, Program: event.Program{Args: []string{strings.Repeat("x", 24<<20)}}})
	x.pipes[logs].finish()
	x.Event(&event.Exec{Common: event.Common{Time: time.Now(), Kind: event.KindExec}})
	undelivered, _ := shut(t, x, 2)
	if n := len(written(t, end())); undelivered != 1 || n != 1 || !told.has("1 log record not delivered") {
		t.Errorf("%d undelivered, %d written: %q", undelivered, n, told.list)
	}
}

// everything is an event of each kind, with as much as it can have, and with little.
func everything() (list []event.Event) {
	common := func(kind string) event.Common {
		return event.Common{Time: time.Unix(1700000000, 123456789), Kind: kind, Process: event.Process{
			PID: 4242, Comm: "sh\xff", UID: 1000, CgroupID: 1 << 63,
			Place: event.Place{Container: "web", ContainerID: "0123", Pod: "web-0", Namespace: "shop", PodUID: "6b1f"},
		}}
	}
	connection := event.Connection{
		Role: event.RoleClient, Src: netip.MustParseAddrPort("10.0.0.1:40000"), Dst: netip.MustParseAddrPort("[fd00::1]:443"), ID: event.ConnID{Client: 1, Server: 2, Known: true},
	}
	program := event.Program{Exe: "/bin/sh", Args: []string{"sh", "", "a b\n", "\"\\\x00\xfe"}}
	list = append(list,
		&event.Exec{Common: common(event.KindExec), Program: program, PPID: 1, ParentComm: "init", ArgsTruncated: true, Cwd: "/", User: "ann"},
		&event.Exec{Common: event.Common{Time: time.Unix(1, 0), Kind: event.KindExec}},
		&event.Exit{Common: common(event.KindExit), Program: program, Signal: "SIGKILL", Core: true, Duration: time.Hour},
		&event.Exit{Common: common(event.KindExit), Code: 3},
		&event.ExecFailed{Common: common(event.KindExecFailed), Program: program, Error: "ENOENT"},
		&event.Connect{Common: common(event.KindConnect), Connection: connection, Latency: time.Millisecond},
		&event.ConnectFailed{Common: common(event.KindConnectFailed), Connection: connection, SYNs: 3, Error: "ECONNREFUSED"},
		&event.ConnectStuck{Common: common(event.KindConnectStuck), Connection: connection, Age: time.Second},
		&event.Accept{Common: common(event.KindAccept), Connection: connection, Queued: time.Second, Backlog: 1, BacklogMax: 128},
		&event.Open{Common: common(event.KindOpen), Connection: connection, Idle: time.Second, Accepted: true},
		&event.Close{Common: common(event.KindClose), Connection: connection, Tx: 1 << 40, Rx: 5, Reason: event.ReasonReset, ClosedBy: event.RoleServer},
		&event.Close{Common: common(event.KindClose), Connection: connection, Tx: 7, Reason: event.ReasonClosed},
		&event.Traffic{Common: common(event.KindTraffic), Interval: time.Second, Proto: event.ProtoTCP, Tx: 10, Rx: 20},
		&event.Traffic{Common: common(event.KindTraffic), Connection: connection, Interval: time.Second, Proto: event.ProtoUDP, Tx: 1},
		&event.Traffic{Common: event.Common{Time: time.Unix(2, 0), Kind: event.KindTraffic}, Peer: netip.MustParseAddr("192.0.2.1"), Interval: time.Second, Rx: 9},
	)
	for _, h := range exchanges() {
		list = append(list, h)
	}
	return list
}
