package http

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"tracer/testdata/kit"
	"tracer/testdata/kit/record"
	"tracer/testdata/kit/work"
	"tracer/trace/kernel"
	"tracer/trace/message"
	"tracer/trace/session"
	"tracer/trace/stream"
)

// Frames of HTTP/2 (RFC 9113, 6).
const (
	frameData = iota
	frameHeaders
	framePriority
	frameReset
	frameSettings
	framePromise
	framePing
	frameGoAway
	frameWindow
	frameContinuation

	endStream  = 1
	endHeaders = 4
	padded     = 8

	preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
)

// frame is one frame as it is on the wire.
func frame(kind, flags byte, id uint32, payload string) string {
	head := make([]byte, 9)
	binary.BigEndian.PutUint32(head, uint32(len(payload))<<8|uint32(kind))
	head[4] = flags
	binary.BigEndian.PutUint32(head[5:], id)
	return string(head) + payload
}

// However frames lie in calls, and whatever calls these are, the kernel tells those that
// matter, whole, and of DATA how much it was: as a walk through all bytes does in Go, on
// both ends, in each tier.
func TestKernelHTTP2FramesAreWalkedAsAModelDoes(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("SEED=%d", seed)
	tiersOf(t, func(t *testing.T, tier kernel.Tier) {
		for try := 1; ; try++ {
			diff, misses := walksDiffer(t, tier, seed)
			if diff == "" {
				return
			}
			if !misses || try == 3 {
				t.Fatal(diff)
			}
			t.Logf("a program may have been missed, once more: %s", diff)
		}
	})
}

func walksDiffer(t *testing.T, tier kernel.Tier, seed uint64) (diff string, misses bool) {
	heard := hearFrames(t)
	fd, port := work.FixedListener()
	defer work.CloseFD(fd)
	v := traceHTTP(t, session.Options{Tier: tier}, atPorts(port))
	var want []string
	for i := range kit.Size(37, 11) {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		c := work.Dial("127.0.0.1", port)
		s := work.Accept(fd)
		for _, fd := range []int{c, s} {
			work.Timeouts(fd)
			work.Must(unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)) // none waits for another
		}
		// What is said, and by whom, in turns.
		asks, answers := &randomFrames{r: r}, &randomFrames{r: r}
		asks.add(preface, frame(frameSettings, 0, 0, ""))
		for range 1 + r.IntN(20) {
			asks.play(t, c, s)
			answers.play(t, s, c)
			for range r.IntN(30) {
				asks.random()
			}
			for range r.IntN(30) {
				answers.random()
			}
		}
		asks.play(t, c, s)
		answers.play(t, s, c)
		work.CloseFD(c)
		work.CloseFD(s)
		if t.Failed() {
			t.Fatalf("play %d of SEED=%d", i, seed)
		}
		for _, end := range []string{"client", "server"} {
			want = append(want, end+"\n"+walked(asks.said.String())+walked(answers.said.String()))
		}
	}
	kit.Eventually(t, "connections", func() error {
		if n := heard.closed(); n < len(want) {
			return fmt.Errorf("%d of %d are over", n, len(want))
		}
		return nil
	})
	misses = tier == kernel.Kprobe || v.Stop().LostBy["program_missed"] > 0
	return unequal(want, heard.all()), misses
}

// unequal says how the first text differs that is not in both lists, from what is most
// like it.
func unequal(want, got []string) string {
	got = slices.Clone(got)
	var missing []string
	for _, w := range want {
		if i := slices.Index(got, w); i >= 0 {
			got = slices.Delete(got, i, i+1)
		} else {
			missing = append(missing, w)
		}
	}
	if len(missing)+len(got) == 0 {
		return ""
	}
	alike := func(a, b string) (n int) {
		for n < min(len(a), len(b)) && a[n] == b[n] {
			n++
		}
		return n
	}
	text := fmt.Sprintf("%d connections differ, of %d\n", max(len(missing), len(got)), len(want))
	if len(missing) == 0 || len(got) == 0 {
		return text + strings.Join(append(missing, got...), "")
	}
	most := slices.MaxFunc(got, func(a, b string) int { return alike(missing[0], a) - alike(missing[0], b) })
	return text + cmp.Diff(strings.Split(missing[0], "\n"), strings.Split(most, "\n"))
}

// randomFrames are the frames of one direction, and what of them was not sent yet.
type randomFrames struct {
	r     *rand.Rand
	said  strings.Builder
	ahead []work.Move
	text  string // of frames that may share calls
	kept  int    // bytes of it that are told
}

func (f *randomFrames) add(text ...string) {
	for _, s := range text {
		f.said.WriteString(s)
		f.text += s
	}
}

func (f *randomFrames) pick(list ...int) int { return list[f.r.IntN(len(list))] }

func (f *randomFrames) random() {
	r := f.r
	id := uint32(1 + 2*r.IntN(f.pick(1, 3, 30)))
	size := f.pick(0, 1, 8, 9, 30, 118, 119, 120, 500, r.IntN(100))
	bytes := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return string(b)
	}
	flags := byte(f.pick(0, 0, endStream))
	switch kind := r.IntN(14); kind {
	case frameData, 10, 11:
		if r.IntN(6) == 0 {
			size = f.pick(4000, 16384, 20_000)
		}
		if r.IntN(8) == 0 && size > 0 {
			flags |= padded
		}
		head := frame(frameData, flags, id, strings.Repeat("b", size))
		if size > 0 && r.IntN(8) == 0 { // by a call whose bytes nobody sees
			f.add(head[:9])
			f.flush()
			f.said.WriteString(head[9:])
			f.ahead = append(f.ahead, work.Send("b").Times(size).By("sendfile"))
			return
		}
		f.add(head)
	case frameHeaders:
		if r.IntN(20) == 0 {
			size = f.pick(4000, 16384, 17_000)
		}
		f.kept += size
		if r.IntN(4) > 0 {
			f.add(frame(frameHeaders, flags|endHeaders, id, bytes(size)))
			return
		}
		f.add(frame(frameHeaders, flags, id, bytes(size)))
		for range r.IntN(3) {
			f.add(frame(frameContinuation, 0, id, bytes(r.IntN(40))))
		}
		f.add(frame(frameContinuation, endHeaders, id, bytes(r.IntN(300))))
	case framePriority:
		f.add(frame(framePriority, 0, id, bytes(5)))
	case frameReset:
		f.add(frame(frameReset, 0, id, bytes(4)))
	case frameSettings:
		if flags&endStream != 0 {
			f.add(frame(frameSettings, 1, 0, ""))
		} else {
			f.add(frame(frameSettings, 0, 0, bytes(6*r.IntN(9))))
		}
	case framePromise:
		f.add(frame(framePromise, endHeaders, id, bytes(4+r.IntN(50))))
	case framePing:
		f.add(frame(framePing, flags, 0, bytes(8)))
	case frameGoAway:
		f.add(frame(frameGoAway, 0, 0, bytes(8+r.IntN(20))))
	case frameWindow:
		f.add(frame(frameWindow, 0, id&uint32(f.pick(0, 0xff)), bytes(4)))
	default:
		f.add(frame(byte(f.pick(0xa, 0xc, 0x10, 0xfa)), byte(r.Uint32()), uint32(r.IntN(3)), bytes(size)))
	}
	// A call of more than this could be told with a gap.
	if f.kept > 30_000 || len(f.text) > 40_000 || r.IntN(5) == 0 {
		f.flush()
	}
}

// flush makes calls of the frames so far.
func (f *randomFrames) flush() {
	r := f.r
	for f.text != "" {
		n := len(f.text)
		if r.IntN(2) == 0 {
			n = 1 + r.IntN(n)
		}
		if r.IntN(6) == 0 {
			n = min(n, 1+r.IntN(30))
		}
		m := send(f.text[:n])
		switch r.IntN(4) {
		case 0:
			if n < 60 {
				m = m.By("each")
			}
		case 1:
			m = m.By("writev").In(1 + r.IntN(min(n, 63)))
		case 2:
			m = m.By("sendmsg").In(1 + r.IntN(min(n, 63)))
		}
		f.ahead = append(f.ahead, m)
		f.text = f.text[n:]
	}
	f.kept = 0
}

// play sends what was not sent yet; the other end takes it, in other pieces.
func (f *randomFrames) play(t *testing.T, from, to int) {
	t.Helper()
	f.flush()
	r := f.r
	waits := 0
	for i, m := range f.ahead {
		perform(t, from, m)
		waits += len(m.Send) * max(m.Repeat, 1)
		// Not more than fits into the socket's buffers waits there.
		for waits > 0 && (waits > 40_000 || i == len(f.ahead)-1 || r.IntN(3) == 0) {
			n := waits
			if r.IntN(2) == 0 {
				n = 1 + r.IntN(n)
			}
			if r.IntN(4) == 0 {
				n = min(n, 9)
			}
			m := recv(n)
			switch r.IntN(6) {
			case 0:
				if n < 60 {
					m = m.By("each")
				}
			case 1:
				m = m.By("readv").In(1 + r.IntN(min(n, 20)))
			case 2:
				m = m.By("recvmsg").In(1 + r.IntN(min(n, 20)))
			case 3:
				m = m.By("peek")
			}
			perform(t, to, m)
			waits -= n
		}
	}
	f.ahead = nil
}

// walked is what is to be told of the bytes of a direction: each frame that is kept, and
// before it the DATA since the one before, by stream.
func walked(all string) string {
	w := newTranscript()
	text := all
	if rest, ok := strings.CutPrefix(text, preface); ok {
		w.keep(0, preface)
		text = rest
	}
	for text != "" {
		b := []byte(text)
		size := 9 + int(binary.BigEndian.Uint32(b)>>8)
		offset := len(all) - len(text)
		switch b[3] {
		case frameData:
			end := b[4]&endStream != 0
			w.data(binary.BigEndian.Uint32(b[5:]), 1, uint64(size), end)
		case frameHeaders, frameReset, frameSettings, framePromise, frameGoAway, frameContinuation:
			w.keep(uint64(offset), text[:size])
		}
		text = text[size:]
	}
	return w.end(uint64(len(all)))
}

// A transcript is what was told of a direction, as text.
type transcript struct {
	text  strings.Builder
	waits map[uint32]stream.Run
}

func newTranscript() *transcript { return &transcript{waits: map[uint32]stream.Run{}} }

func (w *transcript) data(id, frames uint32, bytes uint64, end bool) {
	run := w.waits[id]
	run.Frames += frames
	run.Bytes += bytes
	run.End = run.End || end
	w.waits[id] = run
}

func (w *transcript) flush() {
	for _, id := range slices.Sorted(maps.Keys(w.waits)) {
		run := w.waits[id]
		fmt.Fprintf(&w.text, "  DATA %d: %d frames, %d bytes, end %v\n", id, run.Frames, run.Bytes, run.End)
	}
	clear(w.waits)
}

func (w *transcript) keep(offset uint64, bytes string) {
	w.flush()
	fmt.Fprintf(&w.text, "  %d: %d bytes, %x…%x\n", offset, len(bytes), bytes[:min(len(bytes), 9)], bytes[max(len(bytes)-9, 0):])
}

func (w *transcript) end(offset uint64) string {
	w.flush()
	fmt.Fprintf(&w.text, "  %d: end\n", offset)
	return w.text.String()
}

// A hearing takes note of what parsers of HTTP/2 are fed.
type hearing struct {
	mu    sync.Mutex
	conns []*heardConn
	done  int
}

// hearFrames has connections that speak HTTP/2 listened to, until the test ends.
func hearFrames(t *testing.T) *hearing {
	h := &hearing{}
	before := protocols[byFrames]
	protocols[byFrames] = message.Protocol{Name: before.Name, New: func(message.Calls) message.Parsers { return &hearers{h: h} }}
	t.Cleanup(func() { protocols[byFrames] = before })
	return h
}

func (h *hearing) closed() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.done
}

func (h *hearing) all() (list []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.conns {
		list = append(list, c.text)
	}
	return list
}

type hearers struct {
	message.Parsers
	h *hearing
}

func (h *hearers) Conn(joined bool) message.Parser {
	h.h.mu.Lock()
	defer h.h.mu.Unlock()
	c := &heardConn{h: h.h, joined: joined}
	c.dirs[0].w, c.dirs[1].w = newTranscript(), newTranscript()
	h.h.conns = append(h.h.conns, c)
	return c
}

// A heardConn is a parser that writes down what it is fed.
type heardConn struct {
	message.Parser
	h      *hearing
	joined bool
	text   string
	fed    [2]int // segments
	dirs   [2]struct {
		w    *transcript
		next uint64
		part []byte // of a frame
		gaps string
	}
	requests int
}

func (c *heardConn) Feed(s *stream.Segment) {
	d := &c.dirs[s.Dir]
	c.fed[s.Dir]++
	if s.Offset-s.Skipped != d.next && (s.Size > 0 || s.Framed) {
		d.gaps += fmt.Sprintf("gap from %d to %d\n", d.next, s.Offset-s.Skipped)
		d.part = nil
	}
	d.next = max(s.Offset+s.Size, d.next)
	for _, r := range s.Runs {
		d.w.data(r.Stream, r.Frames, r.Bytes, r.End)
	}
	if uint64(len(s.Data)) != s.Size {
		d.gaps += "not whole\n"
	}
	if bytes.HasPrefix(s.Data, []byte(preface)) {
		c.requests = int(s.Dir)
	}
	d.part = append(d.part, s.Data...)
	for {
		size := len(preface)
		if !bytes.HasPrefix(d.part, []byte(preface)) {
			if len(d.part) < 9 {
				return
			}
			size = 9 + int(binary.BigEndian.Uint32(d.part)>>8)
		}
		if len(d.part) < size {
			return
		}
		d.w.keep(s.Offset+s.Size-uint64(len(d.part)), string(d.part[:size]))
		d.part = d.part[size:]
	}
}

func (c *heardConn) Close(int64, stream.Ending) {
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	asks, answers := &c.dirs[c.requests], &c.dirs[1-c.requests]
	c.text = []string{"client", "server"}[c.requests] + "\n" + asks.gaps + asks.w.end(asks.next) + answers.gaps + answers.w.end(answers.next)
	c.h.done++
}

func (c *heardConn) Kind() message.Kind         { return message.HTTP2 }
func (c *heardConn) Opaque() bool               { return false }
func (c *heardConn) Waiting() int               { return 0 }
func (c *heardConn) Waits(uint32) bool          { return false }
func (c *heardConn) Busy(uint32) bool           { return false }
func (c *heardConn) Holds() bool                { return false }
func (c *heardConn) Settle(int64)               {}
func (c *heardConn) Oldest() (int64, bool)      { return 0, false }
func (c *heardConn) Stuck(int64)                {}
func (c *heardConn) Upgraded() *message.Upgrade { return nil }
func (c *heardConn) Adopt(*message.Upgrade)     {}
func (c *heardConn) GiveUp()                    {}

// A stream of many messages makes few segments, however its messages lie in calls, and
// none is missing at its end.
func TestKernelHTTP2DataMakesFewRecords(t *testing.T) {
	kit.Needs(t, kit.NewestKernel)
	const messages = 10_007
	heard := hearFrames(t)
	fd, port := work.FixedListener()
	defer work.CloseFD(fd)
	v := traceHTTP(t, session.Options{}, atPorts(port))
	c := work.Dial("127.0.0.1", port)
	s := work.Accept(fd)
	message := frame(frameData, 0, 1, "m")
	began := time.Now()
	perform(t, c, send(preface+frame(frameSettings, 0, 0, "")+frame(frameHeaders, endHeaders, 1, "\x82")))
	n := len(preface) + 9 + 10
	for range messages {
		perform(t, c, send(message))
		n += len(message)
		if n > 10_000 {
			perform(t, s, recv(n))
			n = 0
		}
	}
	perform(t, c, send(frame(frameData, endStream, 1, "")))
	perform(t, s, recv(n+9))
	took := time.Since(began)
	work.CloseFD(c)
	work.CloseFD(s)
	kit.Eventually(t, "connections", func() error {
		if n := heard.closed(); n < 2 {
			return fmt.Errorf("%d of 2 are over", n)
		}
		return nil
	})
	v.Stop()
	most := 6 + int(took/(100*time.Millisecond)) // two of these say that it is over
	for _, c := range heard.conns {
		if n := c.fed[c.requests]; n > most {
			t.Errorf("%d segments in %v, want %d at most", n, took, most)
		}
		want := fmt.Sprintf("DATA 1: %d frames, %d bytes, end true", messages+1, messages*len(message)+9)
		if !strings.Contains(c.text, want) {
			t.Errorf("%s, want %s", c.text, want)
		}
	}
}

// What is kept of one call may be more than a record has room for: it is told in
// several, up to 64 KiB. Beyond is a gap, and what comes after is told again.
func TestKernelHTTP2CallsOfManyHeaders(t *testing.T) {
	kit.Needs(t, kit.EndsKernel)
	tiersOf(t, func(t *testing.T, tier kernel.Tier) {
		heard := hearFrames(t)
		fd, port := work.FixedListener()
		defer work.CloseFD(fd)
		v := traceHTTP(t, session.Options{Tier: tier}, atPorts(port))
		headers := func(n int) (text string) {
			for i := range n {
				text += frame(frameHeaders, endHeaders|endStream, uint32(1+2*i), strings.Repeat(string(rune('a'+i%26)), 991))
			}
			return text
		}
		var want []string
		first := preface + frame(frameSettings, 0, 0, "")
		for _, calls := range [][]string{
			{first, headers(30), headers(64)},
			{first + strings.Repeat(frame(framePing, 0, 0, "12345678"), 512), headers(1)},
			{first, strings.Repeat(frame(frameHeaders, endHeaders, 1, "\x82\x84"), 512), headers(1)},
			{first, frame(frameHeaders, 0, 1, strings.Repeat("h", 16384)) + frame(frameContinuation, 0, 1, strings.Repeat("c", 16384)) +
				frame(frameContinuation, endHeaders, 1, strings.Repeat("e", 16384)), headers(1)},
		} {
			c := work.Dial("127.0.0.1", port)
			s := work.Accept(fd)
			all := ""
			for _, call := range calls {
				perform(t, c, send(call))
				perform(t, s, recv(len(call)))
				all += call
			}
			work.CloseFD(c)
			work.CloseFD(s)
			for _, end := range []string{"client", "server"} {
				want = append(want, end+"\n"+walked(all)+walked(""))
			}
		}
		kit.Eventually(t, "connections", func() error {
			if n := heard.closed(); n < len(want) {
				return fmt.Errorf("%d of %d are over", n, len(want))
			}
			return nil
		})
		v.Stop()
		if diff := unequal(want, heard.all()); diff != "" {
			t.Error(diff)
		}
	})
}

// After a loss, or where tracing begins late, frames are found again at the beginning of a
// call, and nowhere else; what is no HTTP/2 is not taken for it.
func TestKernelHTTP2FramesAreFoundAgain(t *testing.T) {
	kit.Needs(t, kit.EndsKernel)
	tiersOf(t, func(t *testing.T, tier kernel.Tier) {
		heard := hearFrames(t)
		fd, port := work.FixedListener()
		defer work.CloseFD(fd)
		open := func() (c, s int) { return work.Dial("127.0.0.1", port), work.Accept(fd) }
		say := func(from, to int, text string) {
			perform(t, from, send(text))
			perform(t, to, recv(len(text)))
		}
		ask := frame(frameHeaders, endHeaders|endStream, 3, "\x82\x84")
		answer := frame(frameHeaders, endHeaders, 3, "\x88") + frame(frameData, endStream, 3, "body")
		// Older than tracing: in the middle of a frame, then whole ones.
		c1, s1 := open()
		say(c1, s1, preface+frame(frameSettings, 0, 0, ""))
		say(s1, c1, frame(frameSettings, 0, 0, ""))
		say(c1, s1, frame(frameData, endStream, 1, strings.Repeat("x", 100))[:50])
		// Nothing of HTTP/2, and like it.
		others := [][2]string{
			{"\x00\x00\x00\x2a\x00\x03\x00\x02\x00\x00\x00\x01\x00\x05hello" + strings.Repeat("\x00", 27), "\x00\x00\x00\x04\x00\x00\x00\x01"},
			{"\x16\x03\x01\x00\x05hello", "\x16\x03\x03\x00\x05hello"},
			{"\x00\x00\x02\x01\x04\x00\x00\x00\x01hello and more", "\x00\x00\x00"},
			{strings.Repeat("\x00", 64), strings.Repeat("\x00", 9)},
		}
		var socks [][2]int
		for _, o := range others {
			c, s := open()
			say(c, s, o[0])
			socks = append(socks, [2]int{c, s})
		}
		v := traceHTTP(t, session.Options{Tier: tier}, atPorts(port))
		say(c1, s1, frame(frameData, endStream, 1, strings.Repeat("x", 100))[50:])
		say(s1, c1, frame(frameWindow, 0, 0, "\x00\x00\x00\x64"))
		say(c1, s1, ask)
		say(s1, c1, answer)
		// Too much for the records of one call, then more.
		c2, s2 := open()
		say(c2, s2, preface+frame(frameSettings, 0, 0, ""))
		many := strings.Repeat(frame(frameHeaders, endHeaders, 1, strings.Repeat("h", 991)), 100)
		say(c2, s2, many)
		say(s2, c2, answer)
		say(c2, s2, ask)
		for i, o := range others {
			for range 20 {
				say(socks[i][1], socks[i][0], o[1])
				say(socks[i][0], socks[i][1], o[0])
			}
			work.CloseFD(socks[i][0])
			work.CloseFD(socks[i][1])
		}
		for _, fd := range []int{c1, s1, c2, s2} {
			work.CloseFD(fd)
		}
		kit.Eventually(t, "connections", func() error {
			if n := heard.closed(); n < 4 {
				return fmt.Errorf("%d of 4 are over", n)
			}
			return nil
		})
		v.Stop()
		if n := len(heard.conns); n != 4 {
			t.Errorf("%d ends were taken for HTTP/2, want 4", n)
		}
		for i, c := range heard.conns {
			for _, want := range []string{fmt.Sprintf("%d bytes, %x", len(ask), ask[:9]), fmt.Sprintf("10 bytes, %x", answer[:9]), "DATA 3: 1 frames, 13 bytes, end true"} {
				if !strings.Contains(c.text, want) {
					t.Errorf("no %q in %s", want, c.text)
				}
			}
			// A server takes what was sent at once in pieces, maybe small enough.
			late, gap := i < 2, strings.Contains(c.text, "gap")
			if late != c.joined || late && gap || !late && !gap && strings.HasPrefix(c.text, "client") {
				t.Errorf("joined %v, %s", c.joined, c.text)
			}
		}
	})
}

// ask2 and answer2 are a request and its answer in HTTP/2, without any table.
func ask2(id uint32, path string) string {
	return frame(frameHeaders, endHeaders|endStream, id, "\x82\x86\x04"+string(rune(len(path)))+path)
}

func answer2(id uint32, body string) string {
	return frame(frameHeaders, endHeaders, id, "\x88") + frame(frameData, endStream, id, body)
}

// Where the ring has no room, rows of HTTP/2 are true, what is lost is counted, and what
// comes when there is room is told.
func TestKernelHTTP2LossMakesNothingUp(t *testing.T) {
	kit.Needs(t, kit.OldestKernel)
	const before, after = 211, 11
	fd, port := work.FixedListener()
	defer work.CloseFD(fd)
	v := openHTTP(t, session.Options{Limits: session.Limits{Limits: kernel.Limits{RingBytes: 4096}}}, atPorts(port))
	c, s := work.Dial("127.0.0.1", port), work.Accept(fd)
	say := func(from, to int, text string) {
		perform(t, from, send(text))
		perform(t, to, recv(len(text)))
	}
	say(c, s, preface+frame(frameSettings, 0, 0, ""))
	say(s, c, frame(frameSettings, 0, 0, ""))
	truth := map[string]bool{}
	exchange := func(i int) string {
		id, path, body := uint32(1+2*i), fmt.Sprintf("/%d", i), strings.Repeat("b", i)
		ask, answer := ask2(id, path), answer2(id, body)
		say(c, s, ask)
		say(s, c, answer)
		line := row("both", "GET", path, 200, ask, answer)
		truth[line] = true
		return line
	}
	for i := range before {
		exchange(i)
	}
	v.Run()
	last := map[string]bool{}
	for i := range after {
		line := exchange(before + i)
		patience := record.Patience
		if i < 2 {
			patience = 200 * time.Millisecond // the ring may still be full
		} else {
			last[line] = true
		}
		v.Wait(patience, func() bool { return slices.Contains(rows(v.of(port)), line) })
	}
	work.CloseFD(c)
	work.CloseFD(s)
	a := v.Stop()
	ends, alone := uint64(0), uint64(0)
	for i, line := range rows(v.of(port)) {
		role, of, _ := strings.Cut(line, " ")
		ends++
		if role == "both" {
			ends++
		} else {
			alone++ // the other end has lost its answer, which is no loss where this one tells it
		}
		if line = "both " + of; !truth[line] {
			t.Errorf("did not take place, or was told before: %+v", v.of(port)[i])
		}
		delete(truth, line)
		delete(last, line)
	}
	for line := range last {
		t.Errorf("there was room for it: %s", line)
	}
	if all := uint64(2 * (before + after)); a.Shown+a.Lost != a.Seen || a.LostBy["ring_full"] == 0 || ends+alone+a.Lost < all || ends+a.Lost > all+all/20 {
		t.Errorf("%d ends in rows, of %d: %+v", ends, all, a)
	}
}
