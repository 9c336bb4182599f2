package work

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// idle sleeps between the last byte and the end, and says for how long. The end is one of
// the client's (close), a reset (abort), a half (half: its peer goes on to send, and closes
// as late again), or that of a connection without a byte (silent).
func idle(args []string) {
	c, s := callMyself()
	if args[0] != "silent" {
		writeFull(c, 1009)
		readFull(s, 1009)
		writeFull(s, 1013)
		readFull(c, 1013)
	}
	begin := time.Now()
	time.Sleep(100 * time.Millisecond)
	slept := time.Since(begin)
	switch args[0] {
	case "abort":
		abort(c)
		_, err := unix.Read(s, make([]byte, 1))
		wantError(err, unix.ECONNRESET)
		closeFD(s)
	case "half":
		Must(unix.Shutdown(c, unix.SHUT_WR))
		readEnd(s)
		writeFull(s, 1013)
		readFull(c, 1013)
		time.Sleep(100 * time.Millisecond)
		closeFD(s)
		readEnd(c)
		closeFD(c)
	default:
		closeBoth(c, s)
	}
	said(slept.Microseconds())
	said("done")
	heard()
}

// unread leaves so many bytes unread: with its own end sent before (shut), after the
// peer's (after), or with neither.
func unread(args []string) {
	c, s := callMyself()
	n := number(args[1])
	writeFull(c, 1009+n)
	readFull(s, 1009)
	for Must1(unix.IoctlGetInt(s, unix.SIOCINQ)) < n {
		time.Sleep(time.Millisecond)
	}
	switch args[0] {
	case "shut":
		Must(unix.Shutdown(s, unix.SHUT_WR))
		readEnd(c)
	case "after":
		Must(unix.Shutdown(c, unix.SHUT_WR))
		waitFor(s, unix.POLLRDHUP)
	}
	closeFD(s)
	waitFor(c, unix.POLLHUP)
	closeFD(c)
	said("done")
	heard()
}

// queue has connections wait before they are accepted, and says of each for how long it
// did at least and at most. Arguments: the listener's limit, how many.
func queue(args []string) {
	limit, n := number(args[0]), number(args[1])
	l, port := bound("127.0.0.1", 0, limit)
	var clients []int
	before, after := make([]time.Time, n), make([]time.Time, n) // it was established
	for i := range n {
		before[i] = time.Now()
		clients = append(clients, dial("127.0.0.1", port))
		after[i] = time.Now()
	}
	time.Sleep(120 * time.Millisecond)
	for i := range n {
		least := time.Since(after[i])
		s := accept(l)
		said(fmt.Sprintf("%d %d %d", localPort(clients[i]), least.Microseconds(), time.Since(before[i]).Microseconds()))
		closeBoth(clients[i], s)
	}
	said("done")
	heard()
}

// limited sends to somebody who does not read for a while (receiver) or to one who reads
// all the time, and says what the kernel says it has waited for: in all, for the window,
// for the buffer, and the shortest round trip.
func limited(args []string) {
	c, s := callMyself()
	const n = 16 << 20
	done := make(chan bool)
	go func() {
		if args[0] == "receiver" {
			time.Sleep(200 * time.Millisecond)
		}
		readFull(s, n)
		done <- true
	}()
	writeFull(c, n)
	<-done
	for Must1(unix.IoctlGetInt(c, unix.SIOCOUTQ)) > 0 {
		time.Sleep(time.Millisecond)
	}
	info := Must1(unix.GetsockoptTCPInfo(c, unix.IPPROTO_TCP, unix.TCP_INFO))
	closeBoth(c, s)
	said(fmt.Sprintf("%d %d %d %d", info.Busy_time, info.Rwnd_limited, info.Sndbuf_limited, info.Min_rtt))
	said("done")
	heard()
}

// holdOpen has connections that a look at what is open must tell, and says of each its
// client's port and what is known of it:
//
//	idle      101 bytes wait to be read, nothing has moved for a while
//	full      as much as could be written to one who does not read
//	half      the client has sent its end, and 77 bytes are unread
//	waits     three that nobody has accepted, one with 13 bytes
//
// Another process has the listener, too.
func holdOpen([]string) {
	l, port := bound("127.0.0.1", 0, 5)
	call := func() (c, s int) { c = dial("127.0.0.1", port); return c, accept(l) }
	began := time.Now()
	idleClient, idleServer := call()
	writeFull(idleClient, 101)
	writeFull(idleServer, 11)
	readFull(idleClient, 11)

	full, _ := call()
	Must(unix.SetNonblock(full, true))
	for {
		if _, err := unix.Write(full, zeros); err != nil {
			wantError(err, unix.EAGAIN)
			break
		}
	}

	half, _ := call()
	writeFull(half, 77)
	Must(unix.Shutdown(half, unix.SHUT_WR))

	var waits []int
	for range 3 {
		waits = append(waits, dial("127.0.0.1", port))
	}
	writeFull(waits[0], 13)
	cmd := child(l, "holdListener")
	time.Sleep(100 * time.Millisecond)

	said(cmd.Process.Pid)
	said(time.Since(began).Microseconds())
	said(fmt.Sprintf("%d", localPort(idleClient)))
	saidQueue := func() {
		said(fmt.Sprintf("%d %d %d", localPort(full), Must1(unix.IoctlGetInt(full, unix.SIOCOUTQ)), Must1(unix.IoctlGetInt(full, siocOutQNSD))))
	}
	saidQueue()
	said(fmt.Sprintf("%d", localPort(half)))
	for _, c := range waits {
		said(fmt.Sprintf("%d", localPort(c)))
	}
	heard()
	saidQueue() // a probe of the closed window may have got something through
	Must(cmd.Process.Kill())
	_ = cmd.Wait() // it was killed
	said("done")
	heard()
}

// siocOutQNSD is SIOCOUTQNSD of linux/sockios.h: bytes that were not sent yet.
const siocOutQNSD = 0x894B

// holdListener has a listener as its number 3 until it is killed, or a test has ended that
// failed to do so.
func holdListener([]string) { time.Sleep(time.Minute) }
