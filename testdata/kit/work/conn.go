package work

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What "server" and "client" send to each other, in bytes.
const (
	ClientSends = 1009 * 101
	ServerSends = 2003 * 103
)

func sockaddr(host string, port int) (unix.Sockaddr, int) {
	a := netip.MustParseAddr(host)
	if a.Is4() {
		return &unix.SockaddrInet4{Port: port, Addr: a.As4()}, unix.AF_INET
	}
	return &unix.SockaddrInet6{Port: port, Addr: a.As16()}, unix.AF_INET6
}

func socket(family, flags, protocol int) int {
	return Must1(unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|flags, protocol))
}

// bound is a socket on a port of its own, which listens if backlog is not 0.
func bound(host string, protocol, backlog int) (fd, port int) {
	addr, family := sockaddr(host, 0)
	fd = socket(family, 0, protocol)
	Must(unix.Bind(fd, addr))
	if backlog > 0 {
		Must(unix.Listen(fd, backlog))
	}
	return fd, localPort(fd)
}

func listener(host string) (fd, port int) { return bound(host, 0, 512) }

func localPort(fd int) int {
	switch a := Must1(unix.Getsockname(fd)).(type) {
	case *unix.SockaddrInet4:
		return a.Port
	case *unix.SockaddrInet6:
		return a.Port
	}
	panic("no port")
}

func dial(host string, port int) int {
	addr, family := sockaddr(host, port)
	fd := socket(family, 0, 0)
	Must(unix.Connect(fd, addr))
	return fd
}

func accept(fd int) int {
	for {
		conn, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
		if err != unix.EINTR {
			return Must1(conn, err)
		}
	}
}

// callMyself opens a connection from this process to itself.
func callMyself() (client, server int) {
	l, port := listener("127.0.0.1")
	c := dial("127.0.0.1", port)
	return c, accept(l)
}

// closeBoth ends a connection in good order.
func closeBoth(first, second int) {
	closeFD(first)
	readEnd(second)
	closeFD(second)
}

func closeFD(fd int) { Must(unix.Close(fd)) }

var zeros = make([]byte, 1<<20)

func writeFull(fd, n int) {
	for n > 0 {
		w, err := unix.Write(fd, zeros[:min(n, len(zeros))])
		if err != unix.EINTR {
			n -= Must1(w, err)
		}
	}
}

func readFull(fd, n int) {
	for b := make([]byte, 32<<10); n > 0; {
		r, err := unix.Read(fd, b[:min(n, len(b))])
		if err == unix.EINTR {
			continue
		}
		if Must1(r, err) == 0 {
			panic("the other side has closed")
		}
		n -= r
	}
}

func readEnd(fd int) {
	if n := Must1(unix.Read(fd, make([]byte, 1))); n != 0 {
		panic("data instead of the end")
	}
}

func number(s string) int { return Must1(strconv.Atoi(s)) }

// child starts another workload with a file descriptor as its number 3.
func child(fd int, name string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), variable+"="+name+" "+strings.Join(args, " "))
	cmd.ExtraFiles = []*os.File{os.NewFile(uintptr(Must1(unix.Dup(fd))), "socket")}
	cmd.Stderr = os.Stderr
	Must(cmd.Start())
	Must(cmd.ExtraFiles[0].Close())
	return cmd
}

func blockedAccept([]string) {
	l, port := listener("127.0.0.1")
	said(port)
	conn := accept(l)
	readEnd(conn)
	closeFD(conn)
	said("done")
}

func connectTo(args []string) {
	closeFD(dial("127.0.0.1", number(args[0])))
	said("done")
}

// vanish is gone before anybody can look at it.
func vanish(args []string) {
	dial("127.0.0.1", number(args[0]))
	os.Exit(0)
}

// byThreads has threads of other names connect and accept.
func byThreads([]string) {
	l, port := listener("127.0.0.1")
	var inThread func(f func() int) int
	inThread = func(f func() int) int {
		fd := make(chan int)
		go func() {
			runtime.LockOSThread() // and never unlocked: the thread ends
			if unix.Gettid() == os.Getpid() {
				fd <- inThread(f) // while the main thread stays here
				return
			}
			name := []byte("a-thread\x00")
			Must(unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name[0])), 0, 0, 0))
			fd <- f()
		}()
		return <-fd
	}
	c := inThread(func() int { return dial("127.0.0.1", port) })
	s := inThread(func() int { return accept(l) })
	closeBoth(c, s)
	said("done")
	heard()
}

func echo(fd int) {
	readFull(fd, 1009)
	writeFull(fd, 1013)
	closeFD(fd)
}

func callEcho(c int) {
	writeFull(c, 1009)
	readFull(c, 1013)
	readEnd(c)
	closeFD(c)
}

// passFD hands a connection that it has accepted to a running process.
func passFD([]string) {
	pair := Must1(unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
	cmd := child(pair[1], "echoPassed")
	c, s := callMyself()
	Must(unix.Sendmsg(pair[0], []byte{0}, unix.UnixRights(s), nil, 0))
	closeFD(s)
	said(cmd.Process.Pid)
	callEcho(c)
	Must(cmd.Wait())
	said("done")
	heard()
}

func receiveFD(from int) int {
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(from, make([]byte, 1), oob, unix.MSG_CMSG_CLOEXEC)
	Must(err)
	messages := Must1(unix.ParseSocketControlMessage(oob[:n]))
	return Must1(unix.ParseUnixRights(&messages[0]))[0]
}

// goNet is what Go's own library does: listeners are MPTCP where there is such.
func goNet([]string) {
	l := Must1(net.Listen("tcp", "127.0.0.1:0"))
	c := Must1(net.Dial("tcp", l.Addr().String()))
	s := Must1(l.Accept())
	Must1(c.Write(zeros[:1009]))
	Must1(io.ReadFull(s, make([]byte, 1009)))
	Must1(s.Write(zeros[:1013]))
	Must1(io.ReadFull(c, make([]byte, 1013)))
	Must(c.Close())
	Must1(io.Copy(io.Discard, s))
	Must(s.Close())
	said("done")
	heard()
}

// withoutIPv6 connects where IPv6 is turned off, the last time in vain.
func withoutIPv6([]string) {
	newNetwork(true)
	for _, name := range []string{"all", "default"} {
		err := os.WriteFile("/proc/thread-self/root/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0)
		if errors.Is(err, os.ErrNotExist) {
			said("skip: this kernel lacks IPv6")
			os.Exit(0)
		}
		Must(err)
	}
	l, port := listener("127.0.0.1")
	for _, host := range []string{"127.0.0.1", "::ffff:127.0.0.1"} {
		c := dial(host, port)
		s := accept(l)
		closeBoth(c, s)
	}
	addr, family := sockaddr("::1", port)
	err := unix.Connect(socket(family, 0, 0), addr)
	said(unix.ErrnoName(err.(syscall.Errno)))
	said("done")
	heard()
}

func olderThanTracing([]string) {
	c, s := callMyself()
	talk := func() {
		writeFull(c, 1009)
		readFull(s, 1009)
		writeFull(s, 2003)
		readFull(c, 2003)
	}
	talk()
	said("open")
	heard()
	talk()
	closeBoth(c, s)
	said("done")
	heard()
}

// olderHalfClosed has one end closed before tracing, the other one then.
func olderHalfClosed([]string) {
	c, s := callMyself()
	writeFull(c, 1009)
	Must(unix.Shutdown(c, unix.SHUT_WR))
	readFull(s, 1009)
	readEnd(s)
	said("open")
	heard()
	writeFull(s, 2003)
	readFull(c, 2003)
	closeFD(s)
	readEnd(c)
	closeFD(c)
	said("done")
	heard()
}

// olderConnecting waits in vain for an answer since before tracing.
func olderConnecting([]string) {
	newNetwork(true)
	l, port := listener("127.0.0.1")
	dropAll(l)
	c := beginConnect(port, 3)
	said("waits")
	heard()
	Must(unix.SetsockoptInt(c, unix.IPPROTO_TCP, unix.TCP_SYNCNT, 1)) // the next timer is the last
	// It asks all the time. Before 6.10 the kernel tells a process what has happened before it takes the step: the
	// error may be fetched and gone by then.
	for {
		errno := syscall.Errno(Must1(unix.GetsockoptInt(c, unix.SOL_SOCKET, unix.SO_ERROR)))
		if errno != 0 {
			wantError(errno, unix.ETIMEDOUT)
			break
		}
	}
	closeFD(c)
	said("done")
	heard()
}

func server(args []string) {
	host, first := args[0], args[1]
	l, port := listener(host)
	said(port)
	conn := accept(l)
	readFull(conn, ClientSends)
	writeFull(conn, ServerSends)
	if first == "client" {
		readEnd(conn)
	}
	closeFD(conn)
	said("done")
	heard()
}

func client(args []string) {
	conn := dial(args[0], number(args[1]))
	said(localPort(conn))
	talkAsClient(conn, args[2])
	said("done")
	heard()
}

func talkAsClient(conn int, first string) {
	writeFull(conn, ClientSends)
	readFull(conn, ServerSends)
	if first == "server" {
		readEnd(conn)
	}
	closeFD(conn)
}

func acceptParent([]string) {
	c, s := callMyself()
	cmd := child(s, "echo")
	closeFD(s)
	said(cmd.Process.Pid)
	callEcho(c)
	Must(cmd.Wait())
	said("done")
	heard()
}

func connectParent(args []string) {
	cmd := child(dial("127.0.0.1", number(args[0])), "talk", "server")
	said(cmd.Process.Pid)
}

func acceptLate([]string) {
	l, port := listener("127.0.0.1")
	c := dial("127.0.0.1", port)
	time.Sleep(200 * time.Millisecond)
	closeFD(accept(l))
	readEnd(c)
	closeFD(c)
	said("done")
	heard()
}

// abort closes a connection by a reset.
func abort(fd int) {
	Must(unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
	closeFD(fd)
}

func wantError(err, want error) {
	if !errors.Is(err, want) {
		panic(fmt.Sprintf("%v, want %v", err, want))
	}
}

func resetBeforeAccept([]string) {
	l, port := listener("127.0.0.1")
	abort(dial("127.0.0.1", port))
	s := accept(l)
	_, err := unix.Read(s, make([]byte, 1))
	wantError(err, unix.ECONNRESET)
	closeFD(s)
	said("done")
	heard()
}

func reset(args []string) {
	c, s := callMyself()
	switch args[0] {
	case "linger":
		abort(c)
	case "unread":
		writeFull(s, 101)
		waitFor(c, unix.POLLIN)
		closeFD(c)
	case "after": // the other side's end, what it sent is unread
		writeFull(c, 101)
		closeFD(c)
		waitFor(s, unix.POLLRDHUP)
		closeFD(s)
		said("done")
		heard()
		return
	}
	_, err := unix.Read(s, make([]byte, 1))
	wantError(err, unix.ECONNRESET)
	closeFD(s)
	said("done")
	heard()
}

func waitFor(fd int, events int16) {
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: events}}, -1)
		if err != unix.EINTR {
			Must(err)
			return
		}
	}
}

// beginConnect does not wait for the answer. It sends at most syns SYNs again,
// or as many as is usual.
func beginConnect(port, syns int) int {
	addr, family := sockaddr("127.0.0.1", port)
	c := socket(family, unix.SOCK_NONBLOCK, 0)
	if syns > 0 {
		Must(unix.SetsockoptInt(c, unix.IPPROTO_TCP, unix.TCP_SYNCNT, syns))
	}
	wantError(unix.Connect(c, addr), unix.EINPROGRESS)
	return c
}

// wantPending waits for a connect to fail.
func wantPending(c int, want error) {
	waitFor(c, unix.POLLOUT)
	wantError(syscall.Errno(Must1(unix.GetsockoptInt(c, unix.SOL_SOCKET, unix.SO_ERROR))), want)
}

func refused(args []string) {
	host := "127.0.0.1"
	if args[0] == "ipv6" {
		host = "::1"
	}
	_, port := bound(host, 0, 0) // nobody listens, nobody else can
	addr, family := sockaddr(host, port)
	said(port)
	var c int
	switch args[0] {
	case "blocking", "ipv6":
		c = socket(family, 0, 0)
		wantError(unix.Connect(c, addr), unix.ECONNREFUSED)
	case "nonblocking":
		c = beginConnect(port, 0)
		wantPending(c, unix.ECONNREFUSED)
	case "uring":
		c = socket(family, 0, 0)
		wantError(newUring().connect(c, port), unix.ECONNREFUSED)
	case "again": // the error is fetched by another connect
		c = beginConnect(port, 0)
		waitFor(c, unix.POLLOUT)
		wantError(unix.Connect(c, addr), unix.ECONNREFUSED)
	}
	said("failed")
	heard()
	closeFD(c)
	said("closed")
	heard()
}

// newNetwork moves this thread, for good, to a network namespace of its own.
func newNetwork(up bool) {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		said("skip: this kernel lacks network namespaces: " + err.Error())
		os.Exit(0)
	}
	if up {
		LoopbackUp()
	}
}

// LoopbackUp makes a new network usable.
func LoopbackUp() {
	fd := Must1(unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0))
	ifr := Must1(unix.NewIfreq("lo"))
	ifr.SetUint16(unix.IFF_UP)
	Must(unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr))
	closeFD(fd)
}

func atOnce(args []string) {
	try := func(host, shown string, port int, want error) {
		said(netip.AddrPortFrom(netip.MustParseAddr(shown), uint16(port)))
		addr, family := sockaddr(host, port)
		wantError(unix.Connect(socket(family, 0, 0), addr), want)
	}
	switch args[0] {
	case "noroute4":
		newNetwork(false)
		try("192.0.2.1", "192.0.2.1", 80, unix.ENETUNREACH)
	case "noroute6":
		newNetwork(true)
		try("2001:db8::1", "2001:db8::1", 80, unix.ENETUNREACH)
	case "unreachable":
		newNetwork(true)
		addUnreachable("192.0.2.0")
		try("192.0.2.1", "192.0.2.1", 80, unix.EHOSTUNREACH)
	case "noroutemapped":
		newNetwork(false)
		try("::ffff:192.0.2.1", "192.0.2.1", 80, unix.ENETUNREACH)
	case "noaddress":
		// The four numbers of this connection are taken.
		_, port := listener("127.0.0.1")
		from, _ := sockaddr("127.0.0.1", 0)
		to, _ := sockaddr("127.0.0.1", port)
		said(fmt.Sprintf("127.0.0.1:%d", port))
		for i := range 2 {
			c := socket(unix.AF_INET, 0, 0)
			Must(unix.SetsockoptInt(c, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
			Must(unix.Bind(c, from))
			from.(*unix.SockaddrInet4).Port = localPort(c)
			err := unix.Connect(c, to)
			if i == 0 {
				Must(err)
			} else {
				wantError(err, unix.EADDRNOTAVAIL)
			}
		}
	}
	said("done")
	heard()
}

// addUnreachable adds a route to a network of 256 addresses that says: nobody
// can be reached there.
func addUnreachable(network string) {
	fd := Must1(unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE))
	defer closeFD(fd)
	dst := netip.MustParseAddr(network).As4()
	var b []byte
	b = binary.NativeEndian.AppendUint32(b, 16+12+8) // struct nlmsghdr
	b = binary.NativeEndian.AppendUint16(b, unix.RTM_NEWROUTE)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_CREATE|unix.NLM_F_ACK)
	b = append(b, make([]byte, 8)...)
	b = append(b, unix.AF_INET, 24, 0, 0, // struct rtmsg
		unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNREACHABLE, 0, 0, 0, 0)
	b = binary.NativeEndian.AppendUint16(b, 8)
	b = binary.NativeEndian.AppendUint16(b, unix.RTA_DST)
	b = append(b, dst[:]...)
	Must(unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	Must(err)
	if n < 20 {
		panic("a short answer")
	}
	if errno := -int32(binary.NativeEndian.Uint32(answer[16:])); errno != 0 {
		panic(syscall.Errno(errno))
	}
}

// hostUnreachable is told by a router, which this is itself, that its SYN could
// not be delivered.
func hostUnreachable([]string) {
	newNetwork(true)
	wire := Must1(unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP))
	l, port := listener("127.0.0.1")
	dropAll(l)
	c := beginConnect(port, 6)
	syn := make([]byte, 20+8) // as much of a packet as ICMP quotes
	Must1(unix.Read(wire, syn))
	router := Must1(unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP))
	Must(unix.Sendto(router, icmpUnreachable(syn), 0, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	wantPending(c, unix.EHOSTUNREACH)
	said(port)
	said("done")
	heard()
}

// lostSegments loses what one side sends, for a while, and says what the kernel
// tells that side about its connection.
func lostSegments([]string) {
	c, s := callMyself()
	dropAll(s)
	writeFull(c, 1009)
	info := func() *unix.TCPInfo { return Must1(unix.GetsockoptTCPInfo(c, unix.IPPROTO_TCP, unix.TCP_INFO)) }
	for info().Total_retrans < 2 {
		time.Sleep(10 * time.Millisecond)
	}
	takeAll(s)
	readFull(s, 1009)
	writeFull(s, 1013)
	readFull(c, 1013)
	said(info().Total_retrans)
	said(info().Rtt)
	abort(c) // no FIN, whose acknowledgement would be measured, too
	_, err := unix.Read(s, make([]byte, 1))
	wantError(err, unix.ECONNRESET)
	closeFD(s)
	said("done")
	heard()
}

// reused calls three times with one socket: refused, dissolved, closed.
func reused([]string) {
	_, nobody := bound("127.0.0.1", 0, 0)
	l, port := listener("127.0.0.1")
	c := socket(unix.AF_INET, 0, 0)
	addr, _ := sockaddr("127.0.0.1", nobody)
	wantError(unix.Connect(c, addr), unix.ECONNREFUSED)
	addr, _ = sockaddr("127.0.0.1", port)
	Must(unix.Connect(c, addr))
	s := accept(l)
	dissolve(c)
	_, err := unix.Read(s, make([]byte, 1))
	wantError(err, unix.ECONNRESET)
	closeFD(s)
	Must(unix.Connect(c, addr))
	s = accept(l)
	writeFull(c, 1009)
	closeFD(c)
	readFull(s, 1009)
	readEnd(s)
	closeFD(s)
	said("done")
	heard()
}

// dropAll makes a socket take no notice of any packet.
func dropAll(fd int) {
	drop := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
	Must(unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop}))
}

func takeAll(fd int) {
	Must(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0))
}

func noAnswer([]string) {
	newNetwork(true)
	// From 6.5 on the first waits do not grow: the test wants few SYNs.
	err := os.WriteFile("/proc/thread-self/root/proc/sys/net/ipv4/tcp_syn_linear_timeouts", []byte("0"), 0)
	if !errors.Is(err, os.ErrNotExist) {
		Must(err)
	}
	dead, deadPort := listener("127.0.0.1")
	dropAll(dead)
	slow, slowPort := listener("127.0.0.1")
	dropAll(slow)
	timesOut, givesUp := beginConnect(deadPort, 1), beginConnect(deadPort, 1)
	started := time.Now()
	late := beginConnect(slowPort, 6)
	said(localPort(timesOut))
	said(localPort(givesUp))
	said(localPort(late))
	time.Sleep(1500 * time.Millisecond)
	closeFD(givesUp)
	takeAll(slow)
	waitFor(late, unix.POLLOUT)
	took := time.Since(started)
	accept(slow)
	wantPending(timesOut, unix.ETIMEDOUT)
	said(took.Microseconds())
	said("done")
	heard()
}

func timeout([]string) {
	c, s := callMyself()
	dropAll(s)
	Must(unix.SetsockoptInt(c, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 700))
	writeFull(c, 1009)
	_, err := unix.Read(c, make([]byte, 1))
	wantError(err, unix.ETIMEDOUT)
	takeAll(s) // that it learns, too, that all is over
	said("done")
	heard()
}

// many opens and closes connections to itself as fast as it goes.
func many(args []string) {
	if len(args) > 1 {
		Must(syscall.Setuid(number(args[1])))
	}
	l, port := listener("127.0.0.1")
	said(port)
	heard()
	for i := range number(args[0]) {
		c := dial("127.0.0.1", port)
		s := accept(l)
		first, second := c, s
		if i%2 == 0 {
			first, second = s, c
		}
		closeBoth(first, second)
	}
	said("done")
	heard()
}

// manyFates has each of many sockets refused, then connected, then reset.
func manyFates(args []string) {
	_, nobody := bound("127.0.0.1", 0, 0)
	l, port := listener("127.0.0.1")
	said(port)
	heard()
	for range number(args[0]) {
		c := socket(unix.AF_INET, 0, 0)
		addr, _ := sockaddr("127.0.0.1", nobody)
		wantError(unix.Connect(c, addr), unix.ECONNREFUSED)
		addr, _ = sockaddr("127.0.0.1", port)
		Must(unix.Connect(c, addr))
		s := accept(l)
		abort(c)
		closeFD(s)
	}
	said("done")
	heard()
}

// manyRaces has one thread accept what another one resets at the same time.
func manyRaces(args []string) {
	l, port := listener("127.0.0.1")
	said(port)
	heard()
	n := number(args[0])
	accepted := make(chan struct{})
	go func() {
		defer close(accepted)
		for range n {
			closeFD(accept(l))
		}
	}()
	for range n {
		abort(dial("127.0.0.1", port))
	}
	<-accepted
	said("done")
	heard()
}

func holdMany(args []string) {
	l, port := listener("127.0.0.1")
	for range number(args[0]) {
		dial("127.0.0.1", port)
		accept(l)
	}
	said("done")
	heard()
}
