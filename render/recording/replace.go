package recording

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// An Owner is the user and the group that a recording belongs to.
type Owner struct{ UID, GID int }

// mode is that of a recording: command lines and paths are in it.
const mode = 0o600

// replace makes a new, empty file of this name, whatever regular file or symbolic link
// was there before. It belongs to owner; nil: to who makes it. Nothing is ever written
// through a link: in a folder of others it could lead anywhere.
func replace(dir *os.Root, name string, owner *Owner) (*os.File, error) {
	if err := dir.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	file, err := dir.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return nil, err
	}
	if err := file.Chmod(mode); err != nil { // the umask may have taken some of it
		return nil, errors.Join(err, file.Close())
	}
	if owner == nil {
		return file, nil
	}
	if err := file.Chown(owner.UID, owner.GID); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// rotate moves the file of this name to the place of the one before, that one to the
// place of the one before it and so on, and makes a new one. At most keep files are
// left, 0 for all: the oldest goes.
func rotate(dir *os.Root, name string, keep uint64, owner *Owner) (*os.File, error) {
	free := uint64(1) // the first place that is empty, or becomes it
	for ; keep == 0 || free < keep; free++ {
		if _, err := dir.Lstat(older(name, free)); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return nil, err
		}
	}
	if keep > 0 {
		free = min(free, keep-1)
	}
	for n := free; n > 0; n-- {
		// Somebody may have taken one away.
		if err := dir.Rename(older(name, n-1), older(name, n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return replace(dir, name, owner)
}

// open opens what is no file to be replaced: a pipe that somebody reads, or a device.
// It does not wait for the reader.
func open(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if errors.Is(err, unix.ENXIO) {
		return nil, &Unread{path}
	}
	return file, err
}

// Unread is a pipe that nobody reads.
type Unread struct{ Path string }

func (e *Unread) Error() string { return "open " + e.Path + ": nobody reads from this pipe" }

// Hint says what can be done about it.
func (e *Unread) Hint() string { return "start its reader first" }

// without takes from an error what names the file again.
func without(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	var link *os.LinkError
	if errors.As(err, &link) {
		return fmt.Errorf("rename %s: %w", link.Old, link.Err)
	}
	return err
}
