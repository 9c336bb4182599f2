package http2

import "encoding/binary"

// Types of frames (RFC 9113, 6).
const (
	frameData         = 0
	frameHeaders      = 1
	framePriority     = 2
	frameReset        = 3
	frameSettings     = 4
	framePromise      = 5
	framePing         = 6
	frameGoAway       = 7
	frameWindow       = 8
	frameContinuation = 9
)

// Flags of frames.
const (
	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

const (
	frameHead        = 9
	settingTableSize = 1
	preface          = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	streamMask       = 1<<31 - 1
)

// A frame is the head of one.
type frame struct {
	length uint32
	stream uint32
	kind   uint8
	flags  uint8
}

func readFrame(b []byte) frame {
	return frame{
		length: uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]),
		kind:   b[3],
		flags:  b[4],
		stream: binary.BigEndian.Uint32(b[5:]) & streamMask,
	}
}

func (f *frame) has(flag uint8) bool { return f.flags&flag != 0 }

// kept reports whether its payload is read.
func (f *frame) kept() bool {
	switch f.kind {
	case frameHeaders, frameContinuation, framePromise, frameReset, frameGoAway, frameSettings:
		return true
	}
	return false
}

// fits reports whether a frame can be like this (RFC 9113, 6).
func (f *frame) fits() bool {
	least := uint32(0)
	if f.has(flagPadded) && (f.kind == frameData || f.kind == frameHeaders || f.kind == framePromise) {
		least++
	}
	switch f.kind {
	case frameData:
		return f.stream != 0 && f.length >= least
	case frameHeaders:
		if f.has(flagPriority) {
			least += 5
		}
		return f.stream != 0 && f.length >= least
	case framePromise:
		return f.stream != 0 && f.length >= least+4
	case frameContinuation:
		return f.stream != 0
	case framePriority:
		return f.stream != 0 && f.length == 5
	case frameReset:
		return f.stream != 0 && f.length == 4
	case frameSettings:
		return f.stream == 0 && f.length%6 == 0 && !(f.has(flagAck) && f.length > 0)
	case framePing:
		return f.stream == 0 && f.length == 8
	case frameGoAway:
		return f.stream == 0 && f.length >= 8
	case frameWindow:
		return f.length == 4
	}
	return true // RFC 9113, 5.5: unknown types are ignored
}

// fragment takes padding, priority and a promised stream off a payload that begins a
// header block.
func (f *frame) fragment(payload []byte) (b []byte, promised uint32, ok bool) {
	b = payload
	pad := 0
	if f.has(flagPadded) {
		pad, b = int(b[0]), b[1:]
	}
	switch {
	case f.kind == framePromise:
		promised, b = binary.BigEndian.Uint32(b)&streamMask, b[4:]
	case f.has(flagPriority):
		b = b[5:]
	}
	if pad > len(b) {
		return nil, promised, false
	}
	return b[:len(b)-pad], promised, true
}

// flags are those that a type of frame may have.
var flags = [...]uint8{
	frameData:         flagEndStream | flagPadded,
	frameHeaders:      flagEndStream | flagEndHeaders | flagPadded | flagPriority,
	frameSettings:     flagAck,
	framePromise:      flagEndHeaders | flagPadded,
	framePing:         flagAck,
	frameContinuation: flagEndHeaders,
}

// chain reports whether b, the beginning of a call, is one of frames: they fit one
// another to the end of b, speak of streams up to a number, and a header block is among
// them that is whole. Such calls are where frames are found again.
func chain(b []byte, most uint32) bool {
	found, open := false, uint32(0)
	for len(b) >= frameHead {
		f := readFrame(b)
		switch {
		case !f.fits(), f.kind > frameContinuation, f.flags&^flags[f.kind] != 0, f.stream > most, f.length > maxBlock,
			(open != 0) != (f.kind == frameContinuation), open != 0 && f.stream != open:
			return false
		}
		b = b[frameHead:]
		if int(f.length) > len(b) {
			break
		}
		payload := b[:f.length]
		b = b[f.length:]
		switch {
		case f.kind == frameContinuation && f.has(flagEndHeaders):
			open = 0
		case f.kind != frameHeaders && f.kind != framePromise:
		case !f.has(flagEndHeaders):
			open = f.stream
		default:
			block, _, ok := f.fragment(payload)
			if !ok || !parses(block) {
				return false
			}
			found = true
		}
	}
	return found
}

// A flow is where one direction of a connection stands. It knows nothing of the other
// direction.
type flow struct {
	next  uint64 // offset of the byte that comes next
	table table
	state state
	first bool // the next frame is the first one: SETTINGS (RFC 9113, 3.4)

	bytes [frameHead]byte // of the head of a frame that is not whole yet
	had   int
	frame frame
	left  uint32   // of its payload
	begun progress // the frame

	// A header block is under way: the payloads of its frames.
	open     bool
	over     bool // it is too long
	opener   frame
	promised uint32 // by the opener
	block    progress
	buf      []byte
	mark     int // where that of the frame under way begins in buf

	missing bool // streams may have been begun unseen since the last one that was seen
	wrong   bool // the place was lost where no bytes are missing
	blind   bool // bytes move that cannot be read, as the place is lost
}

type state uint8

const (
	atFrame state = iota // in or before the head of a frame
	atPreface
	inPayload
	lost // where the next frame begins, is not known
)

// A progress is what is known of something while it moves.
type progress struct {
	start, last int64
	offset      uint64 // of its first byte
	bytes       uint64
	inexact     Inexact
}

// drop forgets what is under way.
func (d *flow) drop() {
	d.had, d.left, d.open, d.over, d.mark = 0, 0, false, false, 0
	if cap(d.buf) > maxSpareText {
		d.buf = nil
	}
	d.buf = d.buf[:0]
}
