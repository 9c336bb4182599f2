package otlp

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
)

// Variables of the environment that are heeded.
const (
	envEndpoint    = "OTEL_EXPORTER_OTLP_ENDPOINT"
	envHeaders     = "OTEL_EXPORTER_OTLP_HEADERS"
	envCertificate = "OTEL_EXPORTER_OTLP_CERTIFICATE"
	envService     = "OTEL_SERVICE_NAME"
	envResource    = "OTEL_RESOURCE_ATTRIBUTES"
	envHistogram   = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"

	fixedHistogram, growingHistogram = "explicit_bucket_histogram", "base2_exponential_bucket_histogram"
)

// An Attribute is a name and a value.
type Attribute struct{ Key, Value string }

// An Endpoint is where to send to, and what goes with it. It holds secrets.
type Endpoint struct {
	base       *url.URL
	header     http.Header
	attributes []Attribute // of all resources
	growing    bool        // histograms are exponential
	ca         string      // file with certificates
	roots      *x509.CertPool
}

// hinted is an error with a hint.
type hinted struct {
	error
	hint string
}

func (h hinted) Hint() string { return h.hint }

// ParseEndpoint says where a URL leads, or where it is empty the variables in the
// environment, which getenv reads. Its errors name the variable, but show no value that
// may be a secret.
func ParseEndpoint(text string, getenv func(string) string) (*Endpoint, error) {
	from := ""
	if text == "" {
		from = envEndpoint + ": "
		if text = getenv(envEndpoint); text == "" {
			return nil, hinted{errors.New("no URL, and " + envEndpoint + " is not set"),
				"for a Collector on this host: --otlp=http://localhost:4318 (sudo passes no variables on: sudo --preserve-env=" + envEndpoint + ")"}
		}
	}
	e := &Endpoint{header: http.Header{}, ca: getenv(envCertificate)}
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New(from + "not a URL (for example http://localhost:4318)") // the error shows all of it
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, errors.New(from + "the URL must begin with http:// or https:// and name a host (for example http://localhost:4318)")
	case u.User != nil && from == "":
		return nil, hinted{errors.New("the URL must not have a user and a password: others can read the command line"),
			"put them into " + envHeaders + " (authorization=Basic%20…), or into " + envEndpoint}
	case u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New(from + "the URL must not have a query or a fragment: /v1/traces and the like are put behind it")
	}
	e.base = u
	headers, err := pairs(getenv(envHeaders))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", envHeaders, err)
	}
	for _, h := range headers {
		if !isToken(h.Key) || strings.ContainsAny(h.Value, "\r\n\x00") {
			return nil, fmt.Errorf("%s: a name or a value that no header can have", envHeaders)
		}
		e.header.Add(h.Key, h.Value)
	}
	switch kind := getenv(envHistogram); kind {
	case "", fixedHistogram:
	case growingHistogram:
		e.growing = true
	default:
		return nil, errors.New(envHistogram + ": choose " + fixedHistogram + " or " + growingHistogram)
	}
	if name := getenv(envService); name != "" {
		e.attributes = append(e.attributes, Attribute{"service.name", name})
	}
	more, err := pairs(getenv(envResource))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", envResource, err)
	}
	e.attributes = append(e.attributes, more...) // of two the first counts
	return e, nil
}

// pairs reads name=value,name=value, both percent-encoded, as W3C Baggage has them.
func pairs(text string) (list []Attribute, err error) {
	for i, item := range strings.Split(text, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		key, value, ok := strings.Cut(item, "=")
		key, keyErr := url.PathUnescape(strings.TrimSpace(key))
		value, valueErr := url.PathUnescape(strings.TrimSpace(value))
		if !ok || key == "" || keyErr != nil || valueErr != nil {
			return nil, fmt.Errorf("entry %d is not name=value", i+1) // it may be a secret
		}
		list = append(list, Attribute{key, value})
	}
	return list, nil
}

func isToken(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?={}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// Load reads the files that it takes to send. It is to be called before a process gives up
// its privileges.
func (e *Endpoint) Load() error {
	if e.base.Scheme != "https" {
		return nil
	}
	if e.ca == "" {
		e.roots, _ = x509.SystemCertPool() // nil: what is tried says so
		return nil
	}
	text, err := os.ReadFile(e.ca)
	if err != nil {
		return fmt.Errorf("read %s: %w", envCertificate, err)
	}
	e.roots = x509.NewCertPool()
	if !e.roots.AppendCertsFromPEM(text) {
		return fmt.Errorf("read %s: no certificate in %q", envCertificate, e.ca)
	}
	return nil
}

// String is the URL without what may be secret.
func (e *Endpoint) String() string {
	shown := *e.base
	shown.User = nil
	return shown.String()
}

// url is where a kind of data goes.
func (e *Endpoint) url(path string) string { return e.base.JoinPath(path).String() }
