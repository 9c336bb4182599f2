package bpf

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
)

// An Object is one of the embedded objects with all its programs.
type Object struct {
	Name     string
	Load     func() (*ebpf.CollectionSpec, error)
	Programs []Program
}

// A Program is a program of an object. It may have copies, which do the same:
// they are attached together with it and handle the events that the kernel did
// not run it for. include/copies.h says why, and that they have its name with
// _copy1, _copy2 and so on behind it.
type Program struct {
	Name   string // of the first one, as it is generated
	Copies int    // that all kernels need
	More   int    // that kernels need beside these which preempt programs
	// AtFunction: of programs at a function the last to be attached runs
	// first, at all other hooks the first. The first one has to run first.
	AtFunction bool
	// Sparse: most of what it sees is nothing to report, so that what it was
	// not run for was hardly ever an event.
	Sparse bool
	// Lossless: nothing is lost by what it was not run for.
	Lossless bool
}

// Objects are all objects.
var Objects = []Object{
	{"exec", LoadExec, []Program{
		{Name: ExecProgExecProcessExec, More: 2},
		{Name: ExecProgExecProcessFork, More: 2},
		{Name: ExecProgExecProcessExit, More: 2},
		{Name: ExecProgExecSysExit, Sparse: true}, // any system call: few are failed execs
		// Few programs fail when the one before is gone.
		{Name: ExecProgExecLoadsTp, Sparse: true},
		{Name: ExecProgExecLoadsFentry, Sparse: true},
		{Name: ExecProgExecLoadsKprobe, Sparse: true},
	}},
	{"follow", LoadFollow, []Program{
		{Name: FollowProgFollowProcessFork, More: 2},
		{Name: FollowProgFollowProcessFree, Lossless: true}, // an entry stays and takes room
	}},
	{"place", LoadPlace, []Program{
		{Name: PlaceProgPlaceCgroupMkdir},
		{Name: PlaceProgPlaceCgroupRmdir},
	}},
	{"conn", LoadConn, []Program{
		{Name: ConnProgConnSetState, Copies: 1, More: 2},
		{Name: ConnProgConnDestroy, Copies: 1, More: 2},
		{Name: ConnProgConnRetransmit, Copies: 1, More: 2},
		{Name: ConnProgConnAcceptFentry, Copies: 2, AtFunction: true},
		{Name: ConnProgConnAcceptKprobe},
		// Few connects fail at once.
		{Name: ConnProgConnConnect4Fexit, Copies: 2, AtFunction: true, Sparse: true},
		{Name: ConnProgConnConnect6Fexit, Copies: 2, AtFunction: true, Sparse: true},
		{Name: ConnProgConnConnect4Kprobe, Sparse: true},
		{Name: ConnProgConnConnect4Kretprobe, Sparse: true},
		{Name: ConnProgConnConnect6Kprobe, Sparse: true},
		{Name: ConnProgConnConnect6Kretprobe, Sparse: true},
		// Few system calls, and few requests of a ring, accept.
		{Name: ConnProgConnSysExit, More: 2, Sparse: true},
		{Name: ConnProgConnSysExitRaw, Sparse: true},
		{Name: ConnProgConnResultIoUring, Sparse: true},
		{Name: ConnProgConnCqeIoUring, Sparse: true},
		{Name: ConnProgConnOpenBefore},
		{Name: ConnProgConnEndedUnseen},
		{Name: ConnProgConnQueued},
		{Name: ConnProgConnSendLength, More: 2},
		{Name: ConnProgConnRecvLength, More: 2},
		{Name: ConnProgConnSendmsgFexit, More: 2, AtFunction: true},
		{Name: ConnProgConnRecvmsgFexit4, More: 2, AtFunction: true},
		{Name: ConnProgConnRecvmsgFexit5, Lossless: true},
		{Name: ConnProgConnRecvmsgFexit6, Lossless: true},
		{Name: ConnProgConnSendmsgKprobe, Lossless: true},
		{Name: ConnProgConnSendmsgKretprobe, Lossless: true},
		{Name: ConnProgConnRecvmsgKprobe, Lossless: true},
		{Name: ConnProgConnRecvmsgKretprobe, Lossless: true},
		{Name: ConnProgConnReadTalks},
		{Name: ConnProgConnListeners},
	}},
	{"traffic", LoadTraffic, []Program{
		{Name: TrafficProgTrafficSetState, Copies: 1, More: 2},
		{Name: TrafficProgTrafficDestroy, Copies: 1, More: 2},
		{Name: TrafficProgTrafficSendLength, More: 2},
		{Name: TrafficProgTrafficRecvLength, More: 2},
		// Few TCP sockets are several processes', and all have counters of their own.
		{Name: TrafficProgTrafficTcpSendmsgFexit, Sparse: true},
		{Name: TrafficProgTrafficTcpRecvmsgFexit4, Sparse: true},
		{Name: TrafficProgTrafficTcpRecvmsgFexit5, Sparse: true},
		{Name: TrafficProgTrafficTcpRecvmsgFexit6, Sparse: true},
		{Name: TrafficProgTrafficTcpSendpageFexit, Sparse: true},
		{Name: TrafficProgTrafficTcpSpliceReadFexit, Sparse: true},
		{Name: TrafficProgTrafficTcpSendmsgKprobe, Sparse: true},
		{Name: TrafficProgTrafficTcpSendmsgKretprobe, Sparse: true},
		{Name: TrafficProgTrafficTcpRecvmsgKprobe, Sparse: true},
		{Name: TrafficProgTrafficTcpRecvmsgKretprobe, Sparse: true},
		{Name: TrafficProgTrafficUdpSendmsgFexit, More: 2, AtFunction: true},
		{Name: TrafficProgTrafficUdpv6SendmsgFexit, More: 2, AtFunction: true},
		{Name: TrafficProgTrafficUdpConsumeFentry, More: 2, AtFunction: true},
		{Name: TrafficProgTrafficUdpSendmsgKprobe},
		{Name: TrafficProgTrafficUdpSendmsgKretprobe},
		{Name: TrafficProgTrafficUdpv6SendmsgKprobe},
		{Name: TrafficProgTrafficUdpv6SendmsgKretprobe},
		{Name: TrafficProgTrafficUdpConsumeKprobe},
		{Name: TrafficProgTrafficReadSocks},
		{Name: TrafficProgTrafficReadMovers},
		{Name: TrafficProgTrafficReadShares},
		{Name: TrafficProgTrafficReadFlows},
		{Name: TrafficProgTrafficLook},
	}},
	{"http", LoadHttp, []Program{
		{Name: HttpProgHttpSetState, Copies: 1, More: 2},
		{Name: HttpProgHttpDestroySock, Copies: 1, More: 2},
		{Name: HttpProgHttpSendLength, More: 2},
		{Name: HttpProgHttpRecvLength, More: 2},
		{Name: HttpProgHttpSpaceAdjust},
		// What it misses counts as time in the socket.
		{Name: HttpProgHttpAccept, Lossless: true},
		{Name: HttpProgHttpK_accept, Lossless: true},
		{Name: HttpProgHttpSendmsg, More: 2, AtFunction: true},
		{Name: HttpProgHttpSendpage},
		// Kernels that preempt programs have the one with four parameters.
		{Name: HttpProgHttpRecvmsg4, More: 2, AtFunction: true},
		{Name: HttpProgHttpRecvmsg5},
		{Name: HttpProgHttpRecvmsg6},
		{Name: HttpProgHttpMptcpSendmsg, More: 2, AtFunction: true},
		{Name: HttpProgHttpMptcpRecvmsg4, More: 2, AtFunction: true},
		{Name: HttpProgHttpMptcpRecvmsg5},
		{Name: HttpProgHttpMptcpRecvmsg6},
		{Name: HttpProgHttpK_mptcpSendmsg},
		{Name: HttpProgHttpR_mptcpSendmsg},
		{Name: HttpProgHttpK_mptcpRecvmsg},
		{Name: HttpProgHttpK_mptcpRecvmsgOld},
		{Name: HttpProgHttpR_mptcpRecvmsg},
		{Name: HttpProgHttpSpliceRead},
		{Name: HttpProgHttpK_sendmsg},
		{Name: HttpProgHttpR_sendmsg},
		{Name: HttpProgHttpK_sendpage},
		{Name: HttpProgHttpR_sendpage},
		{Name: HttpProgHttpK_recvmsg},
		{Name: HttpProgHttpK_recvmsgOld},
		{Name: HttpProgHttpR_recvmsg},
		{Name: HttpProgHttpK_spliceRead},
		{Name: HttpProgHttpR_spliceRead},
	}},
	// A part of http.
	{"tls", LoadTls, []Program{
		{Name: TlsProgTlsReturned},
		{Name: TlsProgOpensslRead},
		{Name: TlsProgOpensslWrite},
		{Name: TlsProgOpensslReadEx},
		{Name: TlsProgOpensslWriteEx},
		{Name: TlsProgOpensslWriteEx2},
		{Name: TlsProgOpensslHandshake},
		{Name: TlsProgOpensslBioWrite},
		{Name: TlsProgGnutlsRecv},
		{Name: TlsProgGnutlsSend},
		{Name: TlsProgGnutlsShakeHands},
		{Name: TlsProgNsprRead},
		{Name: TlsProgNsprWrite},
		{Name: TlsProgNssHandshake},
		{Name: TlsProgGolangRead},
		{Name: TlsProgGolangWrite},
		{Name: TlsProgGolangHandshake},
	}},
}

// SharedMaps are the maps of which a session has one each, whatever objects it
// loads: which processes are wanted, and which cgroups. All other maps are an object's
// own, so that it is known whose losses are counted.
var SharedMaps = []string{ExecMapPids, ExecMapCgroups}

// Find returns the row of a program, or of the one that it is a copy of, and its
// number among the copies, which is 0 for the first one. The row is nil if there
// is none.
func Find(program string) (row *Program, number int) {
	for _, o := range Objects {
		for i := range o.Programs {
			p := &o.Programs[i]
			if !strings.HasPrefix(program, p.Name) {
				continue
			}
			for n := range p.Copies + p.More + 1 {
				if program == p.name(n) {
					return p, n
				}
			}
		}
	}
	return nil, 0
}

// Expand lists programs, each of them with the copies that it needs, in the order
// in which they are to be attached. What is in no row is listed as it is.
func Expand(preempts bool, programs ...string) []string {
	var all []string
	for _, program := range programs {
		row, _ := Find(program)
		if row == nil {
			row = &Program{Name: program}
		}
		all = append(all, row.names(preempts)...)
	}
	return all
}

func (p *Program) names(preempts bool) []string {
	copies := p.Copies
	if preempts {
		copies += p.More
	}
	var names []string
	for n := range copies + 1 {
		names = append(names, p.name(n))
	}
	if p.AtFunction {
		slices.Reverse(names)
	}
	return names
}

func (p *Program) name(number int) string {
	if number == 0 {
		return p.Name
	}
	return fmt.Sprintf("%s_copy%d", p.Name, number)
}
