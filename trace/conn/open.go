package conn

import (
	"time"
	"unsafe"

	"tracer/bpf"
	"tracer/trace/event"
)

// decodeOpen decodes a record of a connection that was open before tracing.
func (t *tracer) decodeOpen(record []byte) bool {
	r := (*bpf.ConnOpenRecord)(unsafe.Pointer(unsafe.SliceData(record)))
	if r.Conn.Role != bpf.ConnRoleClient && r.Conn.Role != bpf.ConnRoleServer {
		return false
	}
	t.open = event.Open{
		Common:     t.common(event.KindOpen, r.Time, &r.Conn),
		Connection: connection(&r.Conn),
		Idle:       t.ticks(r.Conn.Idle),
		Age:        time.Duration(r.Age),
		Unread:     r.Unread,
		Unsent:     r.Unsent,
		Unacked:    r.Unacked,
		Accepted:   r.Accepted != 0,
	}
	t.tell(&t.open, wait{r.Socket, r.Conn.Start})
	return true
}
