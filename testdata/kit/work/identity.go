package work

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// identities are connections that come about in some way, in a network of their own, by
// name. Each carries one exchange of HTTP, or what the name says.
func identities() map[string]func(w *wire) {
	return map[string]func(w *wire){
		"plain":        func(w *wire) { w.opened(callMyself()) },
		"fastOpen":     identityFastOpen,
		"fastOpenSlow": identityFastOpenSlow,
		"mptcp":        identityMPTCP,
		"syncookies":   identitySyncookies,
		"sentAgain":    identitySentAgain,
		"bothCall":     identityBothCall,
		"restored":     identityRestored,
		"acceptedLate": identityAcceptedLate,
		"deferred":     identityDeferred,
		"resets":       identityResets,
		"large":        identityLarge,
		"older":        identityOlder,
		"olderWaiting": identityOlderWaiting,
		"dnat":         func(w *wire) { identityOutput(w, "-j DNAT --to-destination 127.0.0.1:%d") },
		"redirect":     func(w *wire) { identityOutput(w, "-j REDIRECT --to-ports %d") },
		"service":      identityService,
	}
}

// identity plays one of them. It says of each connection its client's port and its name,
// as it was on the wire; of one whose client cannot know that, only the port.
func identity(args []string) {
	newNetwork(true)
	w := &wire{}
	w.listen()
	identities()[args[0]](w)
	said("done")
	heard()
}

const (
	identityGet = "GET /identity HTTP/1.1\r\nHost: h\r\n\r\n"
	identityOK  = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
)

// A wire hears the packets that come in, in the networks where it listens.
type wire struct{ raw []int }

func (w *wire) listen() {
	fd := Must1(unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_TCP))
	w.raw = append(w.raw, fd)
}

// name is that of the connection which came last: the initial sequence numbers of its
// two sides. Whatever is sent again has the same.
func (w *wire) name() string {
	var isn [2]uint32 // of the SYN, of its answer
	var seen [2]bool
	b := make([]byte, 64<<10)
	for _, fd := range w.raw {
		for {
			n, err := unix.Read(fd, b)
			if err == unix.EAGAIN {
				break
			}
			tcp := b[int(b[0]&15)*4 : Must1(n, err)]
			const syn, ack = 2, 16
			if tcp[13]&syn == 0 {
				continue
			}
			side := int(tcp[13] & ack / ack)
			isn[side], seen[side] = binary.BigEndian.Uint32(tcp[4:]), true
		}
	}
	if seen != [2]bool{true, true} {
		panic(fmt.Sprintf("the beginning of the connection was not seen: %v", seen))
	}
	return fmt.Sprintf("%08x%08x", isn[0], isn[1])
}

// say says what the connection is called that a client just opened.
func (w *wire) say(client int) { said(fmt.Sprintf("%d %s", localPort(client), w.name())) }

// opened says a connection's name, has an exchange on it and closes it.
func (w *wire) opened(client, server int) {
	w.say(client)
	exchange(client, server)
	closeBoth(client, server)
}

func exchange(client, server int) {
	Must1(unix.Write(client, []byte(identityGet)))
	readFull(server, len(identityGet))
	answer(client, server)
}

func answer(client, server int) {
	Must1(unix.Write(server, []byte(identityOK)))
	readFull(client, len(identityOK))
}

func sysctl(name, value string) {
	Must(os.WriteFile("/proc/thread-self/root/proc/sys/net/ipv4/"+name, []byte(value), 0))
}

// identityFastOpen has the request in the SYN, but for the first one, which earns the
// cookie, and the last one, whose data the server does not take.
func identityFastOpen(w *wire) {
	sysctl("tcp_fastopen", "3")
	l, port := listener("127.0.0.1")
	Must(unix.SetsockoptInt(l, unix.IPPROTO_TCP, unix.TCP_FASTOPEN, 16))
	addr, _ := sockaddr("127.0.0.1", port)
	for i := range 4 {
		if i == 3 {
			sysctl("tcp_fastopen", "1") // the client's part
		}
		c := socket(unix.AF_INET, 0, 0)
		Must(unix.Sendto(c, []byte(identityGet), unix.MSG_FASTOPEN, addr))
		s := accept(l)
		w.say(c)
		readFull(s, len(identityGet))
		answer(c, s)
		closeBoth(c, s)
	}
}

// identityFastOpenSlow loses the answer to a SYN with a request in it: the server has
// accepted, read and answered before either side is connected.
func identityFastOpenSlow(w *wire) {
	sysctl("tcp_fastopen", "3")
	l, port := listener("127.0.0.1")
	Must(unix.SetsockoptInt(l, unix.IPPROTO_TCP, unix.TCP_FASTOPEN, 16))
	addr, _ := sockaddr("127.0.0.1", port)
	earns := socket(unix.AF_INET, 0, 0)
	Must(unix.Sendto(earns, nil, unix.MSG_FASTOPEN, addr))
	w.opened(earns, accept(l))

	c := socket(unix.AF_INET, unix.SOCK_NONBLOCK, 0)
	dropAll(c)
	Must(unix.Sendto(c, []byte(identityGet), unix.MSG_FASTOPEN, addr))
	s := accept(l)
	readFull(s, len(identityGet))
	w.say(c)
	takeAll(c)
	Must1(unix.Write(s, []byte(identityOK)))
	waitFor(c, unix.POLLIN)
	Must(unix.SetNonblock(c, false))
	readFull(c, len(identityOK))
	closeBoth(c, s)
}

func identityMPTCP(w *wire) {
	const protocol = 262 // IPPROTO_MPTCP
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, protocol)
	if err != nil {
		said("skip: this kernel lacks MPTCP: " + err.Error())
		os.Exit(0)
	}
	closeFD(fd)
	l, port := bound("127.0.0.1", protocol, 16)
	addr, _ := sockaddr("127.0.0.1", port)
	for _, own := range []int{protocol, 0} {
		c := socket(unix.AF_INET, 0, own)
		Must(unix.Connect(c, addr))
		w.opened(c, accept(l))
	}
}

// identitySyncookies has the server keep nothing of who calls until it is called again.
func identitySyncookies(w *wire) {
	sysctl("tcp_syncookies", "2") // for all
	w.opened(callMyself())
}

// identitySentAgain loses the first SYN, and the first answer of another one.
func identitySentAgain(w *wire) {
	l, port := listener("127.0.0.1")
	dropAll(l)
	c := beginConnect(port, 0)
	time.Sleep(100 * time.Millisecond)
	takeAll(l)
	waitFor(c, unix.POLLOUT)
	Must(unix.SetNonblock(c, false))
	w.opened(c, accept(l))

	addr, _ := sockaddr("127.0.0.1", port)
	c = socket(unix.AF_INET, unix.SOCK_NONBLOCK, 0)
	dropAll(c)
	wantError(unix.Connect(c, addr), unix.EINPROGRESS)
	time.Sleep(100 * time.Millisecond)
	takeAll(c)
	waitFor(c, unix.POLLOUT)
	Must(unix.SetNonblock(c, false))
	w.opened(c, accept(l))
}

// identityBothCall has two sockets call each other, of which the second one's SYN comes
// to the first, whose own was lost: the second one takes the answer for an usual one.
func identityBothCall(w *wire) {
	var ports [2]int
	reusable := func(port int) int {
		fd := socket(unix.AF_INET, 0, 0)
		Must(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
		Must(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
		addr, _ := sockaddr("127.0.0.1", port)
		Must(unix.Bind(fd, addr))
		return fd
	}
	for i := range ports { // who listens swallows a SYN
		l := reusable(0)
		Must(unix.Listen(l, 1))
		dropAll(l)
		ports[i] = localPort(l)
	}
	first, second := reusable(ports[0]), reusable(ports[1])
	Must(unix.SetNonblock(first, true))
	to, _ := sockaddr("127.0.0.1", ports[1])
	wantError(unix.Connect(first, to), unix.EINPROGRESS)
	for _, fd := range w.raw { // the SYN that was lost
		Must1(unix.Read(fd, make([]byte, 100)))
	}
	to, _ = sockaddr("127.0.0.1", ports[0])
	Must(unix.Connect(second, to))
	waitFor(first, unix.POLLOUT)
	Must(unix.SetNonblock(first, false))
	said(fmt.Sprintf("%d", ports[0]))
	w.opened(second, first)
}

// identityRestored makes a connection as a checkpoint is restored: no packet opens it.
func identityRestored(*wire) {
	l, port := listener("127.0.0.1")
	dropAll(l)
	addr, _ := sockaddr("127.0.0.1", port)
	from, _ := sockaddr("127.0.0.1", 0)
	c := socket(unix.AF_INET, 0, 0)
	if err := unix.SetsockoptInt(c, unix.IPPROTO_TCP, unix.TCP_REPAIR, 1); err != nil {
		said("skip: this kernel lacks TCP_REPAIR: " + err.Error())
		os.Exit(0)
	}
	Must(unix.Bind(c, from))
	Must(unix.Connect(c, addr))
	said(fmt.Sprintf("%d", localPort(c)))
	closeFD(c)
}

// identityAcceptedLate has bytes and the end of one side come before it is accepted.
func identityAcceptedLate(w *wire) {
	l, port := listener("127.0.0.1")
	c := dial("127.0.0.1", port)
	w.say(c)
	Must1(unix.Write(c, []byte(identityGet)))
	Must(unix.Shutdown(c, unix.SHUT_WR))
	time.Sleep(20 * time.Millisecond)
	s := accept(l)
	readFull(s, len(identityGet))
	readEnd(s)
	answer(c, s)
	closeFD(s)
	readEnd(c)
	closeFD(c)
}

// identityDeferred has the handshake end with the first bytes.
func identityDeferred(w *wire) {
	l, port := listener("127.0.0.1")
	Must(unix.SetsockoptInt(l, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 5))
	c := dial("127.0.0.1", port)
	w.say(c)
	Must1(unix.Write(c, []byte(identityGet)))
	s := accept(l)
	readFull(s, len(identityGet))
	answer(c, s)
	closeBoth(c, s)
}

// identityResets ends connections by a reset: of the client, of the server, and before
// the connection was accepted.
func identityResets(w *wire) {
	for _, by := range []string{"client", "server"} {
		c, s := callMyself()
		w.say(c)
		exchange(c, s)
		if by == "server" {
			c, s = s, c
		}
		abort(c)
		_, err := unix.Read(s, make([]byte, 1))
		wantError(err, unix.ECONNRESET)
		closeFD(s)
	}
	l, port := listener("127.0.0.1")
	c := dial("127.0.0.1", port)
	w.say(c)
	Must1(unix.Write(c, []byte(identityGet)))
	abort(c)
	closeFD(accept(l))
}

// large is how many MiB identityLarge has a client receive: more than sequence numbers
// can count, which goes round on every machine.
var large = 1<<12 + 101

// identityLarge has numbers go round.
func identityLarge(w *wire) {
	if os.Getenv("TRACER_VM") != "" {
		large = 101
	}
	c, s := callMyself()
	w.say(c)
	exchange(c, s)
	done := make(chan struct{})
	go func() {
		for range large {
			writeFull(s, 1<<20)
		}
		close(done)
	}()
	b := make([]byte, 1<<20)
	for n := 0; n < large<<20; {
		// Thrown away unread.
		r, _, err := unix.Recvfrom(c, b, unix.MSG_TRUNC)
		if err != unix.EINTR {
			n += Must1(r, err)
		}
	}
	<-done
	closeBoth(c, s)
}

// identityOlder has connections that are there before tracing begins: nothing has moved,
// some bytes have, one side has closed.
func identityOlder(w *wire) {
	type pair struct{ client, server int }
	var list []pair
	for i := range 4 {
		c, s := callMyself()
		w.say(c)
		if i > 0 {
			exchange(c, s)
		}
		if i == 2 {
			Must(unix.Shutdown(c, unix.SHUT_WR))
			readEnd(s)
		}
		if i == 3 {
			Must(unix.Shutdown(s, unix.SHUT_WR))
			readEnd(c)
		}
		list = append(list, pair{c, s})
	}
	said("open")
	heard()
	for i, p := range list {
		switch i {
		case 0, 1:
			exchange(p.client, p.server)
			closeBoth(p.client, p.server)
		case 2:
			closeFD(p.server)
			readEnd(p.client)
			closeFD(p.client)
		case 3:
			closeFD(p.client)
			readEnd(p.server)
			closeFD(p.server)
		}
	}
}

// identityOlderWaiting has a connection that waits to be accepted when tracing begins,
// and a request in it.
func identityOlderWaiting(w *wire) {
	l, port := listener("127.0.0.1")
	c := dial("127.0.0.1", port)
	w.say(c)
	Must1(unix.Write(c, []byte(identityGet)))
	said("open")
	heard()
	s := accept(l)
	readFull(s, len(identityGet))
	answer(c, s)
	exchange(c, s)
	closeBoth(c, s)
}

// command runs a shell command in the network of this thread.
func command(format string, args ...any) {
	cmd := exec.Command("/bin/sh", "-ec", fmt.Sprintf(format, args...))
	if out, err := cmd.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("%v: %v: %s", cmd.Args, err, out))
	}
}

// iptables is the tool that translates addresses here.
func iptables() string {
	for _, name := range []string{"iptables-legacy", "iptables"} {
		path, err := exec.LookPath(name)
		if err == nil && exec.Command(path, "-w", "-t", "nat", "-S").Run() == nil {
			return path + " -w"
		}
	}
	said("skip: no iptables here that can translate addresses")
	os.Exit(0)
	return ""
}

// identityOutput calls an address that is translated where the call leaves.
func identityOutput(w *wire, target string) {
	tool := iptables()
	l, port := bound("0.0.0.0", 0, 16)
	command("ip addr add 198.18.96.1/32 dev lo; %s -t nat -A OUTPUT -p tcp -d 198.18.96.1 --dport 4447 "+target, tool, port)
	c := dial("198.18.96.1", 4447)
	w.opened(c, accept(l))
}

// identityService calls a router that passes the call on to a server in another network
// and masquerades who called: both addresses are translated between the ends.
func identityService(w *wire) {
	tool := iptables()
	space := func() int {
		return Must1(unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0))
	}
	path := func(fd int) string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd) }
	router := space()
	command("%s -t nat -A PREROUTING -p tcp --dport 4447 -j DNAT --to-destination 198.18.98.2:4446", tool)
	command("%s -t nat -A POSTROUTING -o s -j MASQUERADE", tool)
	sysctl("ip_forward", "1")
	newNetwork(true)
	w.raw = nil
	w.listen() // where the answer comes
	client := space()
	command("ip link add c type veth peer name c netns %s; ip addr add 198.18.97.2/24 dev c; ip link set c up", path(router))
	newNetwork(true)
	w.listen() // where the call comes
	server := space()
	command("ip link add s type veth peer name s netns %s; ip addr add 198.18.98.2/24 dev s; ip link set s up", path(router))
	enter := func(fd int) { Must(unix.Setns(fd, unix.CLONE_NEWNET)) }
	enter(router)
	command("ip addr add 198.18.97.1/24 dev c; ip addr add 198.18.98.1/24 dev s; ip link set c up; ip link set s up")
	enter(server)
	addr, _ := sockaddr("198.18.98.2", 4446)
	l := socket(unix.AF_INET, 0, 0)
	Must(unix.Bind(l, addr))
	Must(unix.Listen(l, 16))
	enter(client)
	c := dial("198.18.97.1", 4447)
	w.opened(c, accept(l))
}
