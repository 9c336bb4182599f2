package kernel

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/perf"
	"golang.org/x/sys/unix"
)

// What stands before a record in a ring: BPF_RINGBUF_HDR_SZ and the bits of
// include/uapi/linux/bpf.h, in the length that comes first.
const (
	ringHeader  = 8
	ringBusy    = 1 << 31 // it is being written
	ringDiscard = 1 << 30 // it is none
)

// ringStep is how much is read before the programs are told that it was: the
// position stands in memory that they look at whenever they send something.
const ringStep = 64 << 10

// A ring is a ring buffer: one for all CPUs, in which records are in order.
//
// The library's reader maps the data twice, which counts as memory twice.
type ring struct {
	file *os.File // the map, for the runtime to wait for
	conn syscall.RawConn

	consumer []byte // its page, which is ours to write
	producer []byte // its page, and the data behind it
	read     *uint64
	written  *uint64
	data     []byte

	at      uint64 // where the next record is
	until   uint64 // what was written when begin was called
	flushed atomic.Bool
}

// newRing maps a ring; close unmaps it. The map stays the caller's.
func newRing(m *ebpf.Map) (_ *ring, err error) {
	r := &ring{}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open ring: %w", err), r.close())
		}
	}()
	fd, err := unix.FcntlInt(uintptr(m.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil { // else the runtime would not wait for it
		_ = unix.Close(fd)
		return nil, err
	}
	r.file = os.NewFile(uintptr(fd), "ring")
	if r.conn, err = r.file.SyscallConn(); err != nil {
		return nil, err
	}
	page, size := os.Getpagesize(), int(m.MaxEntries())
	if r.consumer, err = unix.Mmap(fd, 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, err
	}
	if r.producer, err = unix.Mmap(fd, int64(page), page+size, unix.PROT_READ, unix.MAP_SHARED); err != nil {
		return nil, err
	}
	r.read = (*uint64)(unsafe.Pointer(&r.consumer[0]))
	r.written = (*uint64)(unsafe.Pointer(&r.producer[0]))
	r.data = r.producer[page:]
	r.at = atomic.LoadUint64(r.read)
	r.until = r.at
	return r, nil
}

func (r *ring) begin(wait bool) error {
	r.until = atomic.LoadUint64(r.written)
	if !wait || r.until != r.at {
		return nil
	}
	err := r.conn.Read(func(uintptr) bool {
		r.until = atomic.LoadUint64(r.written)
		return r.until != r.at
	})
	if errors.Is(err, os.ErrDeadlineExceeded) { // that of flush
		err = nil
		r.until = atomic.LoadUint64(r.written)
	}
	return err
}

func (r *ring) room() int { return len(r.data) }

func (r *ring) doze(while time.Duration) error {
	if err := r.wakeAt(time.Now().Add(while)); err != nil {
		return err
	}
	err := r.conn.Read(func(uintptr) bool {
		return atomic.LoadUint64(r.written)-r.at > uint64(len(r.data))/4
	})
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return r.wakeAt(time.Time{})
}

// wakeAt ends what waits for the ring at some time, but not later than flush does.
func (r *ring) wakeAt(t time.Time) error {
	err := r.file.SetReadDeadline(t)
	if r.flushed.Load() { // else flush has the last word
		err = r.file.SetReadDeadline(poll)
	}
	return err
}

func (r *ring) next(buf []byte) ([]byte, error) {
	for r.at != r.until {
		mask := uint64(len(r.data) - 1)
		header := (*uint32)(unsafe.Pointer(&r.data[r.at&mask]))
		n := atomic.LoadUint32(header)
		for spins := 0; n&ringBusy != 0; n = atomic.LoadUint32(header) {
			if spins++; spins < 100 {
				runtime.Gosched()
			} else {
				time.Sleep(50 * time.Microsecond) // who writes it has been interrupted
			}
		}
		size := uint64(n &^ (ringBusy | ringDiscard))
		start := (r.at + ringHeader) & mask
		r.at += ringHeader + (size+7)&^7
		if n&ringDiscard == 0 {
			first := r.data[start:min(start+size, uint64(len(r.data)))]
			buf = append(append(buf[:0], first...), r.data[:size-uint64(len(first))]...)
		}
		if r.at-atomic.LoadUint64(r.read) >= ringStep {
			atomic.StoreUint64(r.read, r.at)
		}
		if n&ringDiscard == 0 {
			return buf, nil
		}
	}
	atomic.StoreUint64(r.read, r.at)
	if !r.flushed.Load() {
		return nil, os.ErrDeadlineExceeded
	}
	if r.until = atomic.LoadUint64(r.written); r.until != r.at {
		return r.next(buf) // sent before flush was called
	}
	return nil, perf.ErrFlushed
}

func (r *ring) taken(began uint64) uint64 { return began }

func (r *ring) idle(now uint64) uint64 {
	if atomic.LoadUint64(r.written) != atomic.LoadUint64(r.read) {
		return 0
	}
	return now
}

func (r *ring) flush() error {
	r.flushed.Store(true)
	return r.file.SetReadDeadline(poll)
}

func (r *ring) close() error {
	var err error
	for _, mapped := range [][]byte{r.consumer, r.producer} {
		if mapped != nil {
			err = errors.Join(err, unix.Munmap(mapped))
		}
	}
	if r.file != nil {
		err = errors.Join(err, r.file.Close())
	}
	return err
}
