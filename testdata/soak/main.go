// Command soak runs all four commands of tracer at once under a mixed load of
// known size, for as long as it is told, and holds what they said to what was
// done: nothing lost unsaid, no growth of memory or of maps, nothing left in
// the kernel afterwards, however they end.
//
//	soak [-d 15m] TRACER     as root, while nobody else traces here
//
// It prints a line for everything that it looked at. Exit status 1: something
// was not as it should be.
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

const (
	tick = 100 * time.Millisecond // between the rounds of each load
	// Of each thing in one round.
	execs, dials, gets = 5, 10, 50
	payload            = 1000 // bytes of a connection, from its client

	warm     = 5 * time.Minute // before memory can be judged
	patience = time.Minute     // for whatever should be there already
	// What a process may have grown by between the second and the last
	// quarter, in KiB: a garbage collector is not exact.
	growth = 3 << 10
)

var failed atomic.Bool

// verdict prints what was looked at.
func verdict(good bool, format string, a ...any) {
	word := "good"
	if !good {
		word = "BAD "
		failed.Store(true)
	}
	fmt.Printf("%s  %s\n", word, fmt.Sprintf(format, a...))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

func main() {
	duration := flag.Duration("d", 15*time.Minute, "how long the load lasts")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: soak [-d 15m] TRACER")
		os.Exit(2)
	}
	before := inKernel()
	mounts := mountPoints()
	soak(flag.Arg(0), *duration)
	leftovers(before, mounts, "after SIGINT under load")
	for _, end := range []struct {
		name   string
		signal syscall.Signal
	}{{"SIGTERM", syscall.SIGTERM}, {"SIGKILL", syscall.SIGKILL}, {"a crash (SIGABRT)", syscall.SIGABRT}} {
		var all []*tracer
		for _, command := range commands {
			all = append(all, start(flag.Arg(0), command))
		}
		for _, t := range all {
			check(t.cmd.Process.Signal(end.signal))
		}
		for _, t := range all {
			<-t.done
		}
		leftovers(before, mounts, "after "+end.name)
	}
	if failed.Load() {
		os.Exit(1)
	}
}

// --- the tracers

var commands = [][]string{
	{"exec", "--exits"},
	{"conn"},
	{"traffic"},
	{"http"},
}

// A tracer is one command that runs, and what it has said.
type tracer struct {
	name    string
	cmd     *exec.Cmd
	count   map[string]int // what came of the load, by kind
	bytes   [2]int         // of traffic, sent and received
	account account
	memory  []int // KiB of its own, one a second
	peak    int   // KiB, with the rings
	done    chan struct{}
}

type account struct {
	Seen, Shown, Lost uint64
	LostBy            map[string]uint64 `json:"lost_by"`
	Duration          int64             `json:"duration_us"`
	CPU               int64             `json:"cpu_us"`
	BPF               int64             `json:"bpf_ns"`
}

// start starts a command and returns when it is ready.
func start(path string, command []string) *tracer {
	t := &tracer{name: command[0], count: map[string]int{}, done: make(chan struct{})}
	t.cmd = exec.Command(path, append(slices.Clone(command), "--json")...)
	stdout, err := t.cmd.StdoutPipe()
	check(err)
	stderr, err := t.cmd.StderrPipe()
	check(err)
	check(t.cmd.Start())
	ready := make(chan struct{})
	var both sync.WaitGroup
	both.Go(func() { t.events(stdout) })
	both.Go(func() { t.messages(stderr, ready) })
	go func() {
		both.Wait()
		_ = t.cmd.Wait() // how it ended is what it said
		close(t.done)
	}()
	select {
	case <-ready:
	case <-time.After(patience):
		check(fmt.Errorf("%s is not ready after %v", t.name, patience))
	}
	return t
}

// line is what matters of an event.
type line struct {
	Event   string
	PID     int
	Args    []string
	Signal  string
	DstPort int `json:"dst_port"`
	Path    string
	Status  int
	Role    string
	Tx      int `json:"tx_bytes"`
	Rx      int `json:"rx_bytes"`
	// Of a process in one of the load's own cgroups.
	Container string `json:"container_id"`
}

func (t *tracer) events(r io.Reader) {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var l line
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			verdict(false, "%s: not JSON: %q", t.name, s.Bytes())
			continue
		}
		switch {
		case l.Event == "exec" && len(l.Args) == 2 && l.Args[1] == mark,
			l.Event == "exit" && len(l.Args) == 2 && l.Args[1] == mark:
			t.count[l.Event]++
			if l.Container != "" {
				t.count["in a container"]++
			}
		case l.Event == "http" && l.DstPort == webPort && l.Status == 200:
			t.count["http "+l.Role]++
		case l.Event == "traffic" && l.PID == os.Getpid():
			t.bytes[0] += l.Tx
			t.bytes[1] += l.Rx
		case l.Event != "traffic" && l.Event != "http" && l.DstPort == plainPort:
			t.count[l.Event]++
			t.bytes[0] += l.Tx
			t.bytes[1] += l.Rx
		}
	}
}

func (t *tracer) messages(r io.Reader, ready chan struct{}) {
	s := bufio.NewScanner(r)
	for s.Scan() {
		var kind struct{ Event, Message string }
		if json.Unmarshal(s.Bytes(), &kind) != nil {
			continue // a crash tells its stacks
		}
		switch kind.Event {
		case "start":
			close(ready)
		case "end":
			check(json.Unmarshal(s.Bytes(), &t.account))
		case "warning", "lost":
			fmt.Printf("      %s said: %s\n", t.name, s.Text())
		}
	}
}

// --- the load

const mark = "soak-4f1c"

var (
	plainPort, webPort int
	trueFile           string
	done               struct {
		exec, contained, dial, get atomic.Int64
		sent, received             atomic.Int64 // bytes, of all sockets
	}
)

func soak(path string, duration time.Duration) {
	var err error
	trueFile, err = exec.LookPath("true")
	check(err)
	plain, err := net.Listen("tcp4", "127.0.0.1:0")
	check(err)
	defer plain.Close()
	web, err := net.Listen("tcp4", "127.0.0.1:0")
	check(err)
	defer web.Close()
	plainPort, webPort = plain.Addr().(*net.TCPAddr).Port, web.Addr().(*net.TCPAddr).Port
	go serve(counted{plain})
	go http.Serve(counted{web}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, r.URL.Path) }))

	var all []*tracer
	for _, command := range commands {
		all = append(all, start(path, command))
	}
	entries := mapEntries(all)
	until := time.Now().Add(duration)
	var load sync.WaitGroup
	for _, f := range []func(){runPrograms, dialPlain, getWeb, contain} {
		load.Go(func() {
			for time.Now().Before(until) {
				f()
				time.Sleep(tick)
			}
		})
	}
	for time.Now().Before(until) {
		for _, t := range all {
			t.memory = append(t.memory, memory(t.cmd.Process.Pid, "RssAnon"))
		}
		time.Sleep(time.Second)
	}
	load.Wait()
	client.CloseIdleConnections()
	for _, t := range all {
		t.peak = memory(t.cmd.Process.Pid, "VmHWM")
	}
	settled(entries, all)
	time.Sleep(2 * time.Second) // an interval of traffic
	for _, t := range all {
		check(t.cmd.Process.Signal(os.Interrupt))
	}
	for _, t := range all {
		<-t.done
	}
	judge(all, duration)
}

// A counted listener, and a socket, count what is moved.
type counted struct{ net.Listener }

func (l counted) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return socket{conn}, err
}

type socket struct{ net.Conn }

func (s socket) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	done.received.Add(int64(n))
	return n, err
}

func (s socket) Write(b []byte) (int, error) {
	n, err := s.Conn.Write(b)
	done.sent.Add(int64(n))
	return n, err
}

func dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	return socket{conn}, err
}

var client = http.Client{Transport: &http.Transport{DialContext: dial}}

// serve takes the payload of each connection and answers as much.
func serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			buf := make([]byte, payload)
			if _, err := io.ReadFull(conn, buf); err == nil {
				_, _ = conn.Write(buf) // the client says what is missing
			}
			_, _ = conn.Read(buf) // its end
		}()
	}
}

func runPrograms() {
	for range execs {
		check(exec.Command(trueFile, mark).Run())
		done.exec.Add(1)
	}
}

func dialPlain() {
	buf := make([]byte, payload)
	for range dials {
		conn, err := dial(context.Background(), "tcp4", "127.0.0.1:"+strconv.Itoa(plainPort))
		check(err)
		_, err = conn.Write(buf)
		check(err)
		_, err = io.ReadFull(conn, buf)
		check(err)
		check(conn.Close())
		done.dial.Add(1)
	}
}

func getWeb() {
	for i := range gets {
		r, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/soak/%d", webPort, i))
		check(err)
		_, err = io.Copy(io.Discard, r.Body)
		check(err)
		check(r.Body.Close())
		done.get.Add(1)
	}
}

// contain runs a program in a cgroup that looks like a container's and is gone
// after it.
func contain() {
	root := cgroup2()
	if root == "" {
		return
	}
	var id [32]byte
	_, _ = rand.Read(id[:])
	dir := filepath.Join(root, "docker", hex.EncodeToString(id[:]))
	check(os.MkdirAll(dir, 0o755))
	d, err := os.Open(dir)
	check(err)
	cmd := exec.Command(trueFile, mark)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(d.Fd())}
	check(cmd.Run())
	check(d.Close())
	done.exec.Add(1)
	done.contained.Add(1)
	for until := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if err = syscall.Rmdir(dir); err != syscall.EBUSY || time.Now().After(until) {
			break
		}
	}
	check(err)
}

// cgroup2 is where that hierarchy is mounted.
func cgroup2() string {
	b, err := os.ReadFile("/proc/self/mountinfo")
	check(err)
	for l := range strings.Lines(string(b)) {
		before, after, _ := strings.Cut(l, " - ")
		if f := strings.Fields(before); strings.HasPrefix(after, "cgroup2 ") && len(f) > 4 {
			return f[4]
		}
	}
	return ""
}

// --- what came of it

func judge(all []*tracer, duration time.Duration) {
	exec, dial, get := int(done.exec.Load()), int(done.dial.Load()), int(done.get.Load())
	fmt.Printf("      %v of load: %d programs (%d in containers that came and went), %d connections, %d requests\n",
		duration, exec, done.contained.Load(), dial, get)
	want := map[string]map[string]int{
		"exec":    {"exec": exec, "exit": exec, "in a container": 2 * int(done.contained.Load())},
		"conn":    {"connect": dial, "accept": dial, "close": 2 * dial},
		"traffic": {},
		"http":    {"http both": get},
	}
	moved := map[string][2]int{
		"conn":    {2 * payload * dial, 2 * payload * dial},
		"traffic": {int(done.sent.Load()), int(done.received.Load())},
	}
	for _, t := range all {
		a := t.account
		if a.Lost == 0 {
			for kind, n := range want[t.name] {
				verdict(t.count[kind] == n, "%s: %d of %d rows: %s", t.name, t.count[kind], n, kind)
			}
			if n, ok := moved[t.name]; ok {
				verdict(t.bytes == n, "%s: %d bytes sent and %d received, told %d and %d", t.name, n[0], n[1], t.bytes[0], t.bytes[1])
			}
		} else {
			missing := 0
			for kind, n := range want[t.name] {
				missing += max(n-t.count[kind], 0)
			}
			verdict(uint64(missing) <= a.Lost, "%s: %d rows are missing, %d losses were told: %v", t.name, missing, a.Lost, a.LostBy)
		}
		verdict(a.Duration > 0, "%s: account: %d seen, %d shown, %d lost; %.2f %% of a core, %.2f %% in the kernel", t.name, a.Seen, a.Shown, a.Lost,
			100*float64(a.CPU)/float64(a.Duration), float64(a.BPF)/float64(a.Duration)/10)
		if n := len(t.memory) / 4; duration >= warm {
			first, last := median(t.memory[n:2*n]), median(t.memory[len(t.memory)-n:])
			verdict(last-first < growth, "%s: memory of its own %.1f MiB in the second quarter, %.1f in the last; at most %.1f with the rings", t.name,
				float64(first)/1024, float64(last)/1024, float64(t.peak)/1024)
		}
	}
}

func median(v []int) int {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// memory is one of the kinds that /proc tells of a process, in KiB.
func memory(pid int, kind string) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	check(err)
	for l := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(l, kind+":"); ok {
			n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
			check(err)
			return n
		}
	}
	return 0
}

// --- what is in the kernel

// inventory is the ids of all programs, maps and links.
type inventory map[string]bool

func inKernel() inventory {
	all := inventory{}
	for id, err := ebpf.ProgramGetNextID(0); err == nil; id, err = ebpf.ProgramGetNextID(id) {
		all[fmt.Sprintf("program %d", id)] = true
	}
	for id, err := ebpf.MapGetNextID(0); err == nil; id, err = ebpf.MapGetNextID(id) {
		all[fmt.Sprintf("map %d", id)] = true
	}
	it := new(link.Iterator)
	defer it.Close()
	for it.Next() {
		all[fmt.Sprintf("link %d", it.ID)] = true
	}
	return all
}

// leftovers waits until nothing is left: the kernel frees some things late.
func leftovers(before inventory, mounts []string, when string) {
	var left []string
	for until := time.Now().Add(patience); ; time.Sleep(tick) {
		left = nil
		for what := range inKernel() {
			if !before[what] {
				left = append(left, what)
			}
		}
		if len(left) == 0 || time.Now().After(until) {
			break
		}
	}
	slices.Sort(left)
	verdict(len(left) == 0, "%s: %d programs, maps or links left %v", when, len(left), left)
	verdict(slices.Equal(mounts, mountPoints()), "%s: mounts as before", when)
}

func mountPoints() []string {
	b, err := os.ReadFile("/proc/self/mountinfo")
	check(err)
	var points []string
	for l := range strings.Lines(string(b)) {
		points = append(points, strings.Fields(l)[4])
	}
	slices.Sort(points)
	return points
}

// mapEntries counts the entries of the maps by which programs remember what is
// under way, of all tracers.
func mapEntries(all []*tracer) map[string]int {
	count := map[string]int{}
	for _, t := range all {
		dir := fmt.Sprintf("/proc/%d/fdinfo", t.cmd.Process.Pid)
		files, err := os.ReadDir(dir)
		check(err)
		for _, f := range files {
			b, err := os.ReadFile(filepath.Join(dir, f.Name()))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			check(err)
			_, rest, ok := strings.Cut(string(b), "\nmap_id:")
			if !ok {
				continue
			}
			id, err := strconv.Atoi(strings.Fields(rest)[0])
			check(err)
			m, err := ebpf.NewMapFromID(ebpf.MapID(id))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			check(err)
			if m.Type() == ebpf.Hash {
				info, err := m.Info()
				check(err)
				key, value := make([]byte, m.KeySize()), make([]byte, m.ValueSize())
				n := 0
				for it := m.Iterate(); it.Next(&key, &value); {
					n++
				}
				count[t.name+"'s map "+info.Name] = n
			}
			m.Close()
		}
	}
	return count
}

// settled waits until maps hold no more than before the load.
func settled(before map[string]int, all []*tracer) {
	var now map[string]int
	grown := func() (names []string) {
		for name, n := range now {
			// Others on this host open connections, too.
			if n > before[name]+10 {
				names = append(names, fmt.Sprintf("%s: %d, was %d", name, n, before[name]))
			}
		}
		slices.Sort(names)
		return names
	}
	for until := time.Now().Add(patience); ; time.Sleep(time.Second) {
		now = mapEntries(all)
		if len(grown()) == 0 || time.Now().After(until) {
			break
		}
	}
	verdict(len(grown()) == 0, "%d maps hold no more than before the load %v", len(now), grown())
}
