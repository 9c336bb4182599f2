package traffic

import (
	"fmt"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tracer/testdata/kit"
	"tracer/testdata/kit/record"
	"tracer/testdata/kit/work"
	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/session"
)

func TestKernelUDPIsCountedCallByCall(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	record.Tiers(t, func(t *testing.T, tier kernel.Tier) {
		c := start(t, session.Options{Tier: tier}, "--interval", "20ms")
		type total struct {
			w      *work.Process
			host   string
			tx, rx int
		}
		var totals []total
		for _, host := range []string{"127.0.0.1", "::1", "::ffff:127.0.0.1"} {
			u := work.Start(t, "udp", host)
			x := total{w: u, host: host}
			if _, err := fmt.Sscan(u.Hear(), &x.tx, &x.rx); err != nil {
				t.Fatal(err)
			}
			totals = append(totals, x)
		}
		const n = 2003
		noise := work.Start(t, "udpNoise", strconv.Itoa(n))
		noise.Hear()
		c.Stop()
		for _, x := range totals {
			c.want(x.host, x.w.PID, x.tx, x.rx)
		}
		// The kernel leaves a kprobe out while a task on its CPU is in bpf(2), and
		// before 5.12 does not tell.
		if tier != kernel.Kprobe {
			c.want("four threads", noise.PID, 4*n*17, 4*n*17)
		}
		for _, e := range c.rows() {
			if int(e.PID) == noise.PID && e.Proto != event.ProtoUDP {
				t.Errorf("protocol %q", e.Proto)
			}
		}
	})
}

func TestKernelUDPIsToldByConnectionAndByPeer(t *testing.T) {
	kit.Needs(t, kit.OldestKernel)
	record.Tiers(t, func(t *testing.T, tier kernel.Tier) {
		for _, by := range []string{"connection", "peer"} {
			t.Run(by, func(t *testing.T) {
				c := start(t, session.Options{Tier: tier}, "--by", by, "--interval", "20ms")
				for _, host := range []string{"127.0.0.1", "::1"} {
					u := work.Start(t, "udpEnds", host)
					var src, dst uint16
					if _, err := fmt.Sscan(u.Hear(), &src, &dst); err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() {
						c.Stop()
						at := netip.MustParseAddr(host)
						client := event.Connection{Role: event.RoleClient, Src: netip.AddrPortFrom(at, src), Dst: netip.AddrPortFrom(at, dst)}
						server := event.Connection{Role: event.RoleServer, Src: client.Src, Dst: client.Dst}
						known := tier != kernel.Tracepoint
						if !known { // a tracepoint does not tell who is at the other end
							server.Src = netip.AddrPort{}
						}
						got := map[event.Connection]moved{}
						var peer moved
						for _, e := range c.rows() {
							if int(e.PID) == u.PID {
								got[e.Connection] = got[e.Connection].plus(e.Tx, e.Rx)
							}
							if e.Peer == at {
								peer = peer.plus(e.Tx, e.Rx)
							}
						}
						const asks, answers = work.UDPAsked, work.UDPAnswered
						if by == "connection" {
							want := map[event.Connection]moved{client: {asks, answers}, server: {answers, asks}}
							if diff := cmp.Diff(want, got, cmp.AllowUnexported(moved{}), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
								t.Error(diff)
							}
							return
						}
						want := moved{asks, answers}
						if known {
							want = moved{asks + answers, asks + answers}
						}
						// Others may use the loopback device, too.
						if peer.tx < want.tx || peer.rx < want.rx || kit.Emulated() && peer != want {
							t.Errorf("%s: moved %+v, want %+v", host, peer, want)
						}
					})
				}
			})
		}
	})
}

// Many more UDP sockets than there is room for, one after the other.
func TestKernelIdleFlowsMakeRoom(t *testing.T) {
	kit.Needs(t, kit.OldestKernel)
	const room, round = 64, 20
	c := open(t, session.Options{Limits: session.Limits{Socks: room}, Filter: session.Filter{Comms: []string{"traffic-ports"}}}, "--by", "connection")
	c.Clean(nil)
	u := work.Start(t, "udpPorts", strconv.Itoa(round))
	u.Hear()
	sent := 0
	for range 12 {
		u.Say("")
		sent += u.HearInt()
		for range 2 { // what is idle at the second may go
			if err := c.tracer.readAll(false); err != nil {
				t.Fatal(err)
			}
			time.Sleep(flowIdleFull)
		}
	}
	var got moved
	for _, row := range c.tracer.rows {
		got = got.plus(row.TotalTx, row.TotalRx)
	}
	if want := both(sent, sent); got != want {
		t.Errorf("moved %+v, want %+v", got, want)
	}
}
