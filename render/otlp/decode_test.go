package otlp

import (
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net/http"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// A message is what a message of protobuf has, by the numbers of its fields. It knows
// nothing of what was encoded.
type message map[protowire.Number][]any // uint64 or []byte

func parse(t testing.TB, b []byte) message {
	t.Helper()
	m := message{}
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			t.Fatalf("no message: %v", protowire.ParseError(n))
		}
		b = b[n:]
		var v any
		switch kind {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		case protowire.Fixed64Type:
			v, n = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			v, n = protowire.ConsumeBytes(b)
		default:
			t.Fatalf("field %d has type %d", number, kind)
		}
		if n < 0 {
			t.Fatalf("field %d: %v", number, protowire.ParseError(n))
		}
		m[number] = append(m[number], v)
		b = b[n:]
	}
	return m
}

func (m message) bytes(n protowire.Number) []byte {
	if len(m[n]) == 0 {
		return nil
	}
	return m[n][len(m[n])-1].([]byte)
}

func (m message) text(n protowire.Number) string { return string(m.bytes(n)) }

func (m message) number(n protowire.Number) uint64 {
	if len(m[n]) == 0 {
		return 0
	}
	return m[n][len(m[n])-1].(uint64)
}

func (m message) double(n protowire.Number) float64 { return math.Float64frombits(m.number(n)) }

func (m message) all(t testing.TB, n protowire.Number) (list []message) {
	for _, v := range m[n] {
		list = append(list, parse(t, v.([]byte)))
	}
	return list
}

// attributes are those in a field, each once.
func (m message) attributes(t testing.TB, n protowire.Number) map[string]any {
	t.Helper()
	all := map[string]any{}
	for _, kv := range m.all(t, n) {
		key := kv.text(1)
		if _, twice := all[key]; twice {
			t.Errorf("attribute %q is there twice", key)
		}
		all[key] = value(t, kv.bytes(2))
	}
	return all
}

func value(t testing.TB, b []byte) any {
	v := parse(t, b)
	if len(v) != 1 {
		t.Fatalf("a value of %d kinds", len(v))
	}
	for kind := range v {
		switch kind {
		case 1:
			return v.text(1)
		case 2:
			return v.number(2) == 1
		case 3:
			return int64(v.number(3))
		case 5:
			list := []any{}
			for _, one := range parse(t, v.bytes(5))[1] {
				list = append(list, value(t, one.([]byte)))
			}
			return list
		default:
			t.Fatalf("a value of kind %d", kind)
		}
	}
	return nil
}

func doubles(b []byte) (list []float64) {
	for ; len(b) >= 8; b = b[8:] {
		list = append(list, math.Float64frombits(binary.LittleEndian.Uint64(b)))
	}
	return list
}

func fixed(b []byte) (list []uint64) {
	for ; len(b) >= 8; b = b[8:] {
		list = append(list, binary.LittleEndian.Uint64(b))
	}
	return list
}

// An item is one that was received, with its resource.
type item struct {
	path     string
	resource map[string]any
	message
}

// items are those of a request. Its frame is checked.
func items(t testing.TB, path string, body []byte) (list []item) {
	t.Helper()
	for _, r := range parse(t, body).all(t, 1) {
		attributes := parse(t, r.bytes(1)).attributes(t, 1)
		if r.text(3) != schema {
			t.Errorf("schema %q", r.text(3))
		}
		for _, s := range r.all(t, 2) {
			if scope := parse(t, s.bytes(1)); scope.text(1) != "tracer" {
				t.Errorf("scope %q", scope.text(1))
			}
			for _, one := range s.all(t, 2) {
				list = append(list, item{path, attributes, one})
			}
		}
	}
	return list
}

// read is the body of a request.
func read(r *http.Request) ([]byte, error) {
	if got := r.Header.Get("Content-Type"); got != "application/x-protobuf" || r.Method != http.MethodPost || r.Header.Get("Content-Encoding") != "gzip" {
		return nil, fmt.Errorf("%s of %q", r.Method, got)
	}
	z, err := gzip.NewReader(r.Body)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}
