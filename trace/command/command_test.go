package command

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tracer/testdata/kit"
	"tracer/trace/event"
)

func TestMain(m *testing.M) {
	Become()
	os.Exit(m.Run())
}

// deadline is for what should take no time at all.
const deadline = 10 * time.Second

// released starts a shell that runs script.
func released(t *testing.T, script string) *Command {
	t.Helper()
	c, err := Start([]string{"sh", "-c", script})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Release(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.signal(syscall.SIGKILL)
		<-c.done
	})
	return c
}

// running starts a shell that runs script once it has said so.
func running(t *testing.T, script string) *Command {
	t.Helper()
	ready := filepath.Join(t.TempDir(), "ready")
	if err := syscall.Mkfifo(ready, 0o600); err != nil {
		t.Fatal(err)
	}
	c := released(t, "trap 'exit 3' TERM; "+script+": >'"+ready+"'; while :; do sleep 0.01; done")
	f, err := os.Open(ready) // waits for the shell
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	return c
}

// waited calls Wait and fails if it does not return.
func waited(t *testing.T, c *Command, stop chan os.Signal, ended chan struct{}) (interrupted bool) {
	t.Helper()
	returned := make(chan struct{})
	go func() {
		c.Wait(stop, ended, func() { interrupted = true })
		close(returned)
	}()
	select {
	case <-returned:
	case <-time.After(deadline):
		t.Fatal("Wait does not return")
	}
	return interrupted
}

func TestStatusIsThatOfTheCommand(t *testing.T) {
	for script, want := range map[string]int{
		"exit 0":        0,
		"exit 7":        7,
		"kill -9 $$":    128 + 9,
		"kill -TERM $$": 128 + 15,
	} {
		c := released(t, script)
		waited(t, c, nil, nil)
		if got, err := c.Finish(); got != want || err != nil {
			t.Errorf("%s: status %d, %v, want %d", script, got, err, want)
		}
	}
}

func TestCommandsThatCannotRun(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		status int
		text   string
	}{
		"nosuchcommand":   {ExitNotFound, "executable file not found in $PATH"},
		dir + "/nosuch":   {ExitNotFound, "no such file or directory"},
		file:              {ExitCannot, "permission denied"},
		dir:               {ExitCannot, ""},
		"./nosuchcommand": {ExitNotFound, "no such file or directory"},
	} {
		_, err := Start([]string{name})
		var e *Error
		if !errors.As(err, &e) || e.Status != want.status || !strings.HasSuffix(err.Error(), want.text) || strings.Count(err.Error(), name) != 1 {
			t.Errorf("%s: %v, want status %d and %q", name, err, want.status, want.text)
		}
	}
}

func TestCancelledCommandNeverRuns(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	c, err := Start([]string{"touch", file})
	if err != nil {
		t.Fatal(err)
	}
	c.Cancel()
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the command ran: %v", err)
	}
}

func TestProcessIdIsKnownBeforeTheCommandRuns(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	c, err := Start([]string{"sh", "-c", "echo $$ >" + file})
	if err != nil {
		t.Fatal(err)
	}
	before := c.PID
	if err := c.Release(); err != nil {
		t.Fatal(err)
	}
	waited(t, c, nil, nil)
	if text, err := os.ReadFile(file); err != nil || string(text) != fmt.Sprintf("%d\n", before) {
		t.Errorf("process %q, want %d, %v", text, before, err)
	}
}

func TestSignalIsPassedOn(t *testing.T) {
	c := running(t, "")
	stop := make(chan os.Signal, 1)
	stop <- syscall.SIGTERM
	if waited(t, c, stop, nil) {
		t.Error("SIGTERM is taken for Ctrl-C")
	}
	if status, err := c.Finish(); status != 3 || err != nil {
		t.Errorf("status %d, %v", status, err)
	}
}

func TestCtrlCIsToldAtOnce(t *testing.T) {
	stop := make(chan os.Signal, 1)
	stop <- syscall.SIGINT
	if !waited(t, nil, stop, nil) {
		t.Error("not told")
	}
}

// A command that handles Ctrl-C goes on, and tracing with it. It gets each once.
func TestInterruptedCommandGoesOnAndKeepsItsStatus(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT} {
		t.Run(sig.String(), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "heard")
			if err := syscall.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := Start([]string{kit.WorkloadBinary(t), "hear", "3", "7", path})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.signal(syscall.SIGKILL) })
			if err := c.Release(); err != nil {
				t.Fatal(err)
			}
			heard, err := os.Open(path) // waits for the command
			if err != nil {
				t.Fatal(err)
			}
			defer heard.Close()
			lines := bufio.NewScanner(heard)
			stop := make(chan os.Signal)
			reason := make(chan string, 1)
			interrupted := 0
			go func() { reason <- c.Wait(stop, nil, func() { interrupted++ }) }()
			for i := range 3 {
				if !lines.Scan() || lines.Text() != fmt.Sprint(i) {
					t.Fatalf("heard %q, want %d: %v", lines.Text(), i, lines.Err())
				}
				stop <- sig
			}
			select {
			case got := <-reason:
				if got != event.EndedCommand || interrupted != 3 && sig == syscall.SIGINT {
					t.Errorf("reason %q, interrupted %d times", got, interrupted)
				}
			case <-time.After(deadline):
				t.Fatal("Wait does not return")
			}
			if status, err := c.Finish(); status != 7 || err != nil {
				t.Errorf("status %d, %v", status, err)
			}
		})
	}
}

func TestStatusOfACommandThatIsInterrupted(t *testing.T) {
	c := running(t, "")
	stop := make(chan os.Signal, 1)
	stop <- syscall.SIGINT
	waited(t, c, stop, nil)
	if status, err := c.Finish(); status != 128+2 || err != nil {
		t.Errorf("status %d, %v", status, err)
	}
}

// What was ignored when tracer began is not asked for: that would end the ignoring.
func TestIgnoredSignalsStayIgnored(t *testing.T) {
	signal.Ignore(syscall.SIGHUP)
	defer signal.Reset(syscall.SIGHUP)
	stop := make(chan os.Signal, 4)
	Notify(stop, true)
	defer signal.Stop(stop)
	for _, s := range []syscall.Signal{syscall.SIGHUP, syscall.SIGTERM} {
		if err := syscall.Kill(os.Getpid(), s); err != nil {
			t.Fatal(err)
		}
	}
	if s := <-stop; s != syscall.SIGTERM || !signal.Ignored(syscall.SIGHUP) {
		t.Errorf("%v came, SIGHUP is ignored: %v", s, signal.Ignored(syscall.SIGHUP))
	}
}

func TestUserIsWhoCalledSudo(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root becomes another user")
	}
	for _, c := range []struct{ uid, gid, want string }{
		{"", "", ""},
		{"0", "0", ""},
		{"65534", "65534", "nobody"},
		{"65534", "", ""},
		{"4000000", "4000000", "user 4000000"},
	} {
		t.Setenv("SUDO_UID", c.uid)
		t.Setenv("SUDO_GID", c.gid)
		if got := User(); got != c.want {
			t.Errorf("%v: %q", c, got)
		}
	}
}

func TestSecondSignalEndsThePatience(t *testing.T) {
	c := running(t, "trap '' TERM; ")
	stop := make(chan os.Signal, 2)
	stop <- syscall.SIGTERM
	stop <- syscall.SIGTERM
	begin := time.Now()
	waited(t, c, stop, nil)
	if took := time.Since(begin); took >= grace {
		t.Errorf("took %v", took)
	}
}

func TestCommandEndsWithTracing(t *testing.T) {
	c := running(t, "")
	ended := make(chan struct{})
	close(ended)
	waited(t, c, nil, ended)
	if status, err := c.Finish(); status != 0 || err != nil {
		t.Errorf("status %d, %v: the command was ended, its status does not count", status, err)
	}
}

func TestCommandThatIgnoresTheEndIsNamed(t *testing.T) {
	c := running(t, "trap '' TERM; ")
	if _, err := c.Finish(); err == nil || !strings.Contains(err.Error(), "still runs") {
		t.Errorf("%v", err)
	}
}

// Without a command only signals and the end of tracing count.
func TestWaitWithoutACommand(t *testing.T) {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGUSR1)
	defer signal.Stop(stop)
	if err := syscall.Kill(os.Getpid(), syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	if waited(t, nil, stop, nil) {
		t.Error("SIGUSR1 is taken for Ctrl-C")
	}
}
