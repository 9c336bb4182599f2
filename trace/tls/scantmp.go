package tls

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"tracer/trace/tls/elf"
	"tracer/trace/tls/library"
)

// ScanTmp is a stand-in for package find.
func (s *Source) ScanTmp() {
	seen := map[[2]uint64]bool{}
	try := func(path string) {
		f, err := os.Open(path)
		if err != nil {
			return
		}
		var st syscall.Stat_t
		if syscall.Fstat(int(f.Fd()), &st) != nil || seen[[2]uint64{st.Dev, st.Ino}] {
			return
		}
		seen[[2]uint64{st.Dev, st.Ino}] = true
		var l library.Library
		err = elf.Read(f, func(m *elf.Image) (err error) { l, err = library.Find(m); return err })
		if err != nil {
			return
		}
		if len(l.Functions) == 0 {
			return
		}
		err = s.Attach(path, f, &l)
		fmt.Fprintln(os.Stderr, "ATTACH", path, l.Kind, err)
	}
	for _, g := range []string{"/usr/lib/x86_64-linux-gnu/lib*ssl*.so*", "/usr/lib/x86_64-linux-gnu/libgnutls.so*", "/usr/bin/node", "/lib/x86_64-linux-gnu/libnspr4.so"} {
		l, _ := filepath.Glob(g)
		for _, p := range l {
			try(p)
		}
	}
	if e := os.Getenv("TLS_FILES"); e != "" {
		for _, p := range strings.Split(e, ":") {
			try(p)
		}
	}
	dirs, _ := filepath.Glob("/proc/[0-9]*/maps")
	for _, d := range dirs {
		f, err := os.Open(d)
		if err != nil {
			continue
		}
		sc := bufio.NewScanner(f)
		for sc.Scan() {
			p := strings.Fields(sc.Text())
			if len(p) == 6 && strings.Contains(p[1], "x") && strings.HasPrefix(p[5], "/") && (strings.Contains(p[5], "ssl")) {
				try(p[5])
			}
		}
		f.Close()
	}
}
