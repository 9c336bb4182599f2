package conn_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"tracer/testdata/kit"
)

func TestKernelConnOfACommand(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	r := kit.Start(t, "conn", "--", kit.WorkloadBinary(t), "network")
	account := r.Wait(0)
	if account["seen"] != 5.0 || account["shown"] != 5.0 || account["lost"] != 0.0 {
		t.Errorf("account: %v", account)
	}
	pid := int(r.Events[0]["pid"].(float64))
	src, dst := r.Events[0]["src_port"], r.Events[0]["dst_port"]
	port := func(e kit.Event) bool {
		return e["src_port"] == src && e["dst_port"] == dst && e["src_addr"] == "127.0.0.1" && e["dst_addr"] == "127.0.0.1"
	}
	connect, accept, failed := r.One("connect", pid), r.One("accept", pid), r.One("connect_failed", pid)
	if !port(connect) || connect["role"] != "client" || connect["family"] != "ipv4" || connect["latency_us"].(float64) <= 0 {
		t.Errorf("connect: %v", connect)
	}
	if !port(accept) || accept["role"] != "server" {
		t.Errorf("accept: %v", accept)
	}
	if failed["error"] != "ECONNREFUSED" || failed["dst_port"] != dst {
		t.Errorf("failed: %v", failed)
	}
	for _, e := range r.Of("close", pid) {
		if !port(e) || e["tx_bytes"] != 1009.0 || e["rx_bytes"] != 1009.0 || e["reason"] != "closed" || e["closed_by"] != "server" || e["duration_us"].(float64) <= 0 {
			t.Errorf("close: %v", e)
		}
	}
}

// What carries tracer's own output makes traffic that would be shown, which
// makes traffic: it is left out, and said so, unless asked for.
func TestKernelOwnSessionIsLeftOut(t *testing.T) {
	kit.Needs(t, kit.OldestKernel)
	sshd := filepath.Join(t.TempDir(), "sshd")
	if err := os.Symlink(kit.WorkloadBinary(t), sshd); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	for _, flag := range []string{"--wide", "--self"} {
		cmd := exec.Command(sshd, listener.Addr().String(), kit.Binary(t), "conn", "--json", "--port", port, flag)
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		r := kit.StartCmd(t, cmd)
		pid := r.PID
		fmt.Fprintln(stdin) // sshd connects
		if flag == "--self" {
			r.Until(kit.Is("connect", pid))
		}
		r.Said("connected")
		conn, err := net.Dial("tcp4", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		r.Until(kit.Is("connect", os.Getpid()))
		stdin.Close() // sshd interrupts tracer, and ends with it
		r.Wait(0)
		shown, note := len(r.Of("connect", pid)), false
		for _, n := range r.Notes {
			text, _ := n["message"].(string)
			note = note || strings.Contains(text, "sshd "+strconv.Itoa(pid)) && strings.Contains(text, "--self")
		}
		if own := flag == "--self"; shown > 0 != own || note == own {
			t.Errorf("%s: %d rows of sshd, said so: %t", flag, shown, note)
		}
	}
}
