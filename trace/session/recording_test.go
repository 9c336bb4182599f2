package session

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tracer/trace/event"
)

// programs shows programs of a recording.
type programs struct {
	Tracer
	host *Host
	end  time.Time
}

func (p *programs) Replaying(h *Host) { p.host = h }
func (p *programs) Replayed()         { p.end = p.host.Clock.Wall(p.host.Now()) }

func (p *programs) Replay(e event.Event, _ int) (bool, error) {
	switch e := e.(type) {
	case *event.Exec:
		p.host.Emit(e)
		return true, nil
	case *event.Exit:
		return true, errors.New("not like that")
	}
	return false, nil
}

// A smallSink has room for so many events, until it is waited for.
type smallSink struct {
	room, taken int
	waits       int
	broken      chan struct{}
	failed      error
}

func (s *smallSink) Name() string { return "small" }
func (s *smallSink) Event(event.Event) bool {
	if s.taken == s.room {
		return false
	}
	s.taken++
	return true
}
func (s *smallSink) Wait(<-chan struct{})    { s.taken, s.waits = 0, s.waits+1 }
func (s *smallSink) Flush() error            { return s.failed }
func (s *smallSink) Broken() <-chan struct{} { return s.broken }
func (s *smallSink) Close() (uint64, error)  { return 0, nil }

// recordingOf writes a recording, and opens it.
func recordingOf(t *testing.T, opts Options, text string) (*Recording, *programs) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.jsonl")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	opts.Read = []string{path}
	p := &programs{}
	r, err := OpenRecording([]Tracer{p}, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r, p
}

// programLines are so many programs, one a second.
func programLines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"time":"2026-01-01T%02d:%02d:%02d.000000000Z","event":"exec","pid":%d,"comm":"a","uid":0,"ppid":1}`+"\n", i/3600, i/60%60, i%60, i+1)
	}
	return b.String()
}

// A reader that is slow is waited for: of a recording nothing need be lost.
func TestASlowReaderOfARecordingLosesNothing(t *testing.T) {
	const n = 10007
	r, _ := recordingOf(t, Options{}, programLines(n))
	out, second := &smallSink{room: 200}, &smallSink{room: 100}
	if err := r.Run(context.Background(), out, second); err != nil {
		t.Fatal(err)
	}
	a, err := r.Account()
	if err != nil {
		t.Fatal(err)
	}
	if a.Shown != n || a.Lost != 0 || len(a.Undelivered) > 0 || a.Seen != n || out.waits < n/200 {
		t.Errorf("%d shown, %d lost, undelivered %v, waited %d times", a.Shown, a.Lost, a.Undelivered, out.waits)
	}
}

func TestARecordingEndsForAReason(t *testing.T) {
	for _, test := range []struct {
		name   string
		opts   Options
		shown  uint64
		reason string
		took   time.Duration
	}{
		{"all was read", Options{}, 100, event.EndedRecording, 99 * time.Second},
		{"as many were shown as were asked for", Options{Count: 7}, 7, event.EndedCount, 6 * time.Second},
		{"its own time", Options{Duration: 10 * time.Second}, 11, event.EndedDuration, 10 * time.Second},
		{"its own time, between two events", Options{Duration: 10500 * time.Millisecond}, 11, event.EndedDuration, 10500 * time.Millisecond},
		{"more time than it has", Options{Duration: time.Hour}, 100, event.EndedRecording, 99 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, p := recordingOf(t, test.opts, programLines(100))
			if err := r.Run(context.Background(), &smallSink{room: 1000}); err != nil {
				t.Fatal(err)
			}
			a, err := r.Account()
			if err != nil {
				t.Fatal(err)
			}
			if a.Shown != test.shown || a.Reason != test.reason || a.Duration != test.took {
				t.Errorf("%d shown, %s after %v", a.Shown, a.Reason, a.Duration)
			}
			if want := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(test.took); !p.end.Equal(want) || !a.Time.Equal(want) {
				t.Errorf("it ends at %v and %v, want %v", p.end, a.Time, want)
			}
		})
	}
}

func TestReadingEndsWithItsContextAndWithTheReader(t *testing.T) {
	follow := Options{Follow: true}
	t.Run("the context", func(t *testing.T) {
		r, _ := recordingOf(t, follow, programLines(3))
		ctx, cancel := context.WithCancelCause(context.Background())
		time.AfterFunc(10*time.Millisecond, func() { cancel(Ended(event.EndedInterrupted)) })
		if err := r.Run(ctx, &smallSink{room: 1000}); err != nil {
			t.Fatal(err)
		}
		if a, err := r.Account(); err != nil || a.Reason != event.EndedInterrupted {
			t.Errorf("%+v, %v", a, err)
		}
	})
	t.Run("the reader of stdout", func(t *testing.T) {
		r, _ := recordingOf(t, follow, programLines(3))
		out := &smallSink{room: 1000, broken: make(chan struct{}), failed: os.ErrClosed}
		close(out.broken)
		if err := r.Run(context.Background(), out); !errors.Is(err, os.ErrClosed) {
			t.Errorf("no error of the sink: %v", err)
		}
	})
	t.Run("a tracer that cannot show an event", func(t *testing.T) {
		r, _ := recordingOf(t, Options{}, programLines(3)+`{"time":"2026-01-01T01:00:00.000000000Z","event":"exit","pid":1,"comm":"a","uid":0,"ppid":1,"exit_code":0,"duration_us":1}`)
		if err := r.Run(context.Background(), &smallSink{room: 1000}); err == nil || !strings.Contains(err.Error(), "not like that") {
			t.Errorf("error %v", err)
		}
		if a, err := r.Account(); err != nil || a.Reason != event.EndedError || a.Shown != 3 {
			t.Errorf("%+v, %v", a, err)
		}
	})
}

// What several runs have lost is lost in all, whether they say so at their end or not; what a
// run says again, because its recording is in several files, counts once.
func TestWhatRunsHaveLostIsAddedUp(t *testing.T) {
	start := func(pid int) string {
		return fmt.Sprintf(`{"time":"2026-01-01T00:00:00.000000000Z","event":"start","format":1,"hostname":"h","boot_id":"b","pid":%d}`+"\n", pid)
	}
	end := func(n int) string {
		return fmt.Sprintf(`{"time":"2026-01-01T00:00:09.000000000Z","event":"end","seen":%d,"shown":0,"lost":%[1]d,"lost_by":{"ring_full":%[1]d},"incomplete":3,"duration_us":1,"cpu_us":1}`+"\n", n)
	}
	lost := func(n int) string {
		return fmt.Sprintf(`{"time":"2026-01-01T00:00:01.000000000Z","event":"lost","message":"m","lost":%d,"lost_by":{"map_full":%[1]d}}`+"\n", n)
	}
	for _, test := range []struct {
		name string
		text string
		want map[string]uint64
	}{
		{"of its end", start(1) + lost(3) + end(5), map[string]uint64{"ring_full": 5}},
		{"of a run without an end", start(1) + lost(3) + lost(4), map[string]uint64{"map_full": 4}},
		{"of two runs", start(1) + end(5) + start(2) + end(7), map[string]uint64{"ring_full": 12}},
		{"of one run in two files", start(1) + lost(2) + start(1) + end(7), map[string]uint64{"ring_full": 7}},
		{"of one without a start", lost(2) + programLines(1), map[string]uint64{"map_full": 2}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var told uint64
			opts := Options{Notice: func(n *event.Notice) {
				if n.Kind == event.KindLost {
					told = n.Lost
				}
			}}
			r, _ := recordingOf(t, opts, test.text)
			if err := r.Run(context.Background(), &smallSink{room: 1000}); err != nil {
				t.Fatal(err)
			}
			a, err := r.Account()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, a.LostBy); diff != "" {
				t.Error(diff)
			}
			if a.Seen != a.Shown+a.Lost || told != a.Lost {
				t.Errorf("%d seen, %d shown, %d lost, %d told", a.Seen, a.Shown, a.Lost, told)
			}
		})
	}
}
