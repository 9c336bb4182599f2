package http_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
)

func peerCurl(t *testing.T, p *peers) {
	port, counted := p.goServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/refused"):
			w.WriteHeader(413) // without a look at the body
			return
		case strings.HasPrefix(r.URL.Path, "/early"):
			w.WriteHeader(103)
			w.WriteHeader(103)
		}
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			t.Error(err)
		}
		fmt.Fprintf(w, "%d bytes\n", n)
	}))
	p.write("body", strings.Repeat("x", 300_007))
	p.trace(port)
	want := map[string]truth{}
	n := 0
	// curl says what it sent and got, but for the framing of chunks.
	ask := func(status int, more bool, urls int, args ...string) {
		t.Helper()
		const format = "%{size_request} %{size_upload} %{size_header} %{size_download} %{http_code} %{url}\n"
		args = append([]string{"-sS", "-w", format}, args...)
		for range urls {
			args = append(args, "-o", "/dev/null", fmt.Sprintf("http://%s/%d", local(port), n))
			n++
		}
		for line := range strings.Lines(p.output("curl", args...)) {
			var head, upload, header, download int64
			var x truth
			var url string
			if _, err := fmt.Sscan(line, &head, &upload, &header, &download, &x.status, &url); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			if x.status != status {
				t.Errorf("status %d of %v, want %d", x.status, args, status)
			}
			x.request, x.response = head+upload, header+download
			if more {
				x.request = -1
			}
			want[strings.TrimPrefix(url, "http://"+local(port))] = x
		}
	}
	ask(200, false, 1, "--http1.0")
	ask(200, false, 2, "--http1.0", "-H", "Connection: keep-alive")
	ask(200, false, 1)
	ask(200, false, 11)
	ask(200, false, 3, "--head")
	ask(200, true, 3, "-d", "a=b") // counted with the head and as upload
	ask(200, false, 3, "-H", "Expect:", "--data-binary", "@body")
	ask(200, false, 3, "-H", "Expect: 100-continue", "--data-binary", "@body")
	ask(200, true, 3, "-H", "Transfer-Encoding: chunked", "--data-binary", "@body")
	ask(200, true, 1, "-H", "Transfer-Encoding: chunked", "-H", "Expect: 100-continue", "--data-binary", "@body")
	ask(200, false, 1, "-T", "body")
	ask(200, true, 2, "-X", "PATCH", "-d", "x")
	ask(200, false, 1, "-H", "Host: a.example", "-H", "X-Long: "+strings.Repeat("y", 3001))
	ask(200, false, 5, "-Z", "--parallel-immediate")
	ask(200, false, 1, "--proxy", "http://"+local(port)) // absolute-form
	absolute := fmt.Sprintf("/%d", n-1)
	// Paths that decide what the server does.
	for _, path := range []string{"/early", "/refused"} {
		args := []string{"-sS", "-o", "/dev/null", "-H", "Expect: 100-continue", "--data-binary", "@body", "http://" + local(port) + path}
		p.output("curl", args...)
		want[path] = truth{status: map[string]int{"/early": 200, "/refused": 413}[path], request: -1, response: -1}
		n++
	}
	rows := p.finish(n)
	for i := range rows {
		if r := &rows[i]; strings.HasPrefix(r.Path, "http://") {
			if r.Path != "http://"+local(port)+absolute {
				t.Errorf("absolute-form: %s", r)
			}
			r.Path = absolute
		}
	}
	p.holdTo(rows, want)
	p.both(rows, ownComm(t), "curl", os.Getpid())
	counted.check(t, rows)
	versions := map[string]int{}
	for _, r := range rows {
		versions[r.Version]++
	}
	if versions["1.0"] != 3 || versions["1.1"] != n-3 {
		t.Errorf("versions %v, want 3 of 1.0", versions)
	}
}
