package find

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	image "tracer/trace/tls/elf"
	"tracer/trace/tls/library"
)

// ownMachine is what this host's processes are made of. Foreign programs run in an
// emulator, whose code a probe in their files never meets.
var ownMachine = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[runtime.GOARCH]

// A sight is what came of looking for a file and into it.
type sight struct {
	file    *os.File // nil if it could not be opened
	id      identity
	names   uint64 // hard links
	library library.Library
	err     error // library.ErrNone if there is nothing in it
	opened  bool  // err is about what is in the file
}

func (s *sight) close() {
	if s.file != nil {
		_ = s.file.Close()
	}
}

// A host is where processes are looked at: a mounted proc file system, usually /proc.
type host string

// openMapped opens a file as a process has it mapped.
func (h host) openMapped(m *mapping) (*os.File, error) {
	dir := h.process(m.pid)
	span := func(m *mapping) string {
		return filepath.Join(dir, "map_files", strconv.FormatUint(m.start, 16)+"-"+strconv.FormatUint(m.end, 16))
	}
	// It may be deleted, or another file may be where it was.
	file, err := openRegular(span(m))
	if err == nil {
		return file, nil
	}
	if m.program {
		if file, err := openRegular(filepath.Join(dir, "exe")); err == nil {
			if isInode(file, m.file.inode) {
				return file, nil
			}
			_ = file.Close()
		}
	}
	if m.path != "" {
		if file, err := openBelow(filepath.Join(dir, "root"), m.path); err == nil {
			if isInode(file, m.file.inode) {
				return file, nil
			}
			_ = file.Close()
		}
	}
	// What is mapped first is cut by what is mapped over it.
	if again, failed := h.maps(m.pid); failed == nil {
		for i := range again {
			if a := &again[i]; a.file.inode == m.file.inode && (a.start != m.start || a.end != m.end) {
				return openRegular(span(a))
			}
		}
	}
	return nil, err
}

// openBelow opens a path as a process does whose root this is: links lead to nowhere
// outside of it.
func openBelow(root, path string) (*os.File, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: root, Err: err}
	}
	defer unix.Close(dir)
	fd, err := unix.Openat2(dir, path, &unix.OpenHow{Flags: openFlags, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// openFlags never wait for a fifo or a terminal, nor take one.
const openFlags = unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY

func openRegular(path string) (*os.File, error) {
	fd, err := unix.Open(path, openFlags, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

func isInode(file *os.File, inode uint64) bool {
	id, _, err := identify(file)
	return err == nil && id.inode == inode&inodeBits
}

// lookAt identifies an open file and looks into it, unless it is known to have nothing.
func lookAt(file *os.File, known func(*identity) (error, bool)) (s sight) {
	s.file = file
	if s.id, s.names, s.err = identify(file); s.err != nil {
		return s
	}
	s.opened = true
	if err, ok := known(&s.id); ok {
		s.err = err
		return s
	}
	s.err = image.Read(file, func(m *image.Image) (err error) {
		if m.Machine != ownMachine {
			return library.ErrNone
		}
		s.library, err = library.Find(m)
		return err
	})
	if errors.Is(s.err, image.ErrFormat) {
		s.err = library.ErrNone
	}
	return s
}

func (h host) process(pid uint32) string {
	return filepath.Join(string(h), strconv.FormatUint(uint64(pid), 10))
}

// maps reads the mappings of a process. Those of a kernel's thread are none.
func (h host) maps(pid uint32) ([]mapping, error) {
	const longest = 64 << 20 // a process may have a million
	file, err := os.Open(filepath.Join(h.process(pid), "maps"))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, longest))
	if err != nil {
		return nil, fmt.Errorf("read maps of process %d: %w", pid, err)
	}
	return parseMaps(b, pid), nil
}

func (h host) rootOf(pid uint32) string { return filepath.Join(h.process(pid), "root") }

// pids lists all processes but this one.
func (h host) pids() (list []uint32, err error) {
	d, err := os.Open(string(h))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	for _, name := range names {
		if pid, err := strconv.ParseUint(name, 10, 32); err == nil && int(pid) != os.Getpid() {
			list = append(list, uint32(pid))
		}
	}
	return list, err
}
