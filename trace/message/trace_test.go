package message

import (
	"bytes"
	"encoding/hex"
	"testing"
)

// Numbers of the sections are those of W3C Trace Context.
func TestTraceparentIsReadByTheLetter(t *testing.T) {
	const id, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	for _, c := range []struct {
		name, value string
		valid       bool
	}{
		{"version 00, sampled", "00-" + id + "-" + parent + "-01", true},
		{"not sampled: it is a trace all the same", "00-" + id + "-" + parent + "-00", true},
		{"unknown flags", "00-" + id + "-" + parent + "-ff", true},
		{"3.2.4: a later version", "cc-" + id + "-" + parent + "-01", true},
		{"3.2.4: a later version with more behind it", "cc-" + id + "-" + parent + "-01-what-the-future-will-be", true},
		{"3.2.4: a later version with a dash and nothing", "cc-" + id + "-" + parent + "-01-", true},
		{"a later version whose flags go on", "cc-" + id + "-" + parent + "-01.what", false},
		{"version 00 with more behind it", "00-" + id + "-" + parent + "-01-", false},
		{"3.2.2.1: version ff", "ff-" + id + "-" + parent + "-01", false},
		{"version of one digit", "0-" + id + "-" + parent + "-01", false},
		{"3.2.2.3: no trace", "00-00000000000000000000000000000000-" + parent + "-01", false},
		{"3.2.2.4: no parent", "00-" + id + "-0000000000000000-01", false},
		{"upper case", "00-4BF92F3577B34DA6A3CE929D0E0E4736-" + parent + "-01", false},
		{"upper case in the parent", "00-" + id + "-00F067AA0BA902B7-01", false},
		{"no digits", "00-4bf92f3577b34da6a3ce929d0e0e473g-" + parent + "-01", false},
		{"flags that are no digits", "00-" + id + "-" + parent + "-0x", false},
		{"cut", "00-" + id + "-" + parent + "-0", false},
		{"other separators", "00_" + id + "_" + parent + "_01", false},
		{"spaces", " 00-" + id + "-" + parent + "-01", false},
		{"two in one", "00-" + id + "-" + parent + "-01,00-" + id + "-" + parent + "-01", false},
		{"nothing", "", false},
	} {
		got := ParseTrace([]byte(c.value))
		if !c.valid {
			if got != (Trace{}) {
				t.Errorf("%s: %q is read as %x", c.name, c.value, got)
			}
			continue
		}
		if hex.EncodeToString(got.ID[:]) != id || hex.EncodeToString(got.Parent[:]) != parent {
			t.Errorf("%s: %q is read as %x", c.name, c.value, got)
		}
	}
}

// What is read stands in the field as it is, and is never zero.
func FuzzTraceparent(f *testing.F) {
	f.Add([]byte("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"))
	f.Add([]byte("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got := ParseTrace(b)
		if got == (Trace{}) {
			return
		}
		want := hex.EncodeToString(got.ID[:]) + "-" + hex.EncodeToString(got.Parent[:])
		if !bytes.Equal(b[3:52], []byte(want)) || got.ID == [16]byte{} || got.Parent == [8]byte{} {
			t.Errorf("%q is read as %x", b, got)
		}
	})
}
