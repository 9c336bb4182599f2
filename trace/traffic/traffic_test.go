package traffic

import (
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"testing"

	"tracer/testdata/kit"
	"tracer/testdata/kit/record"
	"tracer/testdata/kit/work"
	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/session"
)

func TestKernelBytesAreExactHoweverTheyAreMoved(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	record.Tiers(t, func(t *testing.T, tier kernel.Tier) {
		c := start(t, session.Options{Tier: tier}, "--by", "connection", "--interval", "30ms")
		for _, host := range []string{"127.0.0.1", "::1"} {
			server := work.Start(t, "waysServer", host)
			client := work.Start(t, "waysClient", host, server.Hear())
			ports := make([]int, work.WayCount)
			names := make([]string, work.WayCount)
			for i := range work.WayCount {
				ports[i] = client.HearInt()
				names[i] = client.Hear() + " to " + server.Hear()
			}
			client.Hear()
			server.Hear()
			t.Cleanup(func() {
				c.Stop()
				dst := netip.MustParseAddr(host)
				for i, port := range ports {
					n, m := work.WayBytes(i)
					of := func(role string) func(e *event.Traffic) bool {
						return func(e *event.Traffic) bool {
							return e.Role == role && int(e.Src.Port()) == port && e.Dst.Addr() == dst && e.Src.Addr() == dst && e.Proto == event.ProtoTCP
						}
					}
					if got, want := c.sum(client.PID, of(event.RoleClient)), both(n, m); got != want {
						t.Errorf("%s, client: %+v, want %+v", names[i], got, want)
					}
					if got, want := c.sum(server.PID, of(event.RoleServer)), both(m, n); got != want {
						t.Errorf("%s, server: %+v, want %+v", names[i], got, want)
					}
				}
				if t.Failed() {
					return
				}
				n, m := work.WaysTotal()
				c.want("client", client.PID, n, m)
				c.want("server", server.PID, m, n)
			})
		}
	})
}

func TestKernelBytesOfProcessesAreExact(t *testing.T) {
	kit.Needs(t, kit.EndsKernel)
	record.Tiers(t, func(t *testing.T, tier kernel.Tier) {
		older := work.Start(t, "older")
		older.Hear()
		c := start(t, session.Options{Tier: tier}, "--interval", "20ms")

		older.Say("")
		older.Hear()
		again := work.Start(t, "sentAgain")
		again.Hear()
		idle := work.Start(t, "nothingMoves")
		idle.Hear()
		network := work.Start(t, "trafficNetwork")
		if text := network.Hear(); text != "open" {
			t.Fatal(text)
		}

		echo := work.Start(t, "echoServer", "1")
		shared := work.Start(t, "many", "23")
		shared.Hear()
		shared.Say("")
		port := echo.Hear()
		echoer := work.Start(t, "echoClient", port, "1")
		echoer.Hear()
		echo.Hear()

		c.Stop()
		c.want("open before, counted from start", older.PID, 1009+2003, 1009+2003)
		c.want("sent again", again.PID, 2*20_011, 2*20_011)
		c.want("nothing", idle.PID, 0, 0)
		c.want("in a network of its own", network.PID, 1009+1013, 1009+1013)
		c.want("server", echo.PID, work.ShortAnswers, work.ShortAsks)
		c.want("client", echoer.PID, work.ShortAsks, work.ShortAnswers)
		if len(c.rows()) == 0 || c.Pages() < 2 {
			t.Errorf("%d rows, %d pages", len(c.rows()), c.Pages())
		}
	})
}

func TestKernelConnectionsShorterThanTheIntervalAreCounted(t *testing.T) {
	kit.Needs(t, kit.OldestKernel)
	const n = 997
	for _, interval := range []string{"1h", "10ms"} {
		t.Run(interval, func(t *testing.T) {
			c := start(t, session.Options{}, "--interval", interval)
			server := work.Start(t, "echoServer", strconv.Itoa(n))
			client := work.Start(t, "echoClient", server.Hear(), strconv.Itoa(n))
			server.Hear()
			client.Hear()
			c.want("server", server.PID, n*work.ShortAnswers, n*work.ShortAsks)
			c.want("client", client.PID, n*work.ShortAsks, n*work.ShortAnswers)
			if rows := len(c.rows()); interval == "1h" && rows < 2 {
				t.Errorf("%d rows", rows)
			}
		})
	}
}

func TestKernelTracerLeavesItselfOut(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	c := start(t, session.Options{}, "--interval", "20ms")
	// This process is the tracer, too.
	l := work.Must1(net.Listen("tcp", "127.0.0.1:0"))
	conn := work.Must1(net.Dial("tcp", l.Addr().String()))
	peer := work.Must1(l.Accept())
	work.Must1(conn.Write(make([]byte, 1009)))
	work.Must1(io.ReadFull(peer, make([]byte, 1009)))
	for _, c := range []io.Closer{conn, peer, l} {
		work.Must(c.Close())
	}
	c.want("itself", os.Getpid(), 0, 0)
}
