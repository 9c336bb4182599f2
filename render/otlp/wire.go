package otlp

import (
	"math"
	"strings"
	"time"
	"unicode/utf8"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"
)

// Fields of messages (opentelemetry-proto 1.9) that several have.
const (
	// KeyValue, and the request, resource and scope messages of all signals.
	fieldKey, fieldValue = 1, 2

	// AnyValue
	fieldString, fieldBool, fieldInt, fieldArray = 1, 2, 3, 5
)

func appendTag(b []byte, field protowire.Number, t protowire.Type) []byte {
	return protowire.AppendTag(b, field, t)
}

// appendFixed appends a fixed64 field.
func appendFixed(b []byte, field protowire.Number, v uint64) []byte {
	return protowire.AppendFixed64(appendTag(b, field, protowire.Fixed64Type), v)
}

// appendDouble appends a double field.
func appendDouble(b []byte, field protowire.Number, v float64) []byte {
	return appendFixed(b, field, math.Float64bits(v))
}

// appendVarint appends a field of a number or an enum.
func appendVarint(b []byte, field protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(appendTag(b, field, protowire.VarintType), v)
}

// appendBytes appends a field of bytes, or of a message that is encoded already.
func appendBytes(b []byte, field protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(appendTag(b, field, protowire.BytesType), v)
}

// appendText appends a string field. Strings of protobuf are UTF-8: one that is not makes
// a whole request invalid.
func appendText(b []byte, field protowire.Number, s string) []byte {
	return protowire.AppendString(appendTag(b, field, protowire.BytesType), valid(s))
}

// valid is s with U+FFFD for bytes that are no UTF-8.
func valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\ufffd")
}

// text is b as a string that is valid as long as b.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// appendHead appends the beginning of a message field of so many bytes.
func appendHead(b []byte, field protowire.Number, size int) []byte {
	return protowire.AppendVarint(appendTag(b, field, protowire.BytesType), uint64(size))
}

// sizeBytes is how long a field below 16 of so many bytes is.
func sizeBytes(n int) int { return 1 + protowire.SizeBytes(n) }

// Attributes are fields of the same message type KeyValue in all that have them. Their
// values are known before they are written, so that no message is built first.

// appendString appends an attribute that is a string.
func appendString(b []byte, field protowire.Number, key, value string) []byte {
	value = valid(value)
	any := sizeBytes(len(value))
	b = appendHead(b, field, sizeBytes(len(key))+sizeBytes(any))
	b = protowire.AppendString(append(b, fieldKey<<3|byte(protowire.BytesType)), key)
	b = protowire.AppendVarint(append(b, fieldValue<<3|byte(protowire.BytesType)), uint64(any))
	return protowire.AppendString(append(b, fieldString<<3|byte(protowire.BytesType)), value)
}

// appendInt appends an attribute that is a number.
func appendInt(b []byte, field protowire.Number, key string, value int64) []byte {
	return appendNumber(b, field, key, fieldInt, uint64(value))
}

// appendBool appends an attribute that is true or false.
func appendBool(b []byte, field protowire.Number, key string, value bool) []byte {
	return appendNumber(b, field, key, fieldBool, protowire.EncodeBool(value))
}

func appendNumber(b []byte, field protowire.Number, key string, kind byte, value uint64) []byte {
	any := 1 + protowire.SizeVarint(value)
	b = appendHead(b, field, sizeBytes(len(key))+sizeBytes(any))
	b = protowire.AppendString(append(b, fieldKey<<3|byte(protowire.BytesType)), key)
	b = append(b, fieldValue<<3|byte(protowire.BytesType), byte(any), kind<<3|byte(protowire.VarintType))
	return protowire.AppendVarint(b, value)
}

// appendStrings appends an attribute that is a list of strings.
func appendStrings(b []byte, field protowire.Number, key string, values []string) []byte {
	list := 0
	for i, v := range values {
		values[i] = valid(v)
		list += sizeBytes(sizeBytes(len(values[i])))
	}
	any := sizeBytes(list)
	b = appendHead(b, field, sizeBytes(len(key))+sizeBytes(any))
	b = protowire.AppendString(append(b, fieldKey<<3|byte(protowire.BytesType)), key)
	b = protowire.AppendVarint(append(b, fieldValue<<3|byte(protowire.BytesType)), uint64(any))
	b = protowire.AppendVarint(append(b, fieldArray<<3|byte(protowire.BytesType)), uint64(list))
	for _, v := range values {
		b = protowire.AppendVarint(append(b, 1<<3|byte(protowire.BytesType)), uint64(sizeBytes(len(v))))
		b = protowire.AppendString(append(b, fieldString<<3|byte(protowire.BytesType)), v)
	}
	return b
}

// clean is a text that lives on, as the key of a map.
func clean(s string) string { return strings.Clone(valid(s)) }

// nanos is a time as OTLP has it.
func nanos(t time.Time) uint64 { return uint64(t.UnixNano()) }
