package work

import (
	"strconv"
	"strings"
	"testing"
)

// Identity is a process that opens connections in one way, and what they are called.
type Identity struct {
	*Process
	Names map[uint16]string // by the client's port: as on the wire, empty where the client cannot know it
}

// Hear hears the names of connections until the process says one of these words, and
// returns it.
func (i *Identity) Hear(words ...string) string {
	i.t.Helper()
	for {
		text := i.Process.Hear()
		for _, w := range words {
			if text == w {
				return w
			}
		}
		port, name, _ := strings.Cut(text, " ")
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			i.t.Fatal(err)
		}
		i.Names[uint16(n)] = name
	}
}

// StartIdentity starts one: see identities.
func StartIdentity(t testing.TB, name string) *Identity {
	t.Helper()
	return &Identity{Process: Start(t, "identity", name), Names: map[uint16]string{}}
}
