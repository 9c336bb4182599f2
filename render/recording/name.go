package recording

import (
	"path/filepath"
	"strconv"
	"strings"
)

// compression is how a file's name says that its content is packed.
type compression int

const (
	plain compression = iota
	gzipped
	zstandard
)

// suffixes are the ends of names, by what they stand for.
var suffixes = map[string]compression{".gz": gzipped, ".zst": zstandard}

// compressionOf tells by a name.
func compressionOf(name string) compression { return suffixes[filepath.Ext(name)] }

// older is the name of the n-th file before the one of this name: a.jsonl.1, and
// a.jsonl.1.gz where that one is a.jsonl.gz. The 0-th is the one itself.
func older(name string, n uint64) string {
	if n == 0 {
		return name
	}
	ext := filepath.Ext(name)
	if suffixes[ext] == plain {
		ext = ""
	}
	return strings.TrimSuffix(name, ext) + "." + strconv.FormatUint(n, 10) + ext
}
