package proc

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// Users turns user ids into names by a passwd file (passwd(5)). It is not safe
// for concurrent use.
type Users struct {
	path  string
	names map[uint32]string
	mtime time.Time
	next  time.Time // not looked at the file again before
}

// NewUsers returns the users of the passwd file at path, usually /etc/passwd.
// The file is read when first needed, and again when it has changed.
func NewUsers(path string) *Users { return &Users{path: path} }

// Name is the name of a user, or "" if it has none. now bounds how often the
// file is looked at: once a second, and only for ids that have no name.
func (u *Users) Name(uid uint32, now time.Time) string {
	name, ok := u.names[uid]
	if ok || now.Before(u.next) {
		return name
	}
	u.next = now.Add(time.Second)
	st, err := os.Stat(u.path)
	if err != nil || st.ModTime().Equal(u.mtime) {
		return ""
	}
	b, err := readFile(u.path)
	if err != nil {
		return ""
	}
	u.mtime = st.ModTime()
	u.names = parsePasswd(b)
	return u.names[uid]
}

// ID is the id of a user by name or by number.
func (u *Users) ID(name string) (uint32, error) {
	if id, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(id), nil
	}
	b, err := readFile(u.path)
	if err != nil {
		return 0, fmt.Errorf("look up user %q: %w", name, err)
	}
	for line := range bytes.Lines(b) {
		if n, id, ok := parseUser(line); ok && n == name {
			return id, nil
		}
	}
	return 0, fmt.Errorf("no user %q in %s", name, u.path)
}

// List is the names of all users, in the file's order.
func (u *Users) List() (names []string) {
	b, err := readFile(u.path)
	if err != nil {
		return nil
	}
	for line := range bytes.Lines(b) {
		if name, _, ok := parseUser(line); ok {
			names = append(names, name)
		}
	}
	return names
}

// parsePasswd maps ids to names; the first name of an id is its name.
func parsePasswd(b []byte) map[uint32]string {
	names := make(map[uint32]string)
	for line := range bytes.Lines(b) {
		name, id, ok := parseUser(line)
		if _, known := names[id]; ok && !known {
			names[id] = name
		}
	}
	return names
}

// parseUser reads one line, name:password:uid:…
func parseUser(line []byte) (name string, id uint32, ok bool) {
	f := bytes.SplitN(line, []byte{':'}, 4)
	if len(f) < 4 || len(f[0]) == 0 {
		return "", 0, false
	}
	n, err := strconv.ParseUint(string(f[2]), 10, 32)
	return string(f[0]), uint32(n), err == nil
}
