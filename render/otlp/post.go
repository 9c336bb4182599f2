package otlp

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// An answer is what became of one attempt to send a batch.
type answer struct {
	rejected int64         // of its items, where it was taken
	why      string        // something was not taken; empty: all was
	again    bool          // it may be sent again, and was not taken now
	after    time.Duration // and not before; 0: whenever
}

const errTooLate = "the end came before it was sent"

// maxAnswer bounds what is read of one.
const maxAnswer = 64 << 10

// post sends a request once.
func post(ctx context.Context, client *http.Client, e *Endpoint, path string, body []byte) answer {
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url(path), bytes.NewReader(body))
	if err != nil {
		return answer{why: "the request cannot be made"}
	}
	for name, values := range e.header {
		req.Header[name] = values
	}
	if host := e.header.Get("Host"); host != "" {
		req.Host = host
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	req.Header.Set("Content-Encoding", "gzip")
	req.Header.Set("User-Agent", "tracer")
	resp, err := client.Do(req)
	if err != nil {
		// OTLP: what could not be sent, or was not answered, may be sent again.
		return answer{why: reason(err), again: !isCertificate(err)}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch {
	case resp.StatusCode/100 == 2 && err != nil:
		return answer{why: reason(err), again: true}
	case resp.StatusCode/100 == 2:
		return accepted(resp.Header.Get("Content-Type"), text)
	}
	a := answer{why: status(resp, text)}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		a.again = true
		a.after = retryAfter(resp.Header.Get("Retry-After"), time.Now())
	}
	return a
}

// retryAfter reads that header: seconds, or a date (RFC 9110, 10.2.3).
func retryAfter(value string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

// accepted reads the answer to a request that was taken: an Export…ServiceResponse, which
// may say that some items were not.
func accepted(contentType string, body []byte) answer {
	if len(body) == 0 {
		return answer{}
	}
	var rejected int64
	var message string
	ok := false
	kind, _, _ := mime.ParseMediaType(contentType)
	switch kind {
	case "application/json":
		rejected, message, ok = partialJSON(body)
	default:
		rejected, message, ok = partial(body)
	}
	switch {
	case !ok:
		return answer{why: "the answer is none of OTLP: is this the right URL?"}
	case rejected > 0:
		return answer{rejected: rejected, why: "rejected: " + quote(message)}
	}
	return answer{}
}

// partial reads an Export…ServiceResponse: partial_success = 1, in it rejected = 1 and
// error_message = 2, the same of all signals.
func partial(b []byte) (rejected int64, message string, ok bool) {
	success, ok := lookup(b, 1)
	if !ok {
		return 0, "", false
	}
	inner := success.bytes
	n, ok := lookup(inner, 1)
	if !ok {
		return 0, "", false
	}
	m, ok := lookup(inner, 2)
	return int64(n.number), string(m.bytes), ok
}

// found is a field's value.
type found struct {
	number uint64
	bytes  []byte
}

// lookup finds the last field of a number in a message, ok if that is a message.
func lookup(b []byte, field protowire.Number) (f found, ok bool) {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return found{}, false
		}
		b = b[n:]
		n = protowire.ConsumeFieldValue(number, kind, b)
		if n < 0 {
			return found{}, false
		}
		if number == field {
			switch kind {
			case protowire.VarintType:
				f.number, _ = protowire.ConsumeVarint(b)
			case protowire.BytesType:
				f.bytes, _ = protowire.ConsumeBytes(b)
			}
		}
		b = b[n:]
	}
	return f, true
}

// partialJSON is partial for an answer in JSON, where 64-bit numbers are strings.
func partialJSON(b []byte) (rejected int64, message string, ok bool) {
	var answer struct {
		Partial struct {
			Spans   json.Number `json:"rejectedSpans"`
			Points  json.Number `json:"rejectedDataPoints"`
			Records json.Number `json:"rejectedLogRecords"`
			Message string      `json:"errorMessage"`
		} `json:"partialSuccess"`
	}
	if err := json.Unmarshal(b, &answer); err != nil {
		return 0, "", false
	}
	p := &answer.Partial
	for _, n := range []json.Number{p.Spans, p.Points, p.Records} {
		if v, err := n.Int64(); err == nil {
			rejected += v
		}
	}
	return rejected, p.Message, true
}

// status is what an answer of failure says: a google.rpc.Status (message = 2), or a text.
func status(resp *http.Response, body []byte) string {
	why := strconv.Itoa(resp.StatusCode) + " " + http.StatusText(resp.StatusCode)
	message := string(body)
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind == "application/x-protobuf" {
		m, _ := lookup(body, 2)
		message = string(m.bytes)
	}
	if message != "" {
		why += ": " + quote(message)
	}
	return why
}

// quote is a stranger's text in a sentence.
func quote(s string) string {
	const most = 200
	s = strings.TrimSpace(s)
	if s, _, _ = strings.Cut(s, "\n"); len(s) > most {
		s = s[:most] + "…"
	}
	return strconv.QuoteToASCII(s)
}

// reason is why there was no answer, without the URL, which is told beside.
func reason(err error) string {
	var u *url.Error
	var op *net.OpError
	var errno syscall.Errno
	switch {
	case errors.Is(err, context.Canceled):
		return errTooLate
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return "no answer in time"
	case errors.As(err, &op) && op.Op == "dial":
		return "connect: " + op.Err.Error()
	case errors.As(err, &errno): // else it names addresses, twice
		return errno.Error()
	case errors.As(err, &u):
		return u.Err.Error()
	}
	return fmt.Sprint(err)
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// isCertificate reports that a server is not the one that was asked for: to try again
// changes nothing.
func isCertificate(err error) bool {
	var bad *tls.CertificateVerificationError
	return errors.As(err, &bad)
}
