package http

import (
	"fmt"
	"slices"
	"strconv"
	"testing"

	"tracer/testdata/kit"

	"github.com/google/go-cmp/cmp"

	"tracer/testdata/kit/work"
	"tracer/trace/kernel"
	"tracer/trace/session"
)

func TestKernelHTTPServersAndProxiesAreSeenWhole(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	tiersOf(t, func(t *testing.T, tier kernel.Tier) {
		server := work.Start(t, "serveHTTP")
		port := server.HearInt()
		proxy := work.Start(t, "proxyHTTP", strconv.Itoa(port))
		proxyPort := proxy.HearInt()
		c := traceHTTP(t, session.Options{Tier: tier}, atPorts(port, proxyPort))

		const kept, fresh, passed, long = 997, 211, 307, 53
		client := work.Start(t, "getHTTP", fmt.Sprintf("http://127.0.0.1:%d/kept", port), strconv.Itoa(kept), "7", "kept")
		single := work.Start(t, "getHTTP", fmt.Sprintf("http://127.0.0.1:%d/status/503", port), strconv.Itoa(fresh), "3", "fresh")
		through := work.Start(t, "getHTTP", fmt.Sprintf("http://127.0.0.1:%d/passed", proxyPort), strconv.Itoa(passed), "5", "kept")
		bytes := work.Start(t, "getHTTP", fmt.Sprintf("http://127.0.0.1:%d/bytes/100003", port), strconv.Itoa(long), "2", "kept")
		all := []*work.Process{client, single, through, bytes}
		for _, w := range all {
			w.Say("go")
		}
		for _, w := range all {
			w.Hear()
		}
		c.await(port, kept+fresh+passed+long)
		c.await(proxyPort, passed)
		c.Stop()

		got := map[string]int{}
		for _, e := range append(slices.Clone(c.of(port)), c.of(proxyPort)...) {
			who := map[int]string{server.PID: "server", proxy.PID: "proxy", client.PID: "client", single.PID: "single", through.PID: "through", bytes.PID: "bytes"}
			got[fmt.Sprintf("%s %s by %s for %s: %d", e.Role, e.Path, who[int(e.PID)], who[int(e.PeerPID)], e.Status)]++
			if e.Latency <= 0 || e.Duration < e.Latency || e.ServerLatency > e.Latency || e.UID != 0 || e.Version != "1.1" {
				t.Errorf("latency %v, duration %v, the server's %v, version %s", e.Latency, e.Duration, e.ServerLatency, e.Version)
			}
			if e.Path == "/bytes/100003" && (e.ResponseBytes < 100003+100 || e.ResponseBytes > 100003+600) {
				t.Errorf("%d bytes", e.ResponseBytes)
			}
		}
		want := map[string]int{
			"both /kept by server for client: 200":        kept,
			"both /status/503 by server for single: 503":  fresh,
			"both /passed by proxy for through: 200":      passed,
			"both /passed by server for proxy: 200":       passed,
			"both /bytes/100003 by server for bytes: 200": long,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}
