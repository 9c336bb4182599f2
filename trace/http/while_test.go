package http

import (
	"strings"
	"testing"

	"tracer/testdata/kit"
)

// The probes of one tracer are breakpoints in a library's code. Another one reads that code all the same.
func TestKernelLibrariesAreReadWhileTraced(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	readable := func() (list []string) {
		out, status := kit.Output(kit.Command(t, "check"))
		if status != 0 {
			t.Fatalf("status %d:\n%s", status, out)
		}
		for line := range strings.Lines(out) {
			path, _, ok := strings.Cut(strings.TrimPrefix(line, "TLS"), ": openssl,")
			if ok && strings.Contains(path, "libssl.so") {
				list = append(list, strings.TrimSpace(path))
			}
		}
		return list
	}
	before := readable()
	if len(before) == 0 {
		t.Fatal("no libssl here")
	}
	r := kit.Start(t, "http")
	defer r.Stop()
	// One file may have several names.
	if during := readable(); len(during) != len(before) {
		t.Errorf("readable before: %q, while tracing: %q", before, during)
	}
}
