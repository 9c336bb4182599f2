package conn

import (
	"testing"
	"time"

	"tracer/testdata/kit"
	"tracer/testdata/kit/record"
	"tracer/testdata/kit/work"
	"tracer/trace/kernel"
	"tracer/trace/session"
)

// One session sees connections come and go in every way. What each test is about is in
// the file of its subject.
func TestKernelEveryConnectionIsTold(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	record.Tiers(t, func(t *testing.T, tier kernel.Tier) {
		// Both are there before tracing begins.
		blocked := work.Start(t, "blockedAccept")
		blockedPort := blocked.Hear()
		older := map[string]*work.Process{}
		for _, name := range []string{"older", "olderHalfClosed", "olderConnecting"} {
			older[name] = work.Start(t, name)
			older[name].Hear()
		}

		c := start(t, session.Options{Tier: tier})
		if got := c.Tier("accepts, and connects that fail at once"); got != tier {
			t.Fatalf("tier %s, want %s", got, tier)
		}
		run := func(name string, test func(t *testing.T, c *conns)) {
			t.Run(name, func(t *testing.T) {
				c.t = t
				test(t, c)
			})
			c.t = t
		}
		run("a task that slept in accept before tracing", func(t *testing.T, c *conns) {
			client := work.Start(t, "connectTo", blockedPort)
			client.Hear()
			c.kinds(blocked.PID, "accept server", "close server")
		})
		run("connections that are older", func(t *testing.T, c *conns) {
			testOlder(t, c, older["older"], 2*1009, 2*2003)
			testOlder(t, c, older["olderHalfClosed"], 1009, 2003)
		})
		run("a connect that is older", func(t *testing.T, c *conns) { testOlderConnect(t, c, older["olderConnecting"]) })
		run("a process that is gone at once", testVanished)
		run("threads", testThreads)
		run("two processes, four rows", func(t *testing.T, c *conns) { testPair(t, c, "127.0.0.1", "127.0.0.1", "client") })
		run("IPv6, closed by the server", func(t *testing.T, c *conns) { testPair(t, c, "::1", "::1", "server") })
		run("IPv4 mapped into IPv6", func(t *testing.T, c *conns) { testPair(t, c, "::ffff:127.0.0.1", "127.0.0.1", "client") })
		run("accepted by a parent, used by its child", testAcceptParent)
		run("accepted, and handed to another process", testPassFD)
		run("connected by a parent that is gone, used by its child", testConnectParent)
		run("accepted late, closed without a byte", testAcceptLate)
		run("reset before it was accepted", testResetBeforeAccept)
		run("resets", testResets)
		run("refused, once each", testRefused)
		run("no route and no local address, once each", testAtOnce)
		run("no route, says a router", testHostUnreachable)
		run("rejected while a call holds the socket", testRejectedWhileHeld)
		run("one socket, three calls", testReused)
		run("segments that are lost", testRetransmits)
		run("bytes, however they were sent", testBytes)
		run("fast open", testFastOpen)
		run("MPTCP", testMPTCP)
		run("Go's library", testGoNet)
		run("IPv6 turned off", testWithoutIPv6)
		run("io_uring", testIoUring)
		run("no answer", testNoAnswer)
		run("timeout of an open connection", testTimeout)
		// Everything but what waits in a queue on purpose.
		if late := c.Late(); late > 2*time.Second {
			t.Errorf("an event took %s to be shown", late)
		}
		if n := c.calls(); n != 0 {
			t.Errorf("%d entries left in map calls", n)
		}
		// The processes have ended; of the last ones the kernel may still be at it.
		for deadline := time.Now().Add(15 * time.Second); len(c.socks(c.asked...)) > 0; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d sockets left in the map", len(c.socks(c.asked...)))
			}
		}
	})
}
