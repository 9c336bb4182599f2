package render

import (
	"io"
	"os"
	"runtime"
	"testing"

	"tracer/trace/event"
)

// BenchmarkRow is a row of a terminal of 120 cells.
func BenchmarkRow(b *testing.B) {
	for _, c := range []struct {
		view  string
		event event.Event
	}{
		{"exec", &event.Exec{
			Common:  event.Common{Time: when, Kind: event.KindExec, Process: event.Process{PID: 4711, Comm: "make", UID: 1000}},
			Program: event.Program{Exe: "/usr/bin/make", Args: []string{"make", "-j4", "test"}}, PPID: 812, User: "ann",
		}},
		{"http", httpEvents()[0]},
	} {
		b.Run(c.view, func(b *testing.B) {
			view := Views[c.view]
			table := NewTable(TableOptions{Columns: Defaults(view.Columns), Mark: view.Mark})
			table.width = 120
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				buf = table.AppendEvent(buf[:0], c.event)
			}
		})
	}
}

// BenchmarkOutput is an event that is written as JSON to a pipe whose reader keeps
// up.
func BenchmarkOutput(b *testing.B) {
	r, w, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	go func() { _, _ = io.Copy(io.Discard, r) }()
	o := NewOutput(w, JSON{})
	e := httpEvents()[0]
	for i := 0; b.Loop(); i++ {
		for !o.Event(e) {
			runtime.Gosched()
		}
		if i%64 == 0 {
			if err := o.Flush(); err != nil {
				b.Fatal(err)
			}
		}
	}
	if n, err := o.Close(); n != 0 || err != nil {
		b.Fatal(n, err)
	}
	w.Close()
}
