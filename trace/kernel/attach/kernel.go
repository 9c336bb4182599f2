package attach

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// This file asks the kernel directly. cilium/ebpf, which has all of this, opens
// and reads the file, and finds out what the kernel can by loading programs: the
// attaching process can do neither.

// AnyKernel is a ProgramSpec's KernelVersion, which kernels ignore since 5.0.
// Without one the true one is looked for in /proc/self/mem, which a process
// with a file's capabilities must not open.
const AnyKernel = 1

// HaveMulti reports whether the kernel attaches a program to many functions by
// one link (Linux 6.6). Such programs are loaded with
// ebpf.AttachTraceUprobeMulti; they are attached without any capability and
// detached faster. It needs the privileges of loading. An error says that it
// could not be found out.
func HaveMulti() (bool, error) {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type:          ebpf.Kprobe,
		AttachType:    ebpf.AttachTraceUprobeMulti,
		Instructions:  asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		License:       "GPL",
		KernelVersion: AnyKernel,
	})
	if err != nil {
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.E2BIG) {
			return false, nil
		}
		return false, fmt.Errorf("load program: %w", err)
	}
	defer p.Close()
	fd, err := attachMulti(p.FD(), "/", 0, []uint64{0}, false)
	switch {
	case errors.Is(err, unix.EBADF): // "/" is no file, which is looked at last
		return true, nil
	case errors.Is(err, unix.EINVAL):
		return false, nil
	case err == nil:
		_ = unix.Close(fd)
		return true, nil
	}
	return false, fmt.Errorf("attach program: %w", err)
}

// linkCreate is what union bpf_attr has for BPF_LINK_CREATE of a uprobe_multi
// link (include/uapi/linux/bpf.h).
type linkCreate struct {
	program    uint32
	target     uint32
	attachType uint32
	flags      uint32
	path       *byte
	offsets    *uint64
	refCtrs    *uint64
	cookies    *uint64
	count      uint32
	multiFlags uint32
	pid        uint32
	_          uint32
}

// attachMulti attaches a program by bpf_uprobe_multi_link_attach: all offsets or
// none. The descriptor is the link.
func attachMulti(program int, path string, pid uint32, offsets []uint64, onReturn bool) (int, error) {
	name, err := unix.BytePtrFromString(path)
	if err != nil {
		return 0, err
	}
	attr := linkCreate{
		program: uint32(program), attachType: unix.BPF_TRACE_UPROBE_MULTI,
		path: name, offsets: &offsets[0], count: uint32(len(offsets)), pid: pid,
	}
	if onReturn {
		attr.multiFlags = unix.BPF_F_UPROBE_MULTI_RETURN
	}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_LINK_CREATE, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		return 0, errno
	}
	return int(fd), nil
}

// A pmu is what /sys says of perf events that are uprobes.
type pmu struct {
	kind      uint32
	returnBit uint64 // of the event's config
}

func readPMU() (pmu, error) {
	const dir = "/sys/bus/event_source/devices/uprobe/"
	text, err := os.ReadFile(dir + "type")
	if err != nil {
		return pmu{}, fmt.Errorf("read how uprobes are attached: %w", err)
	}
	kind, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32)
	if err != nil {
		return pmu{}, fmt.Errorf("read how uprobes are attached: %w", err)
	}
	if text, err = os.ReadFile(dir + "format/retprobe"); err != nil {
		return pmu{}, fmt.Errorf("read how uprobes are attached: %w", err)
	}
	bit, err := strconv.ParseUint(strings.TrimPrefix(strings.TrimSpace(string(text)), "config:"), 10, 6)
	if err != nil {
		return pmu{}, fmt.Errorf("read how uprobes are attached: %w", err)
	}
	return pmu{uint32(kind), 1 << bit}, nil
}

// attach attaches a program to one offset by a perf event of kernel/trace's
// perf_uprobe. The descriptor is the event, which keeps the program.
func (p pmu) attach(program int, path string, pid uint32, offset uint64, onReturn bool) (int, error) {
	name, err := unix.BytePtrFromString(path)
	if err != nil {
		return 0, err
	}
	attr := unix.PerfEventAttr{
		Type: p.kind,
		Size: unix.PERF_ATTR_SIZE_VER1,
		Ext1: uint64(uintptr(unsafe.Pointer(name))),
		Ext2: offset,
	}
	if onReturn {
		attr.Config = p.returnBit
	}
	who, cpu := -1, 0 // all processes: on any processor, whatever the event's own is
	if pid != 0 {
		who, cpu = int(pid), -1
	}
	event, err := unix.PerfEventOpen(&attr, who, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
	runtime.KeepAlive(name)
	if err != nil {
		return 0, err
	}
	if err = unix.IoctlSetInt(event, unix.PERF_EVENT_IOC_SET_BPF, program); err == nil {
		err = unix.IoctlSetInt(event, unix.PERF_EVENT_IOC_ENABLE, 0)
	}
	if err != nil {
		_ = unix.Close(event)
		return 0, err
	}
	return event, nil
}
