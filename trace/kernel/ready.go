package kernel

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// mounts are the file systems of the kernel's that tracing reads, as statfs(2) calls
// them.
var mounts = []struct {
	dir, kind string
	magic     int64
}{
	{"/proc", "proc", unix.PROC_SUPER_MAGIC},
	{"/sys", "sysfs", unix.SYSFS_MAGIC},
}

// leastFiles is how many open files tracing needs at least: maps, programs and links
// have one each. A command may need more, which is said when they are missing. With
// fewer not even what the kernel can do can be found out: each trial takes files.
const leastFiles = 64

// Ready returns nil if this process has what must be there before anything can be
// tried: the kernel's file systems, without which the kernel looks older than it is, as
// in a chroot of a rescue system; and room for some open files. The error has a hint.
func Ready() error {
	// Go has raised the limit to what this process may have.
	var files unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &files) == nil && files.Cur < leastFiles {
		return Hint(fmt.Errorf("open files: %w: this process may have %d, and tracing takes at least %d", unix.EMFILE, files.Cur, leastFiles), moreFiles)
	}
	for _, m := range mounts {
		var st unix.Statfs_t
		// Where it may not be asked, whoever needs it says what it lacks.
		switch err := unix.Statfs(m.dir, &st); {
		case err == nil && st.Type != m.magic, err == unix.ENOENT:
			return Hint(fmt.Errorf("read the kernel's files: %s is not mounted", m.dir), fmt.Sprintf("mount -t %s %s %s", m.kind, m.kind, m.dir))
		}
	}
	return nil
}

// moreFiles is what to do about too few.
const moreFiles = "raise the limit: ulimit -n 1024, as root, in the shell that starts tracer (of a systemd unit LimitNOFILE=)"
