package render

import (
	"fmt"
	"slices"
	"testing"

	"tracer/trace/event"
)

func TestTableOfAll(t *testing.T) {
	view := Views["all"]
	events := slices.Concat(execEvents(), connEvents(), httpEvents())
	for _, width := range []int{60, 80, 120, 200} {
		b := appendAll(TableOptions{Columns: Defaults(view.Columns), Mark: view.Mark, Terminal: terminal(t, width, 24)}, events)
		checkGolden(t, fmt.Sprintf("all-%d.txt", width), b)
		checkLines(t, b, width)
	}
	b := appendAll(TableOptions{Columns: view.Columns, Mark: view.Mark}, events)
	checkGolden(t, "all-all.txt", b)
	checkLines(t, b, 0)
}

// What stands out in a command's own table does so here.
func TestMarksOfAllAreTheCommandsOwn(t *testing.T) {
	for name, events := range map[string][]event.Event{"exec": execEvents(), "conn": connEvents(), "http": httpEvents()} {
		for i, e := range events {
			if got, want := allMark(e), Views[name].Mark(e); got != want {
				t.Errorf("%s %d: %v, want %v", name, i, got, want)
			}
		}
	}
}
