package find

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// events are the kernel's word of each mapping of code, of all processes: a software
// event that counts nothing, for each processor, with a buffer of records.
type events struct {
	epoll int
	stop  int // an eventfd
	cpus  []*cpuEvents
}

type cpuEvents struct {
	fd   int
	data []byte // a page about it, then the records
}

// Records, linux/perf_event.h.
const (
	recordLost  = 2  // PERF_RECORD_LOST
	recordMmap2 = 10 // PERF_RECORD_MMAP2

	miscBuildID = 1 << 14 // PERF_RECORD_MISC_MMAP_BUILD_ID: no device and inode
)

// eventPages is the size of a buffer, in pages: about a thousand mappings. Without
// CAP_IPC_LOCK the kernel may grant less.
const eventPages = 32

// openEvents starts the events. It takes CAP_PERFMON, and where
// kernel.perf_event_paranoid is above 2 CAP_SYS_ADMIN. Afterwards none is needed.
func openEvents() (_ *events, err error) {
	e := &events{epoll: -1, stop: -1}
	defer func() {
		if err != nil {
			e.close()
		}
	}()
	if e.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("make epoll: %w", err)
	}
	if e.stop, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("make eventfd: %w", err)
	}
	if err = e.watch(e.stop, -1); err != nil {
		return nil, err
	}
	cpus, err := onlineCPUs()
	if err != nil {
		return nil, err
	}
	for _, cpu := range cpus {
		c, err := openCPU(cpu)
		if errors.Is(err, unix.ENODEV) {
			continue // switched off meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("open events of processor %d: %w", cpu, err)
		}
		e.cpus = append(e.cpus, c)
		if err = e.watch(c.fd, len(e.cpus)-1); err != nil {
			return nil, err
		}
	}
	return e, nil
}

func (e *events) watch(fd, i int) error {
	if err := unix.EpollCtl(e.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}); err != nil {
		return fmt.Errorf("watch events: %w", err)
	}
	return nil
}

func openCPU(cpu int) (*cpuEvents, error) {
	attr := unix.PerfEventAttr{
		Type:   unix.PERF_TYPE_SOFTWARE,
		Config: unix.PERF_COUNT_SW_DUMMY,
		Size:   uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
		Bits:   unix.PerfBitMmap | unix.PerfBitMmap2 | unix.PerfBitWatermark | unix.PerfBitExcludeKernel | unix.PerfBitExcludeHv,
		Wakeup: 1, // byte: at once
	}
	fd, err := unix.PerfEventOpen(&attr, -1, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	for pages := eventPages; ; pages /= 2 {
		data, err := unix.Mmap(fd, 0, (1+pages)*os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err == nil {
			return &cpuEvents{fd, data}, nil
		}
		if pages == 1 {
			_ = unix.Close(fd)
			return nil, err
		}
	}
}

// onlineCPUs reads lists as 0-3,5.
func onlineCPUs() (cpus []int, err error) {
	text, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		return nil, err
	}
	for part := range strings.SplitSeq(strings.TrimSpace(string(text)), ",") {
		from, to, span := strings.Cut(part, "-")
		first, err := strconv.Atoi(from)
		last := first
		if err == nil && span {
			last, err = strconv.Atoi(to)
		}
		if err != nil || last-first > 1<<16 {
			return nil, fmt.Errorf("list of processors %.60q", text)
		}
		for cpu := first; cpu <= last; cpu++ {
			cpus = append(cpus, cpu)
		}
	}
	return cpus, nil
}

// read calls f with each mapping, and lost when some were not told, until the events are
// ended.
func (e *events) read(f func(mapping), lost func()) {
	var ready [64]unix.EpollEvent
	var record []byte
	for {
		n, err := unix.EpollWait(e.epoll, ready[:], -1)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return
		}
		for _, r := range ready[:n] {
			if r.Fd < 0 {
				return
			}
			record = e.cpus[r.Fd].read(record, f, lost)
		}
	}
}

// read takes all records out of a processor's buffer. It returns the space for records.
func (c *cpuEvents) read(record []byte, f func(mapping), lost func()) []byte {
	page := (*unix.PerfEventMmapPage)(unsafe.Pointer(&c.data[0]))
	ring := c.data[os.Getpagesize():]
	mask := uint64(len(ring) - 1) // a power of two
	tail, head := page.Data_tail, atomic.LoadUint64(&page.Data_head)
	for head-tail >= 8 {
		var header [8]byte
		for i := range header {
			header[i] = ring[(tail+uint64(i))&mask]
		}
		size := uint64(binary.NativeEndian.Uint16(header[6:]))
		if size < 8 || size > head-tail {
			tail = head
			lost()
			break
		}
		record = record[:0]
		for from := tail & mask; uint64(len(record)) < size; from = 0 {
			record = append(record, ring[from:min(uint64(len(ring)), from+size-uint64(len(record)))]...)
		}
		tail += size
		switch m, kind := parseRecord(record); kind {
		case recordMmap2:
			f(m)
		case recordLost:
			lost()
		}
	}
	atomic.StoreUint64(&page.Data_tail, tail)
	return record
}

// parseRecord reads a record. Of PERF_RECORD_MMAP2 those are of no kind that map no file.
func parseRecord(b []byte) (m mapping, kind uint32) {
	ne := binary.NativeEndian
	const path = 72
	if len(b) < 8 {
		return m, 0
	}
	switch kind = ne.Uint32(b); {
	case kind == recordLost:
		return m, kind
	case kind != recordMmap2 || len(b) <= path || ne.Uint16(b[4:])&miscBuildID != 0:
		return m, 0
	}
	m.pid = ne.Uint32(b[8:])
	m.start = ne.Uint64(b[16:])
	m.end = m.start + ne.Uint64(b[24:])
	m.file = fileKey{ne.Uint32(b[40:]), ne.Uint32(b[44:]), ne.Uint64(b[48:]), ne.Uint64(b[56:])}
	name, _, _ := bytes.Cut(b[path:], []byte{0})
	if m.file.inode == 0 || len(name) == 0 || name[0] != '/' {
		return m, 0
	}
	if !bytes.HasPrefix(name, []byte("//")) { // as //toolong
		m.path = string(name)
	}
	return m, kind
}

// end makes read return.
func (e *events) end() {
	_, _ = unix.Write(e.stop, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

// close gives back what the events hold. read must have returned.
func (e *events) close() {
	for _, c := range e.cpus {
		_ = unix.Munmap(c.data)
		_ = unix.Close(c.fd)
	}
	for _, fd := range []int{e.stop, e.epoll} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}
