package find

import (
	"bytes"
	"math/bits"
	"strconv"
	"strings"
)

// A mapping is a line of /proc/PID/maps, or an event, that maps code of a file.
type mapping struct {
	pid        uint32
	start, end uint64
	file       fileKey
	path       string // as the process saw it, with all that the kernel puts behind it; may be empty
	program    bool   // the first file of the process: what it runs
}

// A fileKey is how the kernel names a file that is mapped. The same file may have several:
// overlay mounts have numbers of their own, and only events know the generation.
type fileKey struct {
	major, minor uint32
	inode        uint64
	generation   uint64
}

// parseMaps reads the mappings of code in /proc/PID/maps: start-end rwxp offset
// major:minor inode, and behind blanks a path, which may hold blanks itself. A file that
// is mapped several times is there once.
func parseMaps(b []byte, pid uint32) (list []mapping) {
	seen := map[fileKey]bool{}
	first := fileKey{}
	for line := range bytes.Lines(b) {
		m, code, ok := parseMapsLine(bytes.TrimSuffix(line, []byte("\n")))
		if !ok {
			continue
		}
		if first == (fileKey{}) {
			first = m.file
		}
		if !code || seen[m.file] {
			continue
		}
		seen[m.file] = true
		m.pid, m.program = pid, m.file == first
		list = append(list, m)
	}
	return list
}

// parseMapsLine reads a line that is of a file, and tells whether it maps code.
func parseMapsLine(line []byte) (m mapping, code, ok bool) {
	var field [5][]byte
	for i := range field {
		var found bool
		if field[i], line, found = bytes.Cut(line, []byte(" ")); !found && i < 4 {
			return m, false, false
		}
	}
	span, rights, device, inode := field[0], field[1], field[3], field[4]
	if string(inode) == "0" || len(rights) != 4 {
		return m, false, false // no file
	}
	from, to, _ := strings.Cut(string(span), "-")
	major, minor, _ := strings.Cut(string(device), ":")
	var errs [5]error
	m.start, errs[0] = strconv.ParseUint(from, 16, bits.UintSize)
	m.end, errs[1] = strconv.ParseUint(to, 16, bits.UintSize)
	m.file.inode, errs[2] = strconv.ParseUint(string(inode), 10, 64)
	hi, err := strconv.ParseUint(major, 16, 32)
	errs[3] = err
	lo, err := strconv.ParseUint(minor, 16, 32)
	errs[4] = err
	for _, err := range errs {
		if err != nil {
			return m, false, false
		}
	}
	m.file.major, m.file.minor = uint32(hi), uint32(lo)
	// The kernel writes a line's end in a name as \012, and nothing else so.
	m.path = strings.ReplaceAll(string(bytes.TrimLeft(line, " ")), `\012`, "\n")
	return m, rights[2] == 'x', true
}
