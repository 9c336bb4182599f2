// Package otlp sends events to an OpenTelemetry endpoint: OTLP/HTTP, protobuf, gzip.
//
//	endpoint.go  where to, and with what: --otlp, OTEL_*
//	exporter.go  the sink: which event becomes what
//	ids.go       names of traces and spans, computed
//	span.go      an exchange → a span, or two
//	record.go    any other event → a log record
//	metric.go    sums of events → histograms and counters
//	exponential.go  histograms whose buckets grow
//	resource.go  whose event it is
//	wire.go      protobuf, by hand
//	batch.go     what is sent at once
//	ends.go      the two ends of an exchange
//	ports.go     own connections, which are left out
//	signal.go    kinds of data
//	pipe.go      batches wait, are sent, sent again, counted
//	post.go      one request and its answer
//	tell.go      what was not acknowledged is told
//
// What is sent and not acknowledged is undelivered, and counted: everything is one or
// the other. The caller never waits: a goroutine for each kind of data does the sending.
// Start with [Exporter].
//
// Names are those of the semantic conventions of OpenTelemetry 1.43; what these have no
// name for begins with "tracer.".
package otlp

// schema is where the names come from.
const schema = "https://opentelemetry.io/schemas/1.43.0"
