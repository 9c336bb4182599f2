package otlp

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// waitFor is an engine that takes all once it is told to.
func waitFor(free chan struct{}) func(int, int, http.ResponseWriter, *http.Request) int {
	return func(_, items int, _ http.ResponseWriter, _ *http.Request) int {
		<-free
		return items
	}
}

func TestEndpointIsWhatFlagAndEnvironmentSay(t *testing.T) {
	for _, c := range []struct {
		name, url string
		env       map[string]string
		want      string // of traces
		err       string
	}{
		{"a URL", "http://h:4318", nil, "http://h:4318/v1/traces", ""},
		{"one with a path", "https://h/otlp", nil, "https://h/otlp/v1/traces", ""},
		{"one with a slash", "https://h/otlp/", nil, "https://h/otlp/v1/traces", ""},
		{"the flag outweighs the environment", "http://h", map[string]string{envEndpoint: "http://other"}, "http://h/v1/traces", ""},
		{"the environment", "", map[string]string{envEndpoint: "http://other:1/a"}, "http://other:1/a/v1/traces", ""},
		{"with a user, of the environment alone", "", map[string]string{envEndpoint: "http://u:secret@h"}, "http://u:secret@h/v1/traces", ""},
		{"nothing", "", nil, "", "no URL, and OTEL_EXPORTER_OTLP_ENDPOINT is not set"},
		{"no scheme", "h:4318", nil, "", "must begin with http://"},
		{"another scheme", "grpc://h:4317", nil, "", "must begin with http://"},
		{"no host", "http:///v1", nil, "", "must begin with http://"},
		{"no URL", "http://h\x7f", nil, "", "not a URL"},
		{"a user in the flag", "http://u:secret@h", nil, "", "others can read the command line"},
		{"a query", "http://h?token=secret", nil, "", "must not have a query"},
		{"one of the environment that is wrong", "", map[string]string{envEndpoint: "secret"}, "", envEndpoint + ": the URL must"},
		{"headers", "http://h", map[string]string{envHeaders: "a=b,,c=%20d "}, "http://h/v1/traces", ""},
		{"a header without a value", "http://h", map[string]string{envHeaders: "a=b,secret"}, "", envHeaders + ": entry 2 is not name=value"},
		{"a header with a line end", "http://h", map[string]string{envHeaders: "a=secret%0a"}, "", "no header can have"},
		{"a header whose name is none", "http://h", map[string]string{envHeaders: "a b=secret"}, "", "no header can have"},
		{"a kind of histogram that there is not", "http://h", map[string]string{envHistogram: "secret"}, "", envHistogram + ": choose"},
		{"an attribute that is none", "http://h", map[string]string{envResource: "secret"}, "", envResource + ": entry 1"},
	} {
		e, err := ParseEndpoint(c.url, func(name string) string { return c.env[name] })
		switch {
		case c.err != "":
			if err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: %v", c.name, err)
			}
		case err != nil:
			t.Errorf("%s: %v", c.name, err)
		default:
			if got := e.url(traces.path()); got != c.want {
				t.Errorf("%s: %s, want %s", c.name, got, c.want)
			}
			if strings.Contains(e.String(), "secret") {
				t.Errorf("%s: shown as %s", c.name, e)
			}
		}
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	for file, want := range map[string]string{"/nonexistent/ca.pem": "no such file", "endpoint_test.go": "no certificate in"} {
		e, err := ParseEndpoint("https://h", func(name string) string { return map[string]string{envCertificate: file}[name] })
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Load(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// What the user says of all is in all resources; what is known of a process outweighs it.
func TestResourceAttributesOfTheEnvironment(t *testing.T) {
	e := newEngine(t, nil)
	x, _ := open(t, e.url, map[string]string{
		envService: "shop", envResource: "service.name=other,host.name=node-1,deployment.environment.name=a%2Cb,k8s.pod.name=mine,x=",
	}, Options{})
	x.Event(one("server", nil))
	shut(t, x, 1)
	want := map[string]any{
		"service.name": "shop", "host.name": "node-1", "process.pid": int64(42), "tracer.comm": "java", "k8s.namespace.name": "shop", "k8s.pod.name": "app-7",
		"k8s.pod.uid": "6b1f", "k8s.container.name": "app", "container.id": "0123", "deployment.environment.name": "a,b",
	}
	if diff := cmp.Diff(want, e.items[0].resource); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "5": 5 * time.Second, "-5": 0, "soon": 0, "Fri, 02 Jan 2026 03:04:15 GMT": 10 * time.Second, "Fri, 02 Jan 2026 03:04:00 GMT": 0, "99999999999999999999": 0,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}
