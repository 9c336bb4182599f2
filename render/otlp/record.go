package otlp

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"tracer/trace/event"
)

// Fields of message LogRecord.
const (
	recordTime       = 1
	recordSeverity   = 2
	recordLevel      = 3
	recordBody       = 5
	recordAttributes = 6
	recordTraceID    = 9
	recordSpanID     = 10
	recordObserved   = 11
	recordName       = 12

	levelInfo, levelWarn = 9, 13
)

// conventional are the keys of JSON lines that the conventions have a name for. A key
// that is in neither list gets "tracer." before it.
var conventional = map[string]string{
	"ppid":         "process.parent_pid",
	"exe":          "process.executable.path",
	"args":         "process.command_args",
	"cwd":          "process.working_directory",
	"uid":          "process.real_user.id",
	"user":         "process.real_user.name",
	"exit_code":    "process.exit.code",
	"family":       "network.type",
	"proto":        "network.transport",
	"src_addr":     "client.address",
	"src_port":     "client.port",
	"dst_addr":     "server.address",
	"dst_port":     "server.port",
	"peer_addr":    "network.peer.address",
	"error":        "error.type",
	"version":      "network.protocol.version",
	"method":       "http.request.method",
	"host":         "tracer.host",
	"status":       "http.response.status_code",
	"time":         "", // said elsewhere: in the record, and of the resource
	"event":        "",
	"pid":          "",
	"comm":         "",
	"container":    "",
	"pod":          "",
	"namespace":    "",
	"pod_uid":      "",
	"hostname":     "",
	"trace_id":     "",
	"container_id": "",
}

// records sends events as log records.
type records struct {
	resources  *resources
	pipe       *pipe
	line, item []byte // reused
}

// send sends an event: all its keys. A record of an exchange belongs to a trace.
func (x *records) send(e event.Event, trace []byte, id *ids) {
	head := e.Head()
	x.line = event.AppendJSON(x.line[:0], e)
	b := appendFixed(x.item[:0], recordTime, nanos(head.Time))
	level, text := uint64(levelInfo), "INFO"
	if isBad(e) {
		level, text = levelWarn, "WARN"
	}
	b = appendVarint(b, recordSeverity, level)
	b = appendText(b, recordLevel, text)
	name := "tracer." + head.Kind
	b = appendHead(b, recordBody, sizeBytes(len(head.Kind)))
	b = appendText(b, fieldString, head.Kind)
	b = appendKeys(b, string(x.line))
	if id != nil {
		b = appendBytes(b, recordTraceID, trace)
		own := id.server[:]
		if h, ok := e.(*event.HTTP); ok && h.Role == event.RoleClient {
			own = id.client[:]
		}
		b = appendBytes(b, recordSpanID, own)
	}
	b = appendFixed(b, recordObserved, nanos(time.Now()))
	b = appendText(b, recordName, name)
	x.item = b
	x.pipe.add(x.resources.of(whoseOf(head)), b)
}

// isBad reports whether an event tells that something went wrong.
func isBad(e event.Event) bool {
	switch e := e.(type) {
	case *event.ExecFailed, *event.ConnectFailed, *event.ConnectStuck:
		return true
	case *event.Exit:
		return e.Signal != "" || e.Code != 0
	case *event.Close:
		return e.Reason != event.ReasonClosed
	case *event.HTTP:
		return e.Kind == event.KindHTTPStuck
	}
	return false
}

// appendKeys appends the members of an object as attributes.
func appendKeys(b []byte, line string) []byte {
	s := scanner{rest: line}
	if !s.take('{') {
		return b
	}
	for !s.bad && !s.take('}') {
		key := s.text()
		s.take(':')
		name, known := conventional[key]
		if !known {
			name = "tracer." + key
		}
		b = s.value(b, name)
		s.take(',')
	}
	return b
}

// A scanner reads a line of JSON that is known to be valid.
type scanner struct {
	rest string
	bad  bool // it was not
}

func (s *scanner) space() { s.rest = strings.TrimLeft(s.rest, " \t\r\n") }

// take takes a character if it comes next.
func (s *scanner) take(c byte) bool {
	s.space()
	if s.rest == "" {
		s.bad = true
		return false
	}
	if s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

// text reads a string.
func (s *scanner) text() string {
	if !s.take('"') {
		s.bad = true
		return ""
	}
	escaped := false
	for i := 0; i < len(s.rest); i++ {
		switch s.rest[i] {
		case '\\':
			escaped = true
			i++
		case '"':
			raw := s.rest[:i]
			s.rest = s.rest[i+1:]
			if !escaped {
				return raw
			}
			var text string
			if json.Unmarshal([]byte(`"`+raw+`"`), &text) != nil {
				s.bad = true
			}
			return text
		}
	}
	s.bad = true
	return ""
}

// value reads a value, and appends it as an attribute, if that has a name.
func (s *scanner) value(b []byte, name string) []byte {
	s.space()
	if s.rest == "" || s.bad {
		s.bad = true
		return b
	}
	switch c := s.rest[0]; {
	case c == '"':
		if text := s.text(); name != "" && !s.bad {
			return appendString(b, recordAttributes, name, text)
		}
	case strings.HasPrefix(s.rest, "["):
		var list []string
		raw := s.raw()
		if json.Unmarshal([]byte(raw), &list) == nil {
			if name != "" {
				return appendStrings(b, recordAttributes, name, list)
			}
		} else if name != "" {
			return appendString(b, recordAttributes, name, raw)
		}
	case c == '{':
		if raw := s.raw(); name != "" && !s.bad {
			return appendString(b, recordAttributes, name, raw)
		}
	default:
		end := strings.IndexAny(s.rest, ",]} \t\r\n")
		if end <= 0 {
			s.bad = true
			return b
		}
		raw := s.rest[:end]
		s.rest = s.rest[end:]
		switch n, err := strconv.ParseInt(raw, 10, 64); {
		case name == "" || raw == "null":
		case raw == "true" || raw == "false":
			return appendBool(b, recordAttributes, name, raw == "true")
		case err == nil:
			return appendInt(b, recordAttributes, name, n)
		default: // a number beyond those of OTLP
			return appendString(b, recordAttributes, name, raw)
		}
	}
	return b
}

// raw reads a list or an object as it is.
func (s *scanner) raw() string {
	whole, depth := s.rest, 0
	for s.rest != "" && !s.bad {
		switch s.rest[0] {
		case '"':
			s.text()
			continue
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		}
		s.rest = s.rest[1:]
		if depth == 0 {
			return whole[:len(whole)-len(s.rest)]
		}
	}
	s.bad = true
	return ""
}
