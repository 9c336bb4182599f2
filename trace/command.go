package trace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
)

// commandWord is the first argument of the process that waits until it may
// become a command. It is no subcommand of tracer's.
const commandWord = "__command"

// Exit statuses of a command that did not run, as the shell has them.
const (
	ExitNotFound = 127
	ExitCannot   = 126
)

// A Command is a program that is started to be traced: a process that waits, so
// that it can be followed from its first moment, and then becomes the program.
type Command struct {
	PID  uint32
	cmd  *exec.Cmd
	gate *os.File
	Done chan struct{} // closed when it has ended
	err  error         // of Wait, valid when Done is closed
}

// CommandError says why a command cannot be started; Status is what a shell
// would exit with.
type CommandError struct {
	Status int
	Err    error
}

func (e *CommandError) Error() string { return e.Err.Error() }
func (e *CommandError) Unwrap() error { return e.Err }

func commandError(name string, err error) *CommandError {
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
		why = path.Err // the name is told already
	}
	return &CommandError{status, fmt.Errorf("run %q: %w", name, why)}
}

// StartCommand prepares a command that waits for Release. It runs as the user
// behind sudo, if there is one; it keeps stdin and stderr, and writes to stderr
// what it writes to stdout. The error is a *CommandError.
func StartCommand(args []string) (*Command, error) {
	path, err := exec.LookPath(args[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return nil, commandError(args[0], err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, commandError(args[0], err)
	}
	defer r.Close()
	cmd := exec.Command("/proc/self/exe", append([]string{commandWord, path}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stderr, os.Stderr
	cmd.ExtraFiles = []*os.File{r}
	if err := cmd.Start(); err != nil {
		w.Close()
		return nil, commandError(args[0], err)
	}
	c := &Command{PID: uint32(cmd.Process.Pid), cmd: cmd, gate: w, Done: make(chan struct{})}
	go func() {
		c.err = cmd.Wait()
		close(c.Done)
	}()
	return c, nil
}

// Release lets the command run.
func (c *Command) Release() error {
	_, err := c.gate.Write([]byte{1})
	return errors.Join(err, c.gate.Close())
}

// Cancel ends a command that was never released.
func (c *Command) Cancel() {
	_ = c.gate.Close()
	<-c.Done
}

// Signal sends the command a signal; one that has ended is no error.
func (c *Command) Signal(sig os.Signal) {
	_ = c.cmd.Process.Signal(sig)
}

// Status is the exit status as a shell has it: 128+N if killed by signal N.
// Valid when Done is closed.
func (c *Command) Status() int {
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

// BecomeCommand is the other side of StartCommand: in the process that waits it
// never returns, in any other it does nothing. main calls it first.
func BecomeCommand() {
	if len(os.Args) < 4 || os.Args[1] != commandWord {
		return
	}
	path, args := os.Args[2], os.Args[3:]
	gate := os.NewFile(3, "gate")
	// No byte: tracer gave up before the command was to start.
	if n, _ := gate.Read(make([]byte, 1)); n != 1 {
		os.Exit(0)
	}
	gate.Close()
	env, err := becomeUser(os.Environ())
	if err == nil {
		err = syscall.Exec(path, args, env)
	}
	e := commandError(args[0], err)
	fmt.Fprintf(os.Stderr, "tracer: error: %v\n", e)
	os.Exit(e.Status)
}

// becomeUser gives root's rights up for those of the user who called sudo, and
// returns the environment that goes with it.
func becomeUser(env []string) ([]string, error) {
	uid, err := strconv.Atoi(os.Getenv("SUDO_UID"))
	if err != nil || uid <= 0 || os.Geteuid() != 0 {
		return env, nil
	}
	gid, err := strconv.Atoi(os.Getenv("SUDO_GID"))
	if err != nil {
		return env, nil
	}
	groups := []int{gid}
	vars := map[string]string{}
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		vars["HOME"], vars["USER"], vars["LOGNAME"] = u.HomeDir, u.Username, u.Username
		ids, _ := u.GroupIds() // without them the primary group is left
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
