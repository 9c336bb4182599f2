package elf

import (
	"debug/elf"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// files are some that every Linux has, and this test itself, a Go program.
func files(t testing.TB) (paths []string) {
	t.Helper()
	for _, pattern := range []string{"/lib/*/libc.so.6", "/lib64/libc.so.6", "/usr/lib/*/libcrypto.so.*", "/usr/lib/*/libstdc++.so.6"} {
		found, _ := filepath.Glob(pattern)
		paths = append(paths, found...)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return append(paths, self)
}

func read(t testing.TB, path string, f func(*Image)) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := Read(file, func(m *Image) error { f(m); return nil }); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// Each function that the standard library's reader finds is found, at the same place.
func TestExportedFunctionsAreThoseOfTheSymbolTable(t *testing.T) {
	seen := 0
	for _, path := range files(t) {
		file, err := elf.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		symbols, err := file.DynamicSymbols()
		_ = file.Close()
		if err != nil {
			continue // a static program
		}
		want := map[string][]uint64{} // a name may have several versions
		for _, s := range symbols {
			if elf.ST_TYPE(s.Info) == elf.STT_FUNC && s.Section != elf.SHN_UNDEF {
				want[s.Name] = append(want[s.Name], s.Value)
			}
		}
		names := []string{"no_such_function"}
		for name := range want {
			names = append(names, name)
		}
		read(t, path, func(m *Image) {
			got := m.Exported(names...)
			if _, ok := got["no_such_function"]; ok {
				t.Errorf("%s: found what is not there", path)
			}
			for name, addrs := range want {
				if s, ok := got[name]; !ok || !slices.Contains(addrs, s.Addr) {
					t.Errorf("%s: %s at %#x, want one of %#x", path, name, s.Addr, addrs)
				}
				seen++
			}
		})
	}
	if seen < 1000 {
		t.Errorf("only %d functions were compared", seen)
	}
}

// Functions of a program that was not stripped are at the same places in both of its
// tables, and where the standard library says.
func TestNamedFunctionsAreThoseOfTheSymbolTable(t *testing.T) {
	path, err := exec.LookPath("go") // go test links without symbols
	if err != nil {
		t.Fatal(err)
	}
	file, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	symbols, err := file.Symbols()
	_ = file.Close()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]elf.Symbol{}
	for _, s := range symbols {
		want[s.Name] = s
	}
	names := []string{"runtime.main", "os.(*File).Read", "crypto/tls.(*Conn).Write", "no_such_function"}
	read(t, path, func(m *Image) {
		named := m.Named(names...)
		inTable, err := m.Go(names...)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			w, there := want[name]
			s, ok := named[name]
			g, okGo := inTable[name]
			if ok != there || okGo != there || s.Addr != w.Value || g.Addr != w.Value || s.Size != w.Size || g.Size < w.Size {
				t.Errorf("%s: named %+v, in Go's table %+v, want %#x, %d bytes", name, s, g, w.Value, w.Size)
			}
			off, ok := m.Offset(w.Value)
			if there && !ok {
				t.Errorf("%s: no offset", name)
			}
			code, _ := m.Code(w.Value)
			if data, err := os.ReadFile(path); there && (err != nil || string(data[off:off+16]) != string(code[:16])) {
				t.Errorf("%s: other code in the file at %#x", name, off)
			}
		}
	})
}

// Functions with a size in the symbol table have the same in .eh_frame.
func TestFramesAgreeWithSymbols(t *testing.T) {
	compared, differ := 0, 0
	for _, path := range files(t)[:1] {
		file, err := elf.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		symbols, err := file.DynamicSymbols()
		_ = file.Close()
		if err != nil {
			t.Fatal(err)
		}
		read(t, path, func(m *Image) {
			for _, s := range symbols {
				if elf.ST_TYPE(s.Info) != elf.STT_FUNC || s.Section == elf.SHN_UNDEF || s.Size == 0 {
					continue
				}
				f, ok := m.Function(s.Value + s.Size/2)
				if !ok {
					continue // written in assembly, without a frame
				}
				compared++
				if f.Addr != s.Value || f.Size != s.Size {
					differ++ // several names may share an end
				}
			}
		})
	}
	if compared < 500 || differ*50 > compared {
		t.Errorf("of %d functions %d differ", compared, differ)
	}
}

func TestAFileThatIsCutShortWhileItIsReadIsAnError(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "cut")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	reached := false
	err = Read(file, func(m *Image) error {
		if err := os.Truncate(path, 4096); err != nil {
			t.Fatal(err)
		}
		_, err := m.Go("runtime.main")
		reached = true
		return err
	})
	if !errors.Is(err, ErrFormat) || reached {
		t.Errorf("error %v; went on: %v", err, reached)
	}
	// Another goroutine's fault is still its own: the setting is back.
	if err := Read(file, func(*Image) error { return nil }); !errors.Is(err, ErrFormat) {
		t.Errorf("of the rest: %v", err)
	}
}

func TestWhatIsNoProgramIsSaidSo(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"empty": "", "text": string(make([]byte, 100)), "script": "#!/bin/sh\n" + string(make([]byte, 100))} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := Read(file, func(*Image) error { return nil }); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
		file.Close()
	}
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := Read(d, func(*Image) error { return nil }); !errors.Is(err, ErrFormat) {
		t.Errorf("a folder: %v", err)
	}
}

// Whatever a file says: what is found is inside of it.
func FuzzImage(f *testing.F) {
	for _, path := range files(f) {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		if len(b) < 1<<18 {
			f.Add(b)
		}
	}
	f.Add(small())
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = guard(b, func(m *Image) error {
			check := func(found map[string]Symbol) {
				for name, s := range found {
					if code, ok := m.Code(s.Addr); !ok || uint64(len(code)) < s.Size {
						t.Fatalf("%s is at %#x, %d bytes, outside of the code", name, s.Addr, s.Size)
					}
					if off, ok := m.Offset(s.Addr); ok && off >= uint64(len(b)) {
						t.Fatalf("%s is at %#x of %d bytes", name, off, len(b))
					}
					m.Function(s.Addr)
				}
			}
			check(m.Exported("f", "SSL_read"))
			check(m.Named("f", "SSL_read"))
			found, _ := m.Go("f", "main.main")
			check(found)
			m.Function(m.Entry)
			m.Needs("lib")
			return nil
		})
	})
}

// The file that fuzzing begins with has something for each way to find functions.
func TestTheSmallLibraryIsUnderstood(t *testing.T) {
	want := Symbol{Addr: 0x800, Size: 16}
	if err := guard(small(), func(m *Image) error {
		inTable, err := m.Go("f")
		if err != nil {
			t.Error(err)
		}
		inFrames, _ := m.Function(0x808)
		for how, got := range map[string]Symbol{"exported": m.Exported("f")["f"], "named": m.Named("f")["f"], "Go": inTable["f"], "frames": inFrames} {
			if got != want {
				t.Errorf("%s: %+v, want %+v", how, got, want)
			}
		}
		if !m.Needs("lib") || m.Needs("x") {
			t.Error("the library that it needs is not told")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
