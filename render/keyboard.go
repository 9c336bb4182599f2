package render

import (
	"io"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Keyboard keeps what is typed while a live screen is shown from being echoed into
// it, and from being left to the shell afterwards. Its methods may be called at any
// time by anyone; they do nothing if it is nil.
type Keyboard struct {
	tty *os.File

	mu    sync.Mutex
	was   unix.Termios // before take
	taken bool
	in    *os.File // what is typed, while it is taken; nil: it cannot be read
	ended bool
	guard io.WriteCloser // told of each change; nil: there is none
}

// Close gives the keyboard back for good.
func (k *Keyboard) Close() { k.give(true) }

// take turns echo and lines off. Keys that make signals stay what they are. It does
// nothing in the background, or on a terminal that is another session's: what is typed
// there is not for this process. press is called with each key.
func (k *Keyboard) take(press func(byte)) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.taken || k.ended || !foreground(k.tty) {
		return
	}
	was, err := unix.IoctlGetTermios(int(k.tty.Fd()), unix.TCGETS)
	if err != nil {
		return
	}
	k.was, k.taken = *was, true
	k.tell()
	raw := quiet(k.was)
	_ = unix.IoctlSetTermios(int(k.tty.Fd()), unix.TCSETS, &raw) // then it stays as it was
	// Opened anew: others share the descriptors that were given, and would not wait
	// where this one must not.
	in, err := os.OpenFile("/dev/tty", os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return
	}
	k.in = in
	go listen(in, press)
}

// listen calls press with each key until in is closed. Keys that make several bytes,
// such as arrows, begin with an escape and are none; the key Esc makes just that.
func listen(in io.Reader, press func(byte)) {
	keys := make([]byte, 64)
	for {
		n, err := in.Read(keys)
		if err != nil {
			return
		}
		if n > 1 && keys[0] == keyEscape {
			continue
		}
		for _, key := range keys[:n] {
			press(key)
		}
	}
}

// quiet is a mode without echo and lines.
func quiet(mode unix.Termios) unix.Termios {
	mode.Lflag &^= unix.ECHO | unix.ICANON
	mode.Cc[unix.VMIN], mode.Cc[unix.VTIME] = 1, 0
	return mode
}

// give restores the mode of the terminal, and forgets what was typed. With last set
// take does nothing any more.
func (k *Keyboard) give(last bool) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ended = k.ended || last
	if k.taken {
		k.taken = false
		if k.in != nil {
			_ = k.in.Close()
			k.in = nil
		}
		restore(k.tty, &k.was)
		k.tell()
	}
	if k.ended && k.guard != nil {
		_ = k.guard.Close()
		k.guard = nil
	}
}

// restore does not wait for a terminal that Ctrl-S has stopped.
func restore(tty *os.File, mode *unix.Termios) {
	fd := int(tty.Fd())
	_ = unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCIFLUSH)
	_ = unix.IoctlSetTermios(fd, unix.TCSETS, mode) // there is nothing else to do
}

// foreground reports whether a terminal is this process's own and it is in the
// foreground there.
func foreground(tty *os.File) bool {
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// background reports whether another job has the screen now: a shell, say, after bg.
func (k *Keyboard) background() bool {
	if k == nil {
		return false
	}
	group, err := unix.IoctlGetInt(int(k.tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group != unix.Getpgrp()
}

// guardWord is the only argument of the process that restores the terminal if tracer
// cannot do it. It is no subcommand of tracer.
const guardWord = "__screen"

// watch starts that process. A panic in any goroutine, SIGKILL and the like leave no
// time to restore anything; it notices by the end of a pipe. Where it cannot be started
// tracer does without.
func (k *Keyboard) watch() {
	r, w, err := os.Pipe()
	if err != nil {
		return
	}
	defer r.Close()
	cmd := exec.Command("/proc/self/exe", guardWord)
	cmd.Stdout, cmd.ExtraFiles = k.tty, []*os.File{r}
	if cmd.Start() != nil {
		w.Close()
		return
	}
	k.guard = w
	go func() { _ = cmd.Wait() }() // it ends with this process, or before
}

// tell tells the guard which mode to restore, if any. The caller holds the lock.
func (k *Keyboard) tell() {
	if k.guard == nil {
		return
	}
	message := make([]byte, 1+unsafe.Sizeof(k.was))
	if k.taken {
		message[0] = 1
		copy(message[1:], unsafe.Slice((*byte)(unsafe.Pointer(&k.was)), unsafe.Sizeof(k.was)))
	}
	_, _ = k.guard.Write(message) // it may be gone: that is not worth a word
}

// Become is the other side of a live screen: in the process that guards a terminal it
// never returns, in any other it does nothing. main calls it first.
func Become() {
	if len(os.Args) != 2 || os.Args[1] != guardWord {
		return
	}
	// Those of the keyboard are for tracer; it sets the terminal from the background.
	signal.Ignore(unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGHUP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU)
	pipe := os.NewFile(3, "tracer")
	var mode unix.Termios
	message := make([]byte, 1+unsafe.Sizeof(mode))
	taken := false
	for {
		if _, err := io.ReadFull(pipe, message); err != nil {
			break // tracer has ended
		}
		taken = message[0] == 1
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&mode)), unsafe.Sizeof(mode)), message[1:])
	}
	if taken {
		// A shell may have set it meanwhile: only what tracer has left is undone.
		if now, err := unix.IoctlGetTermios(int(os.Stdout.Fd()), unix.TCGETS); err == nil && *now == quiet(mode) {
			restore(os.Stdout, &mode)
		}
		_, _ = os.Stdout.WriteString(leaveScreen)
	}
	os.Exit(0)
}
