package library

import (
	"errors"

	"tracer/trace/tls/elf"
)

// table is asked in this order: the first that finds something has it.
var table = []finder{openSSL, gnuTLS, nss, golang}

// Find finds a file's TLS library. It returns ErrNone where there is none, and another
// error where there is one that cannot be used.
func Find(m *elf.Image) (Library, error) {
	var names []string
	for _, f := range table {
		names = append(names, f.exported...)
	}
	l := newLookup(m, names)
	for _, f := range table {
		if found, err := f.find(l); !errors.Is(err, ErrNone) {
			found.Kind = f.kind
			return found, err
		}
	}
	return Library{}, ErrNone
}
