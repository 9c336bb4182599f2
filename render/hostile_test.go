package render_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"

	"tracer/testdata/kit"
)

func TestKernelTableOfHostileText(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	evil := "\x1b]0;owned\x07\x1b[2J\n\r\u202e\xff"
	cmd := kit.Command(t, "exec", "--columns", "comm,args,cwd", "--", "/bin/sh", "-c", `cd "$1" && exec "$0" "$1"`)
	dir := filepath.Join(t.TempDir(), evil)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, evil)
	if err := os.Symlink("/bin/true", link); err != nil {
		t.Fatal(err)
	}
	cmd.Args = append(cmd.Args, link, dir)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run() // busybox knows no applet of this name
	for i, b := range out.Bytes() {
		if b < ' ' && b != '\n' || b == 0x7f {
			t.Fatalf("byte %#x at %d of %q", b, i, out.String())
		}
	}
	if n := bytes.Count(out.Bytes(), []byte{'\n'}); n != 3 || !strings.Contains(out.String(), `\x1b]0;owned\x07\x1b[2J\x0a\x0d\xe2\x80\xae\xff`) {
		t.Errorf("%d lines: %q, %s", n, out.String(), errs.String())
	}
}

// Requests full of what a terminal obeys are rows like others, in the table and
// as JSON.
func TestKernelHTTPOfHostileText(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() { // answers each request with nothing
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				r := bufio.NewReader(conn)
				for line := "x"; strings.TrimSpace(line) != ""; {
					if line, err = r.ReadString('\n'); err != nil {
						return
					}
				}
				_, _ = conn.Write([]byte("HTTP/1.1 200 \x1b[31m\xff\u202eOK\r\nContent-Length: 0\r\nX: \x1b]0;x\x07\r\n\r\n"))
			}()
		}
	}()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	args := []string{"http", "--port", port, "--columns", "method,host,path"}
	j := kit.Start(t, args...)
	table := kit.NewScreen(t, 120, 30)
	cmd := table.Start("A=b", args...)
	for _, request := range []string{
		"GET /\x1b]0;owned\x07\x1b[2J HTTP/1.1\r\nHost: \x1b[31mred\r\n\r\n",
		"GET /\xff\xfe\xc0 HTTP/1.1\r\nHost: \u202egnp.exe\u2066\r\n\r\n",
		"GET /" + strings.Repeat("x", 100_000) + " HTTP/1.1\r\nHost: long\r\n\r\n",
		"GET /head HTTP/1.1\r\nHost: h\r\nCookie: " + strings.Repeat("\x1b[2J", 20_000) + "\r\n\r\n",
		"GET /last/\xe6\x97\xa5 HTTP/1.1\r\nHost: h\r\n\r\n",
	} {
		conn, err := net.Dial("tcp4", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte(request)); err != nil {
			t.Fatal(err)
		}
		_, _ = io.ReadAll(conn)
		conn.Close()
	}
	last := func(e kit.Event) bool { return e["path"] == "/last/日" }
	j.Until(last)
	for _, e := range j.Events {
		for _, key := range []string{"method", "path", "host"} {
			if s, _ := e[key].(string); !utf8.ValidString(s) {
				t.Errorf("%s %q", key, s)
			}
		}
	}
	j.Stop()
	table.Until("/last/日")
	text := table.Interrupt(cmd)
	if !strings.Contains(text, "/xxxx") || !strings.Contains(text, "/head") {
		t.Errorf("rows are missing: %q", text)
	}
	for i, line := range strings.Split(text, "\r\n") {
		if ansi.StringWidth(line) > 120 && !strings.Contains(line, "tracer:") {
			t.Errorf("line %d has %d cells: %q", i, ansi.StringWidth(line), line)
		}
		for _, r := range strings.NewReplacer("\x1b[1m", "", "\x1b[31m", "", "\x1b[2m", "", "\x1b[0m", "").Replace(line) {
			if r < ' ' || r == 0x7f || r == utf8.RuneError || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
				t.Errorf("line %d: %q in %q", i, r, line)
			}
		}
	}
	if strings.Contains(text, "\x1b[31mred") {
		t.Errorf("a stranger's colour: %q", text)
	}
}

// A process may call itself what it likes.
func TestKernelConnOfAHostileName(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	workload := kit.WorkloadBinary(t)
	name := "\x1b[2J\n\r\xff\u202ex"
	r := kit.Start(t, "conn", "--", workload, "named", name)
	r.Wait(0)
	if len(r.Events) != 5 {
		t.Errorf("%d rows, want 5", len(r.Events))
	}
	for _, e := range r.Events {
		if want := strings.ToValidUTF8(name, "\ufffd"); e["comm"] != want {
			t.Errorf("comm %q, want %q", e["comm"], want)
		}
	}
	s := kit.NewScreen(t, 100, 30)
	cmd := s.Start("NO_COLOR=1", "conn", "--columns", "comm,result", "--", workload, "named", name)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	text := s.Until("; cost: CPU")
	rows := strings.Count(text, "\r\n"+`\x1b[2J\x0a\x0`)
	if rows != 5 {
		t.Errorf("%d rows, want 5", rows)
	}
	for _, r := range strings.ReplaceAll(text, "\r\n", "") {
		if r < ' ' || r == 0x7f || r == utf8.RuneError || r == '\u202e' {
			t.Fatalf("%q in %q", r, text)
		}
	}
}
