package otlp

import (
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"tracer/trace/event"
)

// An engine is an endpoint whose answers a test decides.
type engine struct {
	t      testing.TB
	url    string
	answer func(n int, items int, w http.ResponseWriter, r *http.Request) (taken int)

	mu       sync.Mutex
	requests int
	taken    int
	most     int // items of a request
	items    []item
	times    []time.Time
}

func (e *engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := read(r)
	if err != nil {
		e.t.Errorf("request: %v", err)
		return
	}
	list := items(e.t, r.URL.Path, body)
	e.mu.Lock()
	e.requests++
	n := e.requests
	e.most = max(e.most, len(list))
	e.times = append(e.times, time.Now())
	e.mu.Unlock()
	taken := len(list)
	if e.answer != nil {
		taken = e.answer(n, len(list), w, r)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.taken += taken
	e.items = append(e.items, list[:taken]...)
}

// newEngine starts one.
func newEngine(t testing.TB, answer func(n, items int, w http.ResponseWriter, r *http.Request) int) *engine {
	e := &engine{t: t, answer: answer}
	s := httptest.NewServer(e)
	t.Cleanup(s.Close)
	e.url = s.URL
	return e
}

// told are sentences on stderr.
type told struct {
	mu   sync.Mutex
	list []string
	when []time.Time
}

func (l *told) add(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, text)
	l.when = append(l.when, time.Now())
}

func (l *told) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(strings.Join(l.list, "\n"), text)
}

func open(t testing.TB, url string, env map[string]string, o Options) (*Exporter, *told) {
	t.Helper()
	e, err := ParseEndpoint(url, func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Load(); err != nil {
		t.Fatal(err)
	}
	l := &told{}
	o.Endpoint, o.Warn, o.Hostname = e, l.add, "here"
	return Open(o), l
}

func exchangeOf(n int) *event.HTTP {
	return &event.HTTP{
		Common:     event.Common{Time: time.Unix(1700000000, int64(n)), Kind: event.KindHTTP, Process: event.Process{PID: 7, Comm: "server"}},
		Connection: event.Connection{Role: event.RoleBoth, ID: event.ConnID{Client: 1, Server: uint32(n), Known: true}},
		Seq:        1, Version: "1.1", Method: "GET", Path: "/a", Host: "h", Status: 200, Latency: 1000, Duration: 2000, PeerPID: 8, PeerComm: "client",
	}
}

func send(x *Exporter, n int) {
	for i := range n {
		x.Event(exchangeOf(i))
	}
}

// shut closes an exporter, and checks that everything was acknowledged or is undelivered.
func shut(t *testing.T, x *Exporter, want uint64) (undelivered uint64, took time.Duration) {
	t.Helper()
	begin := time.Now()
	undelivered, err := x.Close()
	if err != nil {
		t.Error(err)
	}
	sent, acknowledged := x.Sent()
	if sent != want || sent != acknowledged+undelivered {
		t.Errorf("%d sent (want %d), %d acknowledged, %d undelivered", sent, want, acknowledged, undelivered)
	}
	if held := x.held.Load(); held != 0 {
		t.Errorf("%d bytes wait in the end", held)
	}
	return undelivered, time.Since(begin)
}

func partialSuccess(rejected int, message string) []byte {
	inner := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(rejected))
	inner = protowire.AppendString(protowire.AppendTag(inner, 2, protowire.BytesType), message)
	return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), inner)
}

func refuse(code int, header ...string) func(n, items int, w http.ResponseWriter, r *http.Request) int {
	return func(_, _ int, w http.ResponseWriter, _ *http.Request) int {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		return 0
	}
}

// Sent is acknowledged and undelivered, whatever the engine does. 1000 exchanges are 2000
// spans.
func TestWhatIsSentIsAcknowledgedOrCounted(t *testing.T) {
	const exchanges, spans = 1000, 2 * 1000
	const soon = 10 * time.Second // on a busy machine; what must not wait has less than patience
	for _, c := range []struct {
		name        string
		answer      func(n, items int, w http.ResponseWriter, r *http.Request) int
		undelivered uint64
		requests    int // at least; below 0: exactly
		told        string
		within      time.Duration
	}{
		{"it takes all", nil, 0, -4, "", soon},
		{"it is overloaded for a moment", func(n, items int, w http.ResponseWriter, _ *http.Request) int {
			if n <= 2 {
				w.WriteHeader(503)
				return 0
			}
			return items
		}, 0, -6, "503 Service Unavailable; it is sent again", soon},
		{"it is overloaded", refuse(503), spans, 2, "2000 spans", soon},
		{"a gateway finds none", refuse(502), spans, 2, "502 Bad Gateway", soon},
		{"a gateway waits in vain", refuse(504), spans, 2, "504 Gateway Timeout", soon},
		{"it says when", func(n, items int, w http.ResponseWriter, _ *http.Request) int {
			if n == 1 {
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(429)
				return 0
			}
			return items
		}, 0, -5, "429 Too Many Requests", soon},
		{"it says to come back later than there is time", refuse(429, "Retry-After", "30"), spans, -4, "429 Too Many Requests", 2 * time.Second},
		{"it says so by date", refuse(503, "Retry-After", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)), spans, -4, "503", 2 * time.Second},
		{"it rejects some", func(_, items int, w http.ResponseWriter, _ *http.Request) int {
			w.Header().Set("Content-Type", "application/x-protobuf")
			_, _ = w.Write(partialSuccess(7, "too old\x1b[31m"))
			return items - 7
		}, 4 * 7, -4, `rejected: "too old\x1b[31m"`, soon},
		{"it rejects more than there were", func(_, items int, w http.ResponseWriter, _ *http.Request) int {
			_, _ = w.Write(partialSuccess(100000, ""))
			return 0
		}, spans, -4, "rejected", soon},
		{"it rejects some in JSON", func(_, items int, w http.ResponseWriter, _ *http.Request) int {
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
			_, _ = w.Write([]byte(`{"partialSuccess":{"rejectedSpans":"5","errorMessage":"no"}}`))
			return items - 5
		}, 4 * 5, -4, `rejected: "no"`, soon},
		{"it takes none of it", refuse(400), spans, -4, "400 Bad Request", soon},
		{"a body is too large", refuse(413), spans, -4, "413 Request Entity Too Large", soon},
		{"it wants a token", refuse(401), spans, -4, "401 Unauthorized", soon},
		{"it is elsewhere", refuse(307, "Location", "/elsewhere"), spans, -4, "307 Temporary Redirect", soon},
		{"it is no engine", func(_, _ int, w http.ResponseWriter, _ *http.Request) int {
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte("<html>welcome</html>"))
			return 0
		}, spans, -4, "is this the right URL?", soon},
		{"it hangs", func(_, _ int, _ http.ResponseWriter, r *http.Request) int {
			<-r.Context().Done()
			return 0
		}, spans, 1, "the end came before it was sent", soon},
		{"it hangs up", func(_, _ int, w http.ResponseWriter, _ *http.Request) int {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				_ = conn.Close()
			}
			return 0
		}, spans, 2, "EOF", soon},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e := newEngine(t, c.answer)
			x, told := open(t, e.url, nil, Options{patience: 3 * time.Second})
			send(x, exchanges)
			undelivered, took := shut(t, x, spans)
			if undelivered != c.undelivered || e.taken != spans-int(c.undelivered) {
				t.Errorf("%d undelivered, %d taken, want %d", undelivered, e.taken, c.undelivered)
			}
			if e.most > batchItems {
				t.Errorf("%d items in a request", e.most)
			}
			if c.requests < 0 && e.requests != -c.requests || e.requests < c.requests {
				t.Errorf("%d requests, want %d", e.requests, c.requests)
			}
			if c.told != "" && !told.has(c.told) || c.told == "" && len(told.list) > 0 {
				t.Errorf("told %q", told.list)
			}
			if took > c.within {
				t.Errorf("it took %v", took)
			}
			for i, text := range told.list {
				if strings.ContainsRune(text, 0x1b) {
					t.Errorf("told %q", text)
				}
				if i > 0 && i < len(told.list)-1 && told.when[i].Sub(told.when[i-1]) < tellEvery-50*time.Millisecond {
					t.Errorf("told %q after %v", text, told.when[i].Sub(told.when[i-1]))
				}
			}
		})
	}
}

// What is told is what is counted: the last sentence has the sum.
func TestLastSentenceHasTheSum(t *testing.T) {
	e := newEngine(t, refuse(400))
	x, told := open(t, e.url, nil, Options{})
	send(x, 600)
	for deadline := time.Now().Add(5 * time.Second); !told.has("not delivered") && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	x.Event(&event.Exec{Common: event.Common{Time: time.Now(), Kind: event.KindExec}})
	shut(t, x, 1201)
	last := told.list[len(told.list)-1]
	if want := " in all"; !strings.Contains(last, want) || !strings.Contains(last, "1200 spans") || !strings.Contains(last, "1 log record") {
		t.Errorf("told %q", told.list)
	}
}

// Retry-After is heeded to the letter: not a moment before.
func TestRetryAfterIsHeeded(t *testing.T) {
	e := newEngine(t, func(n, items int, w http.ResponseWriter, _ *http.Request) int {
		if n == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(503)
			return 0
		}
		return items
	})
	x, _ := open(t, e.url, nil, Options{})
	send(x, 1)
	if undelivered, _ := shut(t, x, 2); undelivered != 0 || len(e.times) != 2 || e.times[1].Sub(e.times[0]) < time.Second {
		t.Errorf("%d undelivered, at %v", undelivered, e.times)
	}
}

// A batch that is not full is sent after a second.
func TestLittleIsSentWithinASecond(t *testing.T) {
	e := newEngine(t, nil)
	x, _ := open(t, e.url, nil, Options{})
	begin := time.Now()
	send(x, 1)
	for deadline := begin.Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if _, acknowledged := x.Sent(); acknowledged == 2 {
			break
		}
	}
	if took := time.Since(begin); took < batchAge-10*time.Millisecond || took > 10*batchAge {
		t.Errorf("it took %v", took)
	}
	shut(t, x, 2)
}

// The queue has a bound, and what does not fit is counted and told at once. To add to it
// never waits.
func TestQueueIsBounded(t *testing.T) {
	free := make(chan struct{})
	e := newEngine(t, func(_, items int, _ http.ResponseWriter, _ *http.Request) int {
		<-free
		return items
	})
	x, told := open(t, e.url, nil, Options{queue: 300_000})
	begin := time.Now()
	send(x, 20_000)
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("to add took %v", took)
	}
	if held := x.held.Load(); held > 300_000 {
		t.Errorf("%d bytes wait", held)
	}
	for deadline := time.Now().Add(5 * time.Second); !told.has("too much waits") && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if !told.has("too much waits") {
		t.Errorf("told %q", told.list)
	}
	close(free)
	undelivered, _ := shut(t, x, 40_000)
	if undelivered == 0 || e.taken == 0 || uint64(e.taken) != 40_000-undelivered {
		t.Errorf("%d undelivered, %d taken", undelivered, e.taken)
	}
}

// Events of a recording wait for room: none is lost, however slow the engine is.
func TestRecordedEventsWaitForRoom(t *testing.T) {
	e := newEngine(t, func(_, items int, _ http.ResponseWriter, _ *http.Request) int {
		time.Sleep(time.Millisecond)
		return items
	})
	x, told := open(t, e.url, nil, Options{queue: 300_000, Waits: true})
	send(x, 5_000)
	if undelivered, _ := shut(t, x, 10_000); undelivered != 0 || e.taken != 10_000 {
		t.Errorf("%d undelivered, %d taken: %q", undelivered, e.taken, told.list)
	}
}

// An engine that is killed and comes back: what it has taken was acknowledged.
func TestEngineThatIsKilledAndComesBack(t *testing.T) {
	e := &engine{t: t}
	s := httptest.NewUnstartedServer(e)
	address := s.Listener.Addr().String()
	s.Start()
	x, told := open(t, "http://"+address, nil, Options{})
	send(x, 300)
	x.pipes[traces].finish()
	for deadline := time.Now().Add(5 * time.Second); x.held.Load() > 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	s.CloseClientConnections()
	s.Close()
	send(x, 300)
	x.pipes[traces].finish()
	for deadline := time.Now().Add(5 * time.Second); !told.has("it is sent again") && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	again := &http.Server{Addr: address, Handler: e}
	defer again.Close()
	go func() { _ = again.ListenAndServe() }()
	if undelivered, _ := shut(t, x, 1200); undelivered != 0 || e.taken != 1200 {
		t.Errorf("%d undelivered, %d taken", undelivered, e.taken)
	}
}

func TestNobodyListens(t *testing.T) {
	s := httptest.NewServer(nil)
	url := s.URL
	s.Close()
	x, told := open(t, url, nil, Options{patience: time.Second})
	send(x, 1)
	if undelivered, took := shut(t, x, 2); undelivered != 2 || !told.has("connection refused") || took > 10*time.Second {
		t.Errorf("%d undelivered after %v: %q", undelivered, took, told.list)
	}
}

// A wrong certificate is no reason to try again. With the right one all is taken.
func TestCertificates(t *testing.T) {
	e := &engine{t: t}
	s := httptest.NewTLSServer(e)
	defer s.Close()
	s.Config.ErrorLog = nil
	x, told := open(t, s.URL, nil, Options{})
	send(x, 1)
	if undelivered, took := shut(t, x, 2); undelivered != 2 || !told.has("certificate") || took > 4*time.Second {
		t.Errorf("%d undelivered after %v: %q", undelivered, took, told.list)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(ca, text, 0o600); err != nil {
		t.Fatal(err)
	}
	x, told = open(t, s.URL, map[string]string{envCertificate: ca}, Options{})
	send(x, 1)
	if undelivered, _ := shut(t, x, 2); undelivered != 0 || e.taken != 2 {
		t.Errorf("%d undelivered: %q", undelivered, told.list)
	}
}

// Whatever comes back in whatever order, all is counted. What the engine takes and says so
// is acknowledged, once.
func TestCountsAddUpUnderRandomAnswers(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			random := rand.New(rand.NewPCG(seed, 21))
			e := newEngine(t, func(_, items int, w http.ResponseWriter, _ *http.Request) int {
				mu.Lock()
				roll, part := random.IntN(8), random.IntN(items+1)
				mu.Unlock()
				switch roll {
				case 0:
					w.WriteHeader(503)
				case 1:
					w.WriteHeader(400)
				case 2, 3:
					_, _ = w.Write(partialSuccess(part, "some"))
					return items - part
				case 4:
					conn, _, err := w.(http.Hijacker).Hijack()
					if err == nil {
						_ = conn.Close()
					}
				case 5:
					w.Header().Set("Retry-After", "0")
					w.WriteHeader(429)
				default:
					return items
				}
				return 0
			})
			x, _ := open(t, e.url, nil, Options{queue: 400_000, patience: time.Minute})
			send(x, 3000)
			for range 700 {
				x.Event(&event.Exec{Common: event.Common{Time: time.Now(), Kind: event.KindExec}})
			}
			undelivered, _ := shut(t, x, 6700)
			if e.taken != 6700-int(undelivered) {
				t.Errorf("%d undelivered, %d taken", undelivered, e.taken)
			}
		})
	}
}

// Tokens go to the endpoint, and nowhere else.
func TestHeadersAreSentAndNeverTold(t *testing.T) {
	var got []string
	e := newEngine(t, func(_, items int, w http.ResponseWriter, r *http.Request) int {
		got = append(got, r.Header.Get("Authorization"), r.Header.Get("X-Tenant"), r.URL.Path)
		w.WriteHeader(403)
		return 0
	})
	env := map[string]string{envHeaders: "authorization=Bearer%20s3cret, x-tenant=blue", envEndpoint: strings.Replace(e.url, "http://", "http://user:passw0rd@", 1) + "/base/"}
	x, told := open(t, "", env, Options{})
	send(x, 1)
	shut(t, x, 2)
	if !slices.Equal(got, []string{"Bearer s3cret", "blue", "/base/v1/traces"}) {
		t.Errorf("%q", got)
	}
	if all := strings.Join(told.list, "\n"); all == "" || strings.Contains(all, "s3cret") || strings.Contains(all, "passw0rd") || strings.Contains(all, "blue") {
		t.Errorf("told %q", told.list)
	}
}
