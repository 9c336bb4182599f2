package traffic

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tracer/bpf"
	"tracer/testdata/kit"
	"tracer/testdata/kit/record"
	"tracer/testdata/kit/work"
	"tracer/trace/account"
	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/session"
)

// Ends that nobody has seen, as the map looks after them: they are counted, and
// who uses an address again is not taken for who had it before.
func TestKernelUnseenEndsAreCounted(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	const held, n = 11, 211
	c := open(t, session.Options{}, "--interval", "1h")
	socks := c.Host.Map(bpf.TrafficMapSocks)
	of := func(pid int) map[uint64]bpf.TrafficTcp {
		entries := map[uint64]bpf.TrafficTcp{}
		var key uint64
		var sock bpf.TrafficTcp
		for iter := socks.Iterate(); iter.Next(&key, &sock); {
			if int(sock.Owner.Pid) == pid {
				entries[key] = sock
			}
		}
		return entries
	}
	holder := work.Start(t, "holdMany", strconv.Itoa(held))
	holder.Hear()
	left := of(holder.PID)
	holder.Say("end")
	for deadline := time.Now().Add(20 * time.Second); len(of(holder.PID)) > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d sockets left", len(of(holder.PID)))
		}
	}
	for key, sock := range left {
		if err := socks.Put(key, &sock); err != nil {
			t.Fatal(err)
		}
	}
	put := len(of(holder.PID))
	// Which addresses are used again is up to the allocator: those that are
	// held at once take what is free of its slabs.
	var pids [][2]int
	for put == len(of(holder.PID)) {
		if len(pids) == 30 {
			t.Fatal("no address was used again")
		}
		again := work.Start(t, "holdMany", strconv.Itoa(n))
		again.Hear()
		again.Say("end")
		server := work.Start(t, "echoServer", strconv.Itoa(n))
		client := work.Start(t, "echoClient", server.Hear(), strconv.Itoa(n))
		server.Hear()
		client.Hear()
		pids = append(pids, [2]int{server.PID, client.PID})
	}
	reused := put - len(of(holder.PID))
	c.Clean(func() map[string]uint64 { return map[string]uint64{"step_missed": uint64(reused)} })
	if by := c.Stop().LostBy; by["step_missed"] != uint64(reused) {
		t.Errorf("%d of %d left at addresses that were used again, lost %v", reused, put, by)
	}
	for _, p := range pids {
		server, client := c.sum(p[0], nil), c.sum(p[1], nil)
		want := moved{n * work.ShortAnswers, n * work.ShortAsks}
		if server != want || client.tx != want.rx || client.rx != want.tx {
			t.Errorf("server moved %+v, client %+v, want %+v and the reverse", server, client, want)
		}
	}
}

func TestKernelLossIsTold(t *testing.T) {
	kit.Needs(t, kit.OldestKernel)
	record.Buffers(t, func(t *testing.T, buffer kernel.Buffer) {
		const n = 331
		c := open(t, session.Options{Limits: session.Limits{Limits: kernel.Limits{RingBytes: 4096}}, Buffer: buffer}, "--interval", "1h")
		server := work.Start(t, "echoServer", strconv.Itoa(n))
		client := work.Start(t, "echoClient", server.Hear(), strconv.Itoa(n))
		server.Hear()
		client.Hear()
		a := c.Stop()
		got := c.sum(server.PID, nil)
		told := got.tx / work.ShortAnswers
		if got.tx%work.ShortAnswers != 0 || told+c.sum(client.PID, nil).tx/work.ShortAsks+a.LostBy["ring_full"] < 2*n || a.LostBy["ring_full"] == 0 {
			t.Errorf("%d of %d told, %+v", told, n, a)
		}
	})
	t.Run("a full map", func(t *testing.T) {
		c := open(t, session.Options{Limits: session.Limits{Socks: 1}}, "--interval", "1h")
		holder := work.Start(t, "holdMany", "3")
		holder.Hear()
		a := c.Stop()
		if a.LostBy[account.MapFull] < 5 {
			t.Errorf("%+v", a)
		}
	})
	t.Run("a full map of UDP", func(t *testing.T) {
		c := open(t, session.Options{Limits: session.Limits{Socks: 2}}, "--by", "connection", "--interval", "1h")
		u := work.Start(t, "udpPorts", "7")
		u.Hear()
		u.Say("")
		u.Hear()
		a := c.Stop()
		if a.LostBy[account.MapFull] < 5 {
			t.Errorf("%+v", a)
		}
	})
	t.Run("a reading that fails", func(t *testing.T) {
		var told []string
		c := open(t, session.Options{Notice: func(n *event.Notice) { told = append(told, n.Message) }}, "--interval", "1h")
		a := withoutFiles(t, c.Stop)
		if a.LostBy[account.ReadingFailed] != 1 || !strings.Contains(strings.Join(told, "\n"), "sockets could not be read") {
			t.Errorf("%+v, told %q", a, told)
		}
	})
}

// withoutFiles calls f while this process may open no more files, as a reading does.
func withoutFiles(t *testing.T, f func() *event.Account) *event.Account {
	t.Helper()
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
			t.Fatal(err)
		}
	}()
	return f()
}
