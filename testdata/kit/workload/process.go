package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
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

// try calls execve as execvp does in C: arguments, --, the paths to try, with its own PATH. What it becomes does nothing.
func try(args []string) error {
	dash := slices.Index(args, "--")
	argv, err := syscall.SlicePtrFromStrings(args[:dash])
	if err != nil {
		return err
	}
	env, err := syscall.SlicePtrFromStrings([]string{"TRACER_WORKLOAD=nothing", "PATH=" + os.Getenv("PATH")})
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

// fail calls execve, or execveat for a file (empty: none) that it opens or a number that is none, in one of the ways
// that fail: how, its file name, the file, its arguments.
func fail(args []string) error {
	how, file, at, args := args[0], args[1], args[2], args[3:]
	switch n := 0; how {
	case "with many": // so many arguments
		if _, err := fmt.Sscan(args[0], &n); err != nil {
			return err
		}
		args = slices.Repeat([]string{"a"}, n)
	case "with a long one":
		args = []string{"true", strings.Repeat("x", 200000), "end"}
	case "of a long name":
		file = strings.Repeat("/name", 1000)
	}
	path, err := unix.BytePtrFromString(file)
	if err != nil {
		return err
	}
	argv, err := syscall.SlicePtrFromStrings(args)
	if err != nil {
		return err
	}
	first := unsafe.Pointer(&argv[0])
	if how == "with none" {
		first = nil
	}
	env := []*byte{nil}
	errno := syscall.Errno(0)
	if at == "" {
		_, _, errno = unix.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(path)), uintptr(first), uintptr(unsafe.Pointer(&env[0])))
	} else {
		fd, err := unix.Open(at, unix.O_PATH, 0)
		if err != nil {
			fd = 1000
		}
		_, _, errno = unix.RawSyscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(path)), uintptr(first), uintptr(unsafe.Pointer(&env[0])), unix.AT_EMPTY_PATH, 0)
	}
	return errno
}

// again has this many children, one after the other, each of which gets the id of one that has just ended and becomes a
// program when the kernel has freed that one.
func again(args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	path, err := unix.BytePtrFromString("/bin/true")
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	for i := range n {
		argv, err := syscall.SlicePtrFromStrings([]string{"true", strconv.Itoa(i)})
		if err != nil {
			return err
		}
		for {
			first, err := child(0, nil, nil)
			if err != nil {
				return err
			}
			_, err = child(first, path, &argv[0])
			if err == nil {
				break
			}
			if err != unix.EEXIST { // somebody else got the id
				return err
			}
		}
	}
	return nil
}

// cloneArgs is the kernel's struct clone_args.
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls uint64
	setTID                                                               unsafe.Pointer
	setTIDSize, cgroup                                                   uint64
}

// child has a child that ends at once, or becomes a program, and waits for that. Its id is this one, if it is not 0.
func child(id int, path *byte, argv **byte) (int, error) {
	ids := [1]int32{int32(id)}
	args := cloneArgs{exitSignal: uint64(unix.SIGCHLD)}
	if id != 0 {
		args.setTID, args.setTIDSize = unsafe.Pointer(&ids[0]), 1
	}
	pid, errno := clone(&args, path, argv)
	if errno != 0 {
		return 0, errno
	}
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &ws, 0, nil)
		if err == nil && ws.ExitStatus() != 0 {
			err = fmt.Errorf("a child ended with %v", ws)
		}
		if err != unix.EINTR {
			return pid, err
		}
	}
}

// clone is where the child runs, alone in a copy of this program: without a scheduler it may call the kernel and nothing
// of Go.
//
//go:nosplit
//go:norace
func clone(args *cloneArgs, path *byte, argv **byte) (int, syscall.Errno) {
	pid, _, errno := syscall.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(args)), unsafe.Sizeof(*args), 0)
	if pid != 0 || errno != 0 {
		return int(pid), errno
	}
	if path != nil {
		for range 3 {
			syscall.RawSyscall(unix.SYS_MEMBARRIER, 1, 0, 0) // MEMBARRIER_CMD_GLOBAL: what waited for RCU is over
		}
		syscall.RawSyscall(syscall.SYS_EXECVE, uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(argv)), 0)
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 1, 0, 0)
	}
	for {
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
	}
}

// nobody becomes another user and ends.
func nobody([]string) error {
	if err := unix.Setuid(65534); err != nil {
		return err
	}
	os.Exit(3)
	return nil
}

// title writes this over its arguments, as servers do, and is ready.
func title(args []string) error {
	begin := unsafe.StringData(os.Args[0])
	last := os.Args[len(os.Args)-1]
	end := uintptr(unsafe.Pointer(unsafe.StringData(last))) + uintptr(len(last))
	all := unsafe.Slice(begin, end-uintptr(unsafe.Pointer(begin)))
	text := args[0]
	text = string(append([]byte(nil), text...)) // which lies there itself
	clear(all)
	copy(all, text)
	return ready(nil)
}

// ready says that it runs, and waits for the end of its input.
func ready([]string) error {
	fmt.Println("done")
	discard(os.Stdin)
	return nil
}

// hear writes to a file how many signals have interrupted it, a line each, and ends after so many with a status.
func hear(args []string) error {
	most, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 10)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGQUIT)
	file, err := os.OpenFile(args[2], os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	for i := range most {
		if _, err := fmt.Fprintln(file, i); err != nil {
			return err
		}
		<-signals
	}
	return exit(args[1:])
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
