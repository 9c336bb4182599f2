package conn

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tracer/bpf"
	"tracer/testdata/kit"
	"tracer/testdata/kit/record"
	"tracer/testdata/kit/work"
	"tracer/trace/event"
	"tracer/trace/session"
)

// A listener whose queue is full is told, with as many connections as the kernel counts,
// in whichever network namespace it is. Where two have dropped some it is not known how many
// each has, and nobody is named.
func TestKernelFullQueuesAreTold(t *testing.T) {
	kit.Needs(t, kit.EndsKernel)
	const limit, n = 3, 37
	for _, c := range []struct {
		name      string
		where     string
		droppers  int
		args      []string
		named     bool
		untold    bool
		lateStart bool // listeners begin when tracing does already
	}{
		{name: "a listener older than tracing", where: "here", droppers: 1, named: true},
		{name: "a younger one", where: "here", droppers: 1, lateStart: true, named: true},
		{name: "in another network namespace", where: "own", droppers: 1, named: true},
		{name: "two of them", where: "here", droppers: 2},
		{name: "at another port than the wanted one", where: "here", droppers: 1, args: []string{"--port=1"}, untold: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var mu sync.Mutex
			var told []event.Notice
			opts := session.Options{Notice: func(n *event.Notice) {
				if n.Kind == event.KindOverflow {
					mu.Lock()
					defer mu.Unlock()
					told = append(told, *n)
				}
			}}
			begin := func() *work.Process {
				return work.Start(t, "overflow", c.where, fmt.Sprint(limit), fmt.Sprint(n), fmt.Sprint(c.droppers))
			}
			var w *work.Process
			if !c.lateStart {
				w = begin()
			}
			r := record.Open(t, Probe, opts, c.args...)
			r.Run()
			if c.lateStart {
				w = begin()
			}
			port := w.HearInt()
			w.HearInt()
			kit.Eventually(t, "the look at older connections", func() (err error) {
				var looking uint32
				if err = r.Host.Get(bpf.ConnVarLooking, &looking); err == nil && looking != 0 {
					err = errors.New("it goes on")
				}
				return err
			})
			// What was sent before has been decoded when this comes.
			if len(c.args) == 0 {
				pid := uint32(work.Start(t, "refused", "blocking").PID)
				r.Wait(record.Patience, func() bool {
					return slices.ContainsFunc(r.Events(), func(e event.Event) bool { return e.Head().PID == pid })
				})
			}
			w.Say("go")
			dropped := w.HearInt()
			if dropped < n*c.droppers {
				t.Fatalf("%d connections were dropped, want %d", dropped, n*c.droppers)
			}
			a := r.Stop()
			sum := 0
			for _, n := range told {
				sum += int(n.Dropped)
				want := event.Notice{Time: n.Time, Kind: n.Kind, Message: n.Message, Dropped: n.Dropped}
				if c.named {
					want.PID, want.Comm, want.Port = uint32(w.PID), commOf(t, w.PID), uint16(port)
				}
				if diff := cmp.Diff(want, n); diff != "" {
					t.Error(diff)
				}
			}
			if c.untold {
				dropped = 0
			}
			if sum != dropped || a.Overflows != uint64(dropped) {
				t.Errorf("%d connections were dropped, %d in the account, want %d", sum, a.Overflows, dropped)
			}
		})
	}
}

func TestListenersThatHaveDroppedSomething(t *testing.T) {
	at := func(socket uint64, netns, drops uint32) bpf.ConnListener {
		return bpf.ConnListener{Socket: socket, Netns: netns, Drops: drops}
	}
	l := listeners{drops: map[uint64]uint32{1: 10, 2: 20, 3: 30}}
	now := []bpf.ConnListener{at(1, 7, 12), at(2, 8, 21), at(3, 7, 2), at(4, 7, 0), at(5, 7, 5), at(6, 7, 0)}
	sockets := func(list []bpf.ConnListener) (got []uint64) {
		for _, r := range list {
			got = append(got, r.Socket)
		}
		return got
	}
	got := [][]uint64{sockets(l.risen(7, now)), sockets(l.risen(7, now)), sockets(l.risen(8, now)), sockets(l.risen(8, now))}
	// One whose count is lower is another one, at the same address.
	if diff := cmp.Diff([][]uint64{{1, 3, 5}, nil, {2}, nil}, got); diff != "" {
		t.Error(diff)
	}
}

func TestListenersOfOnePortAreOne(t *testing.T) {
	x := offline(&sums{})
	comm := func(s string) (c [16]int8) {
		for i := range s {
			c[i] = int8(s[i])
		}
		return c
	}
	of := func(pid uint32, name string, port uint16) bpf.ConnListener {
		return bpf.ConnListener{Pid: pid, Comm: comm(name), Port: port}
	}
	for name, c := range map[string]struct {
		list []bpf.ConnListener
		want *session.Listener
	}{
		"none":                    {nil, nil},
		"one":                     {[]bpf.ConnListener{of(7, "nginx", 80)}, &session.Listener{PID: 7, Comm: "nginx", Port: 80}},
		"two of a process":        {[]bpf.ConnListener{of(7, "nginx", 80), of(7, "nginx", 80)}, &session.Listener{PID: 7, Comm: "nginx", Port: 80}},
		"one of several workers":  {[]bpf.ConnListener{of(7, "nginx", 80), of(8, "nginx", 80)}, &session.Listener{Comm: "nginx", Port: 80}},
		"one of several programs": {[]bpf.ConnListener{of(1, "systemd", 80), of(8, "sshd", 80)}, &session.Listener{Port: 80}},
		"two ports":               {[]bpf.ConnListener{of(7, "nginx", 80), of(7, "nginx", 443)}, nil},
	} {
		if diff := cmp.Diff(c.want, x.one(c.list)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
