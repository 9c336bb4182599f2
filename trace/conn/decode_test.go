package conn

import (
	"math"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tracer/bpf"
	"tracer/testdata/kit/record"
	"tracer/trace/session"
)

// recordBytes is what the kernel would send.
func recordBytes[T bpf.ConnConnRecord | bpf.ConnOpenRecord](r *T) []byte {
	return append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(r)), unsafe.Sizeof(*r))...)
}

// offline is a tracer without a kernel.
func offline(sink session.Sink) *tracer {
	x := &tracer{stuck: time.Second}
	x.begin(session.Offline(x, session.Options{}, sink))
	x.tick = 4 * time.Millisecond
	return x
}

func TestRecordsBecomeEvents(t *testing.T) {
	base := bpf.ConnConnRecord{Time: 5_000_000_000}
	base.Conn = bpf.ConnConn{Start: 4_000_000_000, Pid: 4711, Uid: 1000, Cgroup: 77, Sport: 51234, Dport: 443, Role: bpf.ConnRoleClient}
	copy(base.Conn.Src[:], []uint8{10: 255, 11: 255, 12: 10, 15: 5})
	copy(base.Conn.Dst[:], []uint8{10: 255, 11: 255, 12: 10, 15: 9})
	for i, c := range "curl" {
		base.Conn.Comm[i] = int8(c)
	}
	const head = `"pid":4711,"comm":"curl","uid":1000,"cgroup_id":77,`
	const ends = `"family":"ipv4","src_addr":"10.0.0.5","src_port":51234,"dst_addr":"10.0.0.9","dst_port":443`
	tests := []struct {
		name   string
		change func(r *bpf.ConnConnRecord)
		want   string
	}{
		{"connect", func(r *bpf.ConnConnRecord) { r.Type = bpf.ConnEventConnect },
			`"event":"connect",` + head + `"role":"client",` + ends + `,"latency_us":1000000`},
		{"a connect whose beginning is unknown has no latency", func(r *bpf.ConnConnRecord) { r.Type, r.Conn.Start = bpf.ConnEventConnect, 0 },
			`"event":"connect",` + head + `"role":"client",` + ends},
		{"refused", func(r *bpf.ConnConnRecord) {
			r.Type, r.Conn.Error = bpf.ConnEventConnectFailed, int32(unix.ECONNREFUSED)
		},
			`"event":"connect_failed",` + head + `"role":"client",` + ends + `,"latency_us":1000000,"syns":1,"error":"ECONNREFUSED"`},
		{"no route: nothing was sent", func(r *bpf.ConnConnRecord) {
			r.Type, r.Conn.Error, r.Conn.Start = bpf.ConnEventConnectFailed, int32(unix.ENETUNREACH), r.Time
			r.Conn.Src, r.Conn.Sport = [16]uint8{}, 0
		}, `"event":"connect_failed",` + head + `"role":"client","family":"ipv4","dst_addr":"10.0.0.9","dst_port":443,"error":"ENETUNREACH"`},
		{"accept", func(r *bpf.ConnConnRecord) { r.Type, r.Conn.Role = bpf.ConnEventAccept, bpf.ConnRoleServer },
			`"event":"accept",` + head + `"role":"server",` + ends},
		{"a connection whose name is known", func(r *bpf.ConnConnRecord) {
			r.Type, r.Conn.Role, r.Conn.Naming, r.Conn.Id = bpf.ConnEventAccept, bpf.ConnRoleServer, bpf.ConnNamingNamed, 0xdead<<32|0xbeef0000
		}, `"event":"accept",` + head + `"role":"server",` + ends + `,"conn_id":"0000deadbeef0000"`},
		{"both of its numbers are 0", func(r *bpf.ConnConnRecord) {
			r.Type, r.Conn.Naming = bpf.ConnEventConnect, bpf.ConnNamingNamed
		}, `"event":"connect",` + head + `"role":"client",` + ends + `,"conn_id":"0000000000000000","latency_us":1000000`},
		{"a connection that was restored has no name", func(r *bpf.ConnConnRecord) {
			r.Type, r.Conn.Naming, r.Conn.Id = bpf.ConnEventConnect, bpf.ConnNamingNameless, 7
		}, `"event":"connect",` + head + `"role":"client",` + ends + `,"latency_us":1000000`},
		{"closed by the other side", func(r *bpf.ConnConnRecord) {
			r.Type, r.Conn.Role, r.Conn.ClosedBy, r.Reason = bpf.ConnEventClose, bpf.ConnRoleServer, bpf.ConnSidePeer, 1
			r.Tx, r.Rx, r.Retransmits, r.SrttUs = 1009, 2003, 3, 25
			r.MinRttUs, r.Conn.Idle, r.Conn.IdleKnown, r.Busy = 7, 25, 1, 100 // of who has received more it means nothing
		}, `"event":"close",` + head + `"role":"server",` + ends + `,"duration_us":1000000,"tx_bytes":1009,"rx_bytes":2003,"retransmits":3,"srtt_us":25,"min_rtt_us":7,"reason":"closed","closed_by":"client","idle_us":100000`},
		{"limited by the receiver, for some time still when it ended", func(r *bpf.ConnConnRecord) {
			r.Type, r.Reason, r.Tx, r.Rx = bpf.ConnEventClose, 1, 2003, 1009
			r.MinRttUs, r.Conn.IdleKnown = math.MaxUint32, 1
			r.Busy, r.RwndLimited, r.SndbufLimited, r.Limit, r.Limited = 2, 10, 2, bpf.ConnLimitRwndLimited, 40
		}, `"event":"close",` + head + `"role":"client",` + ends + `,"duration_us":1000000,"tx_bytes":2003,"rx_bytes":1009,"retransmits":0,"busy_us":216000,"rwnd_limited_us":200000,"reason":"closed","idle_us":0`},
		{"limited by the send buffer", func(r *bpf.ConnConnRecord) {
			r.Type, r.Reason, r.Tx = bpf.ConnEventClose, 1, 2003
			r.MinRttUs, r.SndbufLimited, r.Limit, r.Limited = math.MaxUint32, 10, bpf.ConnLimitSndbufLimited, 3
		}, `"event":"close",` + head + `"role":"client",` + ends + `,"duration_us":1000000,"tx_bytes":2003,"rx_bytes":0,"retransmits":0,"busy_us":52000,"sndbuf_limited_us":52000,"reason":"closed"`},
		{"closed with bytes unread", func(r *bpf.ConnConnRecord) {
			r.Type, r.Reason, r.Conn.ClosedBy, r.Conn.ResetBy = bpf.ConnEventClose, 2, bpf.ConnSideOwn, bpf.ConnSideOwn
			r.MinRttUs, r.Rx, r.Unread, r.Busy = math.MaxUint32, 101, 101, 100
		}, `"event":"close",` + head + `"role":"client",` + ends + `,"duration_us":1000000,"tx_bytes":0,"rx_bytes":101,"retransmits":0,"unread_bytes":101,"reason":"reset","closed_by":"client","reset_by":"client"`},
		{"accepted late, by a listener whose queue was full", func(r *bpf.ConnConnRecord) {
			r.Type, r.Conn.Role, r.Queued, r.Backlog, r.BacklogMax, r.Retransmits = bpf.ConnEventAccept, bpf.ConnRoleServer, 300_000_999, 5, 5, 2
		}, `"event":"accept",` + head + `"role":"server",` + ends + `,"queue_us":300000,"backlog":5,"backlog_max":5,"synack_retransmits":2`},
		{"accepted at once, by a listener without a queue", func(r *bpf.ConnConnRecord) {
			r.Type, r.Conn.Role, r.Queued = bpf.ConnEventAccept, bpf.ConnRoleServer, 999
		}, `"event":"accept",` + head + `"role":"server",` + ends + `,"queue_us":0,"backlog":0,"backlog_max":0,"synack_retransmits":0`},
		{"reset by this side, open before", func(r *bpf.ConnConnRecord) {
			r.Type, r.Conn.ClosedBy, r.Reason, r.Conn.Before, r.Conn.Start = bpf.ConnEventClose, bpf.ConnSideOwn, 2, 1, 0
		}, `"event":"close",` + head + `"role":"client",` + ends + `,"tx_bytes":0,"rx_bytes":0,"retransmits":0,"reason":"reset","closed_by":"client","open_before":true`},
		{"IPv6", func(r *bpf.ConnConnRecord) {
			r.Type = bpf.ConnEventAccept
			r.Conn.Src, r.Conn.Dst = [16]uint8{0xfd, 15: 1}, [16]uint8{15: 1}
		}, `"event":"accept",` + head + `"role":"client","family":"ipv6","src_addr":"fd00::1","src_port":51234,"dst_addr":"::1","dst_port":443`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := base
			test.change(&r)
			shown := record.New(t)
			if !offline(shown).Decode(recordBytes(&r)) {
				t.Fatal("not decoded")
			}
			want := `{"time":"1970-01-01T00:00:05.000000000Z",` + test.want + "}\n"
			if got := describe(shown.Events()...); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestOpenRecordsBecomeEvents(t *testing.T) {
	base := bpf.ConnOpenRecord{Time: 5_000_000_000}
	base.Conn = bpf.ConnConn{Pid: 4711, Uid: 1000, Sport: 51234, Dport: 443, Role: bpf.ConnRoleServer, Idle: 25, IdleKnown: 1}
	base.Conn.Src, base.Conn.Dst = [16]uint8{15: 1}, [16]uint8{15: 1}
	const head = `{"time":"1970-01-01T00:00:05.000000000Z","event":"open","pid":4711,"comm":"","uid":1000,"role":"server",` +
		`"family":"ipv6","src_addr":"::1","src_port":51234,"dst_addr":"::1","dst_port":443,"idle_us":100000`
	for _, test := range []struct {
		name   string
		change func(r *bpf.ConnOpenRecord)
		want   string
	}{
		{"its age is not known", func(r *bpf.ConnOpenRecord) { r.Accepted, r.Unread, r.Unsent, r.Unacked = 1, 7, 5, 12 },
			`,"unread_bytes":7,"unsent_bytes":5,"unacked_bytes":12,"accepted":true}`},
		{"it waits to be accepted", func(r *bpf.ConnOpenRecord) { r.Age = 300_000_000 },
			`,"age_us":300000,"unread_bytes":0,"unsent_bytes":0,"unacked_bytes":0,"accepted":false}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := base
			test.change(&r)
			shown := record.New(t)
			if !offline(shown).Decode(recordBytes(&r)) {
				t.Fatal("not decoded")
			}
			if got, want := describe(shown.Events()...), head+test.want+"\n"; got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
	base.Conn.Role = 0
	if offline(record.New(t)).Decode(recordBytes(&base)) {
		t.Error("an end that is none was decoded")
	}
}

// A connect is told as stuck once, however often its SYN is sent again, and a
// second attempt on the same socket is another one.
func TestStuckConnectIsToldOnce(t *testing.T) {
	shown := record.New(t)
	x := offline(shown)
	send := func(kind bpf.ConnEvent, start, after time.Duration, retransmits uint32) {
		r := bpf.ConnConnRecord{Type: kind, Time: uint64(start + after), Socket: 1, Retransmits: retransmits}
		r.Conn.Role, r.Conn.Start = bpf.ConnRoleClient, uint64(start)
		if !x.Decode(recordBytes(&r)) {
			t.Fatal("not decoded")
		}
	}
	const first, second = time.Minute, time.Hour
	send(bpf.ConnEventConnectWaits, first, time.Second, 1)
	send(bpf.ConnEventConnectWaits, first, 3*time.Second, 2)
	if list := shown.Events(); len(list) != 1 || x.due.Waits() {
		t.Fatalf("waits %t: %s", x.due.Waits(), describe(list...))
	}
	send(bpf.ConnEventConnectFailed, first, 7*time.Second, 2)
	send(bpf.ConnEventConnectWaits, second, 2*time.Second, 1)
	send(bpf.ConnEventConnect, second, 3*time.Second, 1)
	if list := shown.Events(); len(list) != 4 || len(x.waits) != 0 || x.untold != 0 {
		t.Fatalf("%d waits, %d untold: %s", len(x.waits), x.untold, describe(list...))
	}
}

// Whatever the bytes: no crash, and one event or none, which none if they are
// no record.
func FuzzDecode(f *testing.F) {
	for kind := range bpf.ConnEventClose + 2 {
		r := bpf.ConnConnRecord{Type: kind, Time: math.MaxUint64, Reason: bpf.ConnReason(kind)}
		r.Conn.Role = bpf.ConnRoleServer
		f.Add(recordBytes(&r))
	}
	open := bpf.ConnOpenRecord{}
	open.Conn.Role = bpf.ConnRoleServer
	f.Add(recordBytes(&open))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		shown := record.New(t)
		ok := offline(shown).Decode(append([]byte(nil), b...))
		if n := len(shown.Events()); n > 1 || !ok && n != 0 {
			t.Fatalf("%d events, ok %t", n, ok)
		}
	})
}
