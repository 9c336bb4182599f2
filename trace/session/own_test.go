package session

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"tracer/testdata/kit"
	"tracer/trace/proc"
)

// call opens a connection of which this process has both ends, and gives SSH_CONNECTION
// as the one who accepted it would have it.
func call(t *testing.T, address string) (accepted net.Conn, connection string) {
	t.Helper()
	_, accepted, connection = callBoth(t, address)
	return accepted, connection
}

func callBoth(t *testing.T, address string) (client, server net.Conn, connection string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Skip(err)
	}
	defer l.Close()
	client, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	from, to := server.RemoteAddr().(*net.TCPAddr).AddrPort(), server.LocalAddr().(*net.TCPAddr).AddrPort()
	return client, server, fmt.Sprintf("%s %d %s %d", from.Addr().Unmap(), from.Port(), to.Addr().Unmap(), to.Port())
}

// Behind tmux no process above tracer carries its SSH session: the one that holds the
// connection does.
func TestCarriersOfAnSSHSession(t *testing.T) {
	dir, self := proc.Dir("/proc"), uint32(os.Getpid())
	was := dir.Comm(self)
	name := func(comm string) {
		t.Helper()
		if err := os.WriteFile("/proc/self/comm", []byte(comm), 0); err != nil {
			t.Fatal(err)
		}
	}
	defer name(was)
	found := func(above []proc.Stat, connection string) (pids []uint32) {
		for _, p := range carriers(dir, above, connection) {
			pids = append(pids, p.PID)
		}
		return pids
	}
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		_, connection := call(t, address)
		if got := found([]proc.Stat{{PID: 1}, {PID: self}}, connection); !slices.Equal(got, []uint32{self}) {
			t.Errorf("%s: above: %v, want %d", connection, got, self)
		}
		if got := found(nil, connection); got != nil {
			t.Errorf("%s: a stranger is taken for a server: %v", connection, got)
		}
		for _, comm := range []string{"dropbear", "sshd-session"} {
			name(comm)
			if got := found(nil, connection); !slices.Equal(got, []uint32{self}) {
				t.Errorf("%s: %s: %v, want %d", connection, comm, got, self)
			}
		}
		name(was)
	}
	name("sshd")
	ended, connection := call(t, "127.0.0.1:0")
	if got := found(nil, connection); !slices.Equal(got, []uint32{self}) {
		t.Errorf("before it ends: %v", got)
	}
	ended.Close()
	for _, connection := range []string{connection, "", "127.0.0.1 22", "x 1 y 2", "127.0.0.1 1 127.0.0.1 99999", "127.0.0.1 1 127.0.0.1 1 1"} {
		if got := found([]proc.Stat{{PID: self}}, connection); got != nil {
			t.Errorf("%q: %v", connection, got)
		}
	}
}

func TestKernelSSHSessionBehindAMultiplexerIsLeftOut(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	dir, self := proc.Dir("/proc"), os.Getpid()
	was := dir.Comm(uint32(self))
	if err := os.WriteFile("/proc/self/comm", []byte("dropbear"), 0); err != nil {
		t.Fatal(err)
	}
	defer os.WriteFile("/proc/self/comm", []byte(was), 0)
	client, server, connection := callBoth(t, "127.0.0.1:0")
	for _, shown := range []bool{false, true} {
		cmd := kit.Command(t, "traffic", "--json")
		if shown {
			cmd = kit.Command(t, "traffic", "--json", "--self")
		}
		cmd.Env = append(cmd.Env, "SSH_CONNECTION="+connection)
		r := kit.StartCmd(t, cmd)
		const text = "what tracer writes"
		if _, err := server.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Read(make([]byte, 2*len(text))); err != nil {
			t.Fatal(err)
		}
		r.Stop()
		note := fmt.Sprintf("and its SSH session (dropbear %d) are left out; --self shows them", self)
		said := slices.ContainsFunc(r.Notes, func(e kit.Event) bool {
			text, _ := e["message"].(string)
			return strings.HasSuffix(text, note)
		})
		if rows := r.Of("traffic", self); (len(rows) > 0) != shown || said == shown {
			t.Errorf("with --self %v: %v, said %v: %v", shown, rows, said, r.Notes)
		}
	}
}
