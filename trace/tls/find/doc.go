// Package find finds files with TLS libraries: those that processes have mapped when
// tracing begins, those in the usual folders, and those that are mapped later.
//
//	find.go      the finder: what is known, and whom it is told
//	look.go      a file is opened, identified, and looked into
//	pool.go      goroutines that a file system may keep waiting
//	identity.go  whether two files are one, behind overlay mounts too
//	folders.go   where libraries are
//	maps.go      /proc/PID/maps
//	events.go    the kernel tells what is mapped: PERF_RECORD_MMAP2
//	why.go       why the plaintext of a process is not seen
//
// Files belong to strangers, in their containers: each is opened as a process has it
// mapped (/proc/PID/map_files) or below the process's root, never by a path of our own, and
// nothing waits for a file system that does not answer.
//
// It does not attach anything. Start with New.
package find
