package traffic

import (
	"fmt"
	"strconv"
	"testing"

	"tracer/testdata/kit"
	"tracer/testdata/kit/record"
	"tracer/testdata/kit/work"
	"tracer/trace/kernel"
	"tracer/trace/session"
)

func TestKernelBytesBelongToWhoMovesThem(t *testing.T) {
	kit.Needs(t, kit.EndsKernel)
	record.Tiers(t, func(t *testing.T, tier kernel.Tier) {
		c := start(t, session.Options{Tier: tier}, "--interval", "20ms")

		server := work.Start(t, "waysSink")
		sharing := work.Start(t, "shared", server.Hear())
		var children [2]int
		if _, err := fmt.Sscan(sharing.Hear(), &children[0], &children[1]); err != nil {
			t.Fatal(err)
		}
		sharing.Hear()
		server.Hear()

		// A child in a call that has not returned: only who holds the socket
		// can tell whose it is. The parent holds it, too, hence it is nobody's
		// until the call returns.
		const big = 7_000_003
		holder := work.Start(t, "heldParent", strconv.Itoa(big))
		reader := work.Start(t, "readSlowly", holder.Hear(), strconv.Itoa(big))
		writer := holder.HearInt()
		reader.Hear()
		holder.Hear()

		// Nobody has read what has come.
		deaf := work.Start(t, "neverRead")
		caller := work.Start(t, "callDeaf", deaf.Hear())
		deaf.Hear()
		c.await(caller.PID, 5003, 0)
		c.await(deaf.PID, 0, 0)
		deaf.Say("")
		deaf.Hear()
		caller.Say("")
		caller.Hear()

		// Accepted by a parent, used by its child; and connected.
		parent := work.Start(t, "acceptParent")
		child := parent.HearInt()
		parent.Hear()

		c.Stop()
		for i, pid := range []int{sharing.PID, children[0], children[1]} {
			sent, read := work.ShareOf(i)
			c.want(fmt.Sprintf("process %d of a shared socket", i), pid, sent, read)
		}
		sent, read := work.ShareTotals()
		c.want("the other end", server.PID, read, sent)
		c.want("who holds what a child writes to", holder.PID, 0, 0)
		c.want("who writes in one call", writer, big, 0)
		c.want("who reads that", reader.PID, 0, big)
		c.want("who reads nothing", deaf.PID, 0, 5003)
		c.want("who is not heard", caller.PID, 5003, 0)
		c.want("the client in the parent", parent.PID, 1009, 1013)
		c.want("the child that was given an accepted socket", child, 1013, 1009)
	})
}
