package render_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"

	"tracer/testdata/kit"
)

// rows are the lines of exec's table, without what is no row.
func rows(text string) (rows []string) {
	for line := range strings.SplitSeq(text, "\r\n") {
		line = ansi.Strip(line)
		if strings.HasPrefix(line, "TIME ") || len(line) > 12 && line[2] == ':' && line[8] == '.' {
			rows = append(rows, line)
		}
	}
	return rows
}

// The table on a terminal, as the contract has it: no row wraps, the header
// comes again on every screenful, another size is taken up while it runs, and
// what follows ^C stands on a line of its own.
func TestKernelTableOnATerminal(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	s := kit.NewScreen(t, 60, 10)
	cmd := s.Start("A=b", "exec", "--exits", "--pid", strconv.Itoa(os.Getpid()))
	const n = 17
	long := strings.Repeat("long ", 60)
	for range n {
		_ = kit.Workload(t, "exit", "7", long).Run()
	}
	_ = kit.Workload(t, "exit", "8", "\x1b[2J日本語\u202e").Run()
	first := s.Until("exit 8 after")
	s.Resize(100, 30)
	time.Sleep(300 * time.Millisecond) // tracer looks at the size every now and then
	_ = kit.Workload(t, "exit", "9", long).Run()
	s.Until("exit 9 after")
	text := s.Interrupt(cmd)

	header := 0
	for i, row := range rows(text) {
		row = strings.ReplaceAll(row, "^C", "") // the terminal's own
		width := 60
		if i >= len(rows(first)) {
			width = 100
		}
		if cells := ansi.StringWidth(row); cells > width || strings.HasSuffix(row, "…") && cells < width-1 { // a wide character may not fit
			t.Errorf("%d cells: %s", cells, row)
		}
		switch {
		case strings.HasPrefix(row, "TIME "):
			header = 0
		case header > 8 && width == 60:
			t.Errorf("%d rows below a header on 10 lines: %s", header, row)
		default:
			if _, err := time.Parse("15:04:05.000", row[:12]); err != nil {
				t.Error(err)
			}
		}
		header++
	}
	if want := 2 * (n + 2); len(rows(text))-strings.Count(text, "TIME ") != want {
		t.Errorf("%d rows, want %d", len(rows(text))-strings.Count(text, "TIME "), want)
	}
	// The kernel sends the signal and then writes ^C: tracer may have been faster.
	if !strings.Contains(text, "^C\r\n") && !strings.Contains(text, "\r\n\r\n^C") || !strings.Contains(text, "\x1b[31m") || strings.Contains(text, "\x1b[2J") || strings.Contains(text, "\u202e") {
		t.Errorf("%q", text)
	}
	for name, env := range map[string]string{"NO_COLOR": "NO_COLOR=1", "a dumb terminal": "TERM=dumb", "--no-color": "A=b"} {
		s := kit.NewScreen(t, 60, 10)
		args := []string{"exec", "--failed", "--exits", "--pid", strconv.Itoa(os.Getpid())}
		if strings.HasPrefix(name, "--") {
			args = append(args, name)
		}
		cmd := s.Start(env, args...)
		_ = kit.Workload(t, "exit", "8").Run()
		s.Until("exit 8 after")
		if text := s.Interrupt(cmd); strings.Contains(text, "\x1b") {
			t.Errorf("%s: %q", name, text)
		}
	}
}

// A live screen is given back whole, however it ends; messages that came
// meanwhile and the account stand below the closing table.
func TestKernelLiveScreenIsGivenBack(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	for name, end := range map[string]func(s *kit.Screen, cmd *exec.Cmd){
		"Ctrl-C":  func(s *kit.Screen, cmd *exec.Cmd) { s.Interrupt(cmd) },
		"SIGTERM": func(_ *kit.Screen, cmd *exec.Cmd) { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() },
		"SIGHUP":  func(_ *kit.Screen, cmd *exec.Cmd) { _ = cmd.Process.Signal(syscall.SIGHUP); _ = cmd.Wait() },
	} {
		s := kit.NewScreen(t, 80, 24)
		cmd := s.Start("A=b", "traffic", "--interval", "100ms")
		s.Until("\x1b[?1049h")
		s.Resize(60, 12)
		end(s, cmd)
		text := s.Until("; cost: CPU")
		after := text[strings.LastIndex(text, "\x1b[?1049l"):]
		if strings.Count(text, "\x1b[?1049h") != strings.Count(text, "\x1b[?1049l") || !strings.HasPrefix(after, "\x1b[?1049l\x1b[?25h") || !strings.Contains(text, "\x1b[?7h") {
			t.Errorf("%s: the screen is not given back: %q", name, text)
		}
		if !strings.Contains(after, "RECEIVED") || strings.Index(after, "; cost: CPU") < strings.Index(after, "RECEIVED") {
			t.Errorf("%s: below it: %q", name, after)
		}
		if cmd.ProcessState.ExitCode() != 0 {
			t.Errorf("%s: %v", name, cmd.ProcessState)
		}
	}
}

// A warning is on a live screen while it is shown, and not only below it afterwards.
func TestKernelWarningIsOnTheLiveScreen(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	// The beginning of a handshake, by no library.
	hello := append([]byte{22, 3, 1, 0, 64, 1, 0, 0, 60, 3, 3}, make([]byte, 58)...)
	alert := []byte{21, 3, 3, 0, 2, 2, 40}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.ReadFull(conn, make([]byte, len(hello)))
			_, _ = conn.Write(alert)
			conn.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	s := kit.NewScreen(t, 160, 24)
	cmd := s.Start("NO_COLOR=1", "http", "--summary", "--port", port)
	conn, err := net.Dial("tcp4", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(hello); err != nil {
		t.Fatal(err)
	}
	_, _ = io.ReadAll(conn)
	conn.Close()
	warning := "tracer: warning: only TLS so far at port " + port
	kit.Eventually(t, "the warning on the screen", func() error {
		text := s.Text()
		if i := strings.LastIndex(text, "\x1b[?1049h"); i < 0 || !strings.Contains(text[i:], warning) {
			return fmt.Errorf("%q", text)
		}
		return nil
	})
	text := s.Interrupt(cmd)
	after := text[strings.LastIndex(text, "\x1b[?1049l"):]
	if !strings.Contains(after, "sockets not readable (TLS 2)") {
		t.Errorf("the account: %q", after)
	}
}
