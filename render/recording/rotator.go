package recording

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"tracer/trace/kernel/confine"
)

// rotatorWord is the first argument of the process that replaces files. It is no
// subcommand of tracer.
const rotatorWord = "__rotate"

// A rotator makes room for a new file when the one that is being written is full. In
// another's folder that takes rights that tracer has given up by then. It is a process
// of its own with one verb: what it renames and makes was said before tracing began.
type rotator struct {
	socket *os.File
	ended  sync.WaitGroup
}

const (
	rotatorSocket = 3       // its end of the socket
	answerBytes   = 4 << 10 // the longest answer
)

// startRotator starts the process. It needs the rights that tracer begins with.
func startRotator(dir, name string, keep uint64, owner *Owner) (*rotator, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make a socket: %w", err)
	}
	own, theirs := os.NewFile(uintptr(pair[0]), "rotator"), os.NewFile(uintptr(pair[1]), "rotator")
	defer theirs.Close()
	uid, gid := -1, -1
	if owner != nil {
		uid, gid = owner.UID, owner.GID
	}
	cmd := exec.Command("/proc/self/exe", rotatorWord, dir, name, strconv.FormatUint(keep, 10), strconv.Itoa(uid), strconv.Itoa(gid))
	cmd.Args[0] = "tracer" // in a list of processes
	cmd.ExtraFiles = []*os.File{theirs}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start the process that rotates: %w", err), own.Close())
	}
	r := &rotator{socket: own}
	r.ended.Go(func() { _ = cmd.Wait() }) // what went wrong it has answered
	// It is ready, or has said why not: nothing is traced before.
	if file, err := r.answer(); err != nil {
		return nil, errors.Join(err, r.close())
	} else if file != nil {
		_ = file.Close()
	}
	return r, nil
}

// next is the new file of the name, empty.
func (r *rotator) next() (*os.File, error) {
	if err := unix.Sendto(int(r.socket.Fd()), []byte{0}, unix.MSG_NOSIGNAL, nil); err != nil {
		return nil, fmt.Errorf("ask for a new file: %w", err)
	}
	file, err := r.answer()
	if err == nil && file == nil {
		err = errors.New("ask for a new file: there is none")
	}
	return file, err
}

// answer waits for one: a text that says what went wrong, or nothing, with a file if it
// was asked for one.
func (r *rotator) answer() (*os.File, error) {
	text, rights := make([]byte, answerBytes), make([]byte, unix.CmsgSpace(4))
	var n, rightsLen int
	for {
		var err error
		n, rightsLen, _, _, err = unix.Recvmsg(int(r.socket.Fd()), text, rights, unix.MSG_CMSG_CLOEXEC)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("ask for a new file: %w", err)
		}
		break
	}
	if n == 0 {
		return nil, errors.New("ask for a new file: the process that rotates has ended")
	}
	if text[0] != 0 {
		return nil, errors.New(string(text[:n]))
	}
	messages, err := unix.ParseSocketControlMessage(rights[:rightsLen])
	if err != nil || len(messages) == 0 {
		return nil, err
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, fmt.Errorf("take a new file: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "recording"), nil
}

// close ends the process. It may be called twice.
func (r *rotator) close() error {
	if r == nil {
		return nil
	}
	err := r.socket.Close()
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	r.ended.Wait()
	return err
}

// Become is the other side of a rotator: in that process it never returns, in any
// other it does nothing. main calls it first.
func Become() {
	if len(os.Args) != 7 || os.Args[1] != rotatorWord {
		return
	}
	if kind, err := unix.GetsockoptInt(rotatorSocket, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || kind != unix.SOCK_SEQPACKET {
		return // somebody typed it
	}
	serve(os.Args[2], os.Args[3], os.Args[4:])
	os.Exit(0)
}

// serve answers until tracer ends. Signals of a terminal or of a service's end come to
// both: the last events are still recorded.
func serve(path, name string, numbers []string) {
	signal.Ignore(unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGTSTP, unix.SIGPIPE, unix.SIGUSR1, unix.SIGUSR2)
	runtime.GOMAXPROCS(1)
	dir, keep, owner, err := prepare(path, numbers)
	if err == nil {
		// To make and rename files in anybody's folder, and to give them away.
		err = confine.Confine(1<<unix.CAP_DAC_OVERRIDE|1<<unix.CAP_CHOWN|1<<unix.CAP_FOWNER, confine.Reader())
	}
	if answer(nil, err) != nil || err != nil {
		return
	}
	for {
		n, err := unix.Read(rotatorSocket, make([]byte, 1))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n <= 0 {
			return // tracer has ended
		}
		file, err := rotate(dir, name, keep, owner)
		if answer(file, err) != nil {
			return
		}
		if file != nil {
			_ = file.Close() // tracer has it
		}
	}
}

func prepare(path string, numbers []string) (dir *os.Root, keep uint64, owner *Owner, err error) {
	if dir, err = os.OpenRoot(path); err != nil {
		return nil, 0, nil, err
	}
	keep, err = strconv.ParseUint(numbers[0], 10, 64)
	uid, uidErr := strconv.Atoi(numbers[1])
	gid, gidErr := strconv.Atoi(numbers[2])
	if uid >= 0 {
		owner = &Owner{uid, gid}
	}
	return dir, keep, owner, errors.Join(err, uidErr, gidErr)
}

// answer sends a file, or why there is none.
func answer(file *os.File, failed error) error {
	text, rights := []byte{0}, []byte(nil)
	switch {
	case failed != nil:
		text = []byte(without(failed).Error())
		text = text[:min(len(text), answerBytes)]
	case file != nil:
		rights = unix.UnixRights(int(file.Fd()))
	}
	return unix.Sendmsg(rotatorSocket, text, rights, nil, unix.MSG_NOSIGNAL)
}

// split is where a file lies, and what it is called there.
func split(path string) (dir, name string, err error) {
	if dir, err = filepath.Abs(filepath.Dir(path)); err != nil {
		return "", "", err
	}
	if name = filepath.Base(path); name == "." || name == ".." || name == string(filepath.Separator) {
		return "", "", &os.PathError{Op: "open", Path: path, Err: unix.EISDIR}
	}
	return dir, name, nil
}
