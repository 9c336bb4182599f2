package proc

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// TCPSockets is how many TCP sockets there are, those that listen included, in all
// network namespaces: /proc/net/sockstat, alloc.
func (d Dir) TCPSockets() (uint64, error) {
	b, err := os.ReadFile(filepath.Join(string(d), "net/sockstat"))
	if err != nil {
		return 0, err
	}
	return parseAfter(b, "TCP:", "alloc")
}

// MemAvailable is how many bytes of memory can be had without swapping: /proc/meminfo.
func (d Dir) MemAvailable() (uint64, error) {
	b, err := os.ReadFile(filepath.Join(string(d), "meminfo"))
	if err != nil {
		return 0, err
	}
	kib, err := parseAfter(b, "MemAvailable:", "MemAvailable:")
	return kib << 10, err
}

// parseAfter finds the number that follows a word in the line that begins with another.
func parseAfter(b []byte, begin, word string) (uint64, error) {
	for line := range bytes.Lines(b) {
		fields := bytes.Fields(line)
		if len(fields) == 0 || string(fields[0]) != begin {
			continue
		}
		for i, f := range fields[:len(fields)-1] {
			if string(f) == word {
				return strconv.ParseUint(string(fields[i+1]), 10, 44)
			}
		}
	}
	return 0, fmt.Errorf("no %s of %s", word, begin)
}
