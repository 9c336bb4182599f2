package render_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tracer/testdata/kit"
)

// What is typed while a live screen is shown is neither echoed into it nor left to the shell, and the shell gets its
// terminal back whatever way tracer ends: also by what leaves it no time, as a panic in any of its goroutines.
func TestKernelKeyboardOfALiveScreen(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	stopped := func(pid int) func() error {
		return func() error {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if err == nil && !strings.Contains(string(stat), ") T ") {
				err = fmt.Errorf("not stopped: %s", stat)
			}
			return err
		}
	}
	for name, c := range map[string]struct {
		end    func(s *kit.Screen, pid int)
		status int
	}{
		"Ctrl-C":  {func(s *kit.Screen, _ int) { s.Type("\x03") }, 0},
		"SIGTERM": {func(_ *kit.Screen, pid int) { _ = syscall.Kill(pid, syscall.SIGTERM) }, 0},
		"SIGHUP":  {func(_ *kit.Screen, pid int) { _ = syscall.Kill(pid, syscall.SIGHUP) }, 0},
		"SIGKILL": {func(_ *kit.Screen, pid int) { _ = syscall.Kill(pid, syscall.SIGKILL) }, 128 + 9},
		"SIGQUIT": {func(_ *kit.Screen, pid int) { _ = syscall.Kill(pid, syscall.SIGQUIT) }, 2},
		"SIGSEGV": {func(_ *kit.Screen, pid int) { _ = syscall.Kill(pid, syscall.SIGSEGV) }, 2},
		"stopped, continued and interrupted": {func(s *kit.Screen, pid int) {
			_ = syscall.Kill(pid, syscall.SIGTSTP)
			kit.Eventually(t, "SIGTSTP", stopped(pid))
			if text := s.Text(); !s.Echoes() || strings.Count(text, "\x1b[?1049h") != strings.Count(text, "\x1b[?1049l") {
				t.Errorf("stopped: it echoes: %v; %q", s.Echoes(), text)
			}
			before := strings.Count(s.Text(), "\x1b[?1049h")
			_ = syscall.Kill(pid, syscall.SIGCONT)
			kit.Eventually(t, "SIGCONT", func() error {
				if s.Echoes() || strings.Count(s.Text(), "\x1b[?1049h") == before {
					return fmt.Errorf("the screen does not come back: %q", s.Text())
				}
				return nil
			})
			s.Type("\x03")
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := kit.NewScreen(t, 80, 24)
			s.Shell("NO_COLOR=1", `trap : INT; "$@"; echo "status $?"; read line; echo "left <$line>"`, "traffic", "--interval", "100ms")
			text := s.Until("\x1b[?1049h")
			m := regexp.MustCompile(`tracer itself \(process (\d+)\)`).FindStringSubmatch(text)
			if m == nil {
				t.Fatalf("which process is it? %q", text)
			}
			pid, _ := strconv.Atoi(m[1])
			if s.Echoes() {
				t.Error("keys are echoed")
			}
			s.Type("reboot xyzzy\r")
			kit.Eventually(t, "the keys", func() error {
				if n := s.Waiting(); n > 0 {
					return fmt.Errorf("%d are still to be read", n)
				}
				return nil
			})
			c.end(s, pid)
			s.Until(fmt.Sprintf("status %d\r\n", c.status))
			kit.Eventually(t, "the terminal", func() error {
				if text := s.Text(); !s.Echoes() || strings.Count(text, "\x1b[?1049h") != strings.Count(text, "\x1b[?1049l") {
					return fmt.Errorf("it is not given back: echoes %v, %q", s.Echoes(), text)
				}
				return nil
			})
			s.Type("end\r")
			if text := s.Until("left <"); !strings.Contains(s.Until(">\r\n"), "left <end>") || strings.Contains(text, "xyzzy") {
				t.Errorf("what was typed is left: %q", s.Text())
			}
		})
	}
}

// A job in the background leaves screen and keyboard to others.
func TestKernelLiveScreenInTheBackground(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	s := kit.NewScreen(t, 80, 24)
	s.Shell("NO_COLOR=1", `set -m; "$@" & wait; echo ended; read line; echo "read <$line>"`, "traffic", "--interval", "100ms", "--duration", "500ms")
	if !s.Echoes() {
		t.Error("the keyboard is taken")
	}
	s.Until("; cost: CPU")
	s.Until("ended")
	s.Type("end\r")
	if text := s.Until("read <end>"); strings.Contains(text, "\x1b[?1049h") {
		t.Errorf("the screen is taken: %q", text)
	}
}

// A command reads what is typed.
func TestKernelKeyboardIsTheCommands(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	s := kit.NewScreen(t, 80, 24)
	s.Shell("NO_COLOR=1", `"$@" 2>/dev/null; echo "status $?"`, "traffic", "--interval", "100ms", "--", "sh", "-c", `read line; exec test "$line" = go`)
	s.Until("\x1b[?1049h")
	if !s.Echoes() {
		t.Error("the keyboard is taken")
	}
	s.Type("go\r")
	s.Until("status 0\r\n")
}

// The key s changes the order of a summary at once, and tells so in the last line.
func TestKernelKeyChangesTheOrderOfASummary(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			time.Sleep(300 * time.Millisecond)
		}
	}))
	defer server.Close()
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	s := kit.NewScreen(t, 160, 24)
	s.Shell("NO_COLOR=1", `trap : INT; "$@"; echo "status $?"`, "http", "--summary", "--no-tls", "--port", port)
	s.Until("press Ctrl-C to stop")
	for _, path := range []string{"/slow", "/busy", "/busy", "/busy"} {
		res, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
	}
	s.Until("/busy")
	total := s.Until("sorted by total; press s for another order")
	if slow, busy := strings.Index(total, "/slow"), strings.Index(total, "/busy"); slow < 0 || slow > busy {
		t.Errorf("by total: %q", total)
	}
	s.Type("s")
	s.Until("\x1b[24;11Hcount")
	s.Type("\x03")
	closing := s.Until("status 0\r\n")
	closing = closing[strings.LastIndex(closing, "\x1b[?1049l"):]
	if slow, busy := strings.Index(closing, "/slow"), strings.Index(closing, "/busy"); busy < 0 || busy > slow {
		t.Errorf("by count: %q", closing)
	}
}

// Keys of a live screen do what they say, at once.
func TestKernelKeysOfALiveScreen(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	s := kit.NewScreen(t, 100, 24)
	s.Shell("NO_COLOR=1", `trap : INT; "$@"; echo "status $?"; read line; echo "left <$line>"`, "traffic", "--interval", "100ms")
	s.Until("? for all keys")
	s.Type("?")
	s.Until("q ends, s changes the order, p pauses")
	s.Type("?s")
	s.Until("tx; press s")
	s.Type("p")
	s.Until("paused, p goes on")
	s.Type("p/no such row")
	s.Until("filter: /no such row_")
	s.Type("\r")
	s.Until("/no such row: 0 rows")
	const line = "\x1b[24;1H\x1b[Ksorted by tx; press s"
	before := strings.Count(s.Text(), line)
	s.Type("\x1b")
	kit.Eventually(t, "Esc", func() error {
		if text := s.Text(); strings.Count(text, line) == before {
			return fmt.Errorf("the filter stays: %q", text)
		}
		return nil
	})
	s.Type("q")
	text := s.Until("status 0\r\n")
	if !strings.Contains(text, "; cost: CPU") || strings.Count(text, "\x1b[?1049h") != strings.Count(text, "\x1b[?1049l") {
		t.Errorf("q: %q", text)
	}
	s.Type("end\r")
	s.Until("left <end>")
}
