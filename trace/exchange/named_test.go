package exchange

import (
	"testing"
	"time"

	"tracer/trace/message"
	"tracer/trace/stream"
)

// name is the name of a connection of tests.
func name(n uint32) stream.ConnID { return stream.ConnID{Client: n, Server: n + 1, Known: true} }

// named is an end whose name is known; host gives it addresses.
func named(role message.Role, host byte, id stream.ConnID) *End {
	e := end(role, host, 1)
	e.ID = id
	return e
}

// connect connects ends, each in its role.
func (j *joining) connect(clients, servers []*End) {
	for _, e := range clients {
		j.Connect(e, message.Client)
	}
	for _, e := range servers {
		j.Connect(e, message.Server)
	}
}

// Addresses are translated between the two ends: they differ, the name does not.
func TestEndsOfOneNameAreJoinedWhateverTheirAddresses(t *testing.T) {
	j := newJoining()
	client, server := named(message.Client, 2, name(7)), named(message.Server, 1, name(7))
	var pair stream.Pair
	j.Report = func(c, s *Half) {
		j.note(c, s)
		if c.ID != name(7) || s.ID != name(7) {
			t.Errorf("names %v and %v", c.ID, s.ID)
		}
		pair = c.Pair
	}
	j.connect([]*End{client}, []*End{server})
	if j.Partner(client) != server || j.Partner(server) != client {
		t.Error("they are not one connection")
	}
	j.saw(server, 100, "/a")
	j.saw(client, 100, "/a")
	j.want(t, "both", "client /a, server /a")
	if want := client.Pair(true); pair != want {
		t.Errorf("the client's half has the addresses %v, want its own, %v", pair, want)
	}
	j.Disconnect(client)
	j.Disconnect(server)
	j.pass(time.Hour)
	j.empty(t)
}

// The addresses are the same, as in two hosts' networks or when a port is used again,
// and the connections are not.
func TestEndsOfOtherNamesAreNotJoined(t *testing.T) {
	j := newJoining()
	client, server := named(message.Client, 2, name(7)), named(message.Server, 2, name(9))
	j.connect([]*End{client}, []*End{server})
	j.saw(client, 100, "/a")
	j.saw(server, 100, "/a")
	j.pass(time.Hour)
	j.want(t, "each alone", "client /a", "server /a")
	j.Disconnect(client)
	j.Disconnect(server)
	j.pass(time.Hour)
	j.empty(t)
}

// Where one end's name could not be known, or nobody's, addresses tell.
func TestAnEndWithoutNameIsJoinedByAddresses(t *testing.T) {
	unknown := stream.ConnID{}
	for what, ids := range map[string][2]stream.ConnID{
		"the client's": {unknown, name(7)}, "the server's": {name(7), unknown}, "both": {unknown, unknown},
	} {
		j := newJoining()
		client, server := named(message.Client, 2, ids[0]), named(message.Server, 2, ids[1])
		j.connect([]*End{client}, []*End{server})
		j.saw(client, 100, "/a")
		j.saw(server, 100, "/a")
		j.want(t, what, "client /a, server /a")
		j.Disconnect(server)
		j.Disconnect(client)
		j.pass(time.Hour)
		j.empty(t)
	}
}

// With data in the SYN the client sends before it knows its connection's name.
func TestANameThatIsLearntLateIsTaken(t *testing.T) {
	j := newJoining()
	client, server := named(message.Client, 2, stream.ConnID{}), named(message.Server, 3, name(7))
	j.connect([]*End{client}, []*End{server})
	j.Named(client, name(7))
	j.saw(client, 100, "/a")
	j.saw(server, 100, "/a")
	j.want(t, "both", "client /a, server /a")
	j.Disconnect(server)
	j.Disconnect(client)
	j.pass(time.Hour)
	j.empty(t)
}

// Two connections may have the same name, however rarely. Then ends are joined only if
// their addresses are the same; what is translated stays apart.
func TestConnectionsOfEqualNamesAreNotMixedUp(t *testing.T) {
	id := name(7)
	end := func(role message.Role, host byte) *End { return named(role, host, id) }
	type ends struct{ clients, servers []*End }
	for _, c := range []struct {
		name string
		ends ends
		want []string // in the order of clients
	}{
		{
			"both without translation",
			ends{[]*End{end(message.Client, 2), end(message.Client, 3)}, []*End{end(message.Server, 3), end(message.Server, 2)}},
			[]string{"client /a, server /a", "client /a, server /a"},
		},
		{
			"one is translated: its ends stay apart",
			ends{[]*End{end(message.Client, 2), end(message.Client, 3)}, []*End{end(message.Server, 3), end(message.Server, 4)}},
			[]string{"client /a, server /a", "client /a", "server /a"},
		},
		{
			"both are translated",
			ends{[]*End{end(message.Client, 2), end(message.Client, 3)}, []*End{end(message.Server, 5), end(message.Server, 4)}},
			[]string{"client /a", "client /a", "server /a", "server /a"},
		},
	} {
		for _, first := range []string{"clients", "servers", "one of each"} {
			t.Run(c.name+", "+first+" first", func(t *testing.T) {
				j := newJoining()
				cl, sv := c.ends.clients, c.ends.servers
				switch first {
				case "clients":
					j.connect(cl, sv)
				case "servers":
					j.connect(nil, sv)
					j.connect(cl, nil)
				default: // which are not of one connection
					j.connect(cl[:1], sv[:1])
					j.connect(cl[1:], sv[1:])
				}
				for _, e := range append(cl[:2:2], sv...) {
					j.saw(e, 100, "/a")
				}
				j.pass(time.Hour)
				got := map[string]int{}
				for _, r := range j.reports {
					got[r]++
				}
				for _, w := range c.want {
					got[w]--
				}
				for r, n := range got {
					if n != 0 {
						t.Errorf("%q: %+d times", r, n)
					}
				}
				for _, e := range append(cl[:2:2], sv...) {
					j.Disconnect(e)
				}
				j.pass(time.Hour)
				j.empty(t)
			})
		}
	}
}

// What waited when a second connection of the name came goes with its own end.
func TestWhatWaitsIsNotJoinedAcrossConnectionsOfOneName(t *testing.T) {
	j := newJoining()
	client, server := named(message.Client, 2, name(7)), named(message.Server, 3, name(7))
	j.connect([]*End{client}, []*End{server})
	j.saw(server, 100, "/of 3")
	other := named(message.Client, 3, name(7))
	j.connect([]*End{other}, nil)
	j.saw(client, 100, "/of 2")
	j.want(t, "the first client has no server here")
	j.saw(other, 100, "/of 3")
	j.want(t, "the second one's", "client /of 3, server /of 3")
	j.pass(time.Hour)
	j.want(t, "later", "client /of 2")
	for _, e := range []*End{client, server, other} {
		j.Disconnect(e)
	}
	j.pass(time.Hour)
	j.empty(t)
}
