package work

import (
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// allWaysToSend sends by every system call that can, and receives by several.
func allWaysToSend([]string) {
	c, s := callMyself()
	file := Must1(os.CreateTemp("", "tracer"))
	Must(os.Remove(file.Name()))
	Must1(file.Write(zeros[:200_003]))

	const total = 1009 + 2*1013 + 1019 + 1021 + 2*1031 + 200_003 + 5003 + 4001 + 70_001 + 3*1_000_003
	said(total)
	received := make(chan struct{})
	go func() {
		defer close(received)
		receive(s, total)
	}()

	writeFull(c, 1009)
	Must1(unix.Writev(c, [][]byte{zeros[:1013], {}, zeros[:1013]}))
	Must(unix.Send(c, zeros[:1019], 0))
	Must1(unix.SendmsgN(c, zeros[:1021], nil, nil, 0))
	sendmmsg(c, 1031, 2)
	Must1(file.Seek(0, 0))
	for n := 200_003; n > 0; {
		n -= Must1(unix.Sendfile(c, int(file.Fd()), nil, n))
	}
	// file → pipe → socket, and memory → pipe → socket
	p := make([]int, 2)
	Must(unix.Pipe2(p, unix.O_CLOEXEC))
	at := int64(0)
	for n := 5003; n > 0; {
		m := Must1(unix.Splice(int(file.Fd()), &at, p[1], nil, n, 0))
		n -= int(m)
		for m > 0 {
			m -= Must1(unix.Splice(p[0], nil, c, nil, int(m), 0))
		}
	}
	Must1(unix.Vmsplice(p[1], []unix.Iovec{{Base: &zeros[0], Len: 4001}}, 0))
	for m := int64(4001); m > 0; {
		m -= Must1(unix.Splice(p[0], nil, c, nil, int(m), 0))
	}
	Must(unix.SetsockoptInt(c, unix.SOL_SOCKET, unix.SO_ZEROCOPY, 1))
	for n := 70_001; n > 0; {
		n -= Must1(unix.SendmsgN(c, zeros[:n], nil, nil, unix.MSG_ZEROCOPY))
	}
	// Short writes, and those that find no room at all.
	Must(unix.SetNonblock(c, true))
	for n := 3 * 1_000_003; n > 0; {
		w, err := unix.Write(c, zeros[:min(n, 1_000_003)])
		if err == unix.EAGAIN {
			waitFor(c, unix.POLLOUT)
			continue
		}
		n -= Must1(w, err)
	}
	Must(unix.SetNonblock(c, false))
	<-received
	writeFull(s, 1013)
	readFull(c, 1013)
	closeBoth(c, s)
	said("done")
	heard()
}

func sendmmsg(fd, size, count int) {
	type mmsghdr struct {
		hdr unix.Msghdr
		n   uint32
		_   [4]byte
	}
	iov := unix.Iovec{Base: &zeros[0], Len: uint64(size)}
	msgs := make([]mmsghdr, count)
	for i := range msgs {
		msgs[i].hdr.Iov, msgs[i].hdr.Iovlen = &iov, 1
	}
	n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&msgs[0])), uintptr(count), 0, 0, 0)
	if int(n) != count {
		panic(errno)
	}
}

// receive takes exactly total bytes, by several system calls in turn.
func receive(fd, total int) {
	b := make([]byte, 60_013)
	p := make([]int, 2)
	Must(unix.Pipe2(p, unix.O_CLOEXEC))
	for i := 0; total > 0; i++ {
		size := min(total, len(b))
		var n int
		var err error
		switch i % 6 {
		case 0:
			n, err = unix.Read(fd, b[:size])
		case 1: // takes nothing away
			_, _, err = unix.Recvfrom(fd, b[:size], unix.MSG_PEEK)
		case 2:
			n, _, err = unix.Recvfrom(fd, b[:min(size, 1009)], unix.MSG_WAITALL)
		case 3:
			n, err = unix.Readv(fd, [][]byte{b[:min(size, 7)], b[:size-min(size, 7)]})
		case 4: // thrown away by the kernel
			n, _, err = unix.Recvfrom(fd, b[:size], unix.MSG_TRUNC)
		case 5:
			var m int64
			m, err = unix.Splice(fd, nil, p[1], nil, min(size, 50_021), 0)
			n = int(m)
			for got := 0; got < n; {
				got += Must1(unix.Read(p[0], b))
			}
		}
		if err == unix.EINTR {
			continue
		}
		Must(err)
		total -= n
	}
}

func fastOpen([]string) {
	newNetwork(true)
	Must(os.WriteFile("/proc/thread-self/root/proc/sys/net/ipv4/tcp_fastopen", []byte("3"), 0))
	l, port := listener("127.0.0.1")
	Must(unix.SetsockoptInt(l, unix.IPPROTO_TCP, unix.TCP_FASTOPEN, 16))
	addr, _ := sockaddr("127.0.0.1", port)
	for range 2 { // the first one earns the cookie
		c := socket(unix.AF_INET, 0, 0)
		Must(unix.Sendto(c, zeros[:1009], unix.MSG_FASTOPEN, addr))
		s := accept(l)
		readFull(s, 1009)
		closeBoth(c, s)
	}
	said("done")
	heard()
}

func mptcp(args []string) {
	const protocol = 262 // IPPROTO_MPTCP
	if fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, protocol); err != nil {
		said("skip: this kernel lacks MPTCP: " + err.Error())
		return
	} else {
		closeFD(fd)
	}
	l, port := bound("127.0.0.1", protocol, 16)
	addr, _ := sockaddr("127.0.0.1", port)
	own := protocol
	if args[0] == "tcp" {
		own = 0
	}
	c := socket(unix.AF_INET, 0, own)
	Must(unix.Connect(c, addr))
	s := accept(l)
	writeFull(c, 1009)
	readFull(s, 1009)
	writeFull(s, 1013)
	readFull(c, 1013)
	closeBoth(c, s)
	said("done")
	heard()
}

// uring is an io_uring(7) for one request at a time.
type uring struct {
	fd      int
	sq, cq  []byte
	sqes    []byte
	sqTail  *uint32
	sqArray *uint32
	cqHead  *uint32
	cqTail  *uint32
	cqes    unsafe.Pointer
}

// struct io_uring_params, as 32-bit numbers.
type uringParams [30]uint32

func newUring() *uring {
	var p uringParams
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		said("skip: this kernel lacks io_uring: " + errno.Error())
		os.Exit(0)
	}
	const sqOff, cqOff = 10, 20 // of struct io_sqring_offsets, io_cqring_offsets
	const offCQ, offSQEs = 0x8000000, 0x10000000
	mmap := func(offset int64) []byte {
		return Must1(unix.Mmap(int(fd), offset, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE))
	}
	u := &uring{fd: int(fd), sq: mmap(0), cq: mmap(offCQ), sqes: mmap(offSQEs)}
	u.sqTail = (*uint32)(unsafe.Pointer(&u.sq[p[sqOff+1]]))
	u.sqArray = (*uint32)(unsafe.Pointer(&u.sq[p[sqOff+6]]))
	u.cqHead = (*uint32)(unsafe.Pointer(&u.cq[p[cqOff]]))
	u.cqTail = (*uint32)(unsafe.Pointer(&u.cq[p[cqOff+1]]))
	u.cqes = unsafe.Pointer(&u.cq[p[cqOff+5]])
	return u
}

// do runs one request and returns its result.
func (u *uring) do(opcode uint8, fd int, addr unsafe.Pointer, off uint64) int32 {
	return u.doSized(opcode, fd, addr, 0, off)
}

func (u *uring) doSized(opcode uint8, fd int, addr unsafe.Pointer, size uint32, off uint64) int32 {
	clear(u.sqes[:64])
	u.sqes[0] = opcode
	*(*int32)(unsafe.Pointer(&u.sqes[4])) = int32(fd)
	*(*uint64)(unsafe.Pointer(&u.sqes[8])) = off
	*(*uint64)(unsafe.Pointer(&u.sqes[16])) = uint64(uintptr(addr))
	*(*uint32)(unsafe.Pointer(&u.sqes[24])) = size
	*u.sqArray = 0
	atomic.AddUint32(u.sqTail, 1)
	const enterGetEvents = 1
	if _, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(u.fd), 1, 1, enterGetEvents, 0, 0); errno != 0 {
		panic(errno)
	}
	if atomic.LoadUint32(u.cqTail) == atomic.LoadUint32(u.cqHead) {
		panic("no completion")
	}
	// Two entries, 16 bytes each: user_data, res, flags.
	res := *(*int32)(unsafe.Add(u.cqes, 16*(*u.cqHead%2)+8))
	atomic.AddUint32(u.cqHead, 1)
	return res
}

func (u *uring) connect(fd, port int) error {
	const opConnect = 16
	addr := unix.RawSockaddrInet4{Family: unix.AF_INET, Port: uint16(port>>8 | port&255<<8), Addr: [4]byte{127, 0, 0, 1}}
	if res := u.do(opConnect, fd, unsafe.Pointer(&addr), uint64(unsafe.Sizeof(addr))); res < 0 {
		return syscall.Errno(-res)
	}
	return nil
}

func ioUring([]string) {
	const opAccept = 13
	u := newUring()
	l, port := listener("127.0.0.1")
	c := socket(unix.AF_INET, 0, 0)
	Must(u.connect(c, port))
	s := int(u.do(opAccept, l, nil, 0))
	if s < 0 {
		panic(syscall.Errno(-s))
	}
	writeFull(c, 1009)
	readFull(s, 1009)
	closeBoth(c, s)
	said("done")
	heard()
}
