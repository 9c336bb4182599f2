package sinks

import (
	"errors"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"tracer/render"
	"tracer/render/help"
	"tracer/render/otlp"
	"tracer/trace/event"
	"tracer/trace/option"
)

// fromEnvironment is the value of --otlp without one.
const fromEnvironment = "OTEL_EXPORTER_OTLP_ENDPOINT"

// OTLP is the sink of --otlp: an OpenTelemetry endpoint.
type OTLP struct {
	url      string
	sums     bool
	endpoint *otlp.Endpoint // nil: nothing is sent
}

// Flags declares its flags.
func (o *OTLP) Flags(f *pflag.FlagSet) {
	f.Var(option.Text(&o.url), "otlp", "`URL` also send to this OpenTelemetry endpoint (OTLP/HTTP), as http://localhost:4318; without URL to "+fromEnvironment)
	f.Lookup("otlp").NoOptDefVal = fromEnvironment
}

// Resolve checks what the flag says, of a command that shows view, one of [render.Views].
func (o *OTLP) Resolve(view string) (err error) {
	if o.url == "" {
		return nil
	}
	o.sums = strings.HasSuffix(view, "-summary")
	url := o.url
	if url == fromEnvironment {
		url = ""
	}
	o.endpoint, err = otlp.ParseEndpoint(url, os.Getenv)
	return withName("--otlp", err)
}

// Misplaced reports whether an argument is meant to be the flag's value.
func (o *OTLP) Misplaced(argument string) bool {
	return o.url == fromEnvironment && (strings.HasPrefix(argument, "http://") || strings.HasPrefix(argument, "https://"))
}

// Prepare does what must be done before tracing begins and privileges are dropped.
func (o *OTLP) Prepare() error {
	if o.endpoint == nil {
		return nil
	}
	return withName("--otlp", o.endpoint.Load())
}

// Open starts sending, after Prepare. What is not delivered is told by messages. It
// returns nil if nothing is to be sent. The hostname is that of all events, empty if each
// has its own; recorded ones may wait for the endpoint.
func (o *OTLP) Open(messages *render.Messages, version, hostname string, recorded bool) *otlp.Exporter {
	if o.endpoint == nil {
		return nil
	}
	return otlp.Open(otlp.Options{
		Endpoint: o.endpoint, Hostname: hostname, Version: version, Sums: o.sums, Routes: true, Waits: recorded,
		Warn: func(text string) {
			messages.Notice(&event.Notice{Time: time.Now().UTC(), Kind: event.KindWarning, Message: text})
		},
	})
}

// withName says which flag an error is about.
func withName(flag string, err error) error {
	if err == nil {
		return nil
	}
	named := errors.New(flag + ": " + err.Error())
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		return help.Hint(named, hinted.Hint())
	}
	return named
}
