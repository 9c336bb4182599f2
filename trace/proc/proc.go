// Package proc reads what /proc and /etc/passwd say of processes and users.
//
// It knows nothing of events or of the kernel's records. Roots are values, so
// that tests bring their own trees. Whatever it reads may vanish while it is
// read, belong to another process by then, or be made by a stranger: reads are
// bounded, never block on what is no regular file, and report fs.ErrNotExist
// for a process that is gone. Start with Dir.
package proc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// maxFile bounds what is read of one file, in bytes.
const maxFile = 1 << 20

// Dir is a mounted proc file system, usually "/proc". Its methods are safe for
// concurrent use.
type Dir string

// Stat is a process as /proc/PID/stat tells it: proc_pid_stat(5).
type Stat struct {
	PID   uint32
	PPID  uint32
	Comm  string
	Start time.Duration // after boot, in steps of 10 ms
	// Where its arguments lie, and argc and argv as it got them: 0 to who may not look
	// into it.
	ArgStart, Stack uint64
}

// clockTick is USER_HZ, which is 100 on every architecture that Go runs on.
const clockTick = 10 * time.Millisecond

// Stat reads /proc/PID/stat.
func (d Dir) Stat(pid uint32) (Stat, error) {
	b, err := d.read(pid, "stat")
	if err != nil {
		return Stat{}, err
	}
	return parseStat(b)
}

// ErrThread is the error of an id that is a thread's, and not the one of its process.
var ErrThread = errors.New("this is a thread")

// Lookup asks the kernel whether there is a process with this id in tracer's own pid
// namespace: nil, fs.ErrNotExist, ErrThread, or an error that says why that cannot be told.
// Unlike /proc it hides none: pidfd_open(2).
func Lookup(pid uint32) error {
	fd, err := unix.PidfdOpen(int(pid), 0)
	switch {
	case err == nil:
		return unix.Close(fd)
	case pid > math.MaxInt32 || errors.Is(err, unix.ESRCH):
		return fs.ErrNotExist
	case errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT): // since 6.14 the latter
		return ErrThread
	}
	return os.NewSyscallError("pidfd_open", err)
}

// Leader reads from /proc/PID/status which process a thread belongs to; that of
// a process is the process itself.
func (d Dir) Leader(pid uint32) (uint32, error) {
	b, err := d.read(pid, "status")
	if err != nil {
		return 0, err
	}
	return parseLeader(b)
}

// parseLeader finds the line Tgid. Names of processes, which stand above it, have
// their line ends escaped.
func parseLeader(b []byte) (uint32, error) {
	for line := range bytes.Lines(b) {
		if value, ok := bytes.CutPrefix(line, []byte("Tgid:")); ok {
			id, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 10, 32)
			if err != nil {
				return 0, fmt.Errorf("parse status: Tgid: %w", err)
			}
			return uint32(id), nil
		}
	}
	return 0, errors.New("parse status: no Tgid")
}

// parseStat reads the one line of /proc/PID/stat. The name stands in
// parentheses and may hold any byte, parentheses and newlines too: it ends at
// the last one.
func parseStat(b []byte) (Stat, error) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 1 || end < open {
		return Stat{}, fmt.Errorf("parse stat: no name in %.60q", b)
	}
	pid, err := strconv.ParseUint(strings.TrimSpace(string(b[:open])), 10, 32)
	if err != nil {
		return Stat{}, fmt.Errorf("parse stat: %w", err)
	}
	// After the name: state (field 3), ppid (4), … starttime (22).
	fields := bytes.Fields(b[end+1:])
	if len(fields) < 20 {
		return Stat{}, fmt.Errorf("parse stat: %d fields after the name", len(fields))
	}
	ppid, err := strconv.ParseUint(string(fields[1]), 10, 32)
	if err != nil {
		return Stat{}, fmt.Errorf("parse stat: %w", err)
	}
	// 39 bits are 174 years, and no overflow below.
	start, err := strconv.ParseUint(string(fields[19]), 10, 39)
	if err != nil {
		return Stat{}, fmt.Errorf("parse stat: %w", err)
	}
	s := Stat{
		PID:   uint32(pid),
		PPID:  uint32(ppid),
		Comm:  string(b[open+1 : end]),
		Start: time.Duration(start) * clockTick,
	}
	// startstack (28) and arg_start (48).
	if len(fields) > 45 {
		s.Stack, _ = strconv.ParseUint(string(fields[25]), 10, 64) // 0: not known
		s.ArgStart, _ = strconv.ParseUint(string(fields[45]), 10, 64)
	}
	return s, nil
}

// Args reads the arguments of a process, and says whether they are cut. Kernel threads
// and zombies have none.
//
// A process may write a title over them, and pads it with NULs: those are no arguments.
// Real ones may be empty, too. What looks like a padded title is one unless the
// process got so many arguments.
func (d Dir) Args(pid uint32) (args []string, cut bool, err error) {
	b, err := d.read(pid, "cmdline")
	if err != nil {
		return nil, false, err
	}
	cut = len(b) == maxFile
	if title := bytes.TrimRight(b, "\x00"); len(b)-len(title) > 1 && !cut {
		if stat, err := d.Stat(pid); err != nil || !d.hasArgs(&stat, b) {
			b = title
		}
	}
	return SplitArgs(b), cut, nil
}

// hasArgs reports whether the process got the arguments that block consists of: whether
// its argv, at the beginning of its stack, points at each of them. A program may have
// changed their order.
func (d Dir) hasArgs(s *Stat, block []byte) bool {
	n := bytes.Count(block, []byte{0})
	words := make([]byte, 8*(n+2)) // argc, argv and its NULL
	f, err := open(d.path(s.PID, "mem"))
	if err != nil {
		return false
	}
	defer f.Close()
	if _, err := f.ReadAt(words, int64(s.Stack)); err != nil {
		return false
	}
	word := func(i int) uint64 { return binary.NativeEndian.Uint64(words[8*i:]) }
	if word(0) != uint64(n) || word(n+1) != 0 {
		return false
	}
	begins := map[uint64]bool{} // where arguments do
	for at := 0; at < len(block); at += bytes.IndexByte(block[at:], 0) + 1 {
		begins[s.ArgStart+uint64(at)] = true
	}
	for i := range n {
		delete(begins, word(i+1))
	}
	return len(begins) == 0
}

// SplitArgs splits a block of arguments, each ended by a NUL. The last one may
// lack it. The result is never nil, and shares no memory with b.
func SplitArgs(b []byte) []string {
	s := strings.TrimSuffix(string(b), "\x00")
	if len(b) == 0 {
		return []string{}
	}
	return strings.Split(s, "\x00")
}

// Comm is the name of a process; empty if it is gone.
func (d Dir) Comm(pid uint32) string {
	b, err := d.read(pid, "comm")
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(string(b), "\n")
}

// Env is the environment that a process was started with, as NAME=VALUE each; nothing
// if it may not be read.
func (d Dir) Env(pid uint32) []string {
	b, err := d.read(pid, "environ")
	if err != nil {
		return nil
	}
	return SplitArgs(b)
}

// Holds reports whether a process has a file open that /proc calls by this name, as
// socket:[4711]; false if that may not be looked at.
func (d Dir) Holds(pid uint32, file string) bool {
	dir := d.path(pid, "fd")
	f, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer f.Close()
	names, _ := f.Readdirnames(-1) // those that were read before it failed
	for _, name := range names {
		if to, err := os.Readlink(filepath.Join(dir, name)); err == nil && to == file {
			return true
		}
	}
	return false
}

// deleted is behind the path of a file that is not there any more: d_path() in the kernel.
const deleted = " (deleted)"

// Exe is the absolute path of the program that a process runs, in its own mount
// namespace, whether the file is still there or not.
func (d Dir) Exe(pid uint32) (string, error) {
	link := d.path(pid, "exe")
	path, err := os.Readlink(link)
	if gone, ok := strings.CutSuffix(path, deleted); ok && !sameFile(link, filepath.Join(d.path(pid, "root"), path)) {
		return gone, nil
	}
	return path, err // a file that has such a name
}

// sameFile reports whether a file that is open is still there by this name.
func sameFile(open, name string) bool {
	var a, b unix.Statx_t
	const flags, mask = unix.AT_STATX_DONT_SYNC, unix.STATX_INO | unix.STATX_NLINK
	if unix.Statx(unix.AT_FDCWD, open, flags, mask, &a) != nil || a.Nlink == 0 {
		return false // most end here, without a look at a stranger's folders
	}
	return unix.Statx(unix.AT_FDCWD, name, flags, mask, &b) == nil &&
		a.Ino == b.Ino && a.Dev_major == b.Dev_major && a.Dev_minor == b.Dev_minor
}

// PIDs lists the processes in ascending order.
func (d Dir) PIDs() ([]uint32, error) {
	f, err := os.Open(string(d))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var pids []uint32
	for _, name := range names {
		if pid, err := strconv.ParseUint(name, 10, 32); err == nil {
			pids = append(pids, uint32(pid))
		}
	}
	slices.Sort(pids)
	return pids, nil
}

// Ancestors lists the processes above pid, nearest first, up to pid 1 or to
// the first that cannot be read.
func (d Dir) Ancestors(pid uint32) []Stat {
	var up []Stat
	for range 64 {
		s, err := d.Stat(pid)
		if err != nil || s.PPID == 0 {
			break
		}
		parent, err := d.Stat(s.PPID)
		if err != nil {
			break
		}
		up = append(up, parent)
		pid = s.PPID
	}
	return up
}

func (d Dir) path(pid uint32, name string) string {
	return filepath.Join(string(d), strconv.FormatUint(uint64(pid), 10), name)
}

func (d Dir) read(pid uint32, name string) ([]byte, error) {
	return readFile(d.path(pid, name))
}

// open opens a regular file. A fifo or device in its place is an error and does not block.
func open(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("read %q: not a regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// readFile reads a regular file, up to maxFile.
func readFile(path string) ([]byte, error) {
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile))
	if errors.Is(err, unix.ESRCH) {
		// The process has gone since its file was opened.
		return nil, &fs.PathError{Op: "read", Path: path, Err: fs.ErrNotExist}
	}
	return b, err
}
