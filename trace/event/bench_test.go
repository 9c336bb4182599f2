package event

import (
	"net/netip"
	"syscall"
	"testing"
	"time"
)

var benchConnection = Connection{Role: RoleServer, Src: netip.MustParseAddrPort("10.1.2.3:45678"), Dst: netip.MustParseAddrPort("10.1.2.4:8080"), ID: ConnID{Client: 0x89abcdef, Server: 0x01234567, Known: true}}

var benchEvents = []Event{
	&Exec{
		Common: Common{Time: when, Kind: KindExec, Process: process}, Program: Program{Exe: "/usr/bin/make", Args: []string{"make", "-j", "4", "say \"hello\""}},
		PPID: 17, ParentComm: "bash", Cwd: "/src/project", User: "ann",
	},
	&Close{
		Common: Common{Time: when, Kind: KindClose, Process: process}, Connection: benchConnection,
		Duration: 1234567 * time.Microsecond, Tx: 4711, Rx: 815, SRTT: 37 * time.Microsecond, Reason: ReasonClosed, ClosedBy: RoleClient,
	},
	&HTTP{
		Common: Common{Time: when, Kind: KindHTTP, Process: Process{PID: 4242, Comm: "nginx", UID: 33, CgroupID: 4711}}, Connection: benchConnection,
		Version: "1.1", Method: "GET", Path: "/users/42/orders?since=2024-01-01", Host: "shop.example:8080", Status: 200,
		Latency: 1234 * time.Microsecond, Duration: 1345 * time.Microsecond, RequestBytes: 312, ResponseBytes: 5120,
	},
}

func BenchmarkAppendJSON(b *testing.B) {
	for _, e := range benchEvents {
		b.Run(e.Head().Kind, func(b *testing.B) {
			buf := make([]byte, 0, 4096)
			b.ReportAllocs()
			before := cpuTime()
			for range b.N {
				buf = AppendJSON(buf[:0], e)
			}
			b.ReportMetric(float64(cpuTime()-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// cpuTime is the processor time of this process, which a busy host disturbs less
// than the wall clock.
func cpuTime() time.Duration {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		panic(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}
