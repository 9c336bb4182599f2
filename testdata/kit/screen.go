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

// Shell runs a script on the screen, as a shell that has tracer with these arguments as its "$@", with one more variable.
// It is killed with the test.
func (s *Screen) Shell(env, script string, args ...string) {
	s.t.Helper()
	cmd := exec.Command("sh", append([]string{"-c", script, "sh", Binary(s.t)}, args...)...)
	cmd.Env = append(os.Environ(), "TERM=xterm", env)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.tty, s.tty, s.tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	Launch(s.t, cmd)
	go func() { _ = cmd.Wait() }()
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

// Type types keys.
func (s *Screen) Type(keys string) {
	s.t.Helper()
	if _, err := s.master.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

// Text is all that was written so far.
func (s *Screen) Text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.text)
}

// Echoes tells whether the terminal shows what is typed and gives it to programs line by line, as it does for a shell's
// jobs.
func (s *Screen) Echoes() bool {
	s.t.Helper()
	mode, err := unix.IoctlGetTermios(int(s.tty.Fd()), unix.TCGETS)
	if err != nil {
		s.t.Fatal(err)
	}
	return mode.Lflag&(unix.ECHO|unix.ICANON) == unix.ECHO|unix.ICANON
}

// Waiting is how many bytes were typed and not read yet.
func (s *Screen) Waiting() int {
	s.t.Helper()
	n, err := unix.IoctlGetInt(int(s.tty.Fd()), unix.TIOCINQ)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
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
