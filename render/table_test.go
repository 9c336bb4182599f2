package render

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"tracer/trace/event"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) {
	switch os.Getenv(asChild) {
	case "forever":
		writeForever()
	case "disk":
		if err := fillDisk(os.Getenv("DIR")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	time.Local = time.FixedZone("here", 60*60)
	os.Exit(m.Run())
}

// checkGolden compares with ../testdata/golden/name; go test -update writes it.
func checkGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("..", "testdata", "golden", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")); diff != "" {
		t.Errorf("%s (go test -update writes it anew): %s", path, diff)
	}
}

// terminal is a pseudo terminal of a size.
func terminal(t *testing.T, width, height int) *os.File {
	t.Helper()
	f, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("needs a pseudo terminal:", err)
	}
	t.Cleanup(func() { f.Close() })
	resize(t, f, width, height)
	return f
}

func resize(t *testing.T, f *os.File, width, height int) {
	t.Helper()
	if err := unix.IoctlSetWinsize(int(f.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: uint16(width), Row: uint16(height)}); err != nil {
		t.Fatal(err)
	}
}

var when = time.Date(2024, 3, 5, 14, 4, 5, 67890000, time.UTC)

// execEvents are events of exec, the usual and the hostile.
func execEvents() []event.Event {
	common := func(kind string, pid uint32, comm string, uid uint32) event.Common {
		return event.Common{Kind: kind, Process: event.Process{PID: pid, Comm: comm, UID: uid, CgroupID: 4711}}
	}
	exec := func(pid uint32, comm, user string, args ...string) *event.Exec {
		return &event.Exec{
			Common: common(event.KindExec, pid, comm, 1000), Program: event.Program{Exe: "/usr/bin/" + comm, Args: args},
			PPID: 812, ParentComm: "bash", Cwd: "/home/ann", User: user,
		}
	}
	exit := func(pid uint32, code int, signal string, core bool, d time.Duration, args ...string) *event.Exit {
		return &event.Exit{
			Common: common(event.KindExit, pid, "make", 1000), Program: event.Program{Exe: "/usr/bin/make", Args: args},
			PPID: 812, User: "ann", Code: code, Signal: signal, Core: core, Duration: d,
		}
	}
	cutEnd := exit(1018, 1, "", false, time.Second, "make", "cut")
	cutEnd.ArgsTruncated = true
	cut := exec(4200004, "cc1", "ann", "/usr/lib/gcc/x86_64-linux-gnu/12/cc1", "-quiet", "-I", "include dir", "main.c", "-o", "/tmp/cc4aYpLq.s")
	cut.ArgsTruncated = true
	nameless := exec(1005, "sleep", "", "sleep", "3")
	nameless.UID = 4294967294
	unknown := &event.Exec{Common: common(event.KindExec, 1006, "kworker/u8:3", 0), PPID: 2, User: "root"}
	exeOnly := &event.Exec{Common: common(event.KindExec, 1007, "x", 0), Program: event.Program{Exe: "/opt/a b/x"}, PPID: 2, User: "root"}
	evil := "\x1b]0;owned\x07\x1b[2J\n\r\u202e\xff"
	hostileEvent := exec(1012, "\x1b[31mred", evil, evil, evil)
	hostileEvent.Exe, hostileEvent.Cwd, hostileEvent.ParentComm = "/"+evil, "/"+evil, "a\nb\x1b[m"
	hostileEvent.Cgroup = "/" + evil
	inUnit := exec(1001, "make", "ann", "make", "-j4")
	inUnit.Cgroup = "nginx.service"
	events := []event.Event{
		inUnit,
		exec(1002, "sh", "ann", "sh", "-c", "echo 'a b' > \"$HOME\"/x"),
		exec(1003, "a-very-long-nam", "a-long-user-name", strings.Repeat("/directory", 22)+"/program", ""),
		cut,
		nameless,
		unknown,
		exeOnly,
		exec(1008, "日本語のコマンド", "日本語ユーザー", "日本語のコマンド", "引数 一", strings.Repeat("宽", 100)),
		exec(1009, "emoji", "ann", "echo", "👍🏻👍🏻", "❤️", "🇩🇪", "e\u0301\u0301", "ｶﾞ", "কা", "🦀"),
		exec(1010, "marks", "ann", "echo", "a"+strings.Repeat("\u0301", 40), "a"+strings.Repeat("🏻", 100)),
		exec(1011, "empty", "ann", ""),
		hostileEvent,
		exit(1001, 0, "", false, 4210*time.Millisecond, "make", "-j4"),
		exit(1013, 2, "", false, 840*time.Microsecond, "make", "test"),
		exit(1014, 0, "SIGSEGV", true, 26*time.Hour, "make", "crash"),
		exit(1015, 0, "SIGKILL", false, 12300*time.Microsecond),
		&event.ExecFailed{
			Common: common(event.KindExecFailed, 1016, "bash", 1000), Program: event.Program{Exe: "/usr/local/bin/nosuch", Args: []string{"nosuch", "x y"}},
			PPID: 812, ParentComm: "sshd", User: "ann", Error: "ENOENT",
		},
		&event.ExecFailed{Common: common(event.KindExecFailed, 1017, "bash", 1000), Program: event.Program{Exe: "./\x1b[2J"}, PPID: 812, User: "ann", Error: "EACCES", ArgsTruncated: true},
		cutEnd,
	}
	for i, e := range events {
		e.Head().Time = when.Add(time.Duration(i) * 1234 * time.Millisecond)
	}
	return events
}

func appendAll(opts TableOptions, events []event.Event) []byte {
	table := NewTable(opts)
	var b []byte
	for _, e := range events {
		b = table.AppendEvent(b, e)
	}
	return b
}

func TestTableOfExec(t *testing.T) {
	view := Views["exec"]
	for _, width := range []int{60, 80, 120, 200} {
		t.Run(fmt.Sprintf("%d cells", width), func(t *testing.T) {
			opts := TableOptions{Columns: Defaults(view.Columns), Mark: view.Mark, Terminal: terminal(t, width, 24)}
			plain := appendAll(opts, execEvents())
			checkGolden(t, fmt.Sprintf("exec-%d.txt", width), plain)
			checkLines(t, plain, width)

			opts.Color = true
			colored := appendAll(opts, execEvents())
			checkGolden(t, fmt.Sprintf("exec-%d-color.txt", width), colored)
			if diff := cmp.Diff(string(plain), ansi.Strip(string(colored))); diff != "" {
				t.Errorf("colour changes more than the colour: %s", diff)
			}
		})
	}
	t.Run("all columns on a terminal", func(t *testing.T) {
		b := appendAll(TableOptions{Columns: view.Columns, Mark: view.Mark, Terminal: terminal(t, 300, 24)}, execEvents())
		checkGolden(t, "exec-all.txt", b)
		checkLines(t, b, 300)
	})
	t.Run("no terminal: nothing is cut", func(t *testing.T) {
		b := appendAll(TableOptions{Columns: Defaults(view.Columns), Mark: view.Mark}, execEvents())
		checkGolden(t, "exec-pipe.txt", b)
		checkLines(t, b, 0)
		if strings.Contains(string(b), "…") {
			t.Error("something is cut")
		}
	})
	t.Run("wide: nothing is cut on a terminal either", func(t *testing.T) {
		opts := TableOptions{Columns: Defaults(view.Columns), Mark: view.Mark}
		pipe := appendAll(opts, execEvents())
		opts.Wide, opts.Terminal = true, terminal(t, 40, 100)
		if diff := cmp.Diff(string(pipe), string(appendAll(opts, execEvents()))); diff != "" {
			t.Error(diff)
		}
	})
}

// checkLines tells whether all lines can be shown, in so many cells; 0 is any
// number.
func checkLines(t *testing.T, b []byte, width int) {
	t.Helper()
	lines := strings.Split(string(b), "\n")
	if last := lines[len(lines)-1]; last != "" {
		t.Errorf("a line without its end: %q", last)
	}
	for _, line := range lines {
		checkPrintable(t, line)
		if strings.HasSuffix(line, " ") {
			t.Errorf("spaces at the end of %q", line)
		}
		if n := cells(line); width > 0 && n > width {
			t.Errorf("%d cells where there are %d: %q", n, width, line)
		}
	}
}

// cells is the width of a line on the worst of all terminals: one that joins
// nothing, and one that goes by whole characters.
func cells(line string) int {
	sum := 0
	for _, r := range line {
		switch {
		case r >= 0x1f1e6 && r <= 0x1f1ff, r >= 0x1f3fb && r <= 0x1f3ff:
			sum += 2
		case r >= 0xff9e && r <= 0xff9f:
			sum++
		default:
			sum += ansi.StringWidth(string(r))
		}
	}
	return max(sum, ansi.StringWidth(line), ansi.StringWidthWc(line))
}

func TestTableOfHostileTextInAllWidths(t *testing.T) {
	tty := terminal(t, 1, 24)
	for width := 1; width <= 220; width++ {
		resize(t, tty, width, 24)
		checkLines(t, appendAll(TableOptions{Columns: Defaults(execColumns), Terminal: tty}, execEvents()), width)
		checkLines(t, appendAll(TableOptions{Columns: execColumns, Terminal: tty}, execEvents()), width)
	}
}

func TestTableRepeatsItsHeaderOnEveryScreenful(t *testing.T) {
	view := Views["exec"]
	columns, bad := Select(view.Columns, []string{"pid", "command"})
	if bad != "" {
		t.Fatal(bad)
	}
	e := execEvents()[0]
	for _, c := range []struct {
		name   string
		height int
		every  int // rows behind each header
	}{
		{"an ordinary terminal", 24, 22},
		{"a low one", 5, 3},
		{"one of a line", 1, 2},
		{"one that tells no size", 0, 22},
		{"none", -1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			opts := TableOptions{Columns: columns}
			if c.height >= 0 {
				opts.Terminal = terminal(t, 80, c.height)
				if c.height == 0 {
					resize(t, opts.Terminal, 0, 0)
				}
			}
			out := appendAll(opts, slices.Repeat([]event.Event{e}, 67))
			var headers []int
			for i, line := range strings.Split(strings.TrimSuffix(string(out), "\n"), "\n") {
				if strings.Contains(line, "COMMAND") {
					headers = append(headers, i)
				}
			}
			want := []int{0}
			for c.every > 0 && (want[len(want)-1]+1+c.every)-len(want) < 67 {
				want = append(want, want[len(want)-1]+1+c.every)
			}
			if diff := cmp.Diff(want, headers); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTableFollowsTheSizeOfItsTerminal(t *testing.T) {
	tty := terminal(t, 60, 24)
	table := NewTable(TableOptions{Columns: Defaults(execColumns), Terminal: tty})
	e := execEvents()[2]
	first := table.AppendEvent(nil, e)
	checkLines(t, first, 60)
	resize(t, tty, 40, 24)
	if b := table.AppendEvent(nil, e); bytes.Count(b, []byte{'\n'}) != 1 {
		t.Skip("this machine is too slow to see that the terminal is not measured for every row")
	}
	table.measured = time.Time{} // as if time had passed
	b := table.AppendEvent(nil, e)
	checkLines(t, b, 40)
	if bytes.Count(b, []byte{'\n'}) != 2 || !bytes.Contains(b, []byte("COMMAND")) {
		t.Errorf("no new header: %q", b)
	}
	table.measured = time.Time{}
	if b := table.AppendEvent(nil, e); bytes.Count(b, []byte{'\n'}) != 1 {
		t.Errorf("a header, though nothing has changed: %q", b)
	}
}

func TestTableMarksByColourAndByWord(t *testing.T) {
	view := Views["exec"]
	table := NewTable(TableOptions{Columns: Defaults(view.Columns), Mark: view.Mark, Color: true})
	table.AppendEvent(nil, execEvents()[0])
	for _, c := range []struct {
		name  string
		event event.Event
		mark  Mark
		word  string
		color string
	}{
		{"a start", &event.Exec{}, Usual, "", ""},
		{"a good end", &event.Exit{}, Quiet, "exit 0", "\x1b[2m"},
		{"a bad end", &event.Exit{Code: 1}, Failed, "exit 1", "\x1b[31m"},
		{"a death", &event.Exit{Signal: "SIGHUP"}, Failed, "killed by SIGHUP", "\x1b[31m"},
		{"a failure", &event.ExecFailed{Error: "ENOENT"}, Failed, "failed with ENOENT", "\x1b[31m"},
	} {
		if got := view.Mark(c.event); got != c.mark {
			t.Errorf("%s: mark %d, want %d", c.name, got, c.mark)
		}
		row := string(table.AppendEvent(nil, c.event))
		if !strings.HasPrefix(row, c.color) || strings.Contains(row, "\x1b") != (c.color != "") || !strings.Contains(row, c.word) {
			t.Errorf("%s: %q", c.name, row)
		}
	}
}

// Every column must take every event, and let no control sequence through.
func TestColumns(t *testing.T) {
	for command, view := range Views {
		if len(Defaults(view.Columns)) == 0 {
			t.Errorf("%s: no columns", command)
		}
		seen := make(map[string]bool)
		for _, c := range WithPlaces(view.Columns, false) {
			if seen[c.Name] || c.Name == "" || strings.ToLower(c.Name) != c.Name || strings.ContainsAny(c.Name, ", ") {
				t.Errorf("%s: %q is no name for a column, or there are two", command, c.Name)
			}
			seen[c.Name] = true
			if c.Width < 1 || c.Min < 0 || c.Spare > 0 && (c.Min == 0 || c.Spare > c.Rank) || c.Min > c.Width || c.Rank < 1 || textWidth([]byte(c.Title)) > c.Width || c.Cell == nil {
				t.Errorf("%s: %+v", command, c)
			}
			for _, e := range slices.Concat(execEvents(), connEvents(), []event.Event{
				&event.Exec{}, &event.Exit{}, &event.ExecFailed{},
				&event.Connect{}, &event.ConnectFailed{}, &event.ConnectStuck{}, &event.Accept{}, &event.Close{},
			}) {
				cell := c.Cell([]byte("before "), e)
				if !bytes.HasPrefix(cell, []byte("before ")) {
					t.Errorf("%s.%s: does not append: %q", command, c.Name, cell)
				}
				checkPrintable(t, string(cell))
			}
		}
	}
}

func TestColumnsOfExec(t *testing.T) {
	events := execEvents()
	cell := func(name string, e event.Event) string {
		picked, bad := Select(execColumns, []string{name})
		if bad != "" {
			t.Fatal(bad)
		}
		return string(picked[0].Cell(nil, e))
	}
	for _, c := range []struct {
		column string
		event  int
		want   string
	}{
		{"time", 0, "15:04:05.067"},
		{"pid", 0, "1001"},
		{"ppid", 0, "812"},
		{"user", 0, "ann"},
		{"user", 4, "4294967294"},
		{"command", 1, `sh -c 'echo '\''a b'\'' > "$HOME"/x'`},
		{"command", 3, "/usr/lib/gcc/x86_64-linux-gnu/12/cc1 -quiet -I 'include dir' main.c -o /tmp/cc4aYpLq.s [arguments cut]"},
		{"command", 5, "[kworker/u8:3]"},
		{"command", 6, "'/opt/a b/x'"},
		{"command", 10, "''"},
		{"command", 12, "exit 0 after 4.21s: make -j4"},
		{"command", 13, "exit 2 after 840µs: make test"},
		{"command", 14, "killed by SIGSEGV (core dumped) after 26h00m: make crash"},
		{"command", 15, "killed by SIGKILL after 12.3ms: /usr/bin/make"},
		{"command", 16, "failed with ENOENT: /usr/local/bin/nosuch 'x y'"},
		{"command", 17, `failed with EACCES: $'./\x1b[2J' [arguments cut]`},
		{"args", 16, "nosuch 'x y'"},
		{"args", 5, ""},
		{"event", 16, "exec_failed"},
		{"comm", 11, `\x1b[31mred`},
		{"uid", 4, "4294967294"},
		{"cgroup", 0, "nginx.service"},
		{"cgroup", 1, "4711"},
		{"parent", 11, `a\x0ab\x1b[m`},
		{"parent", 12, ""},
		{"exe", 0, "/usr/bin/make"},
		{"cwd", 0, "/home/ann"},
		{"cwd", 12, ""},
		{"result", 0, ""},
		{"result", 13, "exit 2 after 840µs"},
		{"duration", 0, ""},
		{"duration", 15, "12.3ms"},
	} {
		if got := cell(c.column, events[c.event]); got != c.want {
			t.Errorf("%s of event %d: %q, want %q", c.column, c.event, got, c.want)
		}
	}
	for _, column := range []string{"pid", "ppid"} {
		if got := cell(column, &event.Exec{}); got != "" {
			t.Errorf("%s that is unknown: %q", column, got)
		}
	}
	// To show a failure changes nothing in it.
	failed := events[16].(*event.ExecFailed)
	if diff := cmp.Diff([]string{"nosuch", "x y"}, failed.Args); diff != "" {
		t.Error(diff)
	}
}

func TestFit(t *testing.T) {
	checkFit := func(columns []Column, width int) {
		t.Helper()
		before := slices.Clone(columns)
		fit := Fit(columns, width)
		for i := range columns {
			if columns[i].Width != before[i].Width || columns[i].Name != before[i].Name {
				t.Fatalf("Fit changes what it was given: %s", Names(columns))
			}
		}
		if len(fit) == 0 {
			t.Fatalf("%s in %d cells: nothing", Names(columns), width)
		}
		columns = slices.DeleteFunc(slices.Clone(columns), func(c Column) bool {
			return c.Room > width && !slices.ContainsFunc(fit, func(o Column) bool { return o.Name == c.Name })
		})
		sum := len(fit) - 1
		for _, c := range fit {
			sum += c.Width
		}
		grows := growing(fit)
		if sum > width || sum < width && grows >= 0 {
			t.Errorf("%s take %d of %d cells", Names(fit), sum, width)
		}
		// In order; what is left out was the least useful.
		least := slices.MinFunc(fit, func(a, b Column) int { return a.Rank - b.Rank }).Rank
		next := 0
		for _, c := range columns {
			if next < len(fit) && fit[next].Name == c.Name {
				next++
			} else if c.Rank > least {
				t.Errorf("%d cells: %s is left out, but there are %s", width, c.Name, Names(fit))
			}
		}
		if next != len(fit) {
			t.Errorf("%s is not in the order of %s", Names(fit), Names(columns))
		}
		// What is cut is the least useful that is left, or those are kept at
		// their least.
		for _, c := range slices.SortedFunc(slices.Values(fit), func(a, b Column) int { return a.Rank - b.Rank }) {
			if least = c.Rank; !c.Keep || c.Width > c.Min {
				break
			}
		}
		for i, c := range fit {
			usual := columns[slices.IndexFunc(columns, func(o Column) bool { return o.Name == c.Name })]
			rank := usual.rank() // that it was cut at
			switch {
			case c.Width > usual.Width && i != grows:
				t.Errorf("%d cells: %s has grown to %d and has no long text", width, c.Name, c.Width)
			case c.Width < usual.Width && rank > least:
				t.Errorf("%d cells: %s is cut to %d, though less useful ones are left: %s", width, c.Name, c.Width, Names(fit))
			case c.Width < 1, len(fit) > 1 && c.Width < usual.Width && (usual.Min == 0 || c.Width < usual.Min):
				t.Errorf("%d cells: %s is cut to %d, too short", width, c.Name, c.Width)
			}
		}
	}
	for _, view := range Views {
		all := view.Columns
		for width := 1; width <= 300; width++ {
			checkFit(Defaults(all), width)
			checkFit(all, width)
			for i := range all {
				checkFit(all[i:i+1], width)
			}
		}
		// Every set, in some order, in some widths.
		random := rand.New(rand.NewPCG(1, 2))
		for set := 1; set < 1<<min(len(all), 14); set++ {
			var columns []Column
			for i, c := range all {
				if set>>i&1 == 1 {
					columns = append(columns, c)
				}
			}
			random.Shuffle(len(columns), func(i, j int) { columns[i], columns[j] = columns[j], columns[i] })
			for range 5 {
				checkFit(columns, 1+random.IntN(300))
			}
		}
	}
}

func TestFitInOrder(t *testing.T) {
	columns := []Column{{Name: "a", Width: 10, Rank: 1}, {Name: "b", Width: 10, Min: 4, Rank: 2}, {Name: "c", Width: 10, Min: 5, Rank: 3}}
	for _, c := range []struct {
		width int
		want  string
	}{
		{0, "a 10, b 10, c 10"},
		{-1, "a 10, b 10, c 10"},
		{40, "a 10, b 10, c 18"},
		{32, "a 10, b 10, c 10"},
		{31, "b 10, c 20"},
		{21, "b 10, c 10"},
		{20, "b 9, c 10"},
		{15, "b 4, c 10"},
		{14, "c 14"},
		{9, "c 9"},
		{5, "c 5"},
		{4, "c 4"},
		{1, "c 1"},
	} {
		var got []string
		for _, f := range Fit(columns, c.width) {
			got = append(got, fmt.Sprintf("%s %d", f.Name, f.Width))
		}
		if diff := cmp.Diff(c.want, strings.Join(got, ", ")); diff != "" {
			t.Errorf("%d cells: %s", c.width, diff)
		}
	}
	// What is to spare of one goes before a less useful one does.
	columns[1].Spare, columns[2].Spare = 1, 1
	columns[0].Rank = 2
	for width, want := range map[int]string{31: "a 10, b 9, c 10", 26: "a 10, b 4, c 10", 21: "a 10, b 4, c 5", 20: "c 20"} {
		var got []string
		for _, f := range Fit(columns, width) {
			got = append(got, fmt.Sprintf("%s %d", f.Name, f.Width))
		}
		if diff := cmp.Diff(want, strings.Join(got, ", ")); diff != "" {
			t.Errorf("%d cells: %s", width, diff)
		}
	}
	// Numbers that come last do not leave the others.
	columns = []Column{{Name: "a", Width: 10}, {Name: "b", Width: 10, Min: 4}, {Name: "c", Width: 10, Min: 4, Right: true}}
	if got := Fit(columns, 50); got[1].Width != 28 || got[2].Width != 10 {
		t.Errorf("text before a number: %d and %d", got[1].Width, got[2].Width)
	}
	if got := Fit(columns[2:], 50); got[0].Width != 10 {
		t.Errorf("a number alone: %d", got[0].Width)
	}
	if got := Fit(nil, 80); len(got) != 0 {
		t.Errorf("no columns: %v", got)
	}
}

func TestSelect(t *testing.T) {
	all := []Column{{Name: "a"}, {Name: "b", Extra: true}, {Name: "c"}}
	for _, c := range []struct {
		name  string
		names []string
		want  string
		bad   string
	}{
		{"in the order that was asked for", []string{"c", "b"}, "c, b", ""},
		{"with spaces around", []string{" c", "a "}, "c, a", ""},
		{"twice the same", []string{"a", "a"}, "a, a", ""},
		{"an unknown one", []string{"a", "nosuch", "worse"}, "", "nosuch"},
		{"another case", []string{"A"}, "", "A"},
		{"none", nil, "", ""},
	} {
		picked, bad := Select(all, c.names)
		if strings.Join(Names(picked), ", ") != c.want || bad != c.bad {
			t.Errorf("%s: %q, %q", c.name, Names(picked), bad)
		}
	}
	if got := strings.Join(Names(Defaults(all)), ", "); got != "a, c" {
		t.Errorf("defaults: %s", got)
	}
	if got := strings.Join(Names(all), ", "); got != "a, b, c" {
		t.Errorf("Defaults changes what it was given: %s", got)
	}
}

// placed is an event in a container, of a pod or not.
func placed(container, pod string) event.Event {
	e := &event.Exec{Common: event.Common{Time: when, Process: event.Process{PID: 7}}, Program: event.Program{Args: []string{"x"}}, PPID: 1, User: "root"}
	if container != "" {
		e.Container, e.ContainerID = container, strings.Repeat("0a", 32)
	}
	if pod != "" {
		e.Pod, e.Namespace, e.PodUID = pod, "demo", "0b5d1f8e-6a53-4c3b-9d0a-4f2f5ad1c001"
	}
	return e
}

func TestColumnsOfPlaces(t *testing.T) {
	columns := WithPlaces(execColumns, false)
	if got := strings.Join(Names(Defaults(columns)), ", "); got != "time, pid, ppid, user, parent, hostname, pod, container, command" {
		t.Errorf("in the usual order: %s", got)
	}
	own := Column{Name: "pod"}
	if got := strings.Join(Names(WithPlaces([]Column{own, {Name: "a"}, {Name: "b", Extra: true}}, false)), ", "); got != "pod, hostname, container, a, b, namespace, container_id, pod_uid" {
		t.Errorf("beside a view's own: %s", got)
	}
	nameless := placed("0a0a0a0a0a0a", "")
	nameless.Head().PodUID = "u"
	for _, c := range []struct {
		column string
		event  event.Event
		want   string
	}{
		{"pod", placed("app", "web-0"), "web-0"},
		{"pod", placed("db", ""), ""},
		{"pod", nameless, "u"},
		{"container", placed("app", "web-0"), "app"},
		{"container", placed("\x1b[2J", ""), `\x1b[2J`},
		{"container", nameless, "0a0a0a0a0a0a"},
		{"namespace", placed("app", "web-0"), "demo"},
		{"container_id", placed("app", "web-0"), "0a0a0a0a0a0a"},
		{"container_id", placed("", ""), ""},
		{"pod_uid", placed("", "web-0"), "0b5d1f8e-6a53-4c3b-9d0a-4f2f5ad1c001"},
	} {
		picked, bad := Select(columns, []string{c.column})
		if bad != "" {
			t.Fatal(bad)
		}
		if got := string(picked[0].Cell(nil, c.event)); got != c.want {
			t.Errorf("%s: %q, want %q", c.column, got, c.want)
		}
	}
}

func TestColumnsOfPlacesAppearByThemselves(t *testing.T) {
	host, db, web := placed("", ""), placed("db", ""), placed("app", "web-0")
	const (
		plain = "TIME             PID    PPID USER     PARENT          "
		row   = "15:04:05.067       7       1 root                     "
	)
	pad := func(s string, n int) string { return s + strings.Repeat(" ", n-len(s)+1) }
	for _, c := range []struct {
		name   string
		events []event.Event
		want   []string
	}{
		{"not on a host without containers", []event.Event{host, host}, []string{plain + "COMMAND", row + "x", row + "x"}},
		{"with the first event in a pod", []event.Event{host, web, host}, []string{
			plain + "COMMAND", row + "x",
			plain + pad("POD", 24) + "COMMAND", row + pad("web-0", 24) + "x", row + pad("", 24) + "x",
		}},
		{"in the header, if it is the first of all", []event.Event{db, host}, []string{
			plain + pad("CONTAINER", 16) + "COMMAND", row + pad("db", 16) + "x", row + pad("", 16) + "x",
		}},
		{"each when it is due", []event.Event{db, web, db}, []string{
			plain + pad("CONTAINER", 16) + "COMMAND", row + pad("db", 16) + "x",
			plain + pad("POD", 24) + pad("CONTAINER", 16) + "COMMAND", row + pad("web-0", 24) + pad("app", 16) + "x",
			row + pad("", 24) + pad("db", 16) + "x",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := appendAll(TableOptions{Columns: Defaults(WithPlaces(execColumns, false))}, c.events)
			if diff := cmp.Diff(c.want, strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("always, if they are asked for", func(t *testing.T) {
		picked, _ := Select(WithPlaces(execColumns, false), []string{"pod", "namespace", "pid"})
		out := appendAll(TableOptions{Columns: picked}, []event.Event{host, web})
		want := pad("POD", 24) + pad("NAMESPACE", 16) + "    PID\n" + pad("", 24) + pad("", 16) + "      7\n" +
			pad("web-0", 24) + pad("demo", 16) + "      7\n"
		if diff := cmp.Diff(want, string(out)); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("within the width of a terminal", func(t *testing.T) {
		table := NewTable(TableOptions{Columns: Defaults(WithPlaces(execColumns, false)), Terminal: terminal(t, 60, 24)})
		out := table.AppendEvent(table.AppendEvent(nil, host), web)
		checkLines(t, out, 60)
		if n := bytes.Count(out, []byte("COMMAND")); n != 2 || bytes.Count(out, []byte("POD")) != 1 {
			t.Errorf("%s", out)
		}
	})
	t.Run("within the width of a terminal, if it is the first of all", func(t *testing.T) {
		for name, view := range map[string]View{"exec": Views["exec"], "conn": Views["conn"], "http": Views["http"]} {
			table := NewTable(TableOptions{Columns: Defaults(WithPlaces(view.Columns, false)), Terminal: terminal(t, 80, 24)})
			long := placed("app", "web-0")
			long.(*event.Exec).Args = []string{strings.Repeat("x", 100)}
			out := table.AppendEvent(table.AppendEvent(nil, long), web)
			checkLines(t, out, 80)
			if n := bytes.Count(out, []byte("POD")); n != 1 || !bytes.Contains(out, []byte(" web-0")) {
				t.Errorf("%s: %s", name, out)
			}
		}
	})
}

// FuzzTable: a row of any text can be shown, takes no more cells than there
// are, and is one line.
func FuzzTable(f *testing.F) {
	for i, s := range hostile {
		f.Add(s, uint8(i*17+8))
		f.Add(strings.Repeat("a"+s, 30), uint8(40))
	}
	f.Fuzz(func(t *testing.T, text string, width uint8) {
		n := max(int(width), 1)
		e := &event.Exec{Common: event.Common{Process: event.Process{PID: 1, Comm: text}}, Program: event.Program{Args: []string{text, text}}, User: text, Cwd: text}
		// As laid out for a terminal, without one.
		table := NewTable(TableOptions{Columns: execColumns})
		table.width = n
		checkLines(t, table.AppendEvent(nil, e), n)
	})
}

// FuzzCut: what is left begins the text and is as wide as it may be.
func FuzzCut(f *testing.F) {
	for i, s := range hostile {
		f.Add(s+s, uint8(i%7))
	}
	f.Fuzz(func(t *testing.T, text string, limit uint8) {
		text = string(AppendText(nil, text))
		width := max(int(limit), 1)
		if textWidth([]byte(text)) <= width {
			return
		}
		got := string(cut([]byte(text), width))
		begin, ok := strings.CutSuffix(got, "…")
		if !ok || !strings.HasPrefix(text, begin) {
			t.Fatalf("%q in %d cells: %q", text, width, got)
		}
		r, _ := utf8.DecodeRuneInString(text[len(begin):])
		if n := textWidth([]byte(got)); n > width || n+runeWidth(r) <= width {
			t.Errorf("%q in %d cells: %q takes %d", text, width, got, n)
		}
	})
}

func TestTableWithoutATerminalAllocatesNothing(t *testing.T) {
	view := Views["exec"]
	table := NewTable(TableOptions{Columns: Defaults(view.Columns), Mark: view.Mark})
	e := execEvents()[0]
	buf := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { buf = table.AppendEvent(buf[:0], e) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// connEvents are events of conn: every outcome, short and long addresses.
func connEvents() []event.Event {
	n := 0
	common := func(kind, comm string) event.Common {
		n++
		return event.Common{
			Time:    when.Add(time.Duration(n) * 10 * time.Millisecond),
			Kind:    kind,
			Process: event.Process{PID: uint32(1000 + n), Comm: comm, UID: 1000, CgroupID: 77},
		}
	}
	conn := func(role, src, dst string) event.Connection {
		return event.Connection{Role: role, Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst), ID: event.ConnID{Client: 0xdead, Server: 0xbeef0000, Known: true}}
	}
	v4 := func(role string) event.Connection { return conn(role, "10.0.0.5:51234", "10.0.0.9:443") }
	long := conn(event.RoleClient, "[2001:db8:1234:5678:9abc:def0:1234:5678]:51234", "[2001:db8:ffff:eeee:dddd:cccc:bbbb:aaaa]:65535")
	nowhere := event.Connection{Role: event.RoleClient, Dst: netip.MustParseAddrPort("192.0.2.1:80")}
	failed := func(c event.Connection, latency time.Duration, syns uint32, err string) *event.ConnectFailed {
		return &event.ConnectFailed{Common: common(event.KindConnectFailed, "curl"), Connection: c, Latency: latency, SYNs: syns, Error: err}
	}
	closed := func(c event.Connection, reason, by string) *event.Close {
		return &event.Close{
			Common: common(event.KindClose, "nginx"), Connection: c, Duration: 4210 * time.Millisecond,
			Tx: 1 << 20, Rx: 1009, Retransmits: 3, SRTT: 840 * time.Microsecond, Reason: reason, ClosedBy: by,
		}
	}
	reset := func(c event.Connection, closedBy, by string) *event.Close {
		e := closed(c, event.ReasonReset, closedBy)
		e.ResetBy = by
		return e
	}
	return []event.Event{
		&event.Connect{Common: common(event.KindConnect, "curl"), Connection: v4(event.RoleClient), Latency: 840 * time.Microsecond},
		&event.Accept{Common: common(event.KindAccept, "nginx"), Connection: v4(event.RoleServer)},
		closed(v4(event.RoleServer), event.ReasonClosed, event.RoleClient),
		reset(v4(event.RoleClient), event.RoleServer, event.RoleServer),
		closed(long, event.ReasonTimeout, ""),
		failed(v4(event.RoleClient), 321*time.Microsecond, 1, "ECONNREFUSED"),
		&event.ConnectStuck{Common: common(event.KindConnectStuck, "curl"), Connection: v4(event.RoleClient), Age: time.Second, SYNs: 2},
		failed(v4(event.RoleClient), 7*time.Second, 3, "ETIMEDOUT"),
		failed(long, 1500*time.Millisecond, 1, "ECANCELED"),
		failed(nowhere, 0, 0, "ENETUNREACH"),
		failed(nowhere, 0, 0, "EADDRNOTAVAIL"),
		&event.Connect{Common: common(event.KindConnect, "\x1b[31mred"), Connection: long, Latency: 12 * time.Millisecond},
		&event.Close{Common: common(event.KindClose, "postgres"), Connection: v4(event.RoleServer), Reason: event.ReasonClosed, OpenBefore: true},
		// The peer has closed, and is told so that not all of it was read.
		reset(v4(event.RoleServer), event.RoleClient, event.RoleServer),
		&event.Accept{Common: common(event.KindAccept, "nginx"), Connection: v4(event.RoleServer), Queued: 30 * time.Microsecond, Backlog: 3, BacklogMax: 511},
		&event.Accept{Common: common(event.KindAccept, "nginx"), Connection: v4(event.RoleServer), Queued: 300 * time.Millisecond, Backlog: 2, BacklogMax: 511},
		&event.Accept{Common: common(event.KindAccept, "nginx"), Connection: v4(event.RoleServer), Queued: 1300 * time.Millisecond, Backlog: 5, BacklogMax: 5, SYNACKs: 2},
		with(reset(v4(event.RoleServer), event.RoleServer, event.RoleServer), func(e *event.Close) {
			e.Idle, e.MinRTT, e.Unread = 1500*time.Millisecond, 30*time.Microsecond, 512
		}),
		with(closed(v4(event.RoleClient), event.ReasonClosed, event.RoleClient), func(e *event.Close) {
			e.Turns, e.TurnP50, e.TurnMax = 26020, 840*time.Microsecond, 1470*time.Millisecond
		}),
		with(closed(v4(event.RoleServer), event.ReasonClosed, event.RoleClient), func(e *event.Close) {
			e.Turns, e.TurnP50, e.TurnMax = 1, 12*time.Millisecond, 12*time.Millisecond
		}),
		with(closed(v4(event.RoleServer), event.ReasonClosed, event.RoleClient), func(e *event.Close) {
			e.Idle, e.Busy, e.RwndLimited, e.SndbufLimited = time.Nanosecond, 4*time.Second, 3*time.Second, 100*time.Millisecond
		}),
		with(closed(v4(event.RoleServer), event.ReasonClosed, event.RoleClient), func(e *event.Close) {
			e.Idle, e.Busy, e.SndbufLimited = 99*time.Millisecond, 4*time.Second, time.Second
		}),
		&event.Open{Common: common(event.KindOpen, "nginx"), Connection: v4(event.RoleServer), Idle: 1500 * time.Millisecond, Age: time.Hour, Accepted: true},
		&event.Open{Common: common(event.KindOpen, "nginx"), Connection: v4(event.RoleClient), Idle: 8 * time.Millisecond, Unread: 12, Unsent: 1 << 20, Unacked: 3 << 20, Accepted: true},
		&event.Open{Common: common(event.KindOpen, "nginx"), Connection: v4(event.RoleServer), Idle: time.Minute, Age: time.Minute, Unread: 77},
	}
}

// with is a close with more that is known.
func with(e *event.Close, more func(*event.Close)) *event.Close {
	more(e)
	return e
}

// However narrow the terminal is, a row shows the port and the result.
func TestTableOfConnKeepsErrorAndPort(t *testing.T) {
	view := Views["conn"]
	words := []string{
		"connected", "accepted", "closed", "reset", "timed out", "refused", "no answer", "no answer", "given up",
		"ENETUNREACH", "EADDRNOTAVAIL", "connected", "closed", "reset", "accepted", "accepted", "accepted", "reset", "closed", "closed", "closed", "closed",
		"open", "open", "not accepted",
	}
	for width := 25; width <= 200; width++ {
		b := appendAll(TableOptions{Columns: Defaults(view.Columns), Mark: view.Mark, Terminal: terminal(t, width, 60)}, connEvents())
		lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")[1:]
		if len(lines) != len(words) {
			t.Fatalf("%d cells: %d rows, want %d", width, len(lines), len(words))
		}
		for i, e := range connEvents() {
			port := ":" + strconv.Itoa(int(connOf(e).Dst.Port())) + " "
			if !strings.Contains(lines[i], port) || !strings.Contains(lines[i], words[i]) {
				t.Errorf("%d cells: no %q or %q in %q", width, port, words[i], lines[i])
			}
		}
	}
}

// On the usual terminal a row says when it happened, who it was, and of a
// connection or an exchange what became of it.
func TestTimeIsShownIn80Cells(t *testing.T) {
	for name, want := range map[string]string{
		"exec": "time 12, pid 7, ppid 7, user 8, command 42",
		"conn": "time 12, pid 7, comm 8, dst 21, result 28",
		"http": "time 12, pid 7, comm 8, latency 7, status 9, method 7, path 24",
	} {
		var got []string
		for _, c := range Fit(Defaults(Views[name].Columns), 80) {
			got = append(got, fmt.Sprintf("%s %d", c.Name, c.Width))
		}
		if diff := cmp.Diff(want, strings.Join(got, ", ")); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestTableOfConn(t *testing.T) {
	view := Views["conn"]
	for _, width := range []int{60, 80, 120, 200} {
		t.Run(fmt.Sprintf("%d cells", width), func(t *testing.T) {
			plain := appendAll(TableOptions{Columns: Defaults(view.Columns), Mark: view.Mark, Terminal: terminal(t, width, 24)}, connEvents())
			checkGolden(t, fmt.Sprintf("conn-%d.txt", width), plain)
			checkLines(t, plain, width)
		})
	}
	t.Run("all columns, no terminal", func(t *testing.T) {
		b := appendAll(TableOptions{Columns: view.Columns, Mark: view.Mark}, connEvents())
		checkGolden(t, "conn-all.txt", b)
		checkLines(t, b, 0)
	})
}
