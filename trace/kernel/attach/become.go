package attach

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"tracer/trace/kernel/confine"
)

// Become is the other side of Start: in the attaching process it never returns,
// in any other it does nothing. main calls it first.
func Become() {
	if len(os.Args) != 2 || os.Args[1] != word {
		return
	}
	if kind, err := unix.GetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || kind != unix.SOCK_SEQPACKET {
		return // somebody typed it
	}
	serve()
	os.Exit(0)
}

// A server is the state of the attaching process.
type server struct {
	programs []int
	kinds    []kind
	pmu      pmu
	links    int // that were made
}

// maxLinks is how many are made in the life of an attaching process, counted by
// offset.
const maxLinks = 1 << 16

// serve takes the programs, drops privileges, and then answers requests until
// the socket is closed: the process that traces has ended, however it did. It
// takes no signal for it: those of a terminal or of a service's end come to both,
// and the last events are still wanted.
func serve() {
	signal.Ignore(unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGTSTP, unix.SIGPIPE, unix.SIGUSR1, unix.SIGUSR2)
	// One at a time is served. It also keeps the runtime from looking, later,
	// how many processors there are.
	runtime.GOMAXPROCS(1)
	s, err := begin()
	if send(err, nil) != nil || err != nil {
		return
	}
	for {
		message, fds, err := receive(maxRequest)
		if errors.Is(err, errGone) {
			return
		}
		var links []int
		if err == nil {
			links, err = s.handle(message, fds)
		}
		closeAll(fds)
		err = send(err, links)
		closeAll(links)
		if err != nil {
			return
		}
	}
}

// begin takes the programs and drops the privileges that they do not need.
func begin() (*server, error) {
	if err := closeInherited(); err != nil {
		return nil, err
	}
	message, fds, err := receive(maxPrograms)
	if err != nil {
		return nil, err
	}
	if len(message) != len(fds) {
		return nil, fmt.Errorf("%d descriptors for %d programs: %w", len(fds), len(message), unix.EINVAL)
	}
	s := &server{programs: fds}
	for _, k := range message {
		if kind(k) >= kinds {
			return nil, fmt.Errorf("kind %d: %w", k, unix.EINVAL)
		}
		s.kinds = append(s.kinds, kind(k))
	}
	return s, s.confine()
}

// confine drops what attaching does not need on this kernel: it takes no
// capability by bpf_uprobe_multi_link_attach, which the program's descriptor is
// enough for, and CAP_SYS_ADMIN by perf events. Then it attaches each kind of
// program to a file that nobody runs: what does not work now never will. To take
// these off would take long, and so they stay.
func (s *server) confine() error {
	var keep uint64
	var tries [kinds]bool
	for _, k := range s.kinds {
		tries[k] = true
	}
	multi, perf := tries[kindMulti] || tries[kindMulti|kindReturn], tries[0] || tries[kindReturn]
	if perf {
		keep = 1 << unix.CAP_SYS_ADMIN
		var err error
		if s.pmu, err = readPMU(); err != nil {
			return err
		}
	}
	file, err := unix.MemfdCreate("nothing", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("make a file to attach to: %w", err)
	}
	defer unix.Close(file)
	if err := unix.Ftruncate(file, int64(os.Getpagesize())); err != nil {
		return fmt.Errorf("make a file to attach to: %w", err)
	}
	if err := confine.Confine(keep, policy(multi, perf)); err != nil {
		return err
	}
	for i, k := range s.kinds {
		if !tries[k] {
			continue
		}
		tries[k] = false
		if _, err := s.attach(i, file, 0, []uint64{0}); err != nil {
			return fmt.Errorf("attach a program: %w", err)
		}
	}
	return nil
}

// handle answers one request.
func (s *server) handle(message []byte, fds []int) ([]int, error) {
	r, err := parseRequest(message)
	if err != nil {
		return nil, err
	}
	if len(fds) != 1 || r.program >= uint32(len(s.programs)) {
		return nil, unix.EINVAL
	}
	if s.links += len(r.offsets); s.links > maxLinks {
		s.links = maxLinks
		return nil, unix.EDQUOT
	}
	return s.attach(int(r.program), fds[0], r.pid, r.offsets)
}

// attach attaches a program to offsets in an open file, all or none. The kernel
// asks for a path: that of the descriptor opens nothing and leads to the same
// file wherever it lies.
func (s *server) attach(program, file int, pid uint32, offsets []uint64) (links []int, err error) {
	path, k := "/proc/self/fd/"+strconv.Itoa(file), s.kinds[program]
	if k&kindMulti != 0 {
		link, err := attachMulti(s.programs[program], path, pid, offsets, k&kindReturn != 0)
		if err != nil {
			return nil, err
		}
		return []int{link}, nil
	}
	for _, offset := range offsets {
		link, err := s.pmu.attach(s.programs[program], path, pid, offset, k&kindReturn != 0)
		if err != nil {
			closeAll(links)
			return nil, err
		}
		links = append(links, link)
	}
	return links, nil
}

// closeInherited closes what the process that traces had from others and passed
// on unwittingly: exec leaves open what is not marked to be closed by it. What
// this process's runtime has opened is marked.
func closeInherited() error {
	dir, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("list open files: %w", err)
	}
	for _, entry := range dir {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil || fd <= socket {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			_ = unix.Close(fd)
		}
	}
	return nil
}

// errGone says that nobody is at the other end any more.
var errGone = errors.New("the socket is closed")

// receive waits for a message. One that is too long, or has too many
// descriptors, is an error. The descriptors are the caller's in any case.
func receive(size int) ([]byte, []int, error) {
	message, oob := make([]byte, size), make([]byte, unix.CmsgSpace(4*maxPrograms))
	for {
		n, oobn, flags, _, err := unix.Recvmsg(socket, message, oob, unix.MSG_CMSG_CLOEXEC)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil || n == 0:
			return nil, nil, errGone
		}
		fds := descriptors(oob[:oobn])
		if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
			return nil, fds, unix.EMSGSIZE
		}
		return message[:n], fds, nil
	}
}

// send answers a message.
func send(err error, fds []int) error {
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	answer := appendAnswer(nil, err)
	for {
		if err := unix.Sendmsg(socket, answer, oob, nil, unix.MSG_NOSIGNAL); err != unix.EINTR {
			return err
		}
	}
}
