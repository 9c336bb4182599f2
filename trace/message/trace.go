package message

// A Trace is what a traceparent field says (W3C Trace Context): which trace a request
// belongs to, and which span of it the request's sender was in. The zero value is that of
// a request without such a field.
type Trace struct {
	ID     [16]byte // never zero where the field was valid
	Parent [8]byte
}

const (
	// traceLength is that of version 00: version, trace-id, parent-id and flags with a
	// dash between them. Later versions may have more behind a further dash.
	traceLength = 2 + 1 + 32 + 1 + 16 + 1 + 2
	// MaxTraceparent is how long a field may be that is read at all.
	MaxTraceparent = 512
)

// ParseTrace reads the value of a traceparent field by the letter of W3C Trace Context
// 3.2: one that is not right in any part is none.
func ParseTrace(value []byte) (t Trace) {
	if len(value) < traceLength || len(value) > MaxTraceparent || value[2] != '-' || value[35] != '-' || value[52] != '-' {
		return Trace{}
	}
	var version, flags [1]byte
	if !unhex(version[:], value) || version[0] == 0xff || !unhex(flags[:], value[53:]) {
		return Trace{}
	}
	if rest := value[traceLength:]; len(rest) > 0 && (version[0] == 0 || rest[0] != '-') {
		return Trace{}
	}
	if !unhex(t.ID[:], value[3:]) || !unhex(t.Parent[:], value[36:]) || t.ID == [16]byte{} || t.Parent == [8]byte{} {
		return Trace{}
	}
	return t
}

// unhex fills dst from lower-case hexadecimal digits: the only ones that the field may have.
func unhex(dst, digits []byte) bool {
	for i := range dst {
		hi, lo := digit(digits[2*i]), digit(digits[2*i+1])
		if hi|lo > 15 {
			return false
		}
		dst[i] = hi<<4 | lo
	}
	return true
}

func digit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 0xff
}
