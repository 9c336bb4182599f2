package proc

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Attempts counts connections of TCP that could not be opened since it was made: refused,
// unanswered or reset, by anyone in this process's network namespace. The kernel counts
// them anyway.
type Attempts struct {
	file  *os.File // open all the time: later it may not be allowed to open one
	began uint64
}

// OpenAttempts begins to count; nil if the kernel does not tell.
func (d Dir) OpenAttempts() *Attempts {
	f, err := os.Open(filepath.Join(string(d), "self/net/snmp"))
	if err != nil {
		return nil
	}
	a := &Attempts{file: f}
	var ok bool
	if a.began, ok = a.read(); !ok {
		f.Close()
		return nil
	}
	return a
}

// Failed is how many there were so far.
func (a *Attempts) Failed() uint64 {
	if a == nil {
		return 0
	}
	now, ok := a.read()
	if !ok || now < a.began {
		return 0
	}
	return now - a.began
}

// Close ends counting.
func (a *Attempts) Close() {
	if a != nil {
		a.file.Close()
	}
}

func (a *Attempts) read() (uint64, bool) {
	text, err := io.ReadAll(io.NewSectionReader(a.file, 0, 64<<10))
	if err != nil {
		return 0, false
	}
	return attemptFails(text)
}

// attemptFails finds tcpAttemptFails (RFC 1213) in the text of /proc/net/snmp.
func attemptFails(text []byte) (n uint64, ok bool) { return counter(text, "Tcp:", "AttemptFails") }

// ListenOverflows is how many connections the listeners of a process's network namespace
// have dropped so far because their queues were full: each SYN, and each last word of a
// handshake, counts, also where it is sent again. pid 0 is this process's namespace.
func (d Dir) ListenOverflows(pid uint32) (n uint64, ok bool) {
	who := "self"
	if pid != 0 {
		who = strconv.FormatUint(uint64(pid), 10)
	}
	// Not kept open: that would keep a namespace that everybody has left.
	text, err := os.ReadFile(filepath.Join(string(d), who, "net/netstat"))
	if err != nil {
		return 0, false
	}
	return counter(text, "TcpExt:", "ListenOverflows")
}

// NetNS is the number of a process's network namespace, as the kernel has it; 0 if it is
// not known.
func (d Dir) NetNS(pid uint32) uint32 {
	who := "self"
	if pid != 0 {
		who = strconv.FormatUint(uint64(pid), 10)
	}
	var st unix.Stat_t
	if unix.Stat(filepath.Join(string(d), who, "ns/net"), &st) != nil {
		return 0
	}
	return uint32(st.Ino)
}

// counter finds a number in a text like /proc/net/snmp: of each protocol it has a line with
// names, and one with numbers.
func counter(text []byte, protocol, name string) (n uint64, ok bool) {
	var names [][]byte
	for line := range bytes.Lines(text) {
		f := bytes.Fields(line)
		if len(f) == 0 || string(f[0]) != protocol {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		for i := range names {
			if string(names[i]) == name && i < len(f) {
				n, err := strconv.ParseUint(string(f[i]), 10, 64)
				return n, err == nil
			}
		}
	}
	return 0, false
}
