package http

import (
	"flag"
	"testing"
	"time"

	"tracer/trace/event"
)

// A filter on what is not known of an exchange does not match, whatever it lets pass.
func TestFiltersDoNotMatchTheUnknown(t *testing.T) {
	id, err := event.ParseTraceID("4bf92f3577b34da6a3ce929d0e0e4736")
	if err != nil {
		t.Fatal(err)
	}
	known := event.HTTP{Common: event.Common{Kind: event.KindHTTP}, Method: "POST", Path: "/a.B/C", Host: "h", Status: 200, Duration: time.Second, TraceID: id}
	for _, tc := range []struct {
		arg, filter string
		forget      func(e *event.HTTP)
	}{
		{"--method=post,get", "method", func(e *event.HTTP) { e.Method = "" }},
		{"--path=*", "path", func(e *event.HTTP) { e.Path = "" }},
		{"--path=/a.B/*", "path", func(e *event.HTTP) { e.Path = "" }},
		{"--host=*", "host", func(e *event.HTTP) { e.Host = "" }},
		{"--host=H", "host", func(e *event.HTTP) { e.Host = "" }},
		{"--status=100-999", "status", func(e *event.HTTP) { e.Status = 0 }},
		{"--trace=4BF92F3577b34da6a3ce929d0e0e4736", "trace", func(e *event.HTTP) { e.TraceID = event.TraceID{} }},
		{"--trace=4bf92f3577b34da6a3ce929d0e0e4736", "trace", func(e *event.HTTP) { e.TraceID[15]++ }},
		{"--status=2xx", "status", func(e *event.HTTP) { e.Status = 0 }},
	} {
		var o options
		fs := flag.NewFlagSet("http", flag.ContinueOnError)
		o.Flags(fs)
		if err := fs.Parse([]string{tc.arg}); err != nil {
			t.Fatal(err)
		}
		e := known
		if got := o.filters(&e); got != "" {
			t.Errorf("%s leaves out what is known: %s", tc.arg, got)
		}
		tc.forget(&e)
		if got := o.filters(&e); got != tc.filter {
			t.Errorf("%s: the unknown is left out by %q, want %q", tc.arg, got, tc.filter)
		}
	}
}
