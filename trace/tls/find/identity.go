package find

import (
	"os"

	"golang.org/x/sys/unix"
)

// An identity is a file as the kernel's probes know it: by inode. All of one inode is
// probed through any of its names.
//
// An overlay mount has a device number of its own, and its files' probes are at the
// inode below, which many containers share: its device tells nothing. What it shows of the
// inode below is its number, size and both times, to the nanosecond; and since Linux 6.6 it
// gives out a handle that names the file and its file system.
type identity struct {
	stamp
	overlay bool
	device  uint64
	handle  string // of an overlay's file; empty if not to be had
}

// A stamp is the same for one inode whatever mount it is seen through, as long as nobody
// writes to it, links, unlinks or renames it.
type stamp struct {
	inode        uint64
	size         int64
	changed, set [2]int64 // ctime, mtime: seconds, nanoseconds
}

const (
	overlayMagic = 0x794c7630
	handleFID    = 0x200 // AT_HANDLE_FID: a name, not for opening
	// inodeBits are those of an inode's number that overlayfs does not use to tell layers
	// apart (xino).
	inodeBits = 1<<32 - 1
)

// identify tells which file it is, and how many names it has.
func identify(f *os.File) (id identity, names uint64, err error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return id, 0, err
	}
	var st unix.Stat_t
	var fs unix.Statfs_t
	failed := conn.Control(func(fd uintptr) {
		if err = unix.Fstat(int(fd), &st); err != nil {
			return
		}
		if st.Mode&unix.S_IFMT != unix.S_IFREG {
			err = unix.EINVAL
			return
		}
		if err = unix.Fstatfs(int(fd), &fs); err != nil || fs.Type != overlayMagic {
			return
		}
		id.overlay = true
		if h, _, failed := unix.NameToHandleAt(int(fd), "", unix.AT_EMPTY_PATH|handleFID); failed == nil {
			id.handle = string(h.Bytes())
		}
	})
	if failed != nil {
		err = failed
	}
	if err != nil {
		return id, 0, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	id.device = st.Dev
	id.stamp = stamp{
		inode: st.Ino & inodeBits, size: st.Size,
		changed: [2]int64{int64(st.Ctim.Sec), int64(st.Ctim.Nsec)}, set: [2]int64{int64(st.Mtim.Sec), int64(st.Mtim.Nsec)},
	}
	return id, uint64(st.Nlink), nil
}

// again is the identity of the same open file now, and how many names it has, as the
// kernel knows it without asking who serves the file system.
func (a *identity) again(f *os.File) (id identity, names uint64, err error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return id, 0, err
	}
	var st unix.Statx_t
	if failed := conn.Control(func(fd uintptr) {
		err = unix.Statx(int(fd), "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_BASIC_STATS, &st)
	}); failed != nil {
		err = failed
	}
	if err != nil {
		return id, 0, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	id = *a
	id.stamp = stamp{
		inode: st.Ino & inodeBits, size: int64(st.Size),
		changed: [2]int64{st.Ctime.Sec, int64(st.Ctime.Nsec)}, set: [2]int64{st.Mtime.Sec, int64(st.Mtime.Nsec)},
	}
	return id, uint64(st.Nlink), nil
}

// same tells whether two files, as they are now, are one inode. Where an overlay is
// involved the times tell, too: a file that was copied up, as somebody has written to it,
// keeps its number and its handle.
func (a *identity) same(b *identity) bool {
	switch {
	case a.overlay || b.overlay: // the other may be what an overlay is made of
		return a.stamp == b.stamp && (a.handle == b.handle || a.handle == "" || b.handle == "")
	}
	return a.device == b.device && a.inode == b.inode
}

// refused are files in which nothing was found, and why.
type refused map[stamp][]refusal

type refusal struct {
	identity
	err error
}

const maxRefused = 1 << 14

func (r refused) find(id *identity) (error, bool) {
	for i := range r[id.stamp] {
		if k := &r[id.stamp][i]; k.same(id) {
			return k.err, true
		}
	}
	return nil, false
}

func (r refused) add(id *identity, err error) {
	if _, ok := r.find(id); ok {
		return
	}
	if len(r) >= maxRefused {
		clear(r) // they are looked into again
	}
	r[id.stamp] = append(r[id.stamp], refusal{*id, err})
}
