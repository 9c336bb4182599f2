package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// leader ends as a process does whose first thread leaves before another one ends it: 50 ms later, with this status.
func leader(args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	go func() {
		runtime.LockOSThread()
		time.Sleep(50 * time.Millisecond)
		unix.RawSyscall(unix.SYS_EXIT_GROUP, uintptr(n), 0, 0)
	}()
	unix.RawSyscall(unix.SYS_EXIT, 1, 0, 0)
	return nil
}

// thread has another thread than the first become a program, which exits with this status.
func thread(args []string) error {
	runtime.LockOSThread()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			done <- errors.New("this is the leader")
		}
		done <- unix.Exec("/bin/sh", []string{"sh", "-c", "exit " + args[0]}, nil)
	}()
	return <-done
}

// try calls execve as execvp does in C: arguments, --, the paths to try. What it becomes does nothing.
func try(args []string) error {
	dash := slices.Index(args, "--")
	argv, err := syscall.SlicePtrFromStrings(args[:dash])
	if err != nil {
		return err
	}
	env, err := syscall.SlicePtrFromStrings([]string{"TRACER_WORKLOAD=nothing"})
	if err != nil {
		return err
	}
	runtime.LockOSThread() // one thread, one argv
	for _, path := range args[dash+1:] {
		p, err := unix.BytePtrFromString(path)
		if err != nil {
			return err
		}
		unix.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(p)), uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&env[0])))
	}
	os.Exit(1)
	return nil
}

// debug is a debugger of this process, until it ends.
func debug(args []string) error {
	runtime.LockOSThread()
	pid, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	if err := unix.PtraceAttach(pid); err != nil {
		return err
	}
	var ws unix.WaitStatus
	if _, err := unix.Wait4(pid, &ws, 0, nil); err != nil {
		return err
	}
	if err := unix.PtraceCont(pid, 0); err != nil {
		return err
	}
	fmt.Println("attached")
	for !ws.Exited() {
		if _, err := unix.Wait4(pid, &ws, 0, nil); err != nil {
			break
		}
		_ = unix.PtraceCont(pid, 0)
	}
	return nil
}

// tree waits for the end of its input and has two children then, of this many generations below.
func tree(args []string) error {
	discard(os.Stdin)
	depth, err := strconv.Atoi(args[0])
	if err != nil || depth == 0 {
		return err
	}
	for range 2 {
		if err := exec.Command("/proc/self/exe", "tree", strconv.Itoa(depth-1)).Run(); err != nil {
			return err
		}
	}
	return nil
}

// storm starts this many processes as fast as it can, each with its number.
func storm(args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	var group sync.WaitGroup
	next := make(chan int)
	for range 2 * runtime.NumCPU() {
		group.Go(func() {
			for i := range next {
				cmd := exec.Command("/bin/true")
				cmd.Args = []string{"true", strconv.Itoa(i)}
				if err := cmd.Run(); err != nil {
					fmt.Fprintln(os.Stderr, "storm", err)
					os.Exit(99)
				}
			}
		})
	}
	for _, i := range rand.Perm(n) {
		next <- i
	}
	close(next)
	group.Wait()
	return nil
}

// locked becomes a program on a kernel that says that it is locked down; hidden one where the kernel does not describe
// its types. Both want a mount namespace of their own.
func locked(args []string) error {
	if err := cover("/sys/kernel/security"); err != nil {
		return err
	}
	if err := os.WriteFile("/sys/kernel/security/lockdown", []byte("none integrity [confidentiality]\n"), 0o444); err != nil {
		return err
	}
	return unix.Exec(args[0], args, os.Environ())
}

func hidden(args []string) error {
	if err := cover("/sys/kernel/btf"); err != nil {
		return err
	}
	return unix.Exec(args[0], args, os.Environ())
}

// cover hides a folder from this mount namespace.
func cover(dir string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	return unix.Mount("none", dir, "tmpfs", 0, "")
}
