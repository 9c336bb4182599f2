package http_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"tracer/testdata/kit"
)

// On its command line, whatever is asked for: the closing object adds up, and its
// units are those of rows.
func TestKernelHTTPAccountAddsUp(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	const n = 7
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/none" {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer server.Close()
	port := server.URL[strings.LastIndexByte(server.URL, ':')+1:]
	for _, c := range []struct {
		args     string
		shown    float64
		filtered map[string]float64
	}{
		{"", 2 * n, nil},
		{"--summary", 2 * n, nil},
		{"--role client", 2 * n, map[string]float64{"role": 2 * n}},
		{"--role server --summary", 2 * n, map[string]float64{"role": 2 * n}},
		{"--status 404", n, map[string]float64{"status": n}},
		{"--status 404 --role server", n, map[string]float64{"role": 2 * n, "status": n}},
		{"--status 404 --summary", n, map[string]float64{"status": n}},
		{"--path /some --method GET", n, map[string]float64{"path": n}},
		{"--method POST", 0, map[string]float64{"method": 2 * n}},
		{"--host nobody", 0, map[string]float64{"host": 2 * n}},
		{"--slow 1h", 0, map[string]float64{"slow": 2 * n}},
		{"--comm nobody", 0, map[string]float64{"comm": 2 * n}},
		{"--comm nobody --status 404", 0, map[string]float64{"comm": 2 * n}},
		{"--comm *", 2 * n, nil},
		{"--count 3", 3, nil},
		{fmt.Sprint("--pid ", os.Getpid()), 2 * n, nil},
		{"--pid 1", 0, nil},
		{"--uid 54321", 0, nil},
		{"--container nobody", 0, nil},
	} {
		t.Run("http "+c.args, func(t *testing.T) {
			client := &http.Client{Transport: &http.Transport{}} // a connection of its own
			defer client.CloseIdleConnections()
			r := kit.Start(t, append([]string{"http", "--port", port}, strings.Fields(c.args)...)...)
			for _, path := range []string{"/some", "/none"} {
				for range n {
					resp, err := client.Get(server.URL + path)
					if err != nil {
						t.Fatal(err)
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			}
			if strings.HasPrefix(c.args, "--count") {
				check(t, r.Wait(0), c.shown, c.filtered)
				return
			}
			check(t, r.Stop(), c.shown, c.filtered)
		})
	}
}

func check(t *testing.T, end kit.Event, shown float64, filtered map[string]float64) {
	t.Helper()
	number := func(key string) float64 { n, _ := end[key].(float64); return n }
	sum := number("shown") + number("lost")
	by, _ := end["filtered"].(map[string]any)
	for _, n := range by {
		sum += n.(float64)
	}
	if number("seen") != sum || number("shown") != shown || number("lost") != 0 || len(by) != len(filtered) {
		t.Errorf("%v", end)
	}
	for flag, n := range filtered {
		if by[flag] != n {
			t.Errorf("filtered %v, want %v", by, filtered)
		}
	}
}
