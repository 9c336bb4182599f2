package event

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// AppendJSON appends e as one line of compact JSON without the newline: time
// and event first, then who and where, then the event's own keys; a key whose
// value is unknown is left out. The result is always valid UTF-8. It allocates
// nothing beyond growing dst.
func AppendJSON(dst []byte, e Event) []byte {
	h := e.Head()
	o := object{buf: append(dst, '{')}
	o.key("time")
	o.buf = append(o.buf, '"')
	o.buf = appendTime(o.buf, h.Time)
	o.buf = append(o.buf, '"')
	o.str("event", h.Kind)
	if h.PID != 0 {
		o.uint("pid", uint64(h.PID))
		o.str("comm", h.Comm)
		o.uint("uid", uint64(h.UID))
	}
	o.optional("container", h.Container)
	o.optional("container_id", h.ContainerID)
	o.optional("pod", h.Pod)
	o.optional("namespace", h.Namespace)
	o.optional("pod_uid", h.PodUID)
	if h.CgroupID != 0 {
		o.uint("cgroup_id", h.CgroupID)
	}
	return append(e.appendJSON(o).buf, '}')
}

func (e *Exec) appendJSON(o object) object {
	o.uint("ppid", uint64(e.PPID))
	o.optional("parent_comm", e.ParentComm)
	o.program(&e.Program)
	o.flag("args_truncated", e.ArgsTruncated)
	o.optional("cwd", e.Cwd)
	o.optional("user", e.User)
	return o
}

func (e *Exit) appendJSON(o object) object {
	o.uint("ppid", uint64(e.PPID))
	o.program(&e.Program)
	if e.Signal != "" {
		o.str("signal", e.Signal)
		o.flag("core_dumped", e.Core)
	} else {
		o.int("exit_code", int64(e.Code))
	}
	o.micros("duration_us", e.Duration)
	return o
}

func (e *ExecFailed) appendJSON(o object) object {
	o.uint("ppid", uint64(e.PPID))
	o.optional("parent_comm", e.ParentComm)
	o.program(&e.Program)
	o.flag("args_truncated", e.ArgsTruncated)
	o.optional("user", e.User)
	o.str("error", e.Error)
	return o
}

// object appends the members of a JSON object.
type object struct {
	buf []byte
}

func (o *object) key(k string) {
	b := o.buf
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	b = append(b, '"')
	b = append(b, k...)
	o.buf = append(b, '"', ':')
}

func (o *object) str(k, v string) {
	o.key(k)
	o.buf = appendString(o.buf, v)
}

// optional leaves the key out if v is empty.
func (o *object) optional(k, v string) {
	if v != "" {
		o.str(k, v)
	}
}

func (o *object) uint(k string, v uint64) {
	o.key(k)
	o.buf = strconv.AppendUint(o.buf, v, 10)
}

func (o *object) int(k string, v int64) {
	o.key(k)
	o.buf = strconv.AppendInt(o.buf, v, 10)
}

func (o *object) micros(k string, v time.Duration) {
	o.int(k, v.Microseconds())
}

// flag leaves the key out if v is false.
func (o *object) flag(k string, v bool) {
	if v {
		o.key(k)
		o.buf = append(o.buf, "true"...)
	}
}

func (o *object) bool(k string, v bool) {
	o.key(k)
	o.buf = strconv.AppendBool(o.buf, v)
}

func (o *object) strings(k string, v []string) {
	o.key(k)
	o.buf = append(o.buf, '[')
	for i, s := range v {
		if i > 0 {
			o.buf = append(o.buf, ',')
		}
		o.buf = appendString(o.buf, s)
	}
	o.buf = append(o.buf, ']')
}

func (o *object) program(p *Program) {
	o.optional("exe", p.Exe)
	if p.Args != nil {
		o.strings("args", p.Args)
	}
}

// appendTime appends t as RFC 3339 in UTC, always with nine digits after the
// point: lines sort by it as text.
func appendTime(b []byte, t time.Time) []byte {
	b = t.UTC().AppendFormat(b, time.RFC3339) // which the library is quick at
	b[len(b)-1] = '.'                         // Z
	for unit, ns := 100_000_000, t.Nanosecond(); unit > 0; unit /= 10 {
		b = append(b, byte('0'+ns/unit%10))
	}
	return append(b, 'Z')
}

const hex = "0123456789abcdef"

// appendString appends s as a JSON string (RFC 8259 section 7). Bytes that are
// no UTF-8 become U+FFFD; control characters are escaped, DEL and the C1
// controls too, so that a line is harmless on a terminal.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c < 0x7f && c != '"' && c != '\\' {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if (r != utf8.RuneError || n != 1) && r > 0x9f && !isBidi(r) {
				i += n
				continue
			}
			b = append(b, s[start:i]...)
			if r == utf8.RuneError {
				b = append(b, "\ufffd"...)
			} else {
				b = append(b, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
			}
			i += n
			start = i
			continue
		}
		b = append(b, s[start:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		start = i
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

// isBidi tells the characters that reorder or break a line of text, with which
// a name can pretend to be another.
func isBidi(r rune) bool {
	return r == 0x061c || r == 0x200e || r == 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}
