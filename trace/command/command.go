// Package command starts the COMMAND of `tracer … -- COMMAND`, lets it run when
// tracing has begun, and ends it with tracing.
//
// The process that becomes COMMAND is this program itself, which waits at a pipe:
// so its id is known, and its first moment is traced. main calls [Become] before
// anything else, then [Start], Release, Wait and Finish.
//
// The package knows nothing of what is traced.
package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tracer/trace/event"
)

// word is the first argument of the process that waits until it may become the
// command. It is no subcommand of tracer.
const word = "__command"

// Exit statuses of a command that did not run, as the shell has them.
const (
	ExitNotFound = 127
	ExitCannot   = 126
)

// Grace periods.
const (
	// grace is how long a command may take to end after it was told to.
	grace = 2 * time.Second
	// headStart is how long a command may take to end by itself after SIGHUP, which
	// a terminal that goes away sends to it as well.
	headStart = grace / 20
)

// A Command is a program that is started to be traced: a process that waits, so
// that tracing covers it from its first moment, and then becomes the program. Its
// methods do nothing if it is nil: tracing without a command.
type Command struct {
	// PID is the process id, the same before and after Release.
	PID  uint32
	cmd  *exec.Cmd
	gate *os.File
	done chan struct{} // closed when it has ended
	err  error         // of Wait, valid when done is closed
}

// An Error says why a command cannot be started.
type Error struct {
	Status int // the exit status of a shell in this case
	Err    error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Status is the exit status for an error of Start.
func Status(err error) int {
	var e *Error
	if errors.As(err, &e) {
		return e.Status
	}
	return ExitCannot
}

func cannot(name string, err error) *Error {
	status, why := ExitCannot, err
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
		status = ExitNotFound
	}
	var wrapped *exec.Error
	if errors.As(err, &wrapped) {
		why = wrapped.Err
	}
	var path *fs.PathError
	if errors.As(why, &path) && path.Op == "stat" {
		why = path.Err // it names the file again
	}
	return &Error{status, fmt.Errorf("run %q: %w", name, why)}
}

// Start starts a process that waits for Release. It keeps stdin and stderr. What
// it writes to stdout goes to stderr. After Release it runs as the user behind
// sudo, if there is one. The error is an *Error.
func Start(args []string) (*Command, error) {
	path, err := exec.LookPath(args[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return nil, cannot(args[0], err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, cannot(args[0], err)
	}
	defer r.Close()
	cmd := exec.Command("/proc/self/exe", append([]string{word, path}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stderr, os.Stderr
	cmd.ExtraFiles = []*os.File{r}
	if err := cmd.Start(); err != nil {
		w.Close()
		return nil, cannot(args[0], err)
	}
	c := &Command{PID: uint32(cmd.Process.Pid), cmd: cmd, gate: w, done: make(chan struct{})}
	go func() {
		c.err = cmd.Wait()
		close(c.done)
	}()
	return c, nil
}

// Release lets the command run.
func (c *Command) Release() error {
	if c == nil {
		return nil
	}
	_, err := c.gate.Write([]byte{1})
	if err = errors.Join(err, c.gate.Close()); err != nil {
		return fmt.Errorf("start the command: %w", err)
	}
	return nil
}

// Cancel ends a command that was never released.
func (c *Command) Cancel() {
	if c == nil {
		return
	}
	_ = c.gate.Close()
	<-c.done
}

// Notify has signals sent to stop that end tracing or, with a command, are for that as
// well. One that was ignored when tracer began stays ignored, for the command, too: that
// is how nohup and the & of a script say that tracing is not to end with the terminal.
func Notify(stop chan<- os.Signal, command bool) {
	signals := []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP}
	if command {
		signals = append(signals, syscall.SIGQUIT)
	}
	for _, s := range signals {
		if !signal.Ignored(s) {
			signal.Notify(stop, s)
		}
	}
}

// Wait returns when there is a reason to end tracing: the command has ended, ended is
// closed, or a signal came by stop. The reason is one of event's Ended constants.
//
// With a command the keys that interrupt or quit are its affair: it may handle them and
// go on, as a debugger does. The terminal has sent the signal to it as well; one that was
// sent to tracer alone is passed on. After SIGTERM or SIGHUP the command gets the same and
// time to end, since its last events are still wanted. After SIGINT interrupted is called
// at once.
func (c *Command) Wait(stop <-chan os.Signal, ended <-chan struct{}, interrupted func()) (reason string) {
	var done <-chan struct{}
	if c != nil {
		done = c.done
	}
	var sig os.Signal
	for {
		select {
		case <-done:
			return event.EndedCommand
		case <-ended:
			return ""
		case sig = <-stop:
		}
		if sig == syscall.SIGINT {
			interrupted()
		}
		if c == nil {
			return event.EndedInterrupted
		}
		if sig != syscall.SIGINT && sig != syscall.SIGQUIT {
			break
		}
		if !inForeground() {
			c.signal(sig)
		}
	}
	// A terminal that goes away tells both.
	select {
	case <-c.done:
		return event.EndedInterrupted
	case <-time.After(headStart):
		c.signal(sig)
	}
	select {
	case <-c.done:
	case <-stop:
	case <-time.After(grace):
	}
	return event.EndedInterrupted
}

// inForeground reports whether the terminal sends signals of its keys to this process,
// and to a command that it has started.
func inForeground() bool {
	tty, err := os.OpenFile("/dev/tty", os.O_RDONLY|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// Finish is called when tracing has ended. It returns the command's exit status,
// and ends a command that still runs, whose status does not count: 0. An error
// says that the command still runs all the same.
func (c *Command) Finish() (status int, err error) {
	if c == nil {
		return 0, nil
	}
	select {
	case <-c.done:
		return c.status(), nil
	default:
	}
	c.signal(syscall.SIGTERM)
	select {
	case <-c.done:
		return 0, nil
	case <-time.After(grace):
		return 0, fmt.Errorf("end the command: process %d ignores SIGTERM and still runs", c.PID)
	}
}

// signal sends the command a signal; one that has ended is no error.
func (c *Command) signal(sig os.Signal) { _ = c.cmd.Process.Signal(sig) }

// status is the exit status as a shell has it: 128+N if signal N ended it. Valid
// when done is closed.
func (c *Command) status() int {
	var exit *exec.ExitError
	if errors.As(c.err, &exit) {
		ws := exit.Sys().(syscall.WaitStatus)
		if ws.Signaled() {
			return 128 + int(ws.Signal())
		}
		return ws.ExitStatus()
	}
	if c.err != nil {
		return ExitCannot
	}
	return 0
}

// Become is the other side of Start: in the process that waits it never returns,
// in any other it does nothing. main calls it first.
func Become() {
	if len(os.Args) < 4 || os.Args[1] != word {
		return
	}
	path, args := os.Args[2], os.Args[3:]
	gate := os.NewFile(3, "gate")
	// No byte: Cancel was called, or tracer has ended.
	if n, _ := gate.Read(make([]byte, 1)); n != 1 {
		os.Exit(0)
	}
	gate.Close()
	env, err := becomeUser(os.Environ())
	if err == nil {
		err = syscall.Exec(path, args, env)
	}
	e := cannot(args[0], err)
	fmt.Fprintf(os.Stderr, "tracer: error: %v\n", e)
	os.Exit(e.Status)
}

// behindSudo is the user who called sudo. A shell that sudo -i has started leaves that
// in its environment, too.
func behindSudo() (uid, gid int, ok bool) {
	uid, err := strconv.Atoi(os.Getenv("SUDO_UID"))
	if err != nil || uid <= 0 || os.Geteuid() != 0 {
		return 0, 0, false
	}
	gid, err = strconv.Atoi(os.Getenv("SUDO_GID"))
	return uid, gid, err == nil
}

// BehindSudo is the user who called sudo, and that user's group: whose a file is to be
// that tracer makes for them. It reports false where tracer was not called so.
func BehindSudo() (uid, gid int, ok bool) { return behindSudo() }

// User is the user that a command runs as, if not as tracer itself: a name, or a number
// where it has none. Else it is empty.
func User() string {
	uid, _, ok := behindSudo()
	if !ok {
		return ""
	}
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return "user " + strconv.Itoa(uid)
}

// becomeUser changes from root to the user who called sudo, and returns the
// environment of that user.
func becomeUser(env []string) ([]string, error) {
	uid, gid, ok := behindSudo()
	if !ok {
		return env, nil
	}
	groups := []int{gid}
	vars := map[string]string{}
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		vars["HOME"], vars["USER"], vars["LOGNAME"] = u.HomeDir, u.Username, u.Username
		ids, _ := u.GroupIds() // if this fails, the primary group remains
		for _, id := range ids {
			if n, err := strconv.Atoi(id); err == nil && n != gid {
				groups = append(groups, n)
			}
		}
	}
	if err := syscall.Setgroups(groups); err != nil {
		return nil, fmt.Errorf("set groups: %w", err)
	}
	if err := syscall.Setresgid(gid, gid, gid); err != nil {
		return nil, fmt.Errorf("set group %d: %w", gid, err)
	}
	if err := syscall.Setresuid(uid, uid, uid); err != nil {
		return nil, fmt.Errorf("set user %d: %w", uid, err)
	}
	kept := env[:0]
	for _, v := range env {
		name, _, _ := strings.Cut(v, "=")
		if _, replaced := vars[name]; !replaced {
			kept = append(kept, v)
		}
	}
	for name, value := range vars {
		kept = append(kept, name+"="+value)
	}
	return kept, nil
}
