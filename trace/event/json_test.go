package event

import (
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// when is a moment whose nanoseconds end in zeros, told in another zone.
var when = time.Date(2024, 3, 5, 15, 4, 5, 120000000, time.FixedZone("there", 2*60*60))

var process = Process{PID: 4242, Comm: "make", UID: 1000}

func TestAppendJSON(t *testing.T) {
	for _, c := range []struct {
		name  string
		event Event
		want  string
	}{
		{
			"an exec of which everything is known",
			&Exec{
				Common: Common{Time: when, Kind: KindExec, Process: Process{
					PID: 4242, Comm: "make", UID: 1000, CgroupID: 18446744073709551615,
					Place: Place{Container: "web", ContainerID: "0123abcd", Pod: "web-0", Namespace: "shop", PodUID: "6b1f"},
				}},
				Program: Program{Exe: "/usr/bin/make", Args: []string{"make", "-j", "a b"}},
				PPID:    17, ParentComm: "bash", ArgsTruncated: true, Cwd: "/src", User: "ann",
			},
			`{"time":"2024-03-05T13:04:05.120000000Z","event":"exec","pid":4242,"comm":"make","uid":1000,` +
				`"container":"web","container_id":"0123abcd","pod":"web-0","namespace":"shop","pod_uid":"6b1f","cgroup_id":18446744073709551615,` +
				`"ppid":17,"parent_comm":"bash","exe":"/usr/bin/make","args":["make","-j","a b"],"args_truncated":true,"cwd":"/src","user":"ann"}`,
		},
		{
			"an exec of which little is known",
			&Exec{Common: Common{Time: when, Kind: KindExec, Process: process}, PPID: 17},
			`{"time":"2024-03-05T13:04:05.120000000Z","event":"exec","pid":4242,"comm":"make","uid":1000,"ppid":17}`,
		},
		{
			"no arguments are not unknown arguments, and root is not an unknown user",
			&Exec{Common: Common{Time: when, Kind: KindExec, Process: Process{PID: 1, Comm: "init"}}, Program: Program{Args: []string{}}},
			`{"time":"2024-03-05T13:04:05.120000000Z","event":"exec","pid":1,"comm":"init","uid":0,"ppid":0,"args":[]}`,
		},
		{
			"empty arguments",
			&Exec{Common: Common{Time: when, Kind: KindExec, Process: process}, Program: Program{Args: []string{"", ""}}, PPID: 17},
			`{"time":"2024-03-05T13:04:05.120000000Z","event":"exec","pid":4242,"comm":"make","uid":1000,"ppid":17,"args":["",""]}`,
		},
		{
			"an event without a process",
			&Exec{Common: Common{Time: when, Kind: KindExec}},
			`{"time":"2024-03-05T13:04:05.120000000Z","event":"exec","ppid":0}`,
		},
		{
			"an exit with a status",
			&Exit{
				Common: Common{Time: when, Kind: KindExit, Process: process}, Program: Program{Exe: "/bin/false", Args: []string{"false"}},
				PPID: 17, User: "ann", Code: 1, Core: true, Duration: 1500*time.Microsecond + 999,
			},
			`{"time":"2024-03-05T13:04:05.120000000Z","event":"exit","pid":4242,"comm":"make","uid":1000,"ppid":17,` +
				`"exe":"/bin/false","args":["false"],"user":"ann","exit_code":1,"duration_us":1500}`,
		},
		{
			"an exit of a program with many arguments",
			&Exit{Common: Common{Time: when, Kind: KindExit, Process: process}, Program: Program{Args: []string{"x"}}, PPID: 17, ArgsTruncated: true},
			`{"time":"2024-03-05T13:04:05.120000000Z","event":"exit","pid":4242,"comm":"make","uid":1000,"ppid":17,"args":["x"],"args_truncated":true,"exit_code":0,"duration_us":0}`,
		},
		{
			"a connection that was reset after its end",
			&Close{Common: Common{Time: when, Kind: KindClose, Process: process}, Connection: Connection{Role: RoleClient}, Reason: ReasonClosed, ClosedBy: RoleClient, ResetBy: RoleServer},
			`{"time":"2024-03-05T13:04:05.120000000Z","event":"close","pid":4242,"comm":"make","uid":1000,"role":"client","tx_bytes":0,"rx_bytes":0,"retransmits":0,` +
				`"reason":"closed","closed_by":"client","reset_by":"server"}`,
		},
		{
			"a successful exit of a program that is unknown",
			&Exit{Common: Common{Time: when, Kind: KindExit, Process: process}, PPID: 17},
			`{"time":"2024-03-05T13:04:05.120000000Z","event":"exit","pid":4242,"comm":"make","uid":1000,"ppid":17,"exit_code":0,"duration_us":0}`,
		},
		{
			"a death by a signal",
			&Exit{Common: Common{Time: when, Kind: KindExit, Process: process}, PPID: 17, Signal: "SIGKILL", Duration: 26 * time.Hour},
			`{"time":"2024-03-05T13:04:05.120000000Z","event":"exit","pid":4242,"comm":"make","uid":1000,"ppid":17,"signal":"SIGKILL","duration_us":93600000000}`,
		},
		{
			"a death by a signal that leaves a core",
			&Exit{Common: Common{Time: when, Kind: KindExit, Process: process}, PPID: 17, Signal: "SIGSEGV", Code: 139, Core: true, Duration: time.Microsecond},
			`{"time":"2024-03-05T13:04:05.120000000Z","event":"exit","pid":4242,"comm":"make","uid":1000,"ppid":17,"signal":"SIGSEGV","core_dumped":true,"duration_us":1}`,
		},
		{
			"an exec that failed",
			&ExecFailed{
				Common: Common{Time: when, Kind: KindExecFailed, Process: process}, Program: Program{Exe: "./x", Args: []string{"x"}},
				PPID: 17, ParentComm: "bash", ArgsTruncated: true, User: "ann", Error: "ENOENT",
			},
			`{"time":"2024-03-05T13:04:05.120000000Z","event":"exec_failed","pid":4242,"comm":"make","uid":1000,"ppid":17,` +
				`"parent_comm":"bash","exe":"./x","args":["x"],"args_truncated":true,"user":"ann","error":"ENOENT"}`,
		},
		{
			"an exec that failed of which little is known",
			&ExecFailed{Common: Common{Time: when, Kind: KindExecFailed, Process: process}, PPID: 17, Error: "EFAULT"},
			`{"time":"2024-03-05T13:04:05.120000000Z","event":"exec_failed","pid":4242,"comm":"make","uid":1000,"ppid":17,"error":"EFAULT"}`,
		},
		{
			"an accept of a connection whose name is known",
			&Accept{
				Common:     Common{Time: when, Kind: KindAccept, Process: process},
				Connection: Connection{Role: RoleServer, Src: netip.MustParseAddrPort("10.0.0.7:4711"), Dst: netip.MustParseAddrPort("10.0.0.8:53"), ID: ConnID{Client: 0xdead, Server: 0xbeef0000, Known: true}},
			},
			`{"time":"2024-03-05T13:04:05.120000000Z","event":"accept","pid":4242,"comm":"make","uid":1000,"role":"server","family":"ipv4",` +
				`"src_addr":"10.0.0.7","src_port":4711,"dst_addr":"10.0.0.8","dst_port":53,"conn_id":"0000deadbeef0000"}`,
		},
		{
			"a call of gRPC",
			&HTTP{
				Common: Common{Time: when, Kind: KindHTTP, Process: process}, Connection: Connection{Role: RoleBoth}, Version: "2", Stream: 5,
				Method: "POST", Path: "/a.B/C", Host: "h", Status: 200, Latency: time.Millisecond, Duration: 2 * time.Millisecond, RequestBytes: 31, ResponseBytes: 40,
				GRPC: true, GRPCMessage: "fine\x1b", PeerPID: 7, PeerComm: "client", ServerLatency: 1,
				TraceID: TraceID{0: 0xab, 15: 1}, ParentID: SpanID{7: 0xff},
			},
			`{"time":"2024-03-05T13:04:05.120000000Z","event":"http","pid":4242,"comm":"make","uid":1000,"role":"both","version":"2","stream_id":5,` +
				`"method":"POST","path":"/a.B/C","host":"h","status":200,"latency_us":1000,"duration_us":2000,"request_bytes":31,"response_bytes":40,` +
				`"grpc_status":0,"grpc_message":"fine\u001b","trace_id":"ab000000000000000000000000000001","parent_id":"00000000000000ff","peer_pid":7,"peer_comm":"client","server_latency_us":0}`,
		},
		{
			"a request that waited at the server",
			&HTTP{
				Common: Common{Time: when, Kind: KindHTTP, Process: process}, Connection: Connection{Role: RoleServer}, Version: "1.1", Seq: 1,
				Method: "GET", Path: "/", Status: 200, Latency: time.Second, Duration: time.Second, RequestBytes: 31, ResponseBytes: 40,
				AcceptWait: 300 * time.Millisecond, Queue: 12 * time.Millisecond, CPU: 20*time.Millisecond + 999, RunQueue: 30 * time.Millisecond, Blocked: 80 * time.Millisecond,
			},
			`{"time":"2024-03-05T13:04:05.120000000Z","event":"http","pid":4242,"comm":"make","uid":1000,"role":"server","version":"1.1","seq":1,` +
				`"method":"GET","path":"/","status":200,"latency_us":1000000,"duration_us":1000000,"request_bytes":31,"response_bytes":40,` +
				`"accept_wait_us":300000,"queue_us":12000,"cpu_us":20000,"runq_us":30000,"blocked_us":80000}`,
		},
		{
			"a stream that was reset",
			&HTTP{
				Common: Common{Time: when, Kind: KindHTTP, Process: process}, Connection: Connection{Role: RoleClient}, Version: "2", Stream: 7,
				Method: "GET", Path: "/", Duration: time.Second, RequestBytes: 31, Error: "reset", ClosedBy: RoleServer, ResetCode: "REFUSED_STREAM",
			},
			`{"time":"2024-03-05T13:04:05.120000000Z","event":"http","pid":4242,"comm":"make","uid":1000,"role":"client","version":"2","stream_id":7,` +
				`"method":"GET","path":"/","duration_us":1000000,"request_bytes":31,"response_bytes":0,"error":"reset","closed_by":"server","reset_code":"REFUSED_STREAM"}`,
		},
		{
			"an exchange of which little is known",
			&HTTP{Common: Common{Time: when, Kind: KindHTTP, Process: process}, Connection: Connection{Role: RoleServer}, Version: "2", Stream: 9, Duration: time.Second},
			`{"time":"2024-03-05T13:04:05.120000000Z","event":"http","pid":4242,"comm":"make","uid":1000,"role":"server","version":"2","stream_id":9,` +
				`"duration_us":1000000,"request_bytes":0,"response_bytes":0}`,
		},
		{
			"an answer whose status is not known",
			&HTTP{Common: Common{Time: when, Kind: KindHTTP, Process: process}, Connection: Connection{Role: RoleBoth}, Version: "2", Stream: 9, Latency: time.Millisecond, Duration: time.Second},
			`{"time":"2024-03-05T13:04:05.120000000Z","event":"http","pid":4242,"comm":"make","uid":1000,"role":"both","version":"2","stream_id":9,` +
				`"latency_us":1000,"duration_us":1000000,"request_bytes":0,"response_bytes":0,"peer_pid":0,"peer_comm":""}`,
		},
		{
			"traffic of a process",
			&Traffic{Common: Common{Time: when, Kind: KindTraffic, Process: process}, Interval: 1500 * time.Millisecond, Proto: ProtoTCP, Tx: math.MaxUint64, TotalTx: 7},
			`{"time":"2024-03-05T13:04:05.120000000Z","event":"traffic","pid":4242,"comm":"make","uid":1000,"interval_us":1500000,"proto":"tcp","tx_bytes":18446744073709551615,"rx_bytes":0}`,
		},
		{
			"traffic of a connection",
			&Traffic{
				Common: Common{Time: when, Kind: KindTraffic, Process: process}, Interval: time.Second, Proto: ProtoUDP, Rx: 17,
				Connection: Connection{Role: RoleServer, Src: netip.MustParseAddrPort("[2001:db8::7]:4711"), Dst: netip.MustParseAddrPort("[::1]:53")},
			},
			`{"time":"2024-03-05T13:04:05.120000000Z","event":"traffic","pid":4242,"comm":"make","uid":1000,"interval_us":1000000,"proto":"udp",` +
				`"role":"server","family":"ipv6","src_addr":"2001:db8::7","src_port":4711,"dst_addr":"::1","dst_port":53,"tx_bytes":0,"rx_bytes":17}`,
		},
		{
			"traffic of a connection of which only one end is known",
			&Traffic{
				Common: Common{Time: when, Kind: KindTraffic, Process: process}, Interval: time.Second, Proto: ProtoUDP, Tx: 17,
				Connection: Connection{Role: RoleClient, Src: netip.MustParseAddrPort("10.0.0.7:4711")},
			},
			`{"time":"2024-03-05T13:04:05.120000000Z","event":"traffic","pid":4242,"comm":"make","uid":1000,"interval_us":1000000,"proto":"udp",` +
				`"role":"client","family":"ipv4","src_addr":"10.0.0.7","src_port":4711,"tx_bytes":17,"rx_bytes":0}`,
		},
		{
			"traffic of a peer, by both protocols",
			&Traffic{Common: Common{Time: when, Kind: KindTraffic}, Interval: time.Second, Peer: netip.MustParseAddr("10.0.0.7"), Tx: 17, Rx: 19},
			`{"time":"2024-03-05T13:04:05.120000000Z","event":"traffic","interval_us":1000000,"peer_addr":"10.0.0.7","tx_bytes":17,"rx_bytes":19}`,
		},
		{
			"traffic of a pod",
			&Traffic{Common: Common{Time: when, Kind: KindTraffic, Process: Process{Place: Place{Pod: "web-0", Namespace: "shop", PodUID: "6b1f"}}}, Interval: time.Second, Proto: ProtoTCP, Tx: 17},
			`{"time":"2024-03-05T13:04:05.120000000Z","event":"traffic","pod":"web-0","namespace":"shop","pod_uid":"6b1f","interval_us":1000000,"proto":"tcp","tx_bytes":17,"rx_bytes":0}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := string(AppendJSON(nil, c.event))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if !json.Valid([]byte(got)) {
				t.Error("not valid")
			}
			if got := AppendJSON([]byte("{before\n"), c.event); string(got) != "{before\n"+c.want {
				t.Errorf("behind other text: %s", got)
			}
		})
	}
}

func TestAppendJSONAlwaysHasNineDigitsOfASecond(t *testing.T) {
	for ns, want := range map[int]string{
		0:         "2024-12-31T23:59:59.000000000Z",
		1:         "2024-12-31T23:59:59.000000001Z",
		500000000: "2024-12-31T23:59:59.500000000Z",
		999999999: "2024-12-31T23:59:59.999999999Z",
	} {
		at := time.Date(2024, 12, 31, 23, 59, 59, ns, time.UTC)
		got := AppendJSON(nil, &Exec{Common: Common{Time: at, Kind: KindExec}})
		if !strings.HasPrefix(string(got), `{"time":"`+want+`","event":"exec"`) {
			t.Errorf("%d ns: %s", ns, got)
		}
	}
}

// hostile are arguments with what has ever broken a line, a terminal or a
// parser.
var hostile = []string{
	"", `"`, `\`, `\u0041`, "\x00", "\x1b[2J\x1b]0;owned\x07", "a\r\n\tb", "\x7f", "\u0080\u009b\u009f", "\u00a0",
	"\xff", "\xc3", "\xc3\x28", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc0\xaf", "é\xe9é", "\ufffd", "\ufffe\uffff",
	"日本語", "👩‍👩‍👧", "\U0010ffff", "\u202egpj.exe", "\u2028\u2029", "\u2066\u2069", "\u061c\u200e\u200f", "</script>",
	strings.Repeat("x", 70000) + "\xff",
}

func TestAppendJSONOfHostileText(t *testing.T) {
	checkJSON(t, hostile)
	for _, s := range hostile {
		checkJSON(t, []string{s})
	}
	var bytes []string
	for i := range 256 {
		bytes = append(bytes, string([]byte{byte(i)}))
	}
	checkJSON(t, bytes)
}

func TestAppendJSONEscapes(t *testing.T) {
	for text, want := range map[string]string{
		"say \"a\\b\"":      `"say \"a\\b\""`,
		"a\nb\rc\td":        `"a\nb\rc\td"`,
		"\x00\x1b\x7f":      `"\u0000\u001b\u007f"`,
		"\u009bx\u202ey":    `"\u009bx\u202ey"`,
		"\u2066é\u00a0日":    `"\u2066é` + "\u00a0" + `日"`,
		"a\xff\xfeb\xc3":    "\"a\ufffd\ufffdb\ufffd\"",
		"</script>&'\ufeff": "\"</script>&'\ufeff\"",
	} {
		if got := string(appendString(nil, text)); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// FuzzAppendJSON: whatever the traced world contains, a line is valid UTF-8,
// valid JSON, holds nothing that a terminal obeys, and gives back the text with
// U+FFFD for every byte that is no UTF-8.
func FuzzAppendJSON(f *testing.F) {
	for _, s := range hostile {
		if len(s) < 100 {
			f.Add(s, "b")
			f.Add(s+s, s)
		}
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		checkJSON(t, []string{a, b, a + b})
	})
}

func checkJSON(t *testing.T, args []string) {
	t.Helper()
	text := args[0]
	want := slices.Clone(args)
	for i, a := range want {
		want[i] = string([]rune(a)) // invalid bytes become U+FFFD, one by one
	}
	place := Place{Container: text, ContainerID: text, Pod: text, Namespace: text, PodUID: text}
	common := Common{Time: when, Process: Process{PID: 1, Comm: text, Place: place}}
	program := Program{Exe: text, Args: args}
	for kind, e := range map[string]Event{
		KindExec:       &Exec{Common: common, Program: program, ParentComm: text, Cwd: text, User: text},
		KindExit:       &Exit{Common: common, Program: program},
		KindExecFailed: &ExecFailed{Common: common, Program: program, ParentComm: text, User: text},
	} {
		e.Head().Kind = kind
		line := AppendJSON(nil, e)
		checkLine(t, line)
		var got struct {
			Event, Comm, Exe string
			Args             []string
			ParentComm       *string `json:"parent_comm"`
			Cwd, User        *string
			Container, Pod   string
		}
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if !slices.Equal(got.Args, want) {
			t.Fatalf("args: %s", cmp.Diff(want, got.Args))
		}
		if got.Event != kind {
			t.Errorf("event %q, want %q", got.Event, kind)
		}
		for name, s := range map[string]*string{
			"comm": &got.Comm, "exe": &got.Exe, "container": &got.Container, "pod": &got.Pod,
			"parent_comm": got.ParentComm, "cwd": got.Cwd, "user": got.User,
		} {
			if s != nil && *s != want[0] {
				t.Errorf("%s: %q, want %q", name, *s, want[0])
			}
		}
	}
}

// checkLine tells whether a line is valid, and harmless on a terminal.
func checkLine(t *testing.T, line []byte) {
	t.Helper()
	if !utf8.Valid(line) {
		t.Fatalf("not UTF-8: %q", line)
	}
	if !json.Valid(line) {
		t.Fatalf("not JSON: %q", line)
	}
	for i, r := range string(line) {
		if r < 0x20 || r >= 0x7f && r <= 0x9f || isBidi(r) {
			t.Fatalf("%U at %d of %q", r, i, line)
		}
	}
}

func TestAppendJSONAllocatesNothing(t *testing.T) {
	buf := make([]byte, 0, 4096)
	for _, e := range everyKind() {
		fill(e, &source{})
		if n := testing.AllocsPerRun(100, func() { buf = AppendJSON(buf[:0], e) }); n != 0 {
			t.Errorf("%T: %v allocations", e, n)
		}
	}
}

func TestHeadIsChangedInPlace(t *testing.T) {
	e := &Exec{}
	var changed Event = e
	changed.Head().Pod = "web-0"
	if e.Pod != "web-0" {
		t.Error("Head is a copy")
	}
}

func TestLinesForStderr(t *testing.T) {
	for _, c := range []struct {
		name string
		line interface{ AppendJSON([]byte) []byte }
		want string
	}{
		{"a start of which little is known", &Start{Command: "exec", PID: 77}, `{"event":"start","command":"exec","pid":77}`},
		{
			"a start",
			&Start{
				Time: when, Format: Format, Version: "v1.2", Hostname: "a", BootID: "b-1", Kernel: "6.18.0", Command: "exec", Args: []string{"--json", "\x1b"}, PID: 77,
				Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.7"), netip.MustParseAddr("2001:db8::7")}, Misses: []string{"io_uring"},
			},
			`{"time":"2024-03-05T13:04:05.120000000Z","event":"start","format":1,"version":"v1.2","hostname":"a","boot_id":"b-1","kernel":"6.18.0",` +
				`"command":"exec","args":["--json","\u001b"],"pid":77,"addresses":["10.0.0.7","2001:db8::7"],"misses":["io_uring"]}`,
		},
		{
			"an account without losses",
			&Account{Seen: 3, Shown: 2, Duration: 1500 * time.Millisecond, CPU: 42 * time.Microsecond},
			`{"event":"end","seen":3,"shown":2,"lost":0,"duration_us":1500000,"cpu_us":42}`,
		},
		{
			"an account of everything, causes in order",
			&Account{
				Time: when, Reason: EndedCount, LeftOut: map[string]uint64{"pid": 9}, Undelivered: map[string]uint64{"recording": 1, "otlp": 2},
				Seen: math.MaxUint64, Shown: 2, Lost: 12, LostBy: map[string]uint64{"ring_full": 7, "output_full": 4, "follow_full": 1}, Incomplete: 5,
				Duration: time.Second, CPU: time.Millisecond, BPF: 1234567 * time.Nanosecond, HasBPF: true,
			},
			`{"time":"2024-03-05T13:04:05.120000000Z","event":"end","reason":"count","seen":18446744073709551615,"shown":2,"lost":12,` +
				`"lost_by":{"follow_full":1,"output_full":4,"ring_full":7},"incomplete":5,"left_out":{"pid":9},"undelivered":{"otlp":2,"recording":1},` +
				`"duration_us":1000000,"cpu_us":1000,"bpf_ns":1234567}`,
		},
		{
			"an account of what came and of what filters left out",
			&Account{Kinds: map[string]uint64{"tls": 2, "http1": 1}, Filtered: map[string]uint64{"pid": 3, "comm": 4}, Unseen: []string{"io_uring"}},
			`{"event":"end","seen":0,"shown":0,"lost":0,"kinds":{"http1":1,"tls":2},"filtered":{"comm":4,"pid":3},"duration_us":0,"cpu_us":0}`,
		},
		{
			"an account of programs that cost nothing",
			&Account{HasBPF: true},
			`{"event":"end","seen":0,"shown":0,"lost":0,"duration_us":0,"cpu_us":0,"bpf_ns":0}`,
		},
		{"a warning", &Notice{Kind: "warning", Message: "no \"cgroup\"\x1b[m", Lost: 3, LostBy: map[string]uint64{"x": 3}}, `{"event":"warning","message":"no \"cgroup\"\u001b[m"}`},
		{"a note", &Notice{Kind: "note", Message: "left out"}, `{"event":"note","message":"left out"}`},
		{
			"a sum", &Notice{Time: when, Kind: KindTotal, About: &Accept{Common: Common{Time: when, Kind: KindAccept}, Connection: Connection{Role: RoleServer}}},
			`{"time":"2024-03-05T13:04:05.120000000Z","event":"total","about":{"time":"2024-03-05T13:04:05.120000000Z","event":"accept","role":"server"}}`,
		},
		{
			"a loss",
			&Notice{Kind: "lost", Message: "events are lost", Lost: 9, LostBy: map[string]uint64{"ring_full": 9}},
			`{"event":"lost","message":"events are lost","lost":9,"lost_by":{"ring_full":9}}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := c.line.AppendJSON(nil)
			if diff := cmp.Diff(c.want, string(got)); diff != "" {
				t.Error(diff)
			}
			checkLine(t, got)
			if got := c.line.AppendJSON([]byte("x{")); string(got) != "x{"+c.want {
				t.Errorf("behind other text: %s", got)
			}
		})
	}
}

func ExampleAppendJSON() {
	fmt.Printf("%s\n", AppendJSON(nil, &Exec{
		Common:  Common{Time: when, Kind: KindExec, Process: Process{PID: 42, Comm: "ls", UID: 1000}},
		Program: Program{Exe: "/usr/bin/ls", Args: []string{"ls", "\x1b[2J"}},
		PPID:    17,
	}))
	// Output: {"time":"2024-03-05T13:04:05.120000000Z","event":"exec","pid":42,"comm":"ls","uid":1000,"ppid":17,"exe":"/usr/bin/ls","args":["ls","\u001b[2J"]}
}
