package work

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A way moves exactly n bytes of a connection. It fails if this kernel lacks
// it: then nothing has been moved.
type way struct {
	name string
	move func(fd, n int) error
}

// as makes a way of a call that moves some bytes.
func as(call func(fd int, b []byte) (int, error)) func(fd, n int) error {
	return func(fd, n int) error {
		b := make([]byte, min(n, len(zeros)))
		for first := true; n > 0; first = false {
			m, err := call(fd, b[:min(n, len(b))])
			if err == unix.EINTR || err == unix.EAGAIN {
				continue
			}
			if err != nil && first {
				return err
			}
			if n -= Must1(m, err); m == 0 {
				panic("the end")
			}
		}
		return nil
	}
}

var sendWays = []way{
	{"write", as(unix.Write)},
	{"writev", as(func(fd int, b []byte) (int, error) { return unix.Writev(fd, [][]byte{b[:len(b)/2], {}, b[len(b)/2:]}) })},
	{"send", as(func(fd int, b []byte) (int, error) { return unix.SendmsgN(fd, b, nil, nil, unix.MSG_NOSIGNAL) })},
	{"send MSG_MORE", as(func(fd int, b []byte) (int, error) {
		return unix.SendmsgN(fd, b[:max(len(b)/7, 1)], nil, nil, unix.MSG_MORE)
	})},
	{"sendmmsg", func(fd, n int) error {
		sendmmsg(fd, n/3, 3)
		writeFull(fd, n-n/3*3)
		return nil
	}},
	{"sendfile", func(fd, n int) error {
		file := zeroFile(n)
		defer unix.Close(file)
		return as(func(fd int, b []byte) (int, error) { return unix.Sendfile(fd, file, nil, len(b)) })(fd, n)
	}},
	{"splice from a file", func(fd, n int) error {
		file := zeroFile(n)
		defer unix.Close(file)
		return throughPipe(fd, n, func(pipe, n int) (int, error) {
			m, err := unix.Splice(file, nil, pipe, nil, n, 0)
			return int(m), err
		})
	}},
	{"vmsplice", func(fd, n int) error {
		return throughPipe(fd, n, func(pipe, n int) (int, error) {
			n = min(n, 16<<10)
			iov := unix.Iovec{Base: &zeros[0]}
			iov.SetLen(n)
			return unix.Vmsplice(pipe, []unix.Iovec{iov}, 0)
		})
	}},
	{"MSG_ZEROCOPY", func(fd, n int) error {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ZEROCOPY, 1); err != nil {
			return err
		}
		err := as(func(fd int, b []byte) (int, error) { return unix.SendmsgN(fd, b, nil, nil, unix.MSG_ZEROCOPY) })(fd, n)
		// What the kernel reports of it is no traffic.
		waitFor(fd, unix.POLLERR)
		oob := make([]byte, 128)
		Must1(recvmsg(fd, make([]byte, 128), oob, unix.MSG_ERRQUEUE))
		return err
	}},
	{"short writes", func(fd, n int) error {
		Must(unix.SetNonblock(fd, true))
		Must(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 20_000))
		for n > 0 {
			m, err := unix.Write(fd, zeros[:min(n, 100_003)])
			if err == unix.EAGAIN {
				waitFor(fd, unix.POLLOUT)
				continue
			}
			n -= Must1(m, err)
		}
		return unix.SetNonblock(fd, false)
	}},
	{"io_uring write", throughUring(opUringWrite)},
	{"io_uring send", throughUring(opUringSend)},
}

// readWays end with the last byte of n.
var readWays = []way{
	{"read", as(unix.Read)},
	{"readv", as(func(fd int, b []byte) (int, error) { return unix.Readv(fd, [][]byte{b[:len(b)/2], {}, b[len(b)/2:]}) })},
	{"recvmsg", as(func(fd int, b []byte) (int, error) { return recvmsg(fd, b, nil, 0) })},
	{"recv MSG_WAITALL", as(func(fd int, b []byte) (int, error) { return recvmsg(fd, b, nil, unix.MSG_WAITALL) })},
	{"recv MSG_PEEK before each", as(func(fd int, b []byte) (int, error) {
		Must1(recvmsg(fd, b, nil, unix.MSG_PEEK))
		return recvmsg(fd, b, nil, 0)
	})},
	{"recv MSG_TRUNC", as(func(fd int, b []byte) (int, error) { return recvmsg(fd, b, nil, unix.MSG_TRUNC) })},
	{"a byte at a time", func(fd, n int) error {
		readFull(fd, n-1009)
		return as(func(fd int, b []byte) (int, error) { return unix.Read(fd, b[:1]) })(fd, 1009)
	}},
	{"recvmmsg", as(func(fd int, b []byte) (int, error) { return mmsg(unix.SYS_RECVMMSG, fd, b) })},
	{"splice to a pipe", func(fd, n int) error {
		p := make([]int, 2)
		Must(unix.Pipe2(p, unix.O_CLOEXEC))
		defer closeFD(p[0])
		defer closeFD(p[1])
		return as(func(fd int, b []byte) (int, error) {
			m, err := unix.Splice(fd, nil, p[1], nil, min(len(b), 50_021), 0)
			if m > 0 {
				readFull(p[0], int(m))
			}
			return int(m), err
		})(fd, n)
	}},
	{"io_uring read", throughUring(opUringRead)},
	{"io_uring recv", throughUring(opUringRecv)},
}

// include/uapi/linux/io_uring.h: enum io_uring_op
const (
	opUringRead  = 22
	opUringWrite = 23
	opUringSend  = 26
	opUringRecv  = 27
)

func recvmsg(fd int, b, oob []byte, flags int) (int, error) {
	n, _, _, _, err := unix.Recvmsg(fd, b, oob, flags)
	return n, err
}

// throughUring moves bytes by requests of io_uring.
func throughUring(op uint8) func(fd, n int) error {
	return func(fd, n int) error {
		if fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&uringParams{})), 0); errno != 0 {
			return errno
		} else {
			closeFD(int(fd))
		}
		u := newUring()
		defer closeFD(u.fd)
		return as(func(fd int, b []byte) (int, error) {
			if res := u.doBytes(op, fd, b); res < 0 {
				return 0, syscall.Errno(-res)
			} else {
				return int(res), nil
			}
		})(fd, n)
	}
}

// doBytes runs a request that moves bytes.
func (u *uring) doBytes(opcode uint8, fd int, b []byte) int32 {
	clear(u.sqes[:64])
	u.sqes[0] = opcode
	*(*int32)(unsafe.Pointer(&u.sqes[4])) = int32(fd)
	*(*uint64)(unsafe.Pointer(&u.sqes[16])) = uint64(uintptr(unsafe.Pointer(&b[0])))
	*(*uint32)(unsafe.Pointer(&u.sqes[24])) = uint32(len(b))
	*u.sqArray = 0
	atomic.AddUint32(u.sqTail, 1)
	const enterGetEvents = 1
	for {
		_, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(u.fd), 1, 1, enterGetEvents, 0, 0)
		if errno != 0 && errno != unix.EINTR {
			panic(errno)
		}
		if atomic.LoadUint32(u.cqTail) != atomic.LoadUint32(u.cqHead) {
			break
		}
	}
	res := *(*int32)(unsafe.Add(u.cqes, 16*(*u.cqHead%2)+8))
	atomic.AddUint32(u.cqHead, 1)
	return res
}

func zeroFile(n int) int {
	f := Must1(os.CreateTemp("", "tracer"))
	defer f.Close()
	Must(os.Remove(f.Name()))
	Must1(f.Write(make([]byte, n)))
	Must1(f.Seek(0, 0))
	return Must1(unix.Dup(int(f.Fd())))
}

// throughPipe moves n bytes that fill puts into a pipe.
func throughPipe(fd, n int, fill func(pipe, n int) (int, error)) error {
	p := make([]int, 2)
	Must(unix.Pipe2(p, unix.O_CLOEXEC))
	defer closeFD(p[0])
	defer closeFD(p[1])
	for n > 0 {
		m := Must1(fill(p[1], n))
		n -= m
		for m > 0 {
			m -= int(Must1(unix.Splice(p[0], nil, fd, nil, m, 0)))
		}
	}
	return nil
}

// mmsg moves the two halves of b, as far as they go.
func mmsg(call uintptr, fd int, b []byte) (int, error) {
	type mmsghdr struct {
		hdr unix.Msghdr
		n   uint32
		_   [4]byte
	}
	half := max(len(b)/2, 1)
	iovs := []unix.Iovec{{Base: &b[0], Len: uint64(half)}}
	if len(b) > half {
		iovs = append(iovs, unix.Iovec{Base: &b[half], Len: uint64(len(b) - half)})
	}
	msgs := make([]mmsghdr, len(iovs))
	for i := range msgs {
		msgs[i].hdr.Iov, msgs[i].hdr.Iovlen = &iovs[i], 1
	}
	n, _, errno := unix.Syscall6(call, uintptr(fd), uintptr(unsafe.Pointer(&msgs[0])), uintptr(len(msgs)), unix.MSG_WAITFORONE, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	sum := 0
	for i := range n {
		sum += int(msgs[i].n)
	}
	return sum, nil
}

// WayBytes are the bytes of the connection of way i, from its client and from its
// server.
func WayBytes(i int) (client, server int) { return 300_007 + 2*i, 1009 + 2*i }

// wayOf pairs the ways to send with those to receive.
func wayOf(i int) (send, read way) { return sendWays[i%len(sendWays)], readWays[i%len(readWays)] }

// WayCount is the number of ways, so that each way meets several others.
const WayCount = 37

// WaysTotal is what the connections of all ways move.
func WaysTotal() (client, server int) {
	for i := range WayCount {
		c, s := WayBytes(i)
		client, server = client+c, server+s
	}
	return client, server
}

func waysServer(args []string) {
	l, port := listener(args[0])
	said(port)
	for i := range WayCount {
		s := accept(l)
		n, m := WayBytes(i)
		_, read := wayOf(i)
		err := read.move(s, n)
		if err != nil {
			readFull(s, n)
		}
		writeFull(s, m)
		readEnd(s)
		closeFD(s)
		said(lacks(read, err))
	}
	said("done")
	heard()
}

func waysClient(args []string) {
	for i := range WayCount {
		c := dial(args[0], number(args[1]))
		said(localPort(c))
		n, m := WayBytes(i)
		send, _ := wayOf(i)
		err := send.move(c, n)
		if err != nil {
			writeFull(c, n)
		}
		readFull(c, m)
		closeFD(c)
		said(lacks(send, err))
	}
	said("done")
	heard()
}

// lacks tells what took the place of a way that this kernel lacks.
func lacks(w way, err error) string {
	if err != nil {
		return fmt.Sprintf("%s: %v", w.name, err)
	}
	return w.name
}

// What goes each way over a short connection, in bytes.
const (
	ShortAsks    = 101
	ShortAnswers = 1009
)

func echoServer(args []string) {
	l, port := listener("127.0.0.1")
	said(port)
	for range number(args[0]) {
		s := accept(l)
		readFull(s, ShortAsks)
		writeFull(s, ShortAnswers)
		closeFD(s)
	}
	said("done")
	heard()
}

func echoClient(args []string) {
	for range number(args[1]) {
		c := dial("127.0.0.1", number(args[0]))
		writeFull(c, ShortAsks)
		readFull(c, ShortAnswers)
		readEnd(c)
		closeFD(c)
	}
	said("done")
	heard()
}

// The same, but each side's bytes and its end are one segment.
func endServer(args []string) {
	l, port := listener("127.0.0.1")
	said(port)
	for range number(args[0]) {
		s := accept(l)
		readFull(s, ShortAsks)
		readEnd(s)
		Must1(unix.SendmsgN(s, zeros[:ShortAnswers], nil, nil, unix.MSG_MORE))
		closeFD(s)
	}
	said("done")
	heard()
}

func endClient(args []string) {
	for range number(args[1]) {
		c := dial("127.0.0.1", number(args[0]))
		Must1(unix.SendmsgN(c, zeros[:ShortAsks], nil, nil, unix.MSG_MORE))
		Must(unix.Shutdown(c, unix.SHUT_WR))
		readFull(c, ShortAnswers)
		readEnd(c)
		closeFD(c)
	}
	said("done")
	heard()
}

// sentAgain loses what it sends, some times over.
func sentAgain([]string) {
	l, port := listener("127.0.0.1")
	c := dial("127.0.0.1", port)
	s := accept(l)
	for range 2 {
		dropAll(s)
		before := retransmits(c)
		writeFull(c, 20_011)
		for deadline := time.Now().Add(10 * time.Second); retransmits(c) == before; {
			if time.Now().After(deadline) {
				panic("nothing is sent again")
			}
			time.Sleep(time.Millisecond)
		}
		Must(unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0))
		readFull(s, 20_011)
	}
	closeFD(c)
	readEnd(s)
	closeFD(s)
	said("done")
	heard()
}

func retransmits(fd int) uint32 {
	return Must1(unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)).Total_retrans
}

// Bytes that processes move of a socket that they share, in turns.
const (
	shareTurns  = 3
	shareSends  = 1009 // the parent; each child a bit more
	shareReads  = 2003
	shareExtra  = 10
	shareBefore = 4001 // before there are children
)

// sharedSocket is used by a parent and two children, in turns; the other end
// by another process.
func sharedSocket(args []string) {
	c := dial("127.0.0.1", number(args[0]))
	writeFull(c, shareBefore)
	var turn [2]*os.File // to each child
	var done [2]*os.File
	pids := make([]string, 2)
	for i := range turn {
		cmd := childWithPipes(c, "sharer", fmt.Sprint(i+1))
		pids[i], turn[i], done[i] = fmt.Sprint(cmd.pid), cmd.in, cmd.out
	}
	said(strings.Join(pids, " "))
	for range shareTurns {
		writeFull(c, shareSends)
		readFull(c, shareReads)
		for i := range turn {
			Must1(turn[i].Write([]byte{1}))
			Must1(done[i].Read(make([]byte, 1)))
		}
	}
	for i := range turn {
		Must(turn[i].Close())
		Must1(done[i].Read(make([]byte, 1))) // it has ended
	}
	closeFD(c)
	said("done")
	heard()
}

// sharedSink is the other end of a shared socket.
func sharedSink([]string) {
	l, port := listener("127.0.0.1")
	said(port)
	s := accept(l)
	sent, read := ShareTotals()
	writeFull(s, read)
	readFull(s, sent)
	readEnd(s)
	closeFD(s)
	said("done")
	heard()
}

// readSlowly reads so much, with a pause that is longer than some intervals.
func readSlowly(args []string) {
	c := dial("127.0.0.1", number(args[0]))
	n := number(args[1])
	readFull(c, n/7)
	time.Sleep(100 * time.Millisecond)
	readFull(c, n-n/7)
	readEnd(c)
	closeFD(c)
	said("done")
	heard()
}

func callDeaf(args []string) {
	c := dial("127.0.0.1", number(args[0]))
	writeFull(c, 5003)
	heard()
	closeFD(c)
	said("done")
	heard()
}

// sharer moves bytes of socket 3 when it is told to.
func sharer(args []string) {
	extra := number(args[0]) * shareExtra
	turn := make([]byte, 1)
	for {
		if n, _ := os.Stdin.Read(turn); n == 0 {
			os.Stdout.Write(turn)
			return
		}
		writeFull(3, shareSends+extra)
		readFull(3, shareReads+extra)
		Must1(os.Stdout.Write(turn))
	}
}

type pipedChild struct {
	pid     int
	in, out *os.File
}

// childWithPipes starts another workload with a file descriptor as its number 3.
func childWithPipes(fd int, name string, args ...string) pipedChild {
	inR, inW := must2(os.Pipe())
	outR, outW := must2(os.Pipe())
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), variable+"="+name+" "+strings.Join(args, " "))
	cmd.Stdin, cmd.Stdout = inR, outW
	cmd.ExtraFiles = []*os.File{os.NewFile(uintptr(Must1(unix.Dup(fd))), "socket")}
	cmd.Stderr = os.Stderr
	Must(cmd.Start())
	Must(cmd.ExtraFiles[0].Close())
	Must(inR.Close())
	Must(outW.Close())
	return pipedChild{cmd.Process.Pid, inW, outR}
}

func must2[A, B any](a A, b B, err error) (A, B) {
	Must(err)
	return a, b
}

// heldParent accepts a connection and keeps it, while a child writes to it, in
// one call that lasts.
func heldParent(args []string) {
	l, port := listener("127.0.0.1")
	said(port)
	s := accept(l)
	cmd := child(s, "writeAll", args[0])
	said(cmd.Process.Pid)
	Must(cmd.Wait())
	closeFD(s)
	said("done")
	heard()
}

// neverRead accepts what is sent, and reads nothing of it.
func neverRead([]string) {
	l, port := listener("127.0.0.1")
	said(port)
	s := accept(l)
	said("accepted")
	heard()
	closeFD(s)
	said("done")
	heard()
}

// udpWays moves datagrams to and from itself, by every way, and says how many
// bytes.
func udpWays(args []string) {
	host := args[0]
	addr, family := sockaddr(host, 0)
	open := func(to unix.Sockaddr) int {
		fd := Must1(unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0))
		Must(unix.Bind(fd, to))
		return fd
	}
	s := open(addr)
	to, _ := sockaddr(host, localPort(s))
	c := open(addr)
	sum, n := 0, 1000
	count := func(n int) { sum += n }
	next := func() []byte { n++; return zeros[:n] }
	b := make([]byte, 4096)
	read := func() int { return Must1(unix.Read(s, b)) }

	Must(unix.Sendto(c, next(), 0, to))
	count(read())
	Must1(unix.SendmsgN(c, next(), nil, to, 0))
	Must1(recvmsg(s, b, nil, unix.MSG_PEEK)) // takes nothing away
	Must1(recvmsg(s, b, nil, unix.MSG_PEEK|unix.MSG_TRUNC))
	count(Must1(recvmsg(s, b, nil, 0)))
	Must(unix.Connect(c, to))
	Must1(unix.Write(c, next()))
	count(Must1(unix.Readv(s, [][]byte{b[:7], b[7:]})))
	Must1(unix.Writev(c, [][]byte{next(), zeros[:11]}))
	count(read())
	// Two halves are two datagrams.
	Must1(mmsg(unix.SYS_SENDMMSG, c, next()))
	waitFor(s, unix.POLLIN)
	for got := 0; got < n; {
		m := read()
		got += m
		count(m)
	}
	Must1(unix.SendmsgN(c, next(), nil, nil, unix.MSG_MORE))
	Must1(unix.Write(c, zeros[:13])) // one datagram of both
	count(read())
	Must1(unix.Write(c, zeros[:0])) // none at all
	read()
	u := uringOrNil()
	if u != nil {
		if m := u.doBytes(opUringSend, c, next()); int(m) != n {
			panic(m)
		}
		if m := u.doBytes(opUringRecv, s, b); int(m) != n {
			panic(m)
		} else {
			count(int(m))
		}
	}
	// The answer of a socket that is not connected.
	client, _ := sockaddr(host, localPort(c))
	Must(unix.Sendto(s, next(), 0, client))
	count(Must1(unix.Read(c, b)))
	// Nobody is there: it is sent, and the error is no traffic.
	closeFD(s)
	Must1(unix.Write(c, next()))
	waitFor(c, unix.POLLERR)
	if _, err := unix.Read(c, b); err == nil {
		panic("an answer of nobody")
	}
	said(fmt.Sprint(sum+n, " ", sum))
	heard()
}

func uringOrNil() *uring {
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&uringParams{})), 0)
	if errno != 0 {
		return nil
	}
	closeFD(int(fd))
	return newUring()
}

// udpNoise sends itself many small datagrams, by several threads.
func udpNoise(args []string) {
	done := make(chan struct{})
	for range 4 {
		go func() {
			defer func() { done <- struct{}{} }()
			addr, family := sockaddr("127.0.0.1", 0)
			s := Must1(unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0))
			Must(unix.Bind(s, addr))
			to, _ := sockaddr("127.0.0.1", localPort(s))
			b := make([]byte, 100)
			for range number(args[0]) {
				Must(unix.Sendto(s, zeros[:17], 0, to))
				Must1(unix.Read(s, b))
			}
		}()
	}
	for range 4 {
		<-done
	}
	said("done")
	heard()
}

// udpPorts sends datagrams to itself, each from a port of its own, so many
// whenever it is told to, and says how many bytes.
func udpPorts(args []string) {
	Must(os.WriteFile("/proc/self/comm", []byte("traffic-ports"), 0))
	addr, family := sockaddr("127.0.0.1", 0)
	s := Must1(unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0))
	Must(unix.Bind(s, addr))
	to, _ := sockaddr("127.0.0.1", localPort(s))
	said("ready")
	b := make([]byte, 4096)
	for {
		heard()
		sum := 0
		for i := range number(args[0]) {
			c := Must1(unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0))
			Must(unix.Sendto(c, zeros[:100+i], 0, to))
			sum += Must1(unix.Read(s, b))
			closeFD(c)
		}
		said(sum)
	}
}

// Datagrams of udpEnds, and what they are in bytes.
const (
	udpAsks, udpAnswers   = 3, 2
	udpAsk, udpAnswer     = 1009, 1013
	UDPAsked, UDPAnswered = udpAsks * udpAsk, udpAnswers * udpAnswer
)

// udpEnds asks by a socket that is connected, and answers by one that is not. It
// says their ports.
func udpEnds(args []string) {
	addr, family := sockaddr(args[0], 0)
	open := func() int {
		fd := Must1(unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0))
		Must(unix.Bind(fd, addr))
		return fd
	}
	c, s := open(), open()
	to, _ := sockaddr(args[0], localPort(s))
	Must(unix.Connect(c, to))
	b := make([]byte, 4096)
	for i := range udpAsks {
		Must1(unix.Write(c, zeros[:udpAsk]))
		_, from := must2(unix.Recvfrom(s, b, 0))
		if i < udpAnswers {
			Must(unix.Sendto(s, zeros[:udpAnswer], 0, from))
			Must1(unix.Read(c, b))
		}
	}
	said(fmt.Sprint(localPort(c), " ", localPort(s)))
	heard()
}

// trafficNetwork moves bytes within a network of its own.
func trafficNetwork([]string) {
	newNetwork(true)
	l, port := listener("127.0.0.1")
	c := dial("127.0.0.1", port)
	s := accept(l)
	writeFull(c, 1009)
	readFull(s, 1009)
	addr, family := sockaddr("127.0.0.1", 0)
	u := Must1(unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0))
	Must(unix.Bind(u, addr))
	to, _ := sockaddr("127.0.0.1", localPort(u))
	Must(unix.Sendto(u, zeros[:1013], 0, to))
	Must1(unix.Read(u, make([]byte, 2000)))
	said("open")
	heard() // and stay open
	closeFD(c)
	closeFD(s)
	said("done")
	heard()
}

// nothingMoves opens, refuses and closes connections without a byte.
func nothingMoves([]string) {
	l, port := listener("127.0.0.1")
	for range 7 {
		c := dial("127.0.0.1", port)
		s := accept(l)
		abort(c)
		closeFD(s)
	}
	dial("127.0.0.1", port) // nobody accepts it
	closeFD(l)
	addr, _ := sockaddr("127.0.0.1", port)
	wantError(unix.Connect(socket(unix.AF_INET, 0, 0), addr), unix.ECONNREFUSED)
	said("done")
	heard()
}

// ShareOf is what a process of a shared socket moves: 0 is the parent, 1 and 2 are its
// children.
func ShareOf(i int) (sent, read int) {
	sent, read = shareTurns*(shareSends+i*shareExtra), shareTurns*(shareReads+i*shareExtra)
	if i == 0 {
		sent += shareBefore
	}
	return sent, read
}

// ShareTotals is what the three processes of a shared socket move in all.
func ShareTotals() (sent, read int) {
	for i := range 3 {
		s, r := ShareOf(i)
		sent, read = sent+s, read+r
	}
	return sent, read
}

// TalkSize is how many bytes each end of a connection of talkMany sends at a time.
const TalkSize = 1009

// talkMany holds many connections to itself, and has both ends of each speak once each
// time that it is told to.
func talkMany(args []string) {
	l, port := listener("127.0.0.1")
	ends := make([][2]int, number(args[0]))
	for i := range ends {
		ends[i] = [2]int{dial("127.0.0.1", port), accept(l)}
	}
	said("open")
	for {
		heard()
		for _, e := range ends {
			for i := range e {
				writeFull(e[i], TalkSize)
				readFull(e[1-i], TalkSize)
			}
		}
		said("talked")
	}
}
