package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/pflag"

	"tracer/render/help"
	"tracer/render/sinks"
	"tracer/testdata/kit"
	"tracer/trace"
	"tracer/trace/command"
	"tracer/trace/event"
	"tracer/trace/kernel/attach"
)

// The test binary is tracer itself for the scripts, and what becomes a command.
func TestMain(m *testing.M) {
	attach.Become()
	command.Become()
	sinks.Become()
	testscript.Main(m, map[string]func(){"tracer": func() { os.Exit(run()) }})
}

// TestScript holds the command line to its contract, as text: testdata/script.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script"})
}

// The screen has 24 lines and 80 cells. Both helps name every flag.
func TestHelpFitsAScreen(t *testing.T) {
	root := newRoot(new(int))
	for _, cmd := range append(root.Commands(), root) {
		screen := help.AppendScreen(nil, cmd)
		if lines := bytes.Count(screen, []byte{'\n'}); lines > 24 {
			t.Errorf("%s --help has %d lines", cmd.CommandPath(), lines)
		}
		all := help.AppendAll(nil, cmd, columnsOf(cmd.Name()))
		for _, text := range [][]byte{screen, all} {
			for line := range bytes.Lines(text) {
				if n := utf8.RuneCount(line) - 1; n > 80 {
					t.Errorf("%s: %d cells: %s", cmd.CommandPath(), n, line)
				}
			}
			cmd.Flags().VisitAll(func(f *pflag.Flag) {
				if !f.Hidden && f.Name != "help" && !bytes.Contains(text, []byte("--"+f.Name)) {
					t.Errorf("%s: --%s is missing in\n%s", cmd.CommandPath(), f.Name, text)
				}
			})
		}
	}
}

// The flags of one command are explained on its screen. Those of all commands
// are only named, below the title of their group.
func TestFlagsOfAllCommandsAreGrouped(t *testing.T) {
	root := newRoot(new(int))
	for _, p := range trace.Probes {
		own := flag.NewFlagSet("", flag.ContinueOnError)
		p.New().Flags(own)
		cmd, _, err := root.Find([]string{p.Name})
		if err != nil {
			t.Fatal(err)
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if grouped := len(f.Annotations["group"]) > 0; grouped == (own.Lookup(f.Name) != nil) && f.Name != "help" {
				t.Errorf("%s: --%s: grouped: %t", p.Name, f.Name, grouped)
			}
		})
	}
}

func TestKernelCommandKeepsItsStatusAndStreams(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	for name, c := range map[string]struct {
		args   []string
		status int
	}{
		"its status":       {[]string{"/bin/sh", "-c", "exit 3"}, 3},
		"killed":           {[]string{"/bin/sh", "-c", "kill -TERM $$"}, 128 + 15},
		"found by PATH":    {[]string{"sh", "-c", "exit 0"}, 0},
		"a missing script": {[]string{"/bin/sh", "/nonexistent/script"}, 2},
	} {
		r := kit.Start(t, append([]string{"exec", "--exits", "--"}, c.args...)...)
		if name == "a missing script" {
			// dash and busybox disagree.
			c.status = 127
			if out, _ := exec.Command("/bin/sh", "/nonexistent/script").CombinedOutput(); len(out) > 0 {
				cmd := exec.Command("/bin/sh", "/nonexistent/script")
				_ = cmd.Run()
				c.status = cmd.ProcessState.ExitCode()
			}
		}
		r.Wait(c.status)
		if len(r.Events) != 2 {
			t.Errorf("%s: %v", name, r.Events)
		}
	}
	// Input passes through; output goes to stderr, since stdout is for events.
	cmd := kit.Command(t, "exec", "--json", "--", "cat")
	cmd.Stdin = strings.NewReader("hello\n")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "hello") || !strings.Contains(errs.String(), "hello\n") {
		t.Errorf("stdout %q, stderr %q", out.String(), errs.String())
	}
	// The user behind sudo runs it, and that is said.
	for said, json := range map[string]string{"tracing exec of sh -c 'id -u; id -g' as nobody\n": "--json=false", `"event":"note","message":"the command runs as nobody,`: "--json"} {
		cmd = kit.Command(t, "exec", json, "--", "sh", "-c", "id -u; id -g")
		cmd.Env = append(cmd.Env, "SUDO_UID=65534", "SUDO_GID=65534")
		errs.Reset()
		cmd.Stderr = &errs
		if err := cmd.Run(); err != nil {
			t.Fatal(err, errs.String())
		}
		if !strings.Contains(errs.String(), "65534\n65534\n") || !strings.Contains(errs.String(), said) {
			t.Errorf("%s: user and group: %q", json, errs.String())
		}
	}
}

// Ctrl-C is the command's affair if it handles it: it gets it once, by the terminal, tracing goes on, and so does its
// own status.
func TestKernelCommandHandlesCtrlC(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	s := kit.NewScreen(t, 120, 40)
	script := filepath.Join(t.TempDir(), "script")
	// A second one would come within the time that this takes.
	text := `trap 'n=$((n + 1))' INT; echo ready; sleep 100; sleep 0.3; /bin/echo "interrupted $n times"; exit 7`
	if err := os.WriteFile(script, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := s.Start("A=B", "exec", "--", "/bin/sh", script)
	s.Until("ready\r\n")
	s.Until("sleep 100\r\n") // its row
	s.Type("\x03")
	err := cmd.Wait()
	text = s.Until("; cost: CPU")
	if cmd.ProcessState.ExitCode() != 7 || !strings.Contains(text, "\ninterrupted 1 times\r\n") || !strings.Contains(text, "/bin/echo 'interrupted 1 times'") {
		t.Errorf("%v: %q", err, text)
	}
}

// nohup and the & of a script have signals ignored: for tracer and for the command.
func TestKernelIgnoredSignalsStayIgnored(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	cmd := exec.Command("/bin/sh", "-c", `trap '' HUP INT; exec "$@"`, "sh", kit.Binary(t), "exec", "--json", "--", "/bin/sh", "-c", "case $(grep SigIgn /proc/self/status) in *3) echo both ignored;; esac; read x; exit 3") // of others the test's own parent may ignore some
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r := kit.StartCmd(t, cmd)
	r.Until(func(e kit.Event) bool { return e["comm"] == "grep" })
	r.Said("both ignored")
	for _, s := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT} {
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	in.Close()
	if a := r.Wait(3); a["reason"] != "command" {
		t.Errorf("account: %v", a)
	}
}

// In a pid namespace of its own --pid takes the host's ids, of which nothing is known there.
func TestKernelHostIDsInAPidNamespace(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	cmd := kit.Command(t, "exec", "--json", "--pid", strconv.Itoa(os.Getpid()))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	r := kit.StartCmd(t, cmd)
	pid := kit.Run(t, kit.Workload(t, "nothing"))
	r.Until(kit.Started(pid))
	r.Stop()
}

func TestKernelCommandThatCannotRun(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for path, status := range map[string]int{"/nonexistent/x": 127, "nosuchcommand": 127, plain: 126} {
		cmd := kit.Command(t, "exec", "--", path)
		out, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != status || !strings.HasPrefix(string(out), "tracer: error: run ") {
			t.Errorf("%s: status %d, want %d: %s", path, got, status, out)
		}
	}
}

func TestKernelSignalEndsTheCommand(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	r := kit.Start(t, "exec", "--exits", "--", "/bin/sh", "-c", "exec sleep 100")
	r.Until(func(e kit.Event) bool { return len(r.Events) == 2 })
	if err := r.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	r.Wait(128 + 15)
	if e := r.Of("exit", 0); len(e) != 1 || e[0]["signal"] != "SIGTERM" {
		t.Errorf("exits: %v", e)
	}
}

func TestKernelStopsAfterCountAndDuration(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	r := kit.Start(t, "exec", "--count", "3", "--pid", strconv.Itoa(os.Getpid()))
	for range 5 {
		if err := kit.Workload(t, "nothing").Run(); err != nil {
			t.Fatal(err)
		}
	}
	if a := r.Wait(0); a["shown"] != 3.0 || len(r.Events) != 3 {
		t.Errorf("--count 3: %d events, %v", len(r.Events), a)
	}
	r = kit.Start(t, "exec", "--duration", "150ms")
	if a := r.Wait(0); a["duration_us"].(float64) < 150000 {
		t.Errorf("--duration 150ms: %v", a)
	}
}

func TestKernelReaderThatLeavesIsNoError(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	cmd := kit.Command(t, "exec")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	kit.Launch(t, cmd)
	if _, err := bufio.NewReader(stderr).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	// Nothing is written any more: tracer notices by itself.
	out.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("reader left: %v", err)
	}
}

func TestKernelFullDiskIsAnError(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	cmd := kit.Command(t, "exec", "--", "/bin/sh", "-c", "exit 0")
	cmd.Stdout = full
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Run(); cmd.ProcessState.ExitCode() != exitFailed {
		t.Errorf("disk full: %v", err)
	}
	for _, want := range []string{"tracer: error: write to stdout: no space left on device", "1 lost (output_full 1)"} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("disk full: no %q in %q", want, errs.String())
		}
	}
}

// What README and help pipe into jq does something with what that command says.
func TestRecipes(t *testing.T) {
	if kit.Emulated() {
		t.Skip("this kernel's machine has no jq")
	}
	at := time.Unix(1, 0)
	head := func(kind string) event.Common {
		return event.Common{Time: at, Kind: kind, Process: event.Process{PID: 7, Comm: "c", Place: event.Place{Pod: "web-0", PodUID: "u"}}}
	}
	tcp := event.Connection{Role: event.RoleClient, Src: netip.MustParseAddrPort("10.0.0.1:1"), Dst: netip.MustParseAddrPort("10.0.0.2:80")}
	program := event.Program{Exe: "/bin/true", Args: []string{"true"}}
	exchange := event.HTTP{Common: head(event.KindHTTP), Connection: tcp, Method: "GET", Path: "/", Host: "h", Status: 200, Latency: time.Millisecond}
	exchange.Role = event.RoleBoth
	exchange.TLS = "openssl"
	call := exchange
	call.Version, call.Stream, call.Path, call.GRPC, call.GRPCStatus, call.GRPCMessage = "2", 1, "/a.B/C", true, 14, "no upstream"
	stuck := event.HTTP{Common: head(event.KindHTTPStuck), Connection: tcp, Method: "GET", Path: "/", Host: "h", Age: time.Second}
	said := map[string][]event.Event{
		"exec":    {&event.Exec{Common: head(event.KindExec), Program: program}, &event.Exit{Common: head(event.KindExit), Program: program, Code: 7, Duration: time.Second}},
		"conn":    {&event.ConnectFailed{Common: head(event.KindConnectFailed), Connection: tcp, Error: "ECONNREFUSED"}, &event.Close{Common: head(event.KindClose), Connection: tcp}},
		"traffic": {&event.Traffic{Common: head(event.KindTraffic), Tx: 1, Rx: 2}},
		"http":    {&exchange, &call, &stuck},
	}
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range trace.Probes {
		text = append(append(text, '\n'), p.Example...)
	}
	recipes := regexp.MustCompile(`(?m)^\s+tracer (\w+) .*(--json.*\| jq .*)$`).FindAllSubmatch(text, -1)
	if len(recipes) < 10 {
		t.Errorf("%d recipes found", len(recipes))
	}
	for _, r := range recipes {
		command, recipe := string(r[1]), string(r[2])
		recipe = strings.TrimSpace(recipe[strings.Index(recipe, "|")+1:])
		var in []byte
		for _, e := range said[command] {
			in = append(event.AppendJSON(in, e), '\n')
		}
		if command == "check" {
			in = (&event.Check{Commands: []event.CheckedCommand{{Name: "exec", Error: "no"}}}).AppendJSON(nil)
		}
		cmd := exec.Command("sh", "-c", recipe)
		cmd.Stdin = bytes.NewReader(in)
		out, err := cmd.CombinedOutput()
		if err != nil || len(bytes.TrimSpace(out)) == 0 {
			t.Errorf("tracer %s | %s: %v: %q, given %s", command, recipe, err, out, in)
		}
	}
}

// What is installed is what was built, with its man pages and completions; what is uninstalled is all of that. Root may
// have no Go in its PATH.
func TestMakeInstall(t *testing.T) {
	if kit.Emulated() {
		t.Skip("this kernel's machine has no make")
	}
	for name, c := range map[string]struct {
		built, hasGo bool
		fails        string
	}{
		"a program that was built, without Go": {built: true},
		"a program that was built, with Go":    {built: true, hasGo: true},
		"no program, with Go":                  {hasGo: true},
		"no program, without Go":               {fails: "there is no ./tracer, and no go in PATH to build it: run make build first"},
	} {
		t.Run(name, func(t *testing.T) {
			tree, root, tools := t.TempDir(), t.TempDir(), t.TempDir()
			program, err := os.ReadFile(kit.Binary(t))
			if err != nil {
				t.Fatal(err)
			}
			write := func(path string, data []byte) {
				t.Helper()
				if err := os.WriteFile(path, data, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			makefile, err := os.ReadFile("Makefile")
			if err != nil {
				t.Fatal(err)
			}
			write(filepath.Join(tree, "Makefile"), makefile)
			if c.built {
				write(filepath.Join(tree, "tracer"), program)
			}
			for _, tool := range []string{"bash", "cp", "install", "mkdir", "rm"} {
				path, err := exec.LookPath(tool)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(path, filepath.Join(tools, tool)); err != nil {
					t.Fatal(err)
				}
			}
			if c.hasGo { // one that does as the real one would, or fails where nothing is to be built
				write(filepath.Join(tools, "go"), fmt.Appendf(nil, "#!/bin/bash\n[ \"$1 ${*: -3}\" = 'build -o tracer .' ] && [ ! -e tracer ] && cp %s tracer\n", kit.Binary(t)))
			}
			run := func(target string) (string, int) {
				t.Helper()
				cmd := exec.Command("make", "-s", target, "DESTDIR="+root, "PREFIX=/usr", "BUILD="+t.TempDir())
				cmd.Dir = tree
				cmd.Env = append(os.Environ(), "PATH="+tools)
				return kit.Output(cmd)
			}
			files := func() (files []string) {
				err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
					if err == nil && d.Type().IsRegular() {
						files = append(files, strings.TrimPrefix(path, root+"/usr/"))
					}
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
				return files
			}
			out, status := run("install")
			if c.fails != "" {
				if status == 0 || !strings.Contains(out, c.fails) || len(files()) > 0 {
					t.Errorf("status %d: %s, installed: %v", status, out, files())
				}
				return
			}
			if status != 0 {
				t.Fatalf("make install: status %d: %s", status, out)
			}
			want := []string{"bin/tracer", "share/bash-completion/completions/tracer", "share/fish/vendor_completions.d/tracer.fish"}
			for _, cmd := range newRoot(new(int)).Commands() {
				want = append(want, "share/man/man1/tracer-"+cmd.Name()+".1")
			}
			want = append(want, "share/man/man1/tracer.1", "share/zsh/site-functions/_tracer")
			slices.Sort(want)
			if diff := cmp.Diff(want, files()); diff != "" {
				t.Error(diff)
			}
			if installed, err := os.ReadFile(root + "/usr/bin/tracer"); err != nil || !bytes.Equal(installed, program) {
				t.Errorf("%v: what is installed is not what was built", err)
			}
			if out, status := run("uninstall"); status != 0 || len(files()) > 0 {
				t.Errorf("make uninstall: status %d: %s, left behind: %v", status, out, files())
			}
		})
	}
}
