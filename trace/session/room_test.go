package session

import "testing"

func TestRoomFollowsTheNumberOfSockets(t *testing.T) {
	const gib = 1 << 30
	for _, test := range []struct {
		what                   string
		sockets, memory, bytes uint64
		want                   uint32
	}{
		{"few sockets", 1000, 16 * gib, 112, leastRoom},
		{"as many as there is room for: that is no headroom", 131072, 16 * gib, 112, 262144},
		{"many", 144009, 16 * gib, 112, 288018},
		{"many, and too little memory for twice as many", 1 << 20, 2 * gib, 112, 2 * gib / 16 / 176},
		{"many, and hardly any memory", 1 << 20, 1 << 20, 112, leastRoom},
		{"more than any host has", 1 << 40, 1 << 50, 112, 1 << 24},
	} {
		if got := roomFor(test.sockets, test.memory, test.bytes, leastRoom); got != test.want {
			t.Errorf("%s: room for %d, want %d", test.what, got, test.want)
		}
	}
}
