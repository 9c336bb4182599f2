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
//	before Confine   a, err := Start(programs)
//	at any time      l, err := a.Attach(0, file, 0, 0x1234)
//	                 l.Close()
//	in the end       a.Close()
//
// Start with Start; what the other process does is in become.go.
package attach

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// ErrEnded is returned by Attach when the attaching process has ended, or does
// not answer any more.
var ErrEnded = errors.New("the attaching process has ended")

const (
	maxPrograms = 64
	maxOffsets  = 64          // in one request
	maxLinks    = 1 << 16     // in the life of an attaching process, counted by offset
	patience    = time.Minute // to attach takes milliseconds, more where many processes have mapped the file
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

// Start starts the process and gives it the programs, at most 64. It needs the
// privileges of attaching: call it before they are dropped. When it returns, the
// process has dropped its own, and attaching was tried for each kind of program.
// The programs may be closed afterwards.
func Start(programs []Program) (_ *Attacher, err error) {
	if len(programs) == 0 || len(programs) > maxPrograms {
		return nil, fmt.Errorf("start attaching process: %d programs, want 1 to %d", len(programs), maxPrograms)
	}
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
	kinds, fds := make([]byte, len(programs)), make([]int, len(programs))
	for i, p := range programs {
		kinds[i], fds[i] = byte(kindOf(p)), p.FD()
	}
	_, err = a.ask(kinds, fds)
	runtime.KeepAlive(programs)
	if err != nil {
		a.Close()
		return nil, fmt.Errorf("start attaching process: %w", err)
	}
	return a, nil
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

// kind is how a program is attached, as a byte of the first message.
type kind uint8

const (
	kindReturn kind = 1 << iota
	kindMulti
	kinds // the first that there is not
)

func kindOf(p Program) (k kind) {
	if p.Return {
		k |= kindReturn
	}
	if p.Multi {
		k |= kindMulti
	}
	return k
}

// A request is what follows the first message, with one descriptor: the file's.
type request struct {
	program, pid uint32
	offsets      []uint64
}

const (
	requestHead = 8
	maxRequest  = requestHead + 8*maxOffsets
	maxAnswer   = 256
)

func (r request) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, r.program)
	b = binary.LittleEndian.AppendUint32(b, r.pid)
	for _, o := range r.offsets {
		b = binary.LittleEndian.AppendUint64(b, o)
	}
	return b
}

// parseRequest reads a request. Whether there is such a program is not asked.
func parseRequest(b []byte) (request, error) {
	if len(b) <= requestHead || len(b) > maxRequest || len(b)%8 != 0 {
		return request{}, unix.EINVAL
	}
	r := request{program: binary.LittleEndian.Uint32(b), pid: binary.LittleEndian.Uint32(b[4:])}
	if int32(r.pid) < 0 {
		return request{}, unix.EINVAL
	}
	for b = b[requestHead:]; len(b) > 0; b = b[8:] {
		offset := binary.LittleEndian.Uint64(b)
		if int64(offset) < 0 {
			return request{}, unix.EINVAL // the kernel takes it for one before the file's end
		}
		r.offsets = append(r.offsets, offset)
	}
	return r, nil
}

// An answer is an errno, 0 for success, and what failed, to be read before the
// errno's own words.
func appendAnswer(b []byte, err error) []byte {
	if err == nil {
		return binary.LittleEndian.AppendUint32(b, 0)
	}
	errno := unix.EINVAL
	errors.As(err, &errno)
	text, last := strings.CutSuffix(err.Error(), errno.Error())
	if !last {
		text += ": "
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(errno))
	return append(b, text[:min(len(text), maxAnswer-4)]...)
}

func parseAnswer(b []byte) error {
	if len(b) < 4 {
		return ErrEnded
	}
	errno := unix.Errno(binary.LittleEndian.Uint32(b))
	if errno == 0 {
		return nil
	}
	return fmt.Errorf("%s%w", b[4:], errno)
}

// descriptors are those that came with a message.
func descriptors(oob []byte) (fds []int) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for i := range messages {
		if got, err := unix.ParseUnixRights(&messages[i]); err == nil {
			fds = append(fds, got...)
		}
	}
	return fds
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}
