package http

import (
	"testing"
)

func TestFlagValues(t *testing.T) {
	status := func(s string, yes, no []int) {
		var l statusList
		if err := l.Set(s); err != nil {
			t.Errorf("%s: %v", s, err)
		}
		for _, n := range yes {
			if !l.has(n) {
				t.Errorf("--status %s leaves out %d", s, n)
			}
		}
		for _, n := range no {
			if l.has(n) {
				t.Errorf("--status %s lets %d in", s, n)
			}
		}
	}
	status("500", []int{500}, []int{0, 499, 501})
	status("5xx,404", []int{404, 500, 599}, []int{0, 400, 405, 499, 600})
	status("400-499, 2XX", []int{400, 499, 200, 299}, []int{399, 500, 300, 199})
	for _, s := range []string{"", "5", "99", "1000", "5xxx", "499-400", "4xx-5xx", "x"} {
		if new(statusList).Set(s) == nil {
			t.Errorf("--status %q is taken", s)
		}
	}
	for s, n := range map[string]byteSize{"64": 64, "1KiB": 1024, "16K": 16384, "2048B": 2048, "1kib": 1024} {
		var b byteSize
		if err := b.Set(s); err != nil || b != n {
			t.Errorf("--prefix %s: %d, %v", s, b, err)
		}
	}
	for _, s := range []string{"", "-1", "1MiB", "1.5", "KiB", "4294967297", "4194304KiB"} {
		if new(byteSize).Set(s) == nil {
			t.Errorf("--prefix %q is taken", s)
		}
	}
}
