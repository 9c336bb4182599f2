package proc

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestHostNumbers(t *testing.T) {
	write := func(name, text string) Dir {
		dir := t.TempDir()
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
		return Dir(dir)
	}
	const sockstat = "sockets: used 1024\nTCP: inuse 5 orphan 1 tw 2 alloc 144009 mem 226\nUDP: inuse 0 mem 0\n"
	if n, err := write("net/sockstat", sockstat).TCPSockets(); n != 144009 || err != nil {
		t.Errorf("%d sockets, %v", n, err)
	}
	const meminfo = "MemTotal:       24105376 kB\nMemFree:        1 kB\nMemAvailable:   22347652 kB\n"
	if n, err := write("meminfo", meminfo).MemAvailable(); n != 22347652<<10 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	for _, text := range []string{"", "TCP:\n", "TCP: inuse 5 alloc\n", "TCP: alloc x\n", "TCP: alloc 99999999999999999999\n", "UDP: alloc 7\n"} {
		if n, err := write("net/sockstat", text).TCPSockets(); err == nil {
			t.Errorf("%q: %d sockets", text, n)
		}
	}
	if _, err := Dir(t.TempDir()).TCPSockets(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := Dir(t.TempDir()).MemAvailable(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}
