package render

import (
	"bytes"
	"fmt"
	"strings"
	"sync"

	"tracer/trace/event"
)

// keptRows is how many rows of a page are kept, so that a terminal that has grown
// shows more of them before the next page comes.
const keptRows = 200

// Live shows pages on a terminal, each in the place of the one before, on the
// alternate screen. At the end the main screen comes back as it was, whatever size
// the terminal has now, with the closing page below. Only what has changed on a
// line is written. Not safe for concurrent use, except for Note and Leave.
type Live struct {
	opts  PageOptions
	table *Table
	keys  *Keyboard // nil: what is typed is not its concern
	keyed bool      // keys are pressed

	// The page that is shown: the text of all its cells, row by row, and the end of
	// each cell in it. With that it can be laid out again for another size.
	title []byte
	below [][]byte // lines that stand below the rows
	text  []byte
	ends  []int
	marks []Mark
	total int

	// The filter with which it was kept, in lower case; how many rows pass and were not
	// kept; and which of the kept rows are shown.
	found  []byte
	unkept int
	rows   []int

	screen []string // the lines on the terminal now
	width  int      // of the terminal when they were drawn
	line   []byte   // scratch

	mu     sync.Mutex
	on     bool   // the alternate screen is shown
	note   string // for the last line
	noted  bool   // note is not shown yet
	resume bool   // the shell has used the terminal meanwhile: draw it anew
	away   bool   // the terminal is the shell's: between Leave and Return
	look   look
	quit   func()        // ends tracing
	stale  bool          // what is shown is not as look says
	woken  chan struct{} // holds one when it is stale
}

// NewLive returns a Live. Its options must have a terminal. It leaves out the
// column of times: all rows are of now.
func NewLive(opts PageOptions) *Live {
	opts.Columns = without(opts.Columns, func(c Column) bool { return c.Name == timeColumn.Name })
	return &Live{opts: opts, table: NewTable(opts.TableOptions), quit: endByKey, woken: make(chan struct{}, 1)}
}

// AppendEvent implements Format. It appends nothing: pages show all events.
func (l *Live) AppendEvent(b []byte, _ event.Event) []byte { return b }

// Note shows a message in the last line of the screen, and reports false if the
// screen is not in use yet: then it is shown with the first page, too. It may be called
// at any time by anyone.
func (l *Live) Note(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.note, l.noted = text, true
	return l.on
}

// Leave gives the main screen back, and the keyboard, because the process is about to
// be stopped or to end. After Return the next page takes the terminal again. They may be
// called at any time by anyone.
func (l *Live) Leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.on && !l.resume {
		_, _ = l.opts.Terminal.WriteString(leaveScreen) // the process stops anyway
		l.resume = true
	}
	l.away = true
	l.keys.give(false)
}

// Return is called when the process goes on.
func (l *Live) Return() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.away = false
	l.keys.take(l.press)
}

// press does what a key is for. What it changes is shown at once.
func (l *Live) press(key byte) {
	l.mu.Lock()
	before := l.look
	reorder := l.look.press(key, l.quit) && l.opts.Order != nil
	changed := reorder || before.paused != l.look.paused || before.keys != l.look.keys || before.typing != l.look.typing || !bytes.Equal(before.filter, l.look.filter)
	if changed {
		l.note, l.stale = "", true // it stands where that is told
	}
	l.mu.Unlock()
	if reorder {
		l.opts.Order.Next() // whoever tells pages tells one in that order
	} else if changed {
		select {
		case l.woken <- struct{}{}:
		default:
		}
	}
}

// wake is told when appendChanges has something to append.
func (l *Live) wake() <-chan struct{} { return l.woken }

// looking is how the user looks at pages now.
func (l *Live) looking() look {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.look
}

// AppendPage implements Pager.
func (l *Live) AppendPage(b []byte, p *event.Page) []byte {
	if p.Closing {
		return appendClosing(l.appendEnd(b), p, l.opts)
	}
	look := l.looking()
	if !look.paused || l.marks == nil {
		l.keep(p, look.filter)
	}
	l.table.measure()
	return l.draw(b)
}

// keep copies the text of a page: of its first rows and, while rows are filtered, of as many
// that pass. The others are counted.
func (l *Live) keep(p *event.Page, filter []byte) {
	l.title, l.text, l.ends, l.marks = l.title[:0], l.text[:0], l.ends[:0], l.marks[:0]
	if l.opts.Title != nil {
		l.title = l.opts.Title(l.title, p)
	}
	l.total = p.Total
	l.below = l.below[:0]
	if l.opts.Below != nil {
		for _, e := range p.Below {
			l.below = append(l.below, l.opts.Below(nil, e))
		}
	}
	find := bytes.ToLower(filter)
	l.found, l.unkept = find, 0
	l.table.widths.count++
	l.table.widths.turn(pageWindow)
	passed, n := 0, 0
	for e := range p.Rows {
		l.table.appear(e)
		n++
		if n > keptRows && len(find) == 0 {
			continue
		}
		text, ends := len(l.text), len(l.ends)
		l.text, l.ends = l.table.appendCells(l.text, l.ends, e)
		passes := len(find) > 0 && hasText(l.text, text, l.ends[ends:], find)
		if passes {
			passed++
		}
		if n > keptRows && (!passes || passed > keptRows) {
			l.text, l.ends = l.text[:text], l.ends[:ends]
			if passes {
				l.unkept++
			}
			continue
		}
		l.table.noteWidths(l.text, l.ends)
		l.marks = append(l.marks, l.table.markOf(e))
	}
}

// filtered picks the kept rows that are to be shown, and says how many there are in all. Of
// a page that was kept with another filter only the kept rows are known.
func (l *Live) filtered(filter []byte) (total int) {
	l.rows = l.rows[:0]
	if len(filter) == 0 {
		for row := range min(len(l.marks), keptRows) {
			l.rows = append(l.rows, row)
		}
		return l.total
	}
	find, all, from := bytes.ToLower(filter), len(l.opts.Columns), 0
	for row := range l.marks {
		ends := l.ends[row*all : (row+1)*all]
		if hasText(l.text, from, ends, find) {
			l.rows = append(l.rows, row)
		}
		from = ends[len(ends)-1]
	}
	if bytes.Equal(find, l.found) {
		return len(l.rows) + l.unkept
	}
	return len(l.rows)
}

func (l *Live) appendChanges(b []byte) []byte {
	l.mu.Lock()
	on, stale := l.on, l.noted || l.resume || l.stale
	l.mu.Unlock()
	if !on {
		return b
	}
	l.table.measure()
	if !stale && l.table.width == l.width && l.table.height == len(l.screen) {
		return b
	}
	return l.draw(b)
}

// draw appends what makes the screen show the kept page, if it is not another job's.
func (l *Live) draw(b []byte) []byte {
	l.mu.Lock()
	if l.away || l.keys.background() {
		l.mu.Unlock()
		return b
	}
	enter, last, look := !l.on || l.resume, l.note, l.look
	l.on, l.noted, l.resume, l.stale = true, false, false, false
	l.mu.Unlock()
	t := l.table
	switch {
	case enter:
		b, l.screen = append(b, enterScreen...), nil
	case t.width != l.width || t.height != len(l.screen):
		b, l.screen = append(b, clearScreen...), nil
	}
	if l.screen == nil {
		l.screen = make([]string, t.height)
	}
	l.width = t.width
	next := l.layOut(last, look)
	for i := range next {
		b = appendChange(b, i, l.screen[i], next[i])
	}
	l.screen = next
	return b
}

// layOut makes the lines of the screen from the kept page. The last line shows a
// message, or else how many rows have no room, their order, and what keys do.
func (l *Live) layOut(last string, look look) []string {
	t := l.table
	next := make([]string, 0, t.height)
	add := func(line []byte) {
		next = append(next, string(line[:len(line)-1])) // without its newline
		l.line = line[:0]
	}
	if len(l.title) > 0 {
		add(t.appendLine(append(l.line, l.title...), 0))
	}
	add(t.appendHeader(l.line))
	room := t.height - len(next)
	below := l.below
	if room < 4+2*len(below) {
		below = nil
	}
	room -= len(below)
	total := l.filtered(look.filter)
	if last == "" && (total > room || l.opts.Order != nil || l.keyed || look.says()) {
		last = l.foot(min(room-1, len(l.rows)), total, look)
	}
	if last != "" {
		room--
	}
	for _, row := range l.rows[:max(min(len(l.rows), room), 0)] {
		add(l.appendKept(l.line, row))
	}
	for len(next) < t.height-1-len(below) {
		next = append(next, "")
	}
	for _, line := range below {
		add(t.appendLine(append(l.line, line...), 0))
	}
	if len(next) < t.height {
		add(t.appendLine(AppendMessage(l.line, last), 0))
	}
	return next
}

// foot says how many rows there are beside those shown, what hides others, what they are
// sorted by and, where keys are read, which.
func (l *Live) foot(shown, total int, look look) string {
	if look.keys && !look.typing {
		return look.keysText(l.opts.Order != nil)
	}
	var b []byte
	and := func(b []byte) []byte {
		if len(b) > 0 {
			b = append(b, ", "...)
		}
		return b
	}
	if b = look.appendLook(b, total, and); look.typing {
		return string(b)
	}
	if total > shown {
		b = appendMore(and(b), total-shown)
	}
	if l.opts.Order != nil {
		b = append(append(and(b), "sorted by "...), l.opts.Order.Key()...)
	}
	switch {
	case !l.keyed:
	case l.opts.Order != nil:
		b = append(b, "; press s for another order, ? for all keys"...)
	case len(b) > 0:
		b = append(b, "; press ? for keys"...)
	default:
		b = append(b, "press ? for keys"...)
	}
	return string(b)
}

// appendKept appends a row of the kept page.
func (l *Live) appendKept(b []byte, row int) []byte {
	all := len(l.opts.Columns)
	return l.table.appendKept(b, l.text, l.ends[:(row+1)*all], l.marks[row])
}

func (l *Live) appendEnd(b []byte) []byte {
	l.mu.Lock()
	on := l.on && !l.resume
	l.on, l.resume = false, false
	l.mu.Unlock()
	if on {
		b = append(b, leaveScreen...)
	}
	l.screen = nil
	return b
}

// appendChange appends what turns a line of the screen from one text into another.
// It writes only the part that differs, if every terminal puts that part into the
// same cells; else it writes the line from there on.
func appendChange(b []byte, row int, from, to string) []byte {
	if from == to {
		return b
	}
	paint, from, to := unpaint(from, to)
	head, column, last := 0, 0, 0
	for head < len(from) {
		n := cellBytes(from[head:])
		if n == 0 || !strings.HasPrefix(to[head:], from[head:head+n]) {
			break
		}
		head, column, last = head+n, column+1, n
	}
	tail, shift := len(from), len(to)-len(from)
	for tail > head && tail+shift > head && from[tail-1] == to[tail+shift-1] {
		tail--
	}
	for tail < len(from) && cellBytes(from[tail:]) == 0 {
		tail++ // may combine with the character before it
	}
	changed := to[head : tail+shift]
	if n := cellCount(from[head:tail]); n >= 0 && n == cellCount(changed) {
		b = fmt.Appendf(b, "\x1b[%d;%dH", row+1, column+1)
	} else {
		// One character earlier, since a mark may combine with it. Erase first:
		// after a full line the cursor would still be on its last cell.
		head, column = head-last, max(column-1, 0)
		b = fmt.Appendf(b, "\x1b[%d;%dH\x1b[K", row+1, column+1)
		changed = to[head:]
	}
	if paint == "" || changed == "" {
		return append(b, changed...)
	}
	return append(append(append(b, paint...), changed...), unpainted...)
}

// unpainted ends a style.
const unpainted = "\x1b[0m"

// unpaint removes the style of two lines, if both have the same.
func unpaint(from, to string) (paint, unpaintedFrom, unpaintedTo string) {
	end := strings.IndexByte(from, 'm') + 1
	if !strings.HasPrefix(from, "\x1b[") || !strings.HasPrefix(to, from[:end]) ||
		!strings.HasSuffix(from, unpainted) || !strings.HasSuffix(to, unpainted) {
		return "", from, to
	}
	return from[:end], from[end : len(from)-len(unpainted)], to[end : len(to)-len(unpainted)]
}

// cellBytes is the number of bytes of a text's first character if that takes one
// cell on every terminal, else 0. That is certain for ASCII, and for our own µ.
func cellBytes(s string) int {
	switch {
	case s != "" && s[0] >= ' ' && s[0] <= '~':
		return 1
	case strings.HasPrefix(s, "µ"):
		return len("µ")
	}
	return 0
}

// cellCount is the number of cells of a text, or -1 if terminals may differ.
func cellCount(s string) (n int) {
	for ; s != ""; n++ {
		size := cellBytes(s)
		if size == 0 {
			return -1
		}
		s = s[size:]
	}
	return n
}
