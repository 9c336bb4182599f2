package otlp

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"

	"tracer/trace/event"
)

// pointsOf are the sums that an exporter sends at its end, by name and attributes.
func pointsOf(t *testing.T, events ...event.Event) map[string]string {
	t.Helper()
	points := map[string]string{}
	e := newEngine(t, nil)
	x, told := open(t, e.url, nil, Options{Sums: true})
	for _, one := range events {
		x.Event(one)
	}
	if n, _ := x.Close(); n != 0 {
		t.Fatalf("%d undelivered: %q", n, told.list)
	}
	for _, i := range e.items {
		if i.path != "/v1/metrics" {
			continue
		}
		name := i.text(metricName) + " " + i.text(metricUnit)
		if h := i.bytes(metricHistogram); h != nil {
			p := parse(t, parse(t, h).bytes(dataPoints))
			if parse(t, h).number(dataTemporality) != cumulative || p.number(pointStart) == 0 || p.number(pointTime) < p.number(pointStart) {
				t.Errorf("%s: %v", name, p)
			}
			if diff := cmp.Diff(bounds[:], doubles(p.bytes(histogramBounds))); diff != "" {
				t.Error(diff)
			}
			points[name+" "+fmt.Sprint(p.attributes(t, histogramAttributes))] = fmt.Sprint(p.number(histogramCount), p.double(histogramSum), p.double(histogramLeast), p.double(histogramMost), fixed(p.bytes(histogramBuckets)))
			continue
		}
		s := parse(t, i.bytes(metricSum))
		p := parse(t, s.bytes(dataPoints))
		if s.number(dataTemporality) != cumulative || s.number(sumMonotonic) != 1 {
			t.Errorf("%s: %v", name, s)
		}
		points[name+" "+fmt.Sprint(p.attributes(t, numberAttributes))] = fmt.Sprint(p.number(numberInt))
	}
	return points
}

func TestSummariesAreHistograms(t *testing.T) {
	took := func(d time.Duration, status int) func(e *event.HTTP) {
		return func(e *event.HTTP) { e.Duration, e.Status = d, status }
	}
	const attributes = "http.request.method:GET http.response.status_code:200 network.protocol.version:1.1 "
	got := pointsOf(t,
		one(event.RoleServer, took(5*time.Millisecond, 200)), // a bound is in the bucket below
		one(event.RoleServer, took(5*time.Millisecond+1, 200)),
		one(event.RoleServer, took(20*time.Second, 200)),
		one(event.RoleServer, took(time.Second, 500)),
		one(event.RoleClient, took(300*time.Millisecond, 200)),
	)
	want := map[string]string{
		"http.server.request.duration s map[" + attributes + "tracer.route:/users/{id} url.scheme:http]":                                                                                 "3 20.010000001 0.005 20 [1 1 0 0 0 0 0 0 0 0 0 0 0 0 1]",
		"http.server.request.duration s map[error.type:500 http.request.method:GET http.response.status_code:500 network.protocol.version:1.1 tracer.route:/users/{id} url.scheme:http]": "1 1 1 1 [0 0 0 0 0 0 0 0 0 1 0 0 0 0 0]",
		"http.client.request.duration s map[" + attributes + "server.address:api.example.com server.port:80 tracer.route:/users/{id} url.scheme:http]":                                   "1 0.3 0.3 0.3 [0 0 0 0 0 0 0 1 0 0 0 0 0 0 0]",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// With exponential histograms each value is in the bucket that has it, and all is counted.
func TestExponentialHistograms(t *testing.T) {
	e := newEngine(t, nil)
	x, _ := open(t, e.url, map[string]string{envHistogram: growingHistogram}, Options{Sums: true})
	took := []time.Duration{0, 1, time.Microsecond, time.Millisecond, 1500 * time.Millisecond, time.Second, 2 * time.Second, 2*time.Second + 1, 100 * time.Hour}
	for _, d := range took {
		x.Event(one(event.RoleServer, func(e *event.HTTP) { e.Duration = d }))
	}
	if n, _ := x.Close(); n != 0 || len(e.items) != 1 {
		t.Fatalf("%d undelivered, %d points", n, len(e.items))
	}
	h := parse(t, e.items[0].bytes(metricExponential))
	p := parse(t, h.bytes(dataPoints))
	buckets := parse(t, p.bytes(expPositive))
	offset, scale := protowire.DecodeZigZag(buckets.number(bucketsOffset)), protowire.DecodeZigZag(p.number(expPointScale))
	got := map[int64]uint64{}
	sum := p.number(expZero)
	for i, b := int64(0), buckets.bytes(bucketsCounts); len(b) > 0; i++ {
		count, n := protowire.ConsumeVarint(b)
		if b = b[n:]; count > 0 {
			got[offset+i] = count
		}
		sum += count
	}
	if sum != uint64(len(took)) || sum != p.number(histogramCount) || p.number(expZero) != 1 || scale != 3 || h.number(dataTemporality) != cumulative {
		t.Errorf("%d counted, %v", sum, p)
	}
	// Bucket i is above 2^(i/8), up to 2^((i+1)/8): 1 s is the end of bucket -1, 2 s that of 7.
	want := map[int64]uint64{expFirst: 1, -160: 1, -80: 1, 4: 1, -1: 1, 7: 1, 8: 1, expLast: 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestConnectionsAndTrafficAreCounters(t *testing.T) {
	at := func(kind string) event.Common {
		return event.Common{Time: began, Kind: kind, Process: event.Process{PID: 1, Comm: "c"}}
	}
	connection := event.Connection{Role: event.RoleServer, Src: client, Dst: server}
	got := pointsOf(t,
		&event.Accept{Common: at(event.KindAccept), Connection: connection},
		&event.Accept{Common: at(event.KindAccept), Connection: connection},
		&event.Close{Common: at(event.KindClose), Connection: connection, Tx: 10, Rx: 1, Reason: event.ReasonClosed},
		&event.Close{Common: at(event.KindClose), Connection: connection, Tx: 5, Rx: 2, Reason: event.ReasonReset},
		&event.Traffic{Common: at(event.KindTraffic), Proto: "tcp", Tx: 100, Rx: 7},
		&event.Traffic{Common: at(event.KindTraffic), Proto: "tcp", Tx: 100},
	)
	const about = "server.port:8080 tracer.event:"
	want := map[string]string{
		"tracer.connections {connection} map[" + about + "accept tracer.role:server]":                    "2",
		"tracer.connections {connection} map[" + about + "close tracer.role:server]":                     "1",
		"tracer.connections {connection} map[error.type:reset " + about + "close tracer.role:server]":    "1",
		"tracer.connection.io By map[network.io.direction:transmit server.port:8080 tracer.role:server]": "15",
		"tracer.connection.io By map[network.io.direction:receive server.port:8080 tracer.role:server]":  "3",
		"tracer.network.io By map[network.io.direction:transmit network.transport:tcp]":                  "200",
		"tracer.network.io By map[network.io.direction:receive network.transport:tcp]":                   "7",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// However many routes a stranger makes up, sums are bounded, and nothing is left out of
// them.
func TestSumsAreBounded(t *testing.T) {
	e := newEngine(t, nil)
	x, _ := open(t, e.url, nil, Options{Sums: true})
	for i := range 3 * maxSeries {
		x.Event(one(event.RoleServer, func(e *event.HTTP) { e.Path = fmt.Sprintf("/x%dy\xff", i) }))
	}
	if len(x.sums.all) > maxSeries+int(instruments) || len(x.sums.all) != len(x.sums.order) {
		t.Errorf("%d series", len(x.sums.all))
	}
	if n, _ := x.Close(); n != 0 {
		t.Errorf("%d undelivered", n)
	}
	sum, overflow := uint64(0), uint64(0)
	for _, i := range e.items {
		p := parse(t, parse(t, i.bytes(metricHistogram)).bytes(dataPoints))
		sum += p.number(histogramCount)
		if p.attributes(t, histogramAttributes)["otel.metric.overflow"] == true {
			overflow += p.number(histogramCount)
		}
	}
	if sum != 3*maxSeries || overflow != 2*maxSeries {
		t.Errorf("%d counted, %d of them beyond the bound", sum, overflow)
	}
}

// While sums wait to be sent no more are made: the next ones have all that these have.
func TestSumsAreSentOneAtATime(t *testing.T) {
	free := make(chan struct{})
	e := newEngine(t, nil)
	e.answer = waitFor(free)
	x, _ := open(t, e.url, nil, Options{Sums: true})
	now := x.sums.next
	for range 5 {
		x.Event(one(event.RoleServer, nil))
		x.sums.flush(now, false)
		now = now.Add(sumsEvery)
	}
	close(free)
	if sent, _ := x.Sent(); sent != 1 {
		t.Errorf("%d points", sent)
	}
	if undelivered, _ := x.Close(); undelivered != 0 || len(e.items) != 2 {
		t.Errorf("%d undelivered, %d points", undelivered, len(e.items))
	}
	p := parse(t, parse(t, e.items[1].bytes(metricHistogram)).bytes(dataPoints))
	if p.number(histogramCount) != 5 {
		t.Errorf("%d counted", p.number(histogramCount))
	}
}
