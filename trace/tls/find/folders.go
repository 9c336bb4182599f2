package find

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// folders are where libraries are, below a root.
var folders = []string{
	"/lib64", "/usr/lib64", "/usr/local/lib64", "/lib", "/usr/lib", "/usr/local/lib",
	"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu",
	"/usr/local/ssl/lib", "/usr/local/ssl/lib64", "/usr/local/openssl/lib", "/usr/local/openssl/lib64",
}

const (
	maxConfs   = 64       // files of /etc/ld.so.conf.d
	maxConf    = 64 << 10 // bytes of one
	maxFolders = 256
	maxEntries = 1 << 16 // of a folder
)

// libraries are what the names of TLS libraries begin with, behind lib.
var libraries = []string{"ssl", "crypto", "gnutls", "nspr4", "nss3", "libressl", "boringssl"}

// isLibrary tells whether a name is one of a TLS library, as libssl.so.3 or
// libssl-1a2b3c4d.so.1.1 (Python's wheels).
func isLibrary(name string) bool {
	rest, ok := strings.CutPrefix(name, "lib")
	if !ok || !strings.Contains(rest, ".so") {
		return false
	}
	return slices.ContainsFunc(libraries, func(l string) bool {
		behind, ok := strings.CutPrefix(rest, l)
		return ok && (behind[0] == '.' || behind[0] == '-' || behind[0] == '3') // libssl3.so of NSS
	})
}

// inFolders lists the TLS libraries in the usual folders below a root, and in those that
// the dynamic linker is told of, as paths below it. Several paths may lead to one file.
func inFolders(root string) (paths []string) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(dir)
	list := folders
	confs := []string{"/etc/ld.so.conf"}
	for _, name := range namesIn(dir, "/etc/ld.so.conf.d") {
		if strings.HasSuffix(name, ".conf") && len(confs) < maxConfs {
			confs = append(confs, filepath.Join("/etc/ld.so.conf.d", name))
		}
	}
	for _, conf := range confs {
		for line := range strings.Lines(contents(dir, conf)) {
			if line = strings.TrimSpace(line); strings.HasPrefix(line, "/") && len(list) < maxFolders {
				list = append(list[:len(list):len(list)], line)
			}
		}
	}
	seen := map[[2]uint64]bool{} // /lib is often /usr/lib
	for _, folder := range list {
		d, err := openIn(dir, folder, unix.O_DIRECTORY)
		if err != nil {
			continue
		}
		var st unix.Stat_t
		var names []string
		if unix.Fstat(int(d.Fd()), &st) == nil && !seen[[2]uint64{uint64(st.Dev), st.Ino}] {
			seen[[2]uint64{uint64(st.Dev), st.Ino}] = true
			names, _ = d.Readdirnames(maxEntries)
		}
		_ = d.Close()
		for _, name := range names {
			if isLibrary(name) {
				paths = append(paths, filepath.Join(folder, name))
			}
		}
	}
	slices.Sort(paths)
	return paths
}

// openIn opens a path below a folder, which is its root.
func openIn(dir int, path string, flags uint64) (*os.File, error) {
	fd, err := unix.Openat2(dir, path, &unix.OpenHow{Flags: openFlags | flags, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

func namesIn(dir int, path string) []string {
	d, err := openIn(dir, path, unix.O_DIRECTORY)
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(maxEntries)
	slices.Sort(names)
	return names
}

func contents(dir int, path string) string {
	file, err := openIn(dir, path, 0)
	if err != nil {
		return ""
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	b, _ := io.ReadAll(io.LimitReader(file, maxConf))
	return string(b)
}
