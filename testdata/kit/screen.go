package kit

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A Screen is a terminal that tracer writes to.
type Screen struct {
	t      testing.TB
	master *os.File
	tty    *os.File
	mu     sync.Mutex
	text   []byte        // all that was written
	more   chan struct{} // there is more of it
}

// NewScreen opens a terminal of this size.
func NewScreen(t testing.TB, width, height uint16) *Screen {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := &Screen{t: t, master: master, tty: tty, more: make(chan struct{}, 1)}
	s.Resize(width, height)
	t.Cleanup(func() {
		tty.Close()
		master.Close()
	})
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, err := master.Read(b)
			s.mu.Lock()
			s.text = append(s.text, b[:n]...)
			s.mu.Unlock()
			select {
			case s.more <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	return s
}

// Resize gives the terminal another size. No signal goes with it: what runs there is no foreground job of this process.
func (s *Screen) Resize(width, height uint16) {
	s.t.Helper()
	if err := unix.IoctlSetWinsize(int(s.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: width, Row: height}); err != nil {
		s.t.Fatal(err)
	}
}

// Start runs tracer on the screen, as the foreground job of a shell, with one more variable, and returns when tracing
// has begun.
func (s *Screen) Start(env string, args ...string) *exec.Cmd {
	s.t.Helper()
	cmd := Command(s.t, args...)
	cmd.Env = append(cmd.Env, "TERM=xterm", "NO_COLOR=", env)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.tty, s.tty, s.tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	Launch(s.t, cmd)
	s.Until("tracing " + args[0])
	return cmd
}

// Until waits for text, and returns all that was written so far.
func (s *Screen) Until(text string) string {
	s.t.Helper()
	timeout := time.After(Within(Arrival))
	for {
		s.mu.Lock()
		all := string(s.text)
		s.mu.Unlock()
		if strings.Contains(all, text) {
			return all
		}
		select {
		case <-s.more:
		case <-timeout:
			s.t.Fatalf("%q does not come: %q", text, all)
		}
	}
}

// Type types on the keyboard.
func (s *Screen) Type(keys string) {
	s.t.Helper()
	if _, err := s.master.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

// Interrupt types Ctrl-C and returns all that was written until tracer ended.
func (s *Screen) Interrupt(cmd *exec.Cmd) string {
	s.t.Helper()
	s.Type("\x03")
	if err := cmd.Wait(); err != nil {
		s.t.Errorf("Ctrl-C: %v", err)
	}
	return s.Until("; cost: CPU")
}
