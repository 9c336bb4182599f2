package library

import (
	"bytes"
	debugelf "debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/arch/arm64/arm64asm"
	"golang.org/x/arch/x86/x86asm"

	"tracer/trace/tls/elf"
)

// debian is a folder with TLS libraries of several releases, or skips the test.
func debian(t *testing.T) string {
	t.Helper()
	cmd := exec.Command("../../../testdata/libraries.sh")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() == 77:
		t.Skip(strings.TrimSpace(stderr.String()))
	case err != nil:
		t.Fatalf("libraries.sh: %v\n%s", err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// find finds a file's library.
func find(t testing.TB, path string) (l Library, err error) {
	t.Helper()
	f, failed := os.Open(path)
	if failed != nil {
		t.Fatal(failed)
	}
	defer f.Close()
	err = elf.Read(f, func(m *elf.Image) (err error) {
		l, err = Find(m)
		return err
	})
	return l, err
}

func names(list []Function) (names []string) {
	for _, f := range list {
		names = append(names, f.Name)
	}
	return names
}

// What is found in Debian's libraries, and that each place is where it may be.
func TestPlacesInRealLibraries(t *testing.T) {
	dir := debian(t)
	files, err := filepath.Glob(filepath.Join(dir, "*-*", "*.so*"))
	if err != nil {
		t.Fatal(err)
	}
	type library struct {
		file             string // a pattern of its name
		kind             Kind
		functions, later []string
		byRets           bool
	}
	want := []library{
		{"android-libboringssl*-libssl.so*", OpenSSL, []string{"SSL_read", "SSL_write", "SSL_do_handshake"}, nil, true},
		{"*-libssl.so*", OpenSSL, []string{"ssl_read_internal", "ssl_write_internal", "SSL_do_handshake"}, nil, true},
		{"*-libcrypto.so*", OpenSSL, []string{"mem_write"}, []string{"BIO_write"}, false},
		{"*-libgnutls.so*", GnuTLS, []string{"gnutls_record_recv", "gnutls_record_send2", "gnutls_handshake"}, nil, false},
		{"*-libnspr4.so", NSS, []string{"PR_Read", "PR_Recv", "PR_Write", "PR_Send"}, nil, false},
	}
	seen := map[string]int{}
	for _, path := range files {
		t.Run(strings.TrimPrefix(path, dir+"/"), func(t *testing.T) {
			l, err := find(t, path)
			i := slices.IndexFunc(want, func(w library) bool {
				like, _ := filepath.Match(w.file, filepath.Base(path))
				return like
			})
			if i < 0 {
				if !errors.Is(err, ErrNone) {
					t.Errorf("found %v, %v in a file without TLS", l, err)
				}
				return
			}
			w := want[i]
			seen[w.file]++
			if err != nil {
				t.Fatal(err)
			}
			if l.Kind != w.kind || !slices.Equal(names(l.Functions), w.functions) || !slices.Equal(names(l.Later), w.later) || (l.ByRets != nil) != w.byRets {
				t.Fatalf("found %v %q, later %q, by RETs %q", l.Kind, names(l.Functions), names(l.Later), names(l.ByRets))
			}
			checkPlaces(t, path, l)
			checkCheap(t, path, l)
			checkWrite(t, path, l)
		})
	}
	for _, w := range want {
		if seen[w.file] == 0 {
			t.Errorf("no library was like %q", w.file)
		}
	}
}

// checkCheap holds that where the hot path has an instruction that the kernel emulates it
// is taken: all of OpenSSL's inner functions on amd64 begin with one.
func checkCheap(t *testing.T, path string, l Library) {
	for _, f := range l.Functions {
		if strings.Contains(path, "amd64") && strings.HasSuffix(f.Name, "_internal") && f.Return.Stepped {
			t.Errorf("%s: the return probe is at an instruction that is stepped", f.Name)
		}
	}
	for _, f := range l.Later {
		if f.Entry.Stepped {
			t.Errorf("%s: the probe is at an instruction that is stepped", f.Name)
		}
	}
}

// checkWrite holds that what the inner write takes is told by its callers' code as by the
// functions that OpenSSL has had since 3.3.
func checkWrite(t *testing.T, path string, l Library) {
	file, err := debugelf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	symbols, err := file.DynamicSymbols()
	if err != nil {
		t.Fatal(err)
	}
	want := SSLWriteEx
	if slices.ContainsFunc(symbols, func(s debugelf.Symbol) bool { return s.Name == "SSL_write_ex2" }) {
		want = SSLWriteEx2
	}
	for _, f := range l.Functions {
		if f.Name == "ssl_write_internal" && f.Use != want {
			t.Errorf("%s: use %d, want %d", f.Name, f.Use, want)
		}
	}
}

// A listing is a file's instructions, decoded by nothing that finds places.
type listing struct {
	machine debugelf.Machine
	data    []byte
	file    *debugelf.File
}

func open(t testing.TB, path string) listing {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	file, err := debugelf.NewFile(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return listing{file.Machine, data, file}
}

// size is that of the instruction at an offset; 0 if there is none.
func (c listing) size(off uint64) int {
	if c.machine == debugelf.EM_AARCH64 {
		return 4
	}
	b := c.data[off:]
	if bytes.HasPrefix(b, []byte{0xf3, 0x0f, 0x1e, 0xfa}) {
		return 4
	}
	i, err := x86asm.Decode(b[:min(len(b), 15)], 64)
	if err != nil || i.Op == 0 {
		return 0
	}
	return i.Len
}

// cheap tells whether the kernel emulates the instruction at an offset, by its text.
func (c listing) cheap(t *testing.T, off uint64) bool {
	if c.machine == debugelf.EM_AARCH64 {
		i, err := arm64asm.Decode(c.data[off : off+4])
		if err != nil {
			return false
		}
		return slices.Contains([]string{"B", "BL", "CBZ", "CBNZ", "TBZ", "TBNZ", "ADR", "ADRP", "RET", "BR", "BLR"}, i.Op.String())
	}
	i, err := x86asm.Decode(c.data[off:off+15], 64)
	if err != nil {
		t.Errorf("no instruction at %#x: %v", off, err)
		return false
	}
	_, direct := i.Args[0].(x86asm.Rel)
	op := i.Op.String()
	return op == "PUSH" || op == "NOP" && i.Len == 1 || direct && (op[0] == 'J' || op == "CALL")
}

func (c listing) isRet(off uint64) bool {
	if c.machine == debugelf.EM_AARCH64 {
		return binary.LittleEndian.Uint32(c.data[off:]) == 0xd65f03c0
	}
	return c.data[off] == 0xc3
}

// checkPlaces holds of all places of a library: they are at the beginning of instructions,
// as many as the kernel can emulate are marked so and no others, and a return probe's are
// before anything that moves the stack.
func checkPlaces(t *testing.T, path string, l Library) {
	t.Helper()
	c := open(t, path)
	for _, f := range slices.Concat(l.Functions, l.Later, l.ByRets) {
		if f.Use == 0 {
			t.Errorf("%s has no use", f.Name)
		}
		spots := []Spot{f.Entry}
		if f.Use.Go() != (f.Return == Spot{}) {
			t.Errorf("%s: return probe at %#x", f.Name, f.Return.Offset)
		}
		if !f.Use.Go() {
			spots = append(spots, f.Return)
			if f.Return.Offset > f.Entry.Offset {
				t.Errorf("%s: the return probe is at %#x, behind that of the entry alone, %#x", f.Name, f.Return.Offset, f.Entry.Offset)
			}
			checkBefore(t, c, f)
		}
		for _, s := range spots {
			if s.Offset == 0 || s.Stepped == c.cheap(t, s.Offset) {
				t.Errorf("%s: place %#x, stepped %v", f.Name, s.Offset, s.Stepped)
			}
		}
		for _, r := range f.Rets {
			if !c.isRet(r) {
				t.Errorf("%s: no RET at %#x", f.Name, r)
			}
		}
		checkBoundaries(t, c, f)
	}
}

// checkBefore decodes from the return probe's place to that of the entry alone: it is met,
// and nothing before it leads elsewhere.
func checkBefore(t *testing.T, c listing, f Function) {
	t.Helper()
	if c.machine != debugelf.EM_X86_64 {
		return
	}
	off := f.Return.Offset
	for at := off; at < f.Entry.Offset; {
		n := c.size(at)
		if n == 0 {
			t.Errorf("%s: the place of the entry, %#x, is behind something else than code, at %#x", f.Name, f.Entry.Offset, at)
			return
		}
		i, _ := x86asm.Decode(c.data[at:at+15], 64)
		if i.Op == x86asm.CALL || i.Op == x86asm.JMP || i.Op == x86asm.RET {
			t.Errorf("%s: %v comes before the place of the entry", f.Name, i)
		}
		at += uint64(n)
		if at > f.Entry.Offset {
			t.Errorf("%s: the place of the entry, %#x, is inside of an instruction", f.Name, f.Entry.Offset)
		}
	}
}

// checkBoundaries decodes straight on from a function's first place: RETs are met.
func checkBoundaries(t *testing.T, c listing, f Function) {
	t.Helper()
	if len(f.Rets) == 0 {
		return
	}
	left, at := slices.Clone(f.Rets), f.Return.Offset
	if f.Use.Go() {
		at = f.Entry.Offset
	}
	for len(left) > 0 {
		if at > left[0] {
			t.Errorf("%s: the RET at %#x is inside of an instruction", f.Name, left[0])
			return
		}
		if at == left[0] {
			left = left[1:]
		}
		n := c.size(at)
		if n == 0 {
			t.Errorf("%s: no instruction at %#x", f.Name, at)
			return
		}
		at += uint64(n)
	}
}

// Programs of Go as this test builds them, and as Debian's packages and others have
// installed them: linked outside of Go, position-independent, stripped.
func TestPlacesInGoPrograms(t *testing.T) {
	dir := t.TempDir()
	source := filepath.Join(dir, "main.go")
	const text = `package main

import (
	"crypto/tls"
	"net"
)

func main() {
	a, b := net.Pipe()
	c, s := tls.Client(a, &tls.Config{}), tls.Server(b, &tls.Config{})
	go s.Read(nil)
	c.Write(nil)
}
`
	if err := os.WriteFile(source, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	all := []string{"crypto/tls.(*Conn).Read", "crypto/tls.(*Conn).Write", "crypto/tls.(*Conn).clientHandshake", "crypto/tls.(*Conn).serverHandshake"}
	check := func(t *testing.T, path string) {
		l, err := find(t, path)
		if err != nil {
			t.Fatal(err)
		}
		if l.Kind != Go || !slices.Equal(names(l.Functions), all) {
			t.Fatalf("found %v %q", l.Kind, names(l.Functions))
		}
		checkPlaces(t, path, l)
		c := open(t, path)
		for _, f := range l.Functions {
			if f.Entry.Stepped && c.machine == debugelf.EM_X86_64 {
				t.Errorf("%s: its entry is stepped", f.Name)
			}
			if f.Use == GoRead && len(f.Rets) < 2 {
				t.Errorf("%s: RETs at %x", f.Name, f.Rets)
			}
		}
		checkGoSymbols(t, c, l)
	}
	for _, b := range []struct {
		name string
		args []string
		env  []string
	}{
		{"plain", nil, nil},
		{"stripped", []string{"-ldflags=-s -w"}, nil},
		{"position-independent", []string{"-ldflags=-buildmode=pie"}, nil},
		{"position-independent, stripped", []string{"-ldflags=-buildmode=pie -s -w"}, nil},
		{"arm64", nil, []string{"GOARCH=arm64"}},
		{"linked outside", []string{"-ldflags=-linkmode=external"}, []string{"CGO_ENABLED=1"}},
		{"linked outside, stripped", []string{"-ldflags=-linkmode=external -s -w"}, []string{"CGO_ENABLED=1"}},
	} {
		t.Run(b.name, func(t *testing.T) {
			if slices.Contains(b.env, "CGO_ENABLED=1") {
				if _, err := exec.LookPath("gcc"); err != nil {
					t.Skip("no gcc to link with")
				}
			}
			path := filepath.Join(dir, "program")
			cmd := exec.Command("go", slices.Concat([]string{"build", "-o", path}, b.args, []string{source})...)
			cmd.Env = append(os.Environ(), b.env...)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			check(t, path)
		})
	}
	for _, program := range []string{"containerd", "dockerd", "docker", "podman", "kubectl"} {
		path, err := exec.LookPath(program)
		if err != nil {
			continue
		}
		t.Run(program, func(t *testing.T) { check(t, path) })
	}
}

// checkGoSymbols compares with the symbols of a program that has them: a place is in the
// function, behind the check of the stack.
func checkGoSymbols(t *testing.T, c listing, l Library) {
	t.Helper()
	symbols, err := c.file.Symbols()
	if err != nil {
		return // stripped
	}
	for _, f := range l.Functions {
		i := slices.IndexFunc(symbols, func(s debugelf.Symbol) bool { return s.Name == f.Name })
		if i < 0 {
			t.Errorf("%s is no symbol", f.Name)
			continue
		}
		s := symbols[i]
		text := c.file.Sections[s.Section]
		begin := s.Value - text.Addr + text.Offset
		if f.Entry.Offset <= begin || f.Entry.Offset > begin+64 {
			t.Errorf("%s: entry at %#x, the function begins at %#x", f.Name, f.Entry.Offset, begin)
		}
		rets := 0
		for at := begin; at < begin+s.Size; {
			n := c.size(at)
			if n == 0 {
				t.Fatalf("%s: no instruction at %#x", f.Name, at)
			}
			if c.isRet(at) {
				rets++
			}
			at += uint64(n)
		}
		if f.Use == GoRead && rets != len(f.Rets) {
			t.Errorf("%s: %d RETs, found %d", f.Name, rets, len(f.Rets))
		}
	}
}

// Files without TLS, and the one whose OpenSSL is GnuTLS.
func TestNothingIsFoundWhereNothingIs(t *testing.T) {
	for _, name := range []string{"/bin/sh", "/lib64/ld-linux-x86-64.so.2", "/usr/lib/x86_64-linux-gnu/libgnutls-openssl.so.27"} {
		if _, err := os.Stat(name); err != nil {
			continue
		}
		if l, err := find(t, name); !errors.Is(err, ErrNone) {
			t.Errorf("%s: found %v, %v", name, l, err)
		}
	}
}

// A kind without a name, or without a row of the table, would be an empty key of events.
func TestEveryKindHasANameAndARow(t *testing.T) {
	for k := OpenSSL; int(k) < len(kindNames); k++ {
		if k.String() == "" || !slices.ContainsFunc(table, func(f finder) bool { return f.kind == k }) {
			t.Errorf("kind %d is not complete", k)
		}
	}
	if len(table) != len(kindNames)-1 {
		t.Errorf("%d rows, %d kinds", len(table), len(kindNames)-1)
	}
}
