package find

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"tracer/trace/tls/elf"
)

// Why the plaintext of a process is not seen.
const (
	whyLate = "too late" // there are probes, which were not there in time
	whyJava = "java"     // TLS is made of code that is compiled while it runs
	whyOwn  = "own library"
)

// marks are what stands in files whose TLS has no functions that can be found. The first
// counts: some have parts of others.
var marks = []struct{ text, why string }{
	{"/rustls-", "rustls"},
	{"mbedtls", "mbed TLS"},
	{"wolfSSL", "wolfSSL"},
	{"s2n_connection", "s2n"},
	{"boringssl", "BoringSSL without symbols"},
	{"AWS-LC", "AWS-LC without symbols"},
	{"LibreSSL ", "LibreSSL without symbols"},
	{"OpenSSL 1.", "OpenSSL without symbols"},
	{"OpenSSL 3.", "OpenSSL without symbols"},
}

// maxMarked is how many files are remembered by their marks.
const maxMarked = 1 << 12

// Why tells why the plaintext of a process that speaks TLS is not seen: "too late", where
// its library was found; "java"; what it has instead of a library that can be read, as
// "rustls"; or else "own library". It is empty if the process cannot be looked at, as it
// has ended. It reads files: ask once for a process.
func (f *Finder) Why(pid uint32) string {
	list, err := f.maps(pid)
	if err != nil || len(list) == 0 {
		return ""
	}
	w := f.explain(list)
	if len(w.files) > 0 {
		return whyLate
	}
	return w.why
}

// An explanation is what a process's mappings tell of its TLS.
type explanation struct {
	files []*File
	why   string // if there are none
	path  string // the file that tells why
	sure  bool   // something in the file says so
}

func (f *Finder) explain(list []mapping) (e explanation) {
	f.mu.Lock()
	for _, m := range list {
		if s := f.seen[m.file]; s != nil && s.file != nil && s.file.Library.Reads() && !slices.Contains(e.files, s.file) {
			e.files = append(e.files, s.file)
		}
	}
	f.mu.Unlock()
	if len(e.files) > 0 {
		return e
	}
	for _, m := range list {
		name := filepath.Base(pathname(m.path))
		f.mu.Lock()
		err := f.unusable[pathname(m.path)]
		f.mu.Unlock()
		switch {
		case name == "libjvm.so":
			return explanation{why: whyJava, path: pathname(m.path), sure: true}
		case err != nil:
			return explanation{why: err.Error(), path: pathname(m.path), sure: true}
		}
	}
	for _, m := range list {
		if m.program || suspicious(filepath.Base(m.path)) {
			if why := f.instead(&m); why != "" {
				return explanation{why: why, path: pathname(m.path), sure: true}
			}
		}
	}
	return explanation{why: whyOwn, path: pathname(list[0].path)}
}

// suspicious tells whether a library's name is as of one that has TLS inside.
func suspicious(name string) bool {
	return slices.ContainsFunc([]string{"ssl", "tls", "crypt", "rust", "cronet"}, func(part string) bool { return strings.Contains(name, part) })
}

// instead is what a file has instead of a library that can be read; empty if nothing says so.
func (f *Finder) instead(m *mapping) string {
	f.mu.Lock()
	why, known := f.marked[m.file]
	f.mu.Unlock()
	if known {
		return why
	}
	if file, err := f.openMapped(m); err == nil {
		_ = elf.Read(file, func(i *elf.Image) error {
			for _, k := range marks {
				if i.Mentions(k.text) {
					why = k.why
					break
				}
			}
			return nil
		})
		_ = file.Close()
	}
	f.mu.Lock()
	if len(f.marked) >= maxMarked {
		clear(f.marked)
	}
	f.marked[m.file] = why
	f.mu.Unlock()
	return why
}

// A Finding is a library that processes have mapped, or what they have instead.
type Finding struct {
	Library   string // as the key tls names it; empty if there is none that can be read
	Path      string
	Processes int    // that have it mapped now
	Why       string // its plaintext cannot be read; empty if it can
}

// Survey looks at all files that processes have mapped and tells what is there: libraries
// that can be read first, by path. It takes no longer than the budget, but for reading the
// marks of programs. hidden is how many processes may not be looked at. It is for a finder
// of its own: the handles of its files are closed.
func (f *Finder) Survey() (list []Finding, hidden int) {
	deadline := time.NewTimer(f.options.Budget)
	defer deadline.Stop()
	f.lookThrough(f.options.Root, f.own, 0)
	f.lookAtAll()
	f.visitAll()
	for !f.tell(deaf{}) {
		select {
		case <-f.wake:
			continue
		case <-deadline.C:
		}
		break
	}
	defer func() {
		for _, file := range f.files {
			_ = file.Handle.Close()
		}
	}()
	readable, other := map[*File]int{}, map[Finding]int{}
	pids, _ := f.pids()
	for _, pid := range pids {
		mappings, err := f.maps(pid)
		if errors.Is(err, fs.ErrPermission) {
			hidden++
		}
		if len(mappings) == 0 {
			continue
		}
		e := f.explain(mappings)
		for _, file := range e.files {
			readable[file]++
		}
		if len(e.files) == 0 && e.sure {
			other[Finding{Path: e.path, Why: e.why}]++
		}
	}
	f.mu.Lock()
	for _, file := range f.files {
		if file.Library.Reads() {
			list = append(list, Finding{Library: file.Library.Kind.String(), Path: file.Path, Processes: readable[file]})
		}
	}
	f.mu.Unlock()
	for finding, n := range other {
		finding.Processes = n
		list = append(list, finding)
	}
	slices.SortFunc(list, func(a, b Finding) int {
		switch {
		case (a.Why == "") != (b.Why == ""):
			if a.Why == "" {
				return -1
			}
			return 1
		case a.Path != b.Path:
			return strings.Compare(a.Path, b.Path)
		}
		return strings.Compare(a.Why, b.Why)
	})
	return list, hidden
}

// deaf is a sink that needs to be told nothing.
type deaf struct{}

func (deaf) Found(*File) {}
func (deaf) Gone(*File)  {}
