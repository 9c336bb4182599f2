package session

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"tracer/trace/kernel"
	"tracer/trace/proc"
)

// own lists tracer itself, then the processes that carry the SSH session it
// runs in, nearest first: what it writes makes traffic there. None in a pid
// namespace of its own: what the kernel calls them is not known there.
func own() []proc.Stat {
	if !kernel.InFirstNamespace("pid") {
		return nil
	}
	dir := proc.Dir("/proc")
	self := proc.Stat{PID: uint32(os.Getpid()), Comm: "tracer"}
	list := []proc.Stat{self}
	above := dir.Ancestors(self.PID)
	for _, p := range above {
		// sshd-session since OpenSSH 9.8. The listener, which serves all
		// sessions, is a child of init or of no one.
		if (p.Comm == "sshd" || p.Comm == "sshd-session") && p.PPID > 1 {
			list = append(list, p)
		}
	}
	if len(list) == 1 {
		list = append(list, carriers(dir, above, sshConnection(dir, above))...)
	}
	return list
}

// sshConnection is the variable SSH_CONNECTION of this process, or of the nearest one
// above that has it: sudo takes it away.
func sshConnection(dir proc.Dir, above []proc.Stat) string {
	const name = "SSH_CONNECTION"
	if v := os.Getenv(name); v != "" {
		return v
	}
	for _, p := range above {
		for _, v := range dir.Env(p.PID) {
			if v, ok := strings.CutPrefix(v, name+"="); ok && v != "" {
				return v
			}
		}
	}
	return ""
}

// carriers are the processes that hold an SSH session's connection, as SSH_CONNECTION
// gives its addresses: the client's and the server's, each with its port. They are
// among those above or, if a multiplexer like tmux is in between, somewhere else.
func carriers(dir proc.Dir, above []proc.Stat, connection string) []proc.Stat {
	f := strings.Fields(connection)
	if len(f) != 4 {
		return nil
	}
	client, err := netip.ParseAddrPort(join(f[0], f[1]))
	server, serverErr := netip.ParseAddrPort(join(f[2], f[3]))
	if err != nil || serverErr != nil {
		return nil
	}
	inode := socketInode(server, client)
	if inode == 0 {
		return nil // it is an older session's, which has ended
	}
	target := fmt.Sprintf("socket:[%d]", inode)
	stranger := func(p proc.Stat) bool { return !dir.Holds(p.PID, target) }
	if list := slices.DeleteFunc(slices.Clone(above), stranger); len(list) > 0 {
		return list
	}
	pids, _ := dir.PIDs() // without them there are none
	var servers []proc.Stat
	for _, pid := range pids {
		// The files of all processes are too many to look at.
		comm := dir.Comm(pid)
		if strings.Contains(comm, "ssh") || strings.Contains(comm, "dropbear") {
			servers = append(servers, proc.Stat{PID: pid, Comm: comm})
		}
	}
	return slices.DeleteFunc(servers, stranger)
}

// join is an address with its port, as netip reads it.
func join(addr, port string) string {
	if strings.Contains(addr, ":") {
		addr = "[" + addr + "]"
	}
	return addr + ":" + port
}

// socketInode is the inode of the TCP socket with these addresses, asked from the kernel
// by name (sock_diag(7)), however many sockets there are; 0 if there is none.
func socketInode(local, remote netip.AddrPort) uint32 {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	// It answers at once.
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1})

	src, dst := local.Addr().Unmap(), remote.Addr().Unmap()
	family := byte(unix.AF_INET)
	if src.Is6() {
		family = unix.AF_INET6
	}
	const size = unix.SizeofNlMsghdr + 56 // struct nlmsghdr, struct inet_diag_req_v2
	b := make([]byte, 0, size)
	b = binary.NativeEndian.AppendUint32(b, size)
	b = binary.NativeEndian.AppendUint16(b, unix.SOCK_DIAG_BY_FAMILY)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST)
	b = append(b, make([]byte, 8)...) // sequence number, port id
	b = append(b, family, unix.IPPROTO_TCP, 0, 0)
	b = binary.NativeEndian.AppendUint32(b, 1<<unix.BPF_TCP_ESTABLISHED)
	b = binary.BigEndian.AppendUint16(b, local.Port())
	b = binary.BigEndian.AppendUint16(b, remote.Port())
	for _, addr := range []netip.Addr{src, dst} {
		b = append(b, append(addr.AsSlice(), make([]byte, 12)...)[:16]...)
	}
	b = append(b, 0, 0, 0, 0)                                     // any interface
	b = append(b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff) // any cookie
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	// struct inet_diag_msg ends with uid and inode.
	const inodeAt = unix.SizeofNlMsghdr + 68
	if err != nil || n < inodeAt+4 || binary.NativeEndian.Uint16(answer[4:]) != unix.SOCK_DIAG_BY_FAMILY {
		return 0
	}
	return binary.NativeEndian.Uint32(answer[inodeAt:])
}
