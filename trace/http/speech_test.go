package http

import (
	"strings"
	"testing"
	"time"

	"tracer/testdata/kit"

	"github.com/google/go-cmp/cmp"

	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/session"
)

// Scripts of sockets that speak something: a client and a server take turns.
func speech() map[string][]move {
	return map[string][]move{
		"http1": {send(get), send(ok5)},
		"http2": {send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), send("\x00\x00\x00\x04\x00\x00\x00\x00\x00")},
		"tls":   {send("\x16\x03\x01\x00\x05hello"), send("\x16\x03\x03\x00\x05hello"), send("\x17\x03\x03\x00\x01x")},
		"other": {send("SSH-2.0-a\r\n"), send("SSH-2.0-b\r\n"), send("x"), send("y")},
	}
}

// speak plays scripts to a server that it starts.
func speak(t *testing.T, opts session.Options, args []string, kinds ...string) (c *view, play func()) {
	t.Helper()
	var clients, servers [][]move
	for _, kind := range kinds {
		client, server := both(speech()[kind]...)
		clients, servers = append(clients, client), append(servers, server)
	}
	server, ports := serve(t, servers...)
	if opts.PIDs != nil {
		opts.PIDs = []uint32{uint32(server.PID)}
	}
	c = traceHTTP(t, opts, append(args, atPorts(ports...))...)
	return c, func() {
		t.Helper()
		for i, client := range clients {
			call(t, ports[i], client)
			server.Hear()
		}
	}
}

func TestKernelWhatSocketsSpeakIsCounted(t *testing.T) {
	kit.Needs(t, kit.OldestKernel)
	tiersOf(t, func(t *testing.T, tier kernel.Tier) {
		c, play := speak(t, session.Options{Tier: tier}, []string{"--status=404"},
			"http1", "other", "tls", "tls", "http2", "http1", "other", "http1", "other", "other", "other")
		play()
		a := c.Stop()
		// Both ends are here; an exchange is one row for both.
		want := map[string]uint64{"http1": 2 * 3, "http2": 2 * 1, "tls": 2 * 2, "other": 2 * 5}
		if diff := cmp.Diff(want, a.Kinds); diff != "" {
			t.Error(diff)
		}
		if a.Filtered["status"] != 3 || a.Shown != 0 || a.Seen != 3 {
			t.Errorf("three exchanges did not pass --status: %+v", a)
		}
		// Unix sockets are seen by none.
		if (tier == kernel.Tracepoint) != (len(a.Unseen) > 1) {
			t.Errorf("by %s cannot be seen: %q", tier, a.Unseen)
		}
	})
}

func TestKernelFilteredIsCounted(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	c, play := speak(t, session.Options{Filter: session.Filter{PIDs: []uint32{0}}}, nil, "http1", "tls", "http1", "other", "http1")
	play()
	a := c.Stop()
	// The other ends are those of this process.
	want := map[string]uint64{"http1": 3, "tls": 1, "other": 1}
	if diff := cmp.Diff(want, a.Kinds); diff != "" {
		t.Error(diff)
	}
	if a.LeftOut["pid"] != 5 || a.Shown != 3 || a.Seen != 3 {
		t.Errorf("%+v", a)
	}
}

func TestKernelOnlyTLSIsToldAtOnce(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	for _, tc := range []struct {
		kinds []string
		want  string // what the notice says; empty: there is none
	}{
		{[]string{"tls", "other"}, "only TLS so far at port "},
		{[]string{"http2", "tls"}, ""},
		{[]string{"http1", "tls"}, ""},
	} {
		t.Run(strings.Join(tc.kinds, " and "), func(t *testing.T) {
			notices := make(chan string, 8)
			opts := session.Options{Notice: func(n *event.Notice) { notices <- n.Kind + ": " + n.Message }}
			c, play := speak(t, opts, []string{"--stuck=20ms"}, tc.kinds...)
			play()
			told := ""
			if tc.want != "" {
				select {
				case told = <-notices:
				case <-time.After(30 * time.Second):
					t.Fatal("nothing is told")
				}
			}
			c.Stop()
			if !strings.Contains(told, tc.want) {
				t.Errorf("%q is told, want %q", told, tc.want)
			}
			select {
			case again := <-notices:
				t.Errorf("told: %q", again)
			default:
			}
		})
	}
}
