package render

import (
	"bytes"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"tracer/trace/event"
)

// screen is a terminal that knows the sequences that Live uses. Others are errors.
type screen struct {
	t             *testing.T
	width, height int
	main          []string // lines written to the main screen
	text          string   // the last of them, not ended yet
	alternate     bool
	cells         [][]string // characters with their marks; "" behind a wide one
	row, column   int
	hidden, cut   bool // cursor, lines
	narrow        bool // it gives one cell to wide characters
}

func newScreen(t *testing.T, width, height int) *screen {
	s := &screen{t: t}
	s.resize(width, height)
	return s
}

// resize keeps what terminals keep: something or other.
func (s *screen) resize(width, height int) {
	s.width, s.height = width, height
	s.cells = make([][]string, height)
	for i := range s.cells {
		s.cells[i] = slices.Repeat([]string{"#"}, width)
	}
	s.row, s.column = height-1, width-1
}

func (s *screen) write(b []byte) {
	s.t.Helper()
	for len(b) > 0 {
		if bytes.HasPrefix(b, []byte("\x1b[")) {
			end := bytes.IndexFunc(b[2:], func(r rune) bool { return r >= '@' }) + 2
			s.control(string(b[2 : end+1]))
			b = b[end+1:]
			continue
		}
		r, n := utf8.DecodeRune(b)
		b = b[n:]
		switch {
		case !s.alternate && r == '\n':
			s.main, s.text = append(s.main, s.text), ""
		case !s.alternate:
			s.text += string(r)
		case r < ' ':
			s.t.Fatalf("control character %q", r)
		case runeWidth(r) == 0 && s.column > 0:
			s.cells[s.row][s.column-1] += string(r)
		default:
			width := runeWidth(r)
			if s.narrow {
				width = min(width, 1)
			}
			for i := range width {
				if s.column == s.width {
					if !s.cut {
						s.t.Fatal("a line wraps")
					}
					break
				}
				s.cells[s.row][s.column] = string(r)
				if i > 0 {
					s.cells[s.row][s.column] = ""
				}
				s.column++
			}
		}
	}
}

func (s *screen) control(c string) {
	s.t.Helper()
	blank := func(line []string) {
		for i := range line {
			line[i] = " "
		}
	}
	switch {
	case c == "?1049h":
		s.alternate = true
	case c == "?1049l":
		s.alternate = false
	case c == "?25l", c == "?25h":
		s.hidden = c == "?25l"
	case c == "?7l", c == "?7h":
		s.cut = c == "?7l"
	case !s.alternate && c == "H", !s.alternate && c == "2J":
		s.t.Fatal("the main screen is cleared")
	case c == "2J":
		for _, line := range s.cells {
			blank(line)
		}
	case c == "2K":
		blank(s.cells[s.row])
	case c == "K":
		blank(s.cells[s.row][s.column:])
	case strings.HasSuffix(c, "H"):
		row, column, _ := strings.Cut(c[:len(c)-1], ";")
		s.row, s.column = max(number(row), 1)-1, max(number(column), 1)-1
		if s.row >= s.height || s.column >= s.width {
			s.t.Fatalf("cursor moved to %q", c)
		}
	case strings.HasSuffix(c, "m"):
	default:
		s.t.Fatalf("control sequence %q", c)
	}
}

func number(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

func (s *screen) lines() []string {
	lines := make([]string, s.height)
	for i, line := range s.cells {
		lines[i] = strings.TrimRight(strings.Join(line, ""), " ")
	}
	return lines
}

var liveColumns = []Column{
	timeColumn,
	pidColumn,
	{Name: "rate", Title: "RATE", Width: 6, Rank: 50, Right: true, Interval: true, Cell: func(b []byte, e event.Event) []byte {
		return strconv.AppendUint(b, e.Head().CgroupID%1000, 10)
	}},
	commColumn,
}

func liveOptions(tty *os.File) PageOptions {
	return PageOptions{
		TableOptions: TableOptions{Columns: liveColumns, Terminal: tty, Mark: func(e event.Event) Mark {
			if e.Head().CgroupID == 0 {
				return Quiet
			}
			return Usual
		}},
		Title: func(b []byte, p *event.Page) []byte { return fmt.Appendf(b, "%d rows", p.Total) },
	}
}

func livePage(rows []event.Exec) *event.Page {
	return &event.Page{Total: len(rows), Rows: eventsOf(rows)}
}

func eventsOf(rows []event.Exec) iter.Seq[event.Event] {
	return func(yield func(event.Event) bool) {
		for i := range rows {
			if !yield(&rows[i]) {
				return
			}
		}
	}
}

// TestLiveShowsWhatItSays compares, page by page, what is on the terminal
// with what a Live that starts afresh would show there, in all sizes.
func TestLiveShowsWhatItSays(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 11))
	names := []string{"sh", "日本語", "e\u0301tc", "\x1b[2J", "a-long-name-of-something", "🦀", ""}
	for _, color := range []bool{false, true} {
		tty := terminal(t, 80, 24)
		s := newScreen(t, 80, 24)
		opts := liveOptions(tty)
		opts.Color = color
		live := NewLive(opts)
		var rows []event.Exec
		for i := range 997 {
			switch random.IntN(6) {
			case 0:
				w, h := 1+random.IntN(120), 4+random.IntN(30)
				resize(t, tty, w, h)
				s.resize(w, h)
				live.table.measured = time.Time{}
			case 1:
				live.Note(names[random.IntN(len(names))])
			}
			if random.IntN(4) > 0 || i == 0 {
				rows = append(rows, event.Exec{Common: event.Common{Process: event.Process{PID: uint32(i), Comm: names[random.IntN(len(names))]}}})
				if len(rows) > 40 {
					rows = rows[20:]
				}
				rows[random.IntN(len(rows))].CgroupID = uint64(random.IntN(3000))
				s.write(live.AppendPage(nil, livePage(rows)))
			} else {
				s.write(live.appendChanges(nil))
			}
			fresh := NewLive(opts)
			fresh.note = live.note
			want := newScreen(t, s.width, s.height)
			want.write(fresh.AppendPage(nil, livePage(rows)))
			if live.table.width != s.width || live.table.height != s.height {
				continue // resized, and not measured again so soon
			}
			if diff := cmp.Diff(want.lines(), s.lines()); diff != "" {
				t.Fatalf("page %d in %d × %d: %s", i, s.width, s.height, diff)
			}
		}
		s.write(live.appendEnd(nil))
		if s.alternate || s.hidden || s.cut || len(s.main) > 0 || s.text != "" {
			t.Errorf("what stays: %+v", s)
		}
	}
}

// FuzzAppendChange: what a line is changed into is what stands there if it is
// written anew, whatever the terminal makes of characters that are no ASCII.
func FuzzAppendChange(f *testing.F) {
	for _, s := range []string{"", "12.3ms GET /", "840µs █▎", "e\u0301tc", "日本語 x", "🦀\ufe0f1", "…"} {
		f.Add(s, "840µs █▍", false, false)
		f.Add("13.3ms GET /", s, true, true)
	}
	f.Add("e\u0301tc", "etc", false, false)
	f.Add("etc", "e\u0301tc", false, false)
	f.Add("xe\u0301z", "ya\u0301z", false, false)
	f.Fuzz(func(t *testing.T, from, to string, paint, narrow bool) {
		const width = 30
		line := func(text string) string {
			b := AppendText(nil, text)
			if textWidth(b) > width {
				b = cut(b, width)
			}
			if paint && len(b) > 0 {
				return "\x1b[2m" + string(b) + unpainted
			}
			return string(b)
		}
		show := func(lines ...string) []string {
			s := newScreen(t, width, 2)
			s.narrow = narrow
			s.write([]byte(enterScreen))
			before := ""
			for _, l := range lines {
				s.write(appendChange(nil, 1, before, l))
				before = l
			}
			return s.lines()
		}
		if diff := cmp.Diff(show(line(to)), show(line(from), line(to))); diff != "" {
			t.Errorf("%q becomes %q: %s", from, to, diff)
		}
	})
}

func TestLiveLayout(t *testing.T) {
	tty := terminal(t, 30, 6)
	s := newScreen(t, 30, 6)
	live := NewLive(liveOptions(tty))
	rows := make([]event.Exec, 5)
	for i := range rows {
		rows[i] = event.Exec{Common: event.Common{Process: event.Process{PID: uint32(i + 1), Comm: "c", CgroupID: uint64(i)}}}
	}
	s.write(live.AppendPage(nil, livePage(rows[:4])))
	want := []string{"4 rows", "    PID   RATE COMM", "      1      0 c", "      2      1 c", "      3      2 c", "      4      3 c"}
	if diff := cmp.Diff(want, s.lines()); diff != "" {
		t.Error(diff)
	}
	before := slices.Clone(rows[:4])
	before[1].CgroupID = 8
	one := live.AppendPage(nil, livePage(before))
	if string(one) != "\x1b[4;14H8" {
		t.Errorf("a digit changed: %q", one)
	}
	s.write(one)
	s.write(live.AppendPage(nil, livePage(rows)))
	want = []string{"5 rows", "    PID   RATE COMM", "      1      0 c", "      2      1 c", "      3      2 c", "and 2 more"}
	if diff := cmp.Diff(want, s.lines()); diff != "" {
		t.Error(diff)
	}
	if !live.Note("\x1b[31mlost") {
		t.Error("a message is not taken")
	}
	s.write(live.appendChanges(nil))
	want[5] = `\x1b[31mlost`
	if diff := cmp.Diff(want, s.lines()); diff != "" {
		t.Error(diff)
	}
	if b := live.appendChanges(nil); len(b) > 0 {
		t.Errorf("nothing changed: %q", b)
	}
	// The last page stays, on the screen that was there before.
	p := livePage(rows[:1])
	p.Closing = true
	s.write(live.AppendPage(nil, p))
	if diff := cmp.Diff([]string{"1 rows", "    PID COMM", "      1 c"}, s.main); diff != "" || s.alternate {
		t.Error(diff)
	}
}

func TestLiveGivesTheScreenBackWhileStopped(t *testing.T) {
	tty := terminal(t, 30, 6)
	s := newScreen(t, 30, 6)
	live := NewLive(liveOptions(tty))
	page := livePage(make([]event.Exec, 2))
	s.write(live.AppendPage(nil, page))
	want := s.lines()
	live.Leave()
	s.write([]byte(leaveScreen)) // what it wrote
	s.resize(30, 6)              // the shell's turn
	if b := live.appendChanges(nil); len(b) > 0 {
		t.Errorf("it draws though it is stopped: %q", b)
	}
	live.Return()
	s.write(live.appendChanges(nil))
	if diff := cmp.Diff(want, s.lines()); diff != "" || !s.alternate {
		t.Error(diff)
	}
}

func TestLinesShowEventsAndAClosingTable(t *testing.T) {
	opts := liveOptions(nil)
	opts.Terminal = nil
	lines := NewLines(opts)
	e := event.Exec{Common: event.Common{Time: when, Process: event.Process{PID: 1, Comm: "c", CgroupID: 7}}}
	b := lines.AppendEvent(nil, &e)
	b = lines.AppendPage(b, livePage([]event.Exec{e}))
	p := livePage([]event.Exec{e, e})
	p.Closing = true
	b = lines.AppendPage(b, p)
	want := "TIME             PID   RATE COMM\n" + when.In(time.Local).Format("15:04:05.000") + "       1      7 c\n\n" +
		"2 rows\nTIME             PID COMM\n" + strings.Repeat(when.In(time.Local).Format("15:04:05.000")+"       1 c\n", 2)
	if diff := cmp.Diff(want, string(b)); diff != "" {
		t.Error(diff)
	}
}

func TestClosingTableFitsOnATerminal(t *testing.T) {
	opts := liveOptions(terminal(t, 40, 10))
	p := livePage(make([]event.Exec, 50))
	p.Closing = true
	b := NewLines(opts).AppendPage(nil, p)
	if n := bytes.Count(b, []byte{'\n'}); n != 8 || !bytes.HasSuffix(b, []byte("and 45 more\n")) {
		t.Errorf("%d lines: %s", n, b)
	}
}

func TestOutputLeavesPagesOutWhileTheTerminalIsSlow(t *testing.T) {
	r, w := pipe(t)
	live := NewLive(liveOptions(terminal(t, 30, 6)))
	o := NewOutput(w, live)
	pages := 0
	count := func() *event.Page {
		return &event.Page{Rows: func(func(event.Event) bool) { pages++ }}
	}
	o.Event(&event.Exec{})
	o.Page(count())
	o.Page(count()) // the first one waits
	if pages != 1 {
		t.Errorf("%d pages drawn", pages)
	}
	mustFlush(t, o)
	mustClose(t, o)
	b := drain(t, r)
	if !bytes.HasPrefix(b, []byte(enterScreen)) || !bytes.HasSuffix(b, []byte(leaveScreen)) {
		t.Errorf("%q", b)
	}
}
