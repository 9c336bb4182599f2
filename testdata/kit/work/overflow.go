package work

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// overflow has listeners whose queues are full, in a network namespace of its own unless it
// is "here". When it is told to, it connects so often to each that so many SYNs are dropped
// as the kernel counts it. Arguments: where, the listener's limit, how many, and how many
// listeners drop. It says their ports, and then how many were dropped.
func overflow(args []string) {
	if args[0] == "own" {
		newNetwork(true)
	}
	limit, n, droppers := number(args[1]), number(args[2]), number(args[3])
	var ports []int
	for range 2 {
		_, port := bound("127.0.0.1", 0, limit)
		ports = append(ports, port)
		said(port)
	}
	heard()
	before := overflows()
	for _, port := range ports[:droppers] {
		for range limit + 1 { // one more than the limit finds room
			dial("127.0.0.1", port)
		}
		for range n {
			addr, family := sockaddr("127.0.0.1", port)
			fd := Must1(unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0))
			if err := unix.Connect(fd, addr); err != unix.EINPROGRESS {
				panic(fmt.Sprint("connect: ", err))
			}
			closeFD(fd) // before it sends the SYN again
		}
	}
	said(overflows() - before)
	heard()
}

// overflows is ListenOverflows of this thread's network namespace.
func overflows() int {
	var names [][]byte
	for line := range bytes.Lines(Must1(os.ReadFile("/proc/thread-self/net/netstat"))) {
		f := bytes.Fields(line)
		if len(f) == 0 || string(f[0]) != "TcpExt:" {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		for i, name := range names {
			if string(name) == "ListenOverflows" {
				return Must1(strconv.Atoi(string(f[i])))
			}
		}
	}
	panic("no ListenOverflows")
}
