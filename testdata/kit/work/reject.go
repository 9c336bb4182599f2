package work

import (
	"encoding/binary"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// icmpUnreachable is the ICMP message of a router that a packet could not be delivered:
// to the host (code 1).
func icmpUnreachable(packet []byte) []byte {
	message := append([]byte{3, 1, 0, 0, 0, 0, 0, 0}, packet...)
	var sum uint32
	for i := 0; i < len(message); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(message[i:]))
	}
	binary.BigEndian.PutUint16(message[2:], ^uint16(sum+sum>>16))
	return message
}

// A memoryFault is memory that is not there yet: who reads it waits.
type memoryFault struct {
	fd   int
	page []byte
}

func newMemoryFault() *memoryFault {
	const handshake, register = 0xc018aa3f, 0xc020aa00 // UFFDIO_API, UFFDIO_REGISTER
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC, 0, 0)
	if errno != 0 {
		said("skip: this kernel lacks userfaultfd: " + errno.Error())
		os.Exit(0)
	}
	m := &memoryFault{int(fd), Must1(unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS))}
	m.ioctl(handshake, 0xaa, 0, 0)
	const missing = 1
	m.ioctl(register, m.start(), uint64(len(m.page)), missing, 0)
	return m
}

func (m *memoryFault) start() uint64 { return uint64(uintptr(unsafe.Pointer(&m.page[0]))) }

func (m *memoryFault) ioctl(request uintptr, args ...uint64) {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(m.fd), request, uintptr(unsafe.Pointer(&args[0]))); errno != 0 {
		panic(errno)
	}
}

// await waits until somebody waits for the memory.
func (m *memoryFault) await() {
	Must1(unix.Read(m.fd, make([]byte, 32))) // struct uffd_msg
}

// fill fills the memory with bytes, and lets whoever waits go on.
func (m *memoryFault) fill(b []byte) {
	const copyTo = 0xc028aa03 // UFFDIO_COPY
	page := make([]byte, len(m.page))
	copy(page, b)
	m.ioctl(copyTo, m.start(), uint64(uintptr(unsafe.Pointer(&page[0]))), uint64(len(page)), 0, 0)
}

// rejectedWhileHeld has an ICMP message come for a connect while a call holds its
// socket, as connect itself does while the SYN leaves: the kernel notes the error, the
// program is told, and the attempt goes on until the program closes the socket.
func rejectedWhileHeld(args []string) {
	newNetwork(true)
	wire := Must1(unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP))
	l, port := listener("127.0.0.1")
	dropAll(l)
	c := beginConnect(port, 6)
	syn := make([]byte, 20+8) // as much of a packet as ICMP quotes
	Must1(unix.Read(wire, syn))

	// setsockopt holds the socket while it waits for the filter.
	filter := newMemoryFault()
	attached := make(chan error)
	go func() {
		attached <- unix.SetsockoptSockFprog(c, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: (*unix.SockFilter)(unsafe.Pointer(&filter.page[0]))})
	}()
	filter.await()
	router := Must1(unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP))
	Must(unix.Sendto(router, icmpUnreachable(syn), 0, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	waitFor(c, unix.POLLERR)
	filter.fill([]byte{unix.BPF_RET | unix.BPF_K, 0, 0, 0, 255, 255, 0, 0}) // takes all
	Must(<-attached)
	if args[0] == "asked" {
		wantPending(c, unix.EHOSTUNREACH)
	}
	said(port)
	closeFD(c)
	said("done")
	heard()
}

// reusedAfterRejection calls twice with one socket: what rejected the first call is no
// reason of the second, which is given up.
func reusedAfterRejection([]string) {
	newNetwork(true)
	tool("iptables", "-A", "OUTPUT", "-p", "tcp", "--dport", "7", "-j", "REJECT")
	l, port := listener("127.0.0.1")
	dropAll(l)
	c := beginConnect(7, 6)
	wantPending(c, unix.ECONNREFUSED)
	dissolve(c)
	addr, _ := sockaddr("127.0.0.1", port)
	wantError(unix.Connect(c, addr), unix.EINPROGRESS)
	closeFD(c)
	said("done")
	heard()
}

// dissolve ends a connection, or an attempt, and leaves the socket for another.
func dissolve(c int) {
	unspec := unix.RawSockaddr{Family: unix.AF_UNSPEC}
	if _, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(c), uintptr(unsafe.Pointer(&unspec)), unsafe.Sizeof(unspec)); errno != 0 {
		panic(errno)
	}
}

// tool runs a command in this thread's network.
func tool(name string, args ...string) {
	if legacy, err := exec.LookPath(name + "-legacy"); err == nil {
		name = legacy
	}
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		panic(name + " " + strings.Join(args, " ") + ": " + string(out))
	}
}

// rejected connects without waiting, or waits, and is rejected by a firewall of this
// host, or by a router.
func rejected(args []string) {
	host, want := "127.0.0.1", unix.ECONNREFUSED
	newNetwork(true)
	reject := func(how string) {
		tool("iptables", "-A", "OUTPUT", "-p", "tcp", "--dport", "4445", "-j", "REJECT", "--reject-with", how)
	}
	switch args[0] {
	case "port":
		reject("icmp-port-unreachable")
	case "net":
		reject("icmp-net-unreachable")
		want = unix.ENETUNREACH
	case "host":
		reject("icmp-host-unreachable")
		want = unix.EHOSTUNREACH
	case "reset":
		reject("tcp-reset")
	case "ipv6":
		tool("ip6tables", "-A", "OUTPUT", "-p", "tcp", "--dport", "4445", "-j", "REJECT")
		host = "::1"
	case "router":
		// Behind the other end of a wire there is no way on.
		host, want = "192.0.2.1", unix.EHOSTUNREACH
		router := newRouter()
		defer closeFD(router)
	}
	if args[0] == "ipv6" {
		want = unix.ECONNREFUSED
	}
	addr, family := sockaddr(host, 4445)
	if args[1] == "waits" {
		wantError(unix.Connect(socket(family, 0, 0), addr), want)
	} else {
		c := socket(family, unix.SOCK_NONBLOCK, 0)
		wantError(unix.Connect(c, addr), unix.EINPROGRESS)
		wantPending(c, want)
		closeFD(c)
	}
	said(unix.ErrnoName(want))
	said(netip.AddrPortFrom(netip.MustParseAddr(host), 4445))
	said("done")
	heard()
}

// newRouter puts a network behind a wire to another namespace, in which it cannot be
// reached. The namespace lasts as long as the descriptor.
func newRouter() int {
	here := Must1(unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0))
	Must(unix.Unshare(unix.CLONE_NEWNET))
	there := Must1(unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0))
	tool("ip", "link", "add", "wire", "type", "veth", "peer", "name", "far")
	tool("ip", "addr", "add", "198.51.100.1/24", "dev", "far")
	tool("ip", "link", "set", "far", "up")
	Must(os.WriteFile("/proc/thread-self/root/proc/sys/net/ipv4/ip_forward", []byte("1"), 0))
	addUnreachable("192.0.2.0")
	moveLink("wire", here)
	Must(unix.Setns(here, unix.CLONE_NEWNET))
	tool("ip", "addr", "add", "198.51.100.2/24", "dev", "wire")
	tool("ip", "link", "set", "wire", "up")
	tool("ip", "route", "add", "192.0.2.0/24", "via", "198.51.100.1")
	return there
}

// moveLink moves a network device to another namespace.
func moveLink(name string, to int) {
	cmd := exec.Command("ip", "link", "set", name, "netns", "/proc/self/fd/3")
	cmd.ExtraFiles = []*os.File{os.NewFile(uintptr(Must1(unix.Dup(to))), "namespace")}
	if out, err := cmd.CombinedOutput(); err != nil {
		panic(string(out))
	}
}

// changesUser opens a connection to itself and closes it as another user.
func changesUser(args []string) {
	said("ready")
	heard()
	c, s := callMyself()
	said("open")
	heard()
	Must(syscall.Setuid(number(args[0])))
	closeBoth(c, s)
	said("done")
	heard()
}

// olderReset has a connection reset before the look at older ones meets it: the one
// side is closed, the other is not.
func olderReset([]string) {
	c, s := callMyself()
	said("open")
	heard()
	abort(c)
	waitFor(s, unix.POLLERR)
	said("reset")
	heard()
	closeFD(s)
	said("done")
	heard()
}

// olderConnected begins two connects: one gets its answer, the other is refused.
func olderConnected([]string) {
	newNetwork(true)
	l, port := listener("127.0.0.1")
	dropAll(l)
	gone, nobody := listener("127.0.0.1")
	dropAll(gone)
	c, refused := beginConnect(port, 6), beginConnect(nobody, 6)
	said("waits")
	heard()
	closeFD(gone)
	takeAll(l)
	waitFor(c, unix.POLLOUT)
	wantPending(refused, unix.ECONNREFUSED)
	said("answered")
	heard()
	s := accept(l)
	closeBoth(c, s)
	closeFD(refused)
	said("done")
	heard()
}
