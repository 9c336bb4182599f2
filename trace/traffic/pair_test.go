package traffic

import (
	"fmt"
	"math"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tracer/bpf"
	"tracer/testdata/kit"
	"tracer/testdata/kit/record"
	"tracer/testdata/kit/work"
	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/session"
)

// feed gives a tracer readings of sockets.
type feed struct{ *tracer }

// reads takes a reading: of the socket of a process, at one end of a connection.
func (f feed) reads(socket uint64, pid uint32, comm string, role bpf.TrafficRole, local, remote string, tx, rx uint64, last bool) {
	r := bpf.TrafficTcpRecord{Socket: socket}
	l, p := netip.MustParseAddrPort(local), netip.MustParseAddrPort(remote)
	r.Tcp.Local, r.Tcp.Lport, r.Tcp.Remote, r.Tcp.Rport = l.Addr().As16(), l.Port(), p.Addr().As16(), p.Port()
	r.Tcp.Tx, r.Tcp.Rx, r.Tcp.Wanted, r.Tcp.Sure, r.Tcp.Role = tx, rx, 1, 1, role
	r.Tcp.Owner.Pid, r.Tcp.Owner.Start = pid, 1
	for i := range comm {
		r.Tcp.Owner.Comm[i] = int8(comm[i])
	}
	if last {
		r.Last = 1
	}
	f.socket(&r)
}

func (f feed) client(socket uint64, pid uint32, comm, from, to string, tx, rx uint64, last bool) {
	f.reads(socket, pid, comm, bpf.TrafficRoleClient, from, to, tx, rx, last)
}

func (f feed) server(socket uint64, pid uint32, comm, from, to string, tx, rx uint64, last bool) {
	f.reads(socket, pid, comm, bpf.TrafficRoleServer, to, from, tx, rx, last)
}

// A byte of a connection whose both ends are here is half each end's in the share.
func TestBytesOfBothEndsCountOnceInTheShare(t *testing.T) {
	const c, s = "127.0.0.1:40000", "127.0.0.1:80"
	for name, test := range map[string]struct {
		opts   session.Options
		sortBy string
		feed   func(feed)
		want   map[uint32]float64 // in the closing table, by process
	}{
		"both ends on loopback, and others": {
			feed: func(f feed) {
				f.client(1, 1, "a", c, s, 600, 200, false)
				f.server(2, 2, "b", c, s, 200, 600, false)
				f.client(3, 3, "d", "192.0.2.1:40000", "198.51.100.1:80", 100, 100, false)
			},
			want: map[uint32]float64{1: 0.4, 2: 0.4, 3: 0.2},
		},
		"an address of the host's own": {
			feed: func(f feed) {
				f.client(1, 1, "a", "192.0.2.1:40000", "192.0.2.1:80", 300, 0, false)
				f.server(2, 2, "b", "192.0.2.1:40000", "192.0.2.1:80", 0, 300, false)
				f.client(3, 3, "d", "192.0.2.1:40000", "198.51.100.1:80", 100, 0, false)
			},
			want: map[uint32]float64{1: 0.375, 2: 0.375, 3: 0.25},
		},
		"one end is left out by a filter: the other has all": {
			opts: session.Options{Filter: session.Filter{Comms: []string{"a", "d"}}},
			feed: func(f feed) {
				f.client(1, 1, "a", c, s, 300, 300, false)
				f.server(2, 2, "b", c, s, 300, 300, false)
				f.client(3, 3, "d", "192.0.2.1:40000", "198.51.100.1:80", 200, 0, false)
			},
			want: map[uint32]float64{1: 0.75, 3: 0.25},
		},
		"sorted by what is sent the sender has all": {
			sortBy: "tx",
			feed: func(f feed) {
				f.client(1, 1, "a", c, s, 300, 0, false)
				f.server(2, 2, "b", c, s, 0, 300, false)
				f.client(3, 3, "d", "192.0.2.1:40000", "198.51.100.1:80", 100, 0, false)
			},
			want: map[uint32]float64{1: 0.75, 2: 0, 3: 0.25},
		},
		"ends that come in several readings": {
			feed: func(f feed) {
				f.client(1, 1, "a", c, s, 100, 0, false)
				f.tell(1, false)
				f.server(2, 2, "b", c, s, 0, 60, false)
				f.client(1, 1, "a", c, s, 300, 0, true)
				f.tell(2, false)
				f.server(2, 2, "b", c, s, 0, 300, true)
				f.client(3, 3, "d", "192.0.2.1:40000", "198.51.100.1:80", 100, 0, false)
			},
			want: map[uint32]float64{1: 0.375, 2: 0.375, 3: 0.25},
		},
	} {
		t.Run(name, func(t *testing.T) {
			sink := record.New(t)
			f := feed{offline(test.opts, sink)}
			if test.sortBy != "" {
				f.sortBy = test.sortBy
			}
			test.feed(f)
			f.tell(9, true)
			got, sum := map[uint32]float64{}, 0.0
			for _, e := range sink.Closing().Rows {
				got[e.Head().PID] = math.Round(e.(*event.Traffic).Part*1e6) / 1e6
				sum += e.(*event.Traffic).Part
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if math.Abs(sum-1) > 1e-9 {
				t.Errorf("all parts are %v", sum)
			}
		})
	}
}

func TestPairsAreForgottenWithTheirSockets(t *testing.T) {
	f := feed{offline(session.Options{}, record.New(t))}
	for i := range uint64(5) {
		from := fmt.Sprintf("127.0.0.1:%d", 40000+i)
		f.client(2*i+1, 1, "a", from, "127.0.0.1:80", 10, 0, i < 3)
		f.server(2*i+2, 2, "b", from, "127.0.0.1:80", 0, 10, i < 3)
		f.client(100+i, 1, "a", "192.0.2.1:40000", "198.51.100.1:80", 1, 0, false)
	}
	f.tell(1, false)
	if len(f.pairs) != 2 {
		t.Errorf("%d pairs are remembered, of 2 connections", len(f.pairs))
	}
}

func TestServicesHaveTheirServersBytesOnce(t *testing.T) {
	const c, s = "10.0.0.1:40000", "10.0.0.2:80"
	for name, test := range map[string]struct {
		comms []string
		feed  func(feed)
		want  map[uint16]moved
	}{
		"a server here, its clients elsewhere": {
			feed: func(f feed) {
				f.server(1, 1, "b", "10.0.0.7:1025", s, 500, 20, false)
				f.server(2, 2, "b", "10.0.0.8:1025", s, 70, 3, true)
				f.server(3, 1, "b", "10.0.0.8:1025", "10.0.0.2:81", 1, 2, false)
			},
			want: map[uint16]moved{80: {570, 23}, 81: {1, 2}},
		},
		"clients here of a server elsewhere": {
			feed: func(f feed) {
				f.client(1, 1, "a", c, s, 20, 500, false)
				f.client(2, 2, "c", "10.0.0.1:40001", s, 3, 70, false)
			},
			want: map[uint16]moved{80: {570, 23}},
		},
		"both here": {
			feed: func(f feed) {
				f.client(1, 1, "a", c, s, 20, 500, false)
				f.server(2, 2, "b", c, s, 500, 20, false)
			},
			want: map[uint16]moved{80: {500, 20}},
		},
		"both here, and the client's bytes are known first": {
			feed: func(f feed) {
				f.client(1, 1, "a", c, s, 20, 0, false)
				f.tell(1, false)
				f.server(2, 2, "b", c, s, 300, 20, false)
				f.client(1, 1, "a", c, s, 20, 300, true)
				f.tell(2, false)
				f.server(2, 2, "b", c, s, 500, 20, true)
			},
			want: map[uint16]moved{80: {500, 20}},
		},
		"both here, and only the client is wanted": {
			comms: []string{"a"},
			feed: func(f feed) {
				f.client(1, 1, "a", c, s, 20, 500, false)
				f.server(2, 2, "b", c, s, 500, 20, false)
			},
			want: map[uint16]moved{80: {500, 20}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			sink := record.New(t)
			f := feed{offline(session.Options{Filter: session.Filter{Comms: test.comms}}, sink)}
			f.by = byService
			test.feed(f)
			f.tell(9, true)
			got := map[uint16]moved{}
			for _, e := range record.All[*event.Traffic](sink) {
				got[e.Dst.Port()] = got[e.Dst.Port()].plus(e.Tx, e.Rx)
				if e.PID != 0 || e.Comm != "" || e.Role != "" || e.Dst.Addr().IsValid() {
					t.Errorf("row %+v", e)
				}
			}
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(moved{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestProgramsAreByName(t *testing.T) {
	sink := record.New(t)
	f := feed{offline(session.Options{}, sink)}
	f.by = byProgram
	for pid := range uint32(7) {
		f.client(uint64(pid+1), pid+1, "curl", "10.0.0.1:40000", "10.0.0.2:80", 3, 5, false)
	}
	f.client(9, 9, "wget", "10.0.0.1:40000", "10.0.0.2:80", 1, 1, false)
	f.tell(1, true)
	var got []string
	for _, e := range record.All[*event.Traffic](sink) {
		got = append(got, fmt.Sprint(e.Comm, " ", e.PID, " ", e.Tx, " ", e.Rx))
	}
	if diff := cmp.Diff([]string{"curl 0 21 35", "wget 0 1 1"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestKernelRowsAreByProgramOrService(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	for _, by := range []string{byProgram, byService} {
		t.Run(by, func(t *testing.T) {
			c := start(t, session.Options{}, "--by", by, "--interval", "20ms")
			server := work.Start(t, "waysServer", "::1")
			port := server.Hear()
			client := work.Start(t, "waysClient", "::1", port)
			for range work.WayCount {
				client.Hear()
				client.Hear()
			}
			client.Hear()
			c.Stop()
			n, m := work.WaysTotal()
			comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", server.PID))
			if err != nil {
				t.Fatal(err)
			}
			name := strings.TrimSpace(string(comm))
			var got, closing moved
			ours := func(e *event.Traffic) bool {
				return by == byProgram && e.Comm == name || by == byService && strconv.Itoa(int(e.Dst.Port())) == port
			}
			for _, e := range c.rows() {
				if ours(e) {
					got = got.plus(e.Tx, e.Rx)
				}
				if e.PID != 0 || e.CgroupID != 0 {
					t.Fatalf("row %+v", e)
				}
			}
			for _, e := range c.Closing().Rows {
				if e := e.(*event.Traffic); ours(e) {
					closing = closing.plus(e.TotalTx, e.TotalRx)
				}
			}
			want := both(n+m, n+m)
			if by == byService {
				want = both(m, n) // as the server sees it
			}
			if got != want || closing != want {
				t.Errorf("moved %+v, by the closing table %+v, want %+v", got, closing, want)
			}
		})
	}
}

func TestKernelUDPOfAServiceCountsOnce(t *testing.T) {
	kit.Needs(t, kit.OldestKernel)
	record.Tiers(t, func(t *testing.T, tier kernel.Tier) {
		if tier == kernel.Tracepoint {
			return // who is at the other end is not known
		}
		c := start(t, session.Options{Tier: tier}, "--by", byService, "--interval", "20ms")
		want := map[uint16]moved{}
		for _, host := range []string{"127.0.0.1", "::1"} {
			u := work.Start(t, "udpEnds", host)
			var src, dst uint16
			if _, err := fmt.Sscan(u.Hear(), &src, &dst); err != nil {
				t.Fatal(err)
			}
			want[dst] = want[dst].plus(work.UDPAnswered, work.UDPAsked)
		}
		c.Stop()
		got := map[uint16]moved{}
		for _, e := range c.rows() {
			if port := e.Dst.Port(); want[port] != (moved{}) {
				got[port] = got[port].plus(e.Tx, e.Rx)
			}
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(moved{})); diff != "" {
			t.Error(diff)
		}
	})
}
