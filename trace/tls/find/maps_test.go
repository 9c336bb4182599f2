package find

import (
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMapsAreRead(t *testing.T) {
	const text = `00400000-00452000 r--p 00000000 08:02 173521                             /usr/bin/dbus-daemon
00452000-00460000 r-xp 00052000 08:02 173521                             /usr/bin/dbus-daemon
00e03000-00e24000 rw-p 00000000 00:00 0                                  [heap]
35b1800000-35b1820000 r-xp 00000000 fd:1f 4294967297                     /tmp/libssl.so.3 X
35b1820000-35b1821000 r--p 0001f000 fd:1f 4294967297                     /tmp/libssl.so.3 X
35b1a00000-35b1a01000 r-xp 00000000 00:28 9                              /lib/a\012b.so (deleted)
f2c6ff8c000-7f2c7078c000 rw-s 00000000 00:01 1024                        /dev/zero (deleted)
f2c6ff8c000-7f2c7078c000 r-xp 00001000 00:01 77
7fffb2d48000-7fffb2d49000 r-xp 00000000 00:00 0                          [vdso]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
a line of something else
`
	want := []mapping{
		{pid: 7, start: 0x452000, end: 0x460000, file: fileKey{major: 8, minor: 2, inode: 173521}, path: "/usr/bin/dbus-daemon", program: true},
		{pid: 7, start: 0x35b1800000, end: 0x35b1820000, file: fileKey{major: 0xfd, minor: 0x1f, inode: 4294967297}, path: "/tmp/libssl.so.3 X"},
		{pid: 7, start: 0x35b1a00000, end: 0x35b1a01000, file: fileKey{minor: 0x28, inode: 9}, path: "/lib/a\nb.so (deleted)"},
		{pid: 7, start: 0xf2c6ff8c000, end: 0x7f2c7078c000, file: fileKey{minor: 1, inode: 77}},
	}
	got := parseMaps([]byte(text), 7)
	if d := cmp.Diff(want, got, cmp.AllowUnexported(mapping{}, fileKey{})); d != "" {
		t.Error(d)
	}
}

func FuzzMaps(f *testing.F) {
	f.Add([]byte("00452000-00460000 r-xp 00052000 08:02 173521 /usr/bin/x\n"))
	f.Add([]byte("1-2 r-xp 0 8:2 1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		seen := map[fileKey]bool{}
		for _, m := range parseMaps(b, 1) {
			if m.file.inode == 0 || seen[m.file] {
				t.Fatalf("%+v", m)
			}
			seen[m.file] = true
		}
	})
}

// record is a PERF_RECORD_MMAP2.
func record(path string, misc uint16) []byte {
	b := make([]byte, 72, 128)
	ne := binary.NativeEndian
	ne.PutUint32(b, recordMmap2)
	ne.PutUint16(b[4:], misc)
	ne.PutUint32(b[8:], 17)
	ne.PutUint32(b[12:], 18)
	ne.PutUint64(b[16:], 0x7000)
	ne.PutUint64(b[24:], 0x1000)
	ne.PutUint32(b[40:], 8)
	ne.PutUint32(b[44:], 2)
	ne.PutUint64(b[48:], 4711)
	ne.PutUint64(b[56:], 3)
	b = append(b, path...)
	b = append(b, make([]byte, 8-len(b)%8)...)
	ne.PutUint16(b[6:], uint16(len(b)))
	return b
}

func TestRecordsAreRead(t *testing.T) {
	m := mapping{pid: 17, start: 0x7000, end: 0x8000, file: fileKey{8, 2, 4711, 3}, path: "/lib/libssl.so.3"}
	long := m
	long.path = ""
	for _, c := range []struct {
		name   string
		record []byte
		want   mapping
		kind   uint32
	}{
		{"a mapping", record("/lib/libssl.so.3", 0), m, recordMmap2},
		{"a path that was too long", record("//toolong", 0), long, recordMmap2},
		{"no file", record("[vdso]", 0), mapping{}, 0},
		{"of a build id", record("/lib/libssl.so.3", miscBuildID), mapping{}, 0},
		{"cut", record("/lib/libssl.so.3", 0)[:70], mapping{}, 0},
		{"a loss", []byte{recordLost, 0, 0, 0, 0, 0, 8, 0}, mapping{}, recordLost},
		{"nothing", nil, mapping{}, 0},
	} {
		got, kind := parseRecord(c.record)
		if kind != c.kind {
			t.Errorf("%s: kind %d, want %d", c.name, kind, c.kind)
		}
		if kind == recordMmap2 {
			if d := cmp.Diff(c.want, got, cmp.AllowUnexported(mapping{}, fileKey{})); d != "" {
				t.Errorf("%s: %s", c.name, d)
			}
		}
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(record("/lib/libssl.so.3", 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, kind := parseRecord(b); kind == recordMmap2 && m.file.inode == 0 {
			t.Fatalf("%+v", m)
		}
	})
}

func TestNamesOfLibraries(t *testing.T) {
	for name, want := range map[string]bool{
		"libssl.so": true, "libssl.so.3": true, "libssl.so.1.1": true, "libssl-0a1b2c3d.so.3": true, "libssl3.so": true,
		"libcrypto.so.3": true, "libgnutls.so.30.34.3": true, "libnspr4.so": true, "libnss3.so": true,
		"libgnutlsxx.so.30": false, "libssl": false, "libssl.a": false, "libsslx.so": false, "ssl.so": false, "libssl.so.3 (deleted)": true, "": false, "lib": false, "libssl3": false,
	} {
		if got := isLibrary(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}
