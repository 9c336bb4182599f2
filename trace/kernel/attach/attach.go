// Package attach attaches programs to functions in files after the privileges
// for it were dropped: libraries appear while tracing goes on.
//
// A process of its own keeps the right to do so. It is the same executable,
// started before privileges are dropped, and has one verb: attach program K,
// of those that it was given when it began, to offsets in a file. The file comes
// as a descriptor, the link goes back as one: closing it detaches. It can do
// nothing else; see policy.go for what it is left with.
//
//	main             Become()                          returns but in that process
//	before Confine   a, err := Start(programs)         or Spawn, and Give later
//	at any time      l, err := a.Attach(0, file, 0, 0x1234)
//	                 l.Close()
//	in the end       a.Close()
//
// Start with Start.
//
//	attach.go   the side of the process that traces
//	become.go   the attaching process
//	policy.go   the system calls that are left to it
//	kernel.go   the system calls that attach
//	message.go  what the two processes send each other
package attach

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// A Program is one that can be attached later.
type Program struct {
	*ebpf.Program
	Return bool // runs when the function returns, not when it begins
	Multi  bool // was loaded with ebpf.AttachTraceUprobeMulti: see HaveMulti
}

// An Attacher is the process that attaches. It is safe for concurrent use;
// requests are served one by one.
type Attacher struct {
	mu   sync.Mutex // a request and its answer belong together
	conn *net.UnixConn
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
}

// patience is for one answer: to attach takes milliseconds, more where many
// processes have mapped the file.
const patience = time.Minute

// Start starts the process and gives it the programs, at most 64. It needs the
// privileges of attaching: call it before they are dropped. When it returns, the
// process has dropped its own, and attaching was tried for each kind of program.
// The programs may be closed afterwards.
func Start(programs []Program) (*Attacher, error) {
	a, err := Spawn()
	if err != nil {
		return nil, err
	}
	if err := a.Give(programs); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

// Spawn is the first half of Start: the process waits for its programs.
func Spawn() (*Attacher, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("start attaching process: make socket: %w", err)
	}
	own, its := os.NewFile(uintptr(pair[0]), "attach"), os.NewFile(uintptr(pair[1]), "attach")
	defer own.Close()
	defer its.Close()
	conn, err := net.FileConn(own)
	if err != nil {
		return nil, fmt.Errorf("start attaching process: %w", err)
	}
	cmd := exec.Command("/proc/self/exe", word)
	cmd.Args[0] = os.Args[0]
	cmd.Dir = "/"
	cmd.Env = []string{} // none, not ours
	cmd.ExtraFiles = []*os.File{its}
	// Signals of the terminal are for the process that traces. That this has
	// ended is told by the socket; a parent's death signal would come when the
	// thread ends that calls this.
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("start attaching process: %w", err)
	}
	a := &Attacher{conn: conn.(*net.UnixConn), cmd: cmd, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended tells nothing: it is killed, too
		close(a.done)
	}()
	return a, nil
}

// Give is the second half of Start. It may be tried again only where the number of
// programs was wrong.
func (a *Attacher) Give(programs []Program) error {
	if len(programs) == 0 || len(programs) > maxPrograms {
		return fmt.Errorf("start attaching process: %d programs, want 1 to %d", len(programs), maxPrograms)
	}
	kinds, fds := make([]byte, len(programs)), make([]int, len(programs))
	for i, p := range programs {
		kinds[i], fds[i] = byte(kindOf(p)), p.FD()
	}
	_, err := a.ask(kinds, fds)
	runtime.KeepAlive(programs)
	if err != nil {
		return fmt.Errorf("start attaching process: %w", err)
	}
	return nil
}

func kindOf(p Program) (k kind) {
	if p.Return {
		k |= kindReturn
	}
	if p.Multi {
		k |= kindMulti
	}
	return k
}

// PID is the attaching process's.
func (a *Attacher) PID() int { return a.cmd.Process.Pid }

// Attach attaches a program, by its index in what Start was given, to offsets in
// a file, at most 64, in bytes from its beginning. The file needs no rights but
// to be open; it may be closed afterwards.
//
// With a pid other than 0 only that process is probed, and others pay nothing.
// Two kernels' ways are to be known: before Linux 6.10 a Multi program sees only
// the thread of that id; up to 6.12 at least a Return program that is not Multi
// also runs in processes where something else is attached to the same place.
//
// The error is ErrEnded, or wraps the kernel's errno: of perf_event_open(2) or of
// bpf(2).
func (a *Attacher) Attach(program int, file *os.File, pid int, offsets ...uint64) (*Link, error) {
	if len(offsets) == 0 || len(offsets) > maxOffsets {
		return nil, fmt.Errorf("attach to %q: %d offsets, want 1 to %d", file.Name(), len(offsets), maxOffsets)
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("attach to %q: %w", file.Name(), err)
	}
	r := request{program: uint32(program), pid: uint32(pid), offsets: offsets}
	var fds []int
	var asked error
	if err = raw.Control(func(fd uintptr) { fds, asked = a.ask(r.append(nil), []int{int(fd)}) }); err == nil {
		err = asked
	}
	if err != nil {
		return nil, fmt.Errorf("attach to %q: %w", file.Name(), err)
	}
	l := &Link{}
	for _, fd := range fds {
		l.files = append(l.files, os.NewFile(uintptr(fd), "link"))
	}
	return l, nil
}

// ask sends a message and returns the descriptors that come back.
func (a *Attacher) ask(message []byte, fds []int) ([]int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	answer, oob := make([]byte, maxAnswer), make([]byte, unix.CmsgSpace(4*maxOffsets))
	_ = a.conn.SetDeadline(time.Now().Add(patience)) // fails on a closed one, as what follows
	n, oobn := 0, 0
	_, _, err := a.conn.WriteMsgUnix(message, unix.UnixRights(fds...), nil)
	if err == nil {
		n, oobn, _, _, err = a.conn.ReadMsgUnix(answer, oob)
	}
	if err != nil || n == 0 {
		// A late answer would be taken for the next one's.
		_ = a.conn.Close()
		if err == nil || errors.Is(err, net.ErrClosed) || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
			return nil, ErrEnded
		}
		return nil, fmt.Errorf("%w: %w", ErrEnded, err)
	}
	got := descriptors(oob[:oobn])
	if err := parseAnswer(answer[:n]); err != nil {
		closeAll(got)
		return nil, err
	}
	return got, nil
}

// Close ends the process. Links stay attached.
func (a *Attacher) Close() error {
	err := a.conn.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	_ = a.cmd.Process.Kill() // it may be busy with a request
	<-a.done
	return err
}

// A Link is one attached program. Keep it: as a file that nothing refers to, it
// is closed by and by.
type Link struct{ files []*os.File }

// Close detaches the program.
func (l *Link) Close() error {
	var errs []error
	for _, f := range l.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
