package proc

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestAttemptFails(t *testing.T) {
	const ip = "Ip: Forwarding DefaultTTL\nIp: 1 64\n"
	for name, c := range map[string]struct {
		text string
		want uint64
		ok   bool
	}{
		"as kernels have it":    {ip + "Tcp: RtoAlgorithm ActiveOpens PassiveOpens AttemptFails EstabResets\nTcp: 1 101 17 13 7\nUdp: InDatagrams\nUdp: 5\n", 13, true},
		"another order":         {"Tcp: AttemptFails RtoAlgorithm\nTcp: 11 1\n", 11, true},
		"no numbers":            {"Tcp: RtoAlgorithm AttemptFails\n", 0, false},
		"too few numbers":       {"Tcp: RtoAlgorithm AttemptFails\nTcp: 1\n", 0, false},
		"no such counter":       {"Tcp: RtoAlgorithm\nTcp: 1\n", 0, false},
		"what is no number":     {"Tcp: AttemptFails\nTcp: x\n", 0, false},
		"another protocol only": {ip, 0, false},
		"nothing":               {"", 0, false},
	} {
		if n, ok := attemptFails([]byte(c.text)); n != c.want || ok != c.ok {
			t.Errorf("%s: %d, %v", name, n, ok)
		}
	}
}

func TestAttemptsCountFromWhenTheyWereOpened(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "self", "net", "snmp")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(n string) {
		if err := os.WriteFile(path, []byte("Tcp: RtoAlgorithm AttemptFails\nTcp: 1 "+n+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if a := Dir(dir).OpenAttempts(); a != nil || a.Failed() != 0 {
		t.Error("a counter that is not there counts")
	}
	write("41")
	a := Dir(dir).OpenAttempts()
	defer a.Close()
	for n, want := range map[string]uint64{"41": 0, "58": 17, "3": 0} {
		if write(n); a.Failed() != want {
			t.Errorf("from 41 to %s: %d", n, a.Failed())
		}
	}
}

// Each protocol has a line of names and one of numbers; there may be fewer numbers, and
// numbers that are none.
func TestListenOverflowsOfAProcess(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		n    uint64
		ok   bool
	}{
		"as it is":           {"TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 37 40\nIpExt: A\nIpExt: 2\n", 37, true},
		"of other protocols": {"IpExt: ListenOverflows\nIpExt: 37\n", 0, false},
		"without the number": {"TcpExt: SyncookiesSent ListenOverflows\nTcpExt: 1\n", 0, false},
		"no number":          {"TcpExt: ListenOverflows\nTcpExt: x\n", 0, false},
		"empty":              {"", 0, false},
	} {
		dir := t.TempDir()
		for _, who := range []string{"self", "7"} {
			path := filepath.Join(dir, who, "net")
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(path, "netstat"), []byte(c.text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		for _, pid := range []uint32{0, 7} {
			if n, ok := Dir(dir).ListenOverflows(pid); n != c.n || ok != c.ok {
				t.Errorf("%s, of process %d: %d, %v", name, pid, n, ok)
			}
		}
		if _, ok := Dir(dir).ListenOverflows(8); ok {
			t.Error("a process that is not there has some")
		}
	}
	if own := Dir("/proc").NetNS(0); own == 0 || own != Dir("/proc").NetNS(uint32(os.Getpid())) || Dir("/proc").NetNS(1<<31) != 0 {
		t.Errorf("this process is in namespace %d", own)
	}
}

// The kernel counts each connection that is refused.
func TestAttemptsCountRefusals(t *testing.T) {
	a := Dir("/proc").OpenAttempts()
	if a == nil {
		t.Skip("needs /proc/net/snmp")
	}
	defer a.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close() // nobody listens there now
	const n = 7
	for range n {
		if _, err := net.Dial("tcp", l.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatal(err)
		}
	}
	if got := a.Failed(); got < n { // others on this host count, too
		t.Errorf("%d of %d", got, n)
	}
}
