package attach

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrEnded is returned by Attach when the attaching process has ended, or does
// not answer any more.
var ErrEnded = errors.New("the attaching process has ended")

// word is the first argument of the attaching process. It is no subcommand of
// tracer's.
const word = "__attach"

// socket is the only descriptor that the attaching process gets, beside the
// standard ones, which lead nowhere.
const socket = 3

const (
	maxPrograms = 64
	maxOffsets  = 64 // in one request
)

// kind is how a program is attached, as a byte of the first message.
type kind uint8

const (
	kindReturn kind = 1 << iota
	kindMulti
	kinds // the first that there is not
)

// A request is what follows the first message, with one descriptor: the file's.
type request struct {
	program, pid uint32
	offsets      []uint64
}

const (
	requestHead = 8
	maxRequest  = requestHead + 8*maxOffsets
	maxAnswer   = 256
)

func (r request) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, r.program)
	b = binary.LittleEndian.AppendUint32(b, r.pid)
	for _, o := range r.offsets {
		b = binary.LittleEndian.AppendUint64(b, o)
	}
	return b
}

// parseRequest reads a request. Whether there is such a program is not asked.
func parseRequest(b []byte) (request, error) {
	if len(b) <= requestHead || len(b) > maxRequest || len(b)%8 != 0 {
		return request{}, unix.EINVAL
	}
	r := request{program: binary.LittleEndian.Uint32(b), pid: binary.LittleEndian.Uint32(b[4:])}
	if int32(r.pid) < 0 {
		return request{}, unix.EINVAL
	}
	for b = b[requestHead:]; len(b) > 0; b = b[8:] {
		offset := binary.LittleEndian.Uint64(b)
		if int64(offset) < 0 {
			return request{}, unix.EINVAL // the kernel takes it for one before the file's end
		}
		r.offsets = append(r.offsets, offset)
	}
	return r, nil
}

// An answer is an errno, 0 for success, and what failed, to be read before the
// errno's own words.
func appendAnswer(b []byte, err error) []byte {
	if err == nil {
		return binary.LittleEndian.AppendUint32(b, 0)
	}
	errno := unix.EINVAL
	errors.As(err, &errno)
	text, last := strings.CutSuffix(err.Error(), errno.Error())
	if !last {
		text += ": "
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(errno))
	return append(b, text[:min(len(text), maxAnswer-4)]...)
}

func parseAnswer(b []byte) error {
	if len(b) < 4 {
		return ErrEnded
	}
	errno := unix.Errno(binary.LittleEndian.Uint32(b))
	if errno == 0 {
		return nil
	}
	return fmt.Errorf("%s%w", b[4:], errno)
}

// descriptors are those that came with a message.
func descriptors(oob []byte) (fds []int) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for i := range messages {
		if got, err := unix.ParseUnixRights(&messages[i]); err == nil {
			fds = append(fds, got...)
		}
	}
	return fds
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}
