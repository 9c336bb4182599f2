package http_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tracer/testdata/kit"
)

// TestKernelPeersAgree has other people's programs talk HTTP to each other and holds what
// tracer http says about it, on its command line, against what those programs
// say themselves: every request in their logs is one row, with its status and
// its bytes, and there are no other rows.
//
// It does not run on the emulated kernels, which have no such programs: there
// TestKernelHTTPBothEndsAndEachTellTheSame has all ways to move bytes.
func TestKernelPeersAgree(t *testing.T) {
	if kit.Emulated() {
		t.Skip("this kernel's machine has no other programs")
	}
	kit.Needs(t, kit.ThisKernelOnly)
	tracer := kit.Binary(t)
	for _, c := range []struct {
		name  string
		needs string // programs
		test  func(t *testing.T, p *peers)
	}{
		{"nginx return", "nginx curl", peerNginxReturn},
		{"nginx files", "nginx curl", peerNginxFiles},
		{"nginx proxy", "nginx curl", peerNginxProxy},
		{"haproxy splice", "nginx haproxy", peerHAProxy},
		{"Apache", "apache2 curl", peerApache},
		{"wrk pipelining", "nginx wrk", peerWrkPipelining},
		{"wrk load", "nginx wrk", peerWrkLoad},
		{"curl", "curl", peerCurl},
		{"Go", "", peerGo},
		{"Go, no answer", "curl", peerGoNoAnswer},
		{"bodies like heads", "nginx", peerBodiesLikeHeads},
		{"Python", "python3", peerPython},
		{"Node", "node", peerNode},
		{"accuracy", "", peerAccuracy},
		{"HTTP/2 of nginx", "nginx curl nghttp h2load", peerNginx2},
		{"HTTP/2 of Go", "", peerGo2},
		{"HTTP/2 of Node", "node curl", peerNode2},
		{"HTTP/2 of Python", "hypercorn curl", peerPython2},
		{"HTTP/2 in front of HTTP/1", "nginx haproxy h2load", peerHAProxy2},
		{"h2c upgrade", "apache2 hypercorn curl", peerUpgrade2},
		{"gRPC of Go", "go", peerGRPC},
		{"gRPC of Node", "go node npm", peerGRPCNode},
		{"late to HTTP/2", "nginx haproxy node go", peersLate2},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, name := range strings.Fields(c.needs) {
				needPeer(t, name)
			}
			c.test(t, &peers{t: t, tracer: tracer, dir: t.TempDir(), began: time.Now()})
		})
	}
}

// needPeer is for tests of another program. Where all of them are promised, as
// in CI, a missing one is a failure.
func needPeer(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("no %s: make install-tools", name)
	}
	t.Skipf("no %s: make install-tools", name)
}

// peers is one test: the programs that talk, and tracer.
type peers struct {
	t      *testing.T
	tracer string // its path
	dir    string
	began  time.Time

	oneEnd  bool    // with --role: the other ends are here, too
	file    string  // where rows go, if there are too many for a pipe
	lost    float64 // of such rows, by the account
	cmd     *exec.Cmd
	mu      sync.Mutex
	rows    []httpRow
	bad     []string // lines that are no rows
	changed chan struct{}
	stdout  chan struct{} // closed at its end
	stderr  chan struct{}
	notes   []map[string]any
	errors  int
}

// httpRow is a line of stdout. Keys that the command line's contract does not
// know are an error.
type httpRow struct {
	Time          time.Time `json:"time"`
	Event         string    `json:"event"`
	PID           int       `json:"pid"`
	Comm          string    `json:"comm"`
	UID           *int      `json:"uid"`
	CgroupID      uint64    `json:"cgroup_id"`
	Container     string    `json:"container"`
	ContainerID   string    `json:"container_id"`
	Pod           string    `json:"pod"`
	Namespace     string    `json:"namespace"`
	PodUID        string    `json:"pod_uid"`
	Role          string    `json:"role"`
	Family        string    `json:"family"`
	SrcAddr       string    `json:"src_addr"`
	SrcPort       int       `json:"src_port"`
	DstAddr       string    `json:"dst_addr"`
	DstPort       int       `json:"dst_port"`
	ConnID        string    `json:"conn_id"`
	Version       string    `json:"version"`
	TLS           string    `json:"tls"`
	Seq           uint64    `json:"seq"`
	Stream        uint32    `json:"stream_id"`
	Method        string    `json:"method"`
	Path          string    `json:"path"`
	PathTruncated bool      `json:"path_truncated"`
	Host          string    `json:"host"`
	Status        int       `json:"status"`
	Latency       *int64    `json:"latency_us"`
	Duration      *int64    `json:"duration_us"`
	RequestBytes  int64     `json:"request_bytes"`
	ResponseBytes int64     `json:"response_bytes"`
	Error         string    `json:"error"`
	ClosedBy      string    `json:"closed_by"`
	ResetCode     string    `json:"reset_code"`
	GRPCStatus    *int      `json:"grpc_status"`
	GRPCMessage   string    `json:"grpc_message"`
	PeerPID       int       `json:"peer_pid"`
	PeerComm      string    `json:"peer_comm"`
	ServerTime    time.Time `json:"server_time"`
	ServerLatency *int64    `json:"server_latency_us"`
	ServerLasted  *int64    `json:"server_duration_us"`
	Age           *int64    `json:"age_us"`
	AcceptWait    int64     `json:"accept_wait_us"`
	Queue         int64     `json:"queue_us"`
	CPU           int64     `json:"cpu_us"`
	RunQueue      int64     `json:"runq_us"`
	Blocked       int64     `json:"blocked_us"`

	line string
}

// String is what matters of a row.
func (r httpRow) String() string {
	var drop = []string{"time", "event", "uid", "cgroup_id", "family", "src_addr", "dst_addr", "version", "host"}
	var keep []string
	for part := range strings.SplitSeq(strings.Trim(r.line, "{}"), ",") {
		name, _, _ := strings.Cut(strings.TrimPrefix(part, `"`), `"`)
		if !slices.Contains(drop, name) {
			keep = append(keep, strings.ReplaceAll(part, `"`, ""))
		}
	}
	return strings.Join(keep, " ")
}

// trace starts tracer http for these ports and returns when it is ready.
func (p *peers) trace(ports ...int) {
	p.t.Helper()
	p.traceWith(nil, ports...)
}

// traceRole starts a second tracer, which looks at one end only.
func (p *peers) traceRole(role string, ports ...int) *peers {
	p.t.Helper()
	other := &peers{t: p.t, tracer: p.tracer, dir: p.dir, began: p.began, oneEnd: true}
	other.traceWith([]string{"--role", role}, ports...)
	return other
}

func (p *peers) traceWith(args []string, ports ...int) {
	p.t.Helper()
	if !p.tryTrace(args, ports...) {
		p.t.Fatalf("tracer did not start: %v", p.notes)
	}
}

// tryTrace reports whether tracer started.
func (p *peers) tryTrace(args []string, ports ...int) bool {
	p.t.Helper()
	var list []string
	for _, port := range ports {
		list = append(list, strconv.Itoa(port))
	}
	p.changed, p.stdout, p.stderr = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	p.cmd = exec.Command(p.tracer, append([]string{"http", "--json", "--port", strings.Join(list, ",")}, args...)...)
	var out io.ReadCloser
	if p.file != "" {
		f, err := os.Create(p.file)
		if err != nil {
			p.t.Fatal(err)
		}
		p.cmd.Stdout = f
		defer f.Close()
	} else {
		out, _ = p.cmd.StdoutPipe()
	}
	diag, _ := p.cmd.StderrPipe()
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	go func() {
		defer close(p.stdout)
		if p.file == "" {
			p.lines(out)
		}
	}()
	ready := make(chan bool, 1)
	go func() {
		defer close(p.stderr)
		lines := bufio.NewScanner(diag)
		for n := 0; lines.Scan(); n++ {
			note := map[string]any{}
			if json.Unmarshal(lines.Bytes(), &note) != nil {
				note["event"] = lines.Text()
			}
			p.mu.Lock()
			p.notes = append(p.notes, note)
			p.mu.Unlock()
			if n == 0 {
				ready <- note["event"] == "start"
			}
		}
		ready <- false
	}()
	if !<-ready {
		<-p.stderr
		return false
	}
	return true
}

// errorf is for what may be wrong with many rows.
func (p *peers) errorf(format string, args ...any) {
	p.t.Helper()
	const enough = 12
	if p.errors++; p.errors <= enough {
		p.t.Errorf(format, args...)
	} else if p.errors == enough+1 {
		p.t.Log("and more")
	}
}

func (p *peers) lines(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		p.line(lines.Bytes())
	}
}

func (p *peers) line(line []byte) {
	row := httpRow{line: string(line)}
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	err := d.Decode(&row)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.bad = append(p.bad, fmt.Sprintf("%v: %s", err, line))
	} else if len(row.ConnID) != 16 {
		p.bad = append(p.bad, fmt.Sprintf("the connection has no name: %s", line))
	}
	p.rows = append(p.rows, row)
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// finish waits for n rows, ends tracer, and returns all rows if there are
// exactly n, nothing was lost, and no row contradicts itself.
func (p *peers) finish(n int) []httpRow {
	p.t.Helper()
	return p.finishBetween(n, n)
}

func (p *peers) finishBetween(low, high int) []httpRow {
	p.t.Helper()
	deadline := time.After(10 * time.Second)
wait:
	for p.file == "" {
		p.mu.Lock()
		got := len(p.rows)
		p.mu.Unlock()
		if got >= low {
			break
		}
		select {
		case <-p.changed:
		case <-deadline:
			break wait // which are missing is said below
		}
	}
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		p.t.Fatal(err)
	}
	<-p.stdout
	<-p.stderr
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("tracer: %v", err)
	}
	if p.file != "" {
		f, err := os.Open(p.file)
		if err != nil {
			p.t.Fatal(err)
		}
		defer f.Close()
		p.lines(f)
	}
	for _, line := range p.bad {
		p.t.Error(line)
	}
	account := p.notes[len(p.notes)-1]
	shown, filtered := float64(len(p.rows)), 0.0
	if by, ok := account["filtered"].(map[string]any); ok {
		filtered, _ = by["role"].(float64)
	}
	if shown > 0 && p.oneEnd != (filtered == shown) || !p.oneEnd && filtered != 0 { // the other ends
		p.t.Errorf("account %v: %v ends left out, of %v exchanges", account, filtered, shown)
	}
	// How much a reader can take that shares two processors with the load is no
	// matter of right or wrong. That it tells what it could not take is.
	if p.file != "" {
		p.lost, _ = account["lost"].(float64)
	}
	if account["event"] != "end" || account["lost"] != p.lost || account["shown"] != shown || account["seen"] != shown+filtered+p.lost {
		p.t.Errorf("account %v, want %v lost and %v shown", account, p.lost, shown)
	}
	for _, r := range p.rows {
		if why := p.wrong(&r); why != "" {
			p.errorf("%s: %s", why, r)
		}
	}
	if len(p.rows) < low-int(p.lost) || len(p.rows) > high {
		p.t.Errorf("%d rows and %v lost, want %d to %d", len(p.rows), p.lost, low, high)
		for _, r := range p.rows[:min(len(p.rows), 20)] {
			p.t.Log(r)
		}
	}
	return p.rows
}

// wrong says what cannot be in any row.
func (p *peers) wrong(r *httpRow) string {
	switch {
	case r.Event != "http":
		return "event"
	case r.Time.Before(p.began) || r.Time.After(time.Now()):
		return "time"
	case r.Duration == nil || *r.Duration < 0 || *r.Duration > time.Since(p.began).Microseconds():
		return "duration_us"
	// A status that the client did not read is the server's.
	case (r.Latency == nil) != (r.Status == 0) && (r.Error == "" || r.Latency != nil) || r.Latency != nil && (*r.Latency < 0 || *r.Latency == 0 && r.Role != "server" || *r.Latency > *r.Duration):
		return "latency_us"
	case (r.Status == 0) && r.Error == "":
		return "neither status nor error"
	case (r.Role == "both") != (r.PeerPID != 0) || (r.Role == "both") != (r.PeerComm != ""):
		return "peer"
	case (r.ServerLatency != nil) != (r.Role == "both" && r.Status != 0) && r.Error == "":
		return "server_latency_us"
	case (r.ServerLasted != nil) != (r.Role == "both") || r.ServerTime.IsZero() != (r.Role != "both"):
		return "server_time and server_duration_us"
	case r.Role == "both" && r.Error == "" && (r.ServerTime.Before(r.Time.Add(-time.Millisecond)) || r.ServerTime.After(r.Time.Add(time.Duration(*r.Duration)*time.Microsecond+time.Millisecond))):
		return "server_time"
	// What the server did lies within what the client waited for.
	case r.ServerLatency != nil && r.Latency != nil && (*r.ServerLatency < 0 || *r.ServerLatency > *r.Latency+500):
		return "the server took longer than the client waited"
	case r.PID <= 0 || r.Comm == "" || r.UID == nil:
		return "process"
	case !slices.Contains([]string{"both", "client", "server"}, r.Role):
		return "role"
	case r.Family != "ipv4" || r.SrcAddr != "127.0.0.1" || r.DstAddr != "127.0.0.1" || r.SrcPort == 0:
		return "addresses"
	case r.PathTruncated:
		return "path_truncated"
	}
	return ""
}

// A truth is what a peer said of one exchange.
type truth struct {
	status   int
	request  int64 // bytes, -1 if it does not tell
	response int64
}

// holdTo checks that rows are exactly what a peer logged, by path; and returns
// them by path.
func (p *peers) holdTo(rows []httpRow, log map[string]truth) map[string]httpRow {
	p.t.Helper()
	by := map[string]httpRow{}
	for _, r := range rows {
		if _, twice := by[r.Path]; twice {
			p.errorf("twice: %s", r)
		}
		by[r.Path] = r
		want, ok := log[r.Path]
		switch {
		case !ok:
			p.errorf("the peer knows no such request: %s", r)
		case r.Status != want.status || r.Error != "":
			p.errorf("want status %d: %s", want.status, r)
		case want.request >= 0 && r.RequestBytes != want.request:
			p.errorf("want %d request_bytes: %s", want.request, r)
		case want.response >= 0 && r.ResponseBytes != want.response:
			p.errorf("want %d response_bytes: %s", want.response, r)
		}
	}
	for path, want := range log {
		if _, ok := by[path]; !ok {
			p.errorf("no row: %s %+v", path, want)
		}
	}
	return by
}

// both checks that each row has both ends: these processes, and this client.
func (p *peers) both(rows []httpRow, server, client string, pids ...int) {
	p.t.Helper()
	for _, r := range rows {
		if r.Role != "both" || r.Comm != server || r.PeerComm != client || len(pids) > 0 && !slices.Contains(pids, r.PID) {
			p.errorf("want %s %v and client %s: %s", server, pids, client, r)
		}
	}
}

// pick returns the rows that f picks, and the others.
func pick(rows []httpRow, f func(httpRow) bool) (picked, others []httpRow) {
	for _, r := range rows {
		if f(r) {
			picked = append(picked, r)
		} else {
			others = append(others, r)
		}
	}
	return picked, others
}

// toPort picks the rows of a server.
func toPort(port int) func(httpRow) bool {
	return func(r httpRow) bool { return r.DstPort == port }
}

func ownComm(t *testing.T) string {
	name, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(name))
}

// start runs a program until the test ends.
func (p *peers) start(name string, args ...string) *exec.Cmd {
	p.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = p.dir
	cmd.Stderr = os.Stderr
	p.run(cmd)
	return cmd
}

func (p *peers) run(cmd *exec.Cmd) {
	p.t.Helper()
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // nginx takes its workers with it
		done := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		done.Stop()
	})
}

// output runs a program to its end.
func (p *peers) output(name string, args ...string) string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = p.dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		p.t.Fatalf("%s: %v: %s %s", name, err, out, stderr.Bytes())
	}
	return string(out)
}

// freePorts are ports that nobody listens on.
func (p *peers) freePorts(n int) []int {
	p.t.Helper()
	var ports []int
	for range n {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			p.t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// await returns when somebody listens on a port.
func (p *peers) await(port int) {
	p.t.Helper()
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp4", local(port))
		if err == nil {
			c.Close()
			return
		}
	}
	p.t.Fatalf("nobody listens on port %d", port)
}

func local(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

func (p *peers) write(name, text string) string {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		p.t.Fatal(err)
	}
	return path
}
