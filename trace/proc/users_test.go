package proc

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const passwd = `root:x:0:0:root:/root:/bin/bash
daemon:x:1:1::/:/usr/sbin/nologin

# a comment
ann:x:1000:1000:Ann:/home/ann:/bin/sh
toor:x:0:0:another root:/root:/bin/sh
ann:x:1001:1001:a second Ann:/home/ann2:/bin/sh
+::::::
short:x:1002
torn:x:
:x:1003:1003::/:/bin/sh
negative:x:-1:0::/:/bin/sh
large:x:4294967296:0::/:/bin/sh
word:x:ten:10::/:/bin/sh
1005:x:1004:1004::/:/bin/sh
nobody:x:65534:65534::/:/bin/sh
last:x:4294967294:1:no newline:/:`

func TestParsePasswd(t *testing.T) {
	for _, c := range []struct {
		name string
		file string
		want map[uint32]string
	}{
		{"a file with lines of every kind", passwd, map[uint32]string{
			0: "root", 1: "daemon", 1000: "ann", 1001: "ann", 1004: "1005", 65534: "nobody", 4294967294: "last",
		}},
		{"an empty file", "", map[uint32]string{}},
		{"only newlines", "\n\n", map[uint32]string{}},
		{"the first name of an id is its name", "a:x:5:5::/:\nb:x:5:5::/:\n", map[uint32]string{5: "a"}},
		{"a bad line does not take an id", "a:x:no:5::/:\nb:x:0:5::/:\n", map[uint32]string{0: "b"}},
		{"what is no text", "\xff\x1b:x:7:7::/:\n\x00\n", map[uint32]string{7: "\xff\x1b"}},
	} {
		if diff := cmp.Diff(c.want, parsePasswd([]byte(c.file))); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

// FuzzParsePasswd: every name is the first field of a line, and ends there.
func FuzzParsePasswd(f *testing.F) {
	f.Add(passwd)
	f.Add(":::\n::0:\n")
	f.Fuzz(func(t *testing.T, file string) {
		for id, name := range parsePasswd([]byte(file)) {
			if name == "" || strings.ContainsAny(name, ":\n") || !strings.Contains("\n"+file, "\n"+name+":") {
				t.Errorf("%d is %q in %q", id, name, file)
			}
		}
	})
}

func writeUsers(t *testing.T, path, file string, changed time.Time) {
	t.Helper()
	if err := os.WriteFile(path, []byte(file), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, changed, changed); err != nil {
		t.Fatal(err)
	}
}

func TestUsersName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "passwd")
	start := time.Date(2024, 3, 5, 15, 0, 0, 0, time.UTC)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	u := NewUsers(path)
	check := func(what string, ms int, uid uint32, want string) {
		t.Helper()
		if got := u.Name(uid, at(ms)); got != want {
			t.Errorf("%s: %d is %q, want %q", what, uid, got, want)
		}
	}
	check("no file yet", 0, 1000, "")
	writeUsers(t, path, "ann:x:1000:1000::/:\n", at(0))
	check("looked a moment ago", 999, 1000, "")
	check("read when it is there", 1000, 1000, "ann")
	check("the others are known too", 1001, 0, "")

	writeUsers(t, path, "bob:x:1000:1000::/:\neve:x:1001:1001::/:\n", at(1500))
	check("a known name costs no look", 5000, 1000, "ann")
	check("an unknown one does, once a second", 5000, 1001, "eve")
	check("the whole file was read again", 5001, 1000, "bob")

	writeUsers(t, path, "eve:x:1001:1001::/:\nzoe:x:1002:1002::/:\n", at(1500))
	check("a file with the same time has not changed", 7000, 1002, "")
	writeUsers(t, path, "zoe:x:1002:1002::/:\n", at(1400))
	check("one with an earlier time has: it was restored", 9000, 1002, "zoe")
	check("who is gone has no name", 10500, 1001, "")

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	check("without the file, the last names stand", 12000, 1002, "zoe")
	check("and unknown ones stay unknown", 12000, 7, "")
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	check("a directory is no file", 14000, 7, "")
}

func TestUsersID(t *testing.T) {
	path := filepath.Join(t.TempDir(), "passwd")
	writeUsers(t, path, passwd, time.Unix(1, 0))
	u := NewUsers(path)
	for name, want := range map[string]uint32{
		"root": 0, "toor": 0, "ann": 1000, "nobody": 65534, "last": 4294967294,
		"0": 0, "1000": 1000, "4242": 4242, // numbers need no name
		"1005": 1005, // a number, even if it is someone's name
	} {
		if got, err := u.ID(name); got != want || err != nil {
			t.Errorf("%q: %d, %v, want %d", name, got, err, want)
		}
	}
	for _, name := range []string{"", "nosuch", "-1", "4294967296", "short", "torn", "large", "word", "Ann", "ann:x", "# a comment"} {
		if got, err := u.ID(name); err == nil || !strings.Contains(err.Error(), "no user \""+name+"\" in "+path) {
			t.Errorf("%q: %d, %v", name, got, err)
		}
	}
	missing := NewUsers(path + "/missing")
	if _, err := missing.ID("root"); err == nil || !strings.HasPrefix(err.Error(), `look up user "root": `) {
		t.Errorf("without a file: %v", err)
	}
	if got, err := missing.ID("12"); got != 12 || err != nil {
		t.Errorf("a number without a file: %d, %v", got, err)
	}
}
