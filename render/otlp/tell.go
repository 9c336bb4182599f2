package otlp

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// tellEvery is how often something is told at most.
const tellEvery = time.Second

// A teller tells what was not acknowledged, in a goroutine of its own: who counts must not
// wait for a terminal.
type teller struct {
	say func(string)
	to  string // the endpoint

	mu      sync.Mutex
	counts  [signals]uint64 // undelivered so far
	told    [signals]uint64
	why     string // the last reason
	waiting string // something was not taken, and is tried again: why
	outage  bool   // that was told, and nothing was taken since

	wake chan struct{}
	stop chan struct{}
	done chan struct{}
}

func newTeller(to string, say func(string)) *teller {
	t := &teller{say: say, to: to, wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	go t.run()
	return t
}

func (t *teller) run() {
	defer close(t.done)
	for {
		select {
		case <-t.wake:
		case <-t.stop:
			t.tell()
			return
		}
		t.tell()
		select {
		case <-time.After(tellEvery):
		case <-t.stop:
		}
	}
}

// close tells what is left.
func (t *teller) close() {
	close(t.stop)
	<-t.done
}

// lost takes note of items that are undelivered.
func (t *teller) lost(s signal, n uint64, why string) {
	t.mu.Lock()
	t.counts[s] += n
	t.why = why
	t.mu.Unlock()
	t.signal()
}

// again takes note that a batch was not taken and will be sent again.
func (t *teller) again(why string) {
	t.mu.Lock()
	known := t.outage
	if !known {
		t.waiting, t.outage = why, true
	}
	t.mu.Unlock()
	if !known {
		t.signal()
	}
}

// taken takes note that the endpoint takes something.
func (t *teller) taken() {
	t.mu.Lock()
	t.waiting, t.outage = "", false
	t.mu.Unlock()
}

func (t *teller) signal() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// undelivered is the sum of all that was noted.
func (t *teller) undelivered() (sum uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range t.counts {
		sum += n
	}
	return sum
}

func (t *teller) tell() {
	t.mu.Lock()
	var news, all []string
	for s := range signals {
		if n := t.counts[s] - t.told[s]; n > 0 {
			news = append(news, s.items(n))
			all = append(all, s.items(t.counts[s]))
		}
	}
	t.told = t.counts
	why, waiting := t.why, t.waiting
	t.waiting = ""
	t.mu.Unlock()
	switch {
	case len(news) > 0:
		text := fmt.Sprintf("otlp: %s not delivered to %s: %s", strings.Join(news, " and "), t.to, why)
		if strings.Join(news, "") != strings.Join(all, "") {
			text += "; " + strings.Join(all, " and ") + " in all"
		}
		t.say(text)
	case waiting != "":
		t.say(fmt.Sprintf("otlp: %s does not take what is sent: %s; it is sent again", t.to, waiting))
	}
}
