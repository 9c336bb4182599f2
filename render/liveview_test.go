package render

import (
	"fmt"
	"iter"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tracer/trace/event"
)

// workersPage is a page of so many processes, each with a number in its name.
func workersPage(n int) *event.Page {
	rows := func(yield func(event.Event) bool) {
		for i := range n {
			e := &event.Traffic{Common: event.Common{Time: when, Kind: event.KindTraffic, Process: event.Process{PID: uint32(i + 1), Comm: fmt.Sprintf("Worker-%d", i+1)}}, Tx: uint64(n - i)}
			if !yield(e) {
				return
			}
		}
	}
	return &event.Page{Rows: iter.Seq[event.Event](rows), Total: n, Sum: &event.Traffic{}}
}

// Each step types some keys, and says which processes are shown then, and the last line.
func TestKeysOfALiveScreen(t *testing.T) {
	type step struct {
		typed string
		page  int // rows of a new page; 0: none comes
		rows  string
		foot  string
	}
	for name, steps := range map[string][]step{
		"the keys are shown and hidden": {
			{"", 3, "1 2 3", "press ? for keys"},
			{"?", 0, "1 2 3", "q ends, p pauses, / filters, Esc drops the filter, ? hides this"},
			{"p", 0, "1 2 3", "q ends, p goes on, / filters, Esc drops the filter, ? hides this"},
			{"p?", 0, "1 2 3", "press ? for keys"},
		},
		"a pause keeps the page": {
			{"p", 3, "1 2 3", "paused, p goes on; press ? for keys"},
			{"", 5, "1 2 3", "paused, p goes on; press ? for keys"},
			{"p", 0, "1 2 3", "press ? for keys"},
			{"", 5, "1 2 3 4 5", "press ? for keys"},
		},
		"rows are filtered while the text is typed": {
			{"/", 22, "1 2 3 4 5 6 7", "filter: /_ (Enter keeps it, Esc drops it)"},
			{"w", 0, "1 2 3 4 5 6 7", "filter: /w_ (Enter keeps it, Esc drops it)"},
			{"ORKER-2", 0, "2 20 21 22", "filter: /wORKER-2_ (Enter keeps it, Esc drops it)"},
			{"1", 0, "21", "filter: /wORKER-21_ (Enter keeps it, Esc drops it)"},
			{"\x7f", 0, "2 20 21 22", "filter: /wORKER-2_ (Enter keeps it, Esc drops it)"},
			{"\r", 0, "2 20 21 22", "filter /wORKER-2: 4 rows; press ? for keys"},
			{"", 21, "2 20 21", "filter /wORKER-2: 3 rows; press ? for keys"},
			{"\x1b", 0, "1 2 3 4 5 6 7", "and 14 more; press ? for keys"},
		},
		"Esc drops what is typed": {
			{"/2", 3, "2", "filter: /2_ (Enter keeps it, Esc drops it)"},
			{"\x1b", 0, "1 2 3", "press ? for keys"},
		},
		"an arrow does nothing": {
			{"/2\r", 3, "2", "filter /2: 1 row; press ? for keys"},
			{"\x1b[A", 0, "2", "filter /2: 1 row; press ? for keys"},
		},
		"keys are text while a filter is typed": {
			{"/qp?s", 3, "", "filter: /qp?s_ (Enter keeps it, Esc drops it)"},
		},
		"rows far below are found": {
			{"/ker-450\r", 500, "450", "filter /ker-450: 1 row; press ? for keys"},
			{"/ker-4\r", 500, "4 40 41 42 43 44 45", "filter /ker-4: 111 rows, and 104 more; press ? for keys"},
			{"/worker\r", 500, "1 2 3 4 5 6 7", "filter /worker: 500 rows, and 493 more; press ? for keys"},
		},
		"a filter is text, whatever it has": {
			{"/\t\xc3\xa9\xff\r", 3, "", `filter /é\xff: 0 rows; press ? for keys`},
			{"/é\x7f\x7f\x7f2\r", 3, "2", "filter /2: 1 row; press ? for keys"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tty := terminal(t, 100, 10)
			s := newScreen(t, 100, 10)
			opts := liveOptions(tty)
			live := NewLive(opts)
			live.keyed = true
			live.quit = func() { t.Error("it ends") }
			for i, c := range steps {
				// Each key comes by itself, as from a keyboard, but for what makes one of several bytes.
				for _, key := range strings.SplitAfter(c.typed, "") {
					if strings.HasPrefix(c.typed, "\x1b[") {
						key = c.typed
					}
					listen(strings.NewReader(key), live.press)
					if key == c.typed {
						break
					}
				}
				if c.page > 0 {
					s.write(live.AppendPage(nil, workersPage(c.page)))
				} else {
					s.write(live.appendChanges(nil))
				}
				lines := s.lines()
				var rows []string
				for _, line := range lines {
					if _, number, ok := strings.Cut(line, "Worker-"); ok {
						rows = append(rows, strings.Fields(number)[0])
					}
				}
				if diff := cmp.Diff([]string{c.rows, c.foot}, []string{strings.Join(rows, " "), lines[9]}); diff != "" {
					t.Errorf("step %d, %q: %s\n%s", i, c.typed, diff, strings.Join(lines, "\n"))
				}
			}
		})
	}
}

func TestKeyQEndsTracing(t *testing.T) {
	live := NewLive(liveOptions(terminal(t, 80, 24)))
	ended := 0
	live.quit = func() { ended++ }
	listen(strings.NewReader("/q\rq"), live.press)
	if ended != 1 {
		t.Errorf("it ends %d times", ended)
	}
	select {
	case <-live.wake():
	default:
		t.Error("nobody is told that the screen has changed")
	}
}

// What only looks like a filter costs nothing: without one no more rows are formatted than before.
func TestRowsThatAreNotKeptAreNotFormatted(t *testing.T) {
	opts := liveOptions(terminal(t, 80, 24))
	formatted := 0
	opts.Columns = []Column{{Name: "comm", Title: "COMM", Width: 10, Cell: func(b []byte, e event.Event) []byte {
		formatted++
		return b
	}}}
	live := NewLive(opts)
	live.AppendPage(nil, workersPage(1000))
	if formatted != keptRows {
		t.Errorf("%d rows, want %d", formatted, keptRows)
	}
}
