package traffic

import (
	"net/netip"
	"testing"

	"tracer/testdata/kit"
	"tracer/testdata/kit/container"
	"tracer/testdata/kit/work"
	"tracer/trace/event"
	"tracer/trace/session"
)

func TestKernelRowsAreByPeerContainerOrPod(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	for _, by := range []string{"peer", "container", "pod"} {
		t.Run(by, func(t *testing.T) {
			c := start(t, session.Options{}, "--by", by, "--interval", "20ms", "--sort", "rx")
			in := container.New(t, container.Trees(t)["cgroup2"], "traffic-"+by, "app")
			server := work.Start(t, "waysServer", "::1")
			port := server.Hear()
			// The server is in a container from here on.
			in.Add(server.PID)
			client := work.Start(t, "waysClient", "::1", port)
			for range work.WayCount {
				client.Hear()
				client.Hear()
			}
			client.Hear()
			c.Stop()
			n, m := work.WaysTotal()
			var got, inside moved
			want := event.Place{}
			switch by {
			case "container":
				want = in.Place
			case "pod":
				want = event.Place{Pod: in.Pod, Namespace: in.Namespace, PodUID: in.PodUID}
			}
			peers := map[netip.Addr]moved{}
			for _, e := range c.rows() {
				got = got.plus(e.Tx, e.Rx)
				peers[e.Peer] = peers[e.Peer].plus(e.Tx, e.Rx)
				if e.Place == want && want != (event.Place{}) {
					inside = inside.plus(e.Tx, e.Rx)
				}
				if e.PID != 0 || e.CgroupID != 0 || e.Place != want && e.Place != (event.Place{}) {
					t.Fatalf("row %+v", e)
				}
			}
			if by != "peer" && inside.tx+inside.rx != uint64(n+m) {
				t.Errorf("the server in its container moved %+v, want %d in all", inside, n+m)
			}
			if by == "peer" {
				got = peers[netip.MustParseAddr("::1")]
			}
			// Others may use the loopback device, too, but where a machine is
			// our own.
			if kit.Emulated() && got != both(n+m, n+m) || got.tx < uint64(n+m) {
				t.Errorf("moved %+v, want %d both ways", got, n+m)
			}
		})
	}
}
