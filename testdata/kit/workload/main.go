// Workload is what tracer is to see in the tests: programs of one task each, named by the first argument.
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// workloads are the tasks by name. What a task returns is its process's failure.
func workloads() map[string]func(args []string) error {
	return map[string]func(args []string) error{
		"nothing": func([]string) error { return nil },
		"sleep":   func([]string) error { time.Sleep(time.Minute); return nil },
		"exit":    exit,
		"leader":  leader,
		"thread":  thread,
		"try":     try,
		"fail":    fail,
		"again":   again,
		"nobody":  nobody,
		"title":   title,
		"ready":   ready,
		"hear":    hear,
		"debug":   debug,
		"tree":    tree,
		"storm":   storm,
		"locked":  locked,
		"hidden":  hidden,
		"web":     web,
		"network": network,
		"named":   named,
	}
}

func main() {
	name, args := "", os.Args[1:]
	if filepath.Base(os.Args[0]) == "sshd" {
		name = "sshd" // what carries a session of a user's
	} else if len(args) > 0 {
		name, args = args[0], args[1:]
	}
	work := workloads()[name]
	switch {
	case name == "sshd":
		work = sshd
	case os.Getenv("TRACER_WORKLOAD") != "": // for arguments that are a test's own
		work, args = workloads()[os.Getenv("TRACER_WORKLOAD")], os.Args[1:]
	}
	if work == nil {
		fmt.Fprintf(os.Stderr, "workload: no %q\n", name)
		os.Exit(98)
	}
	if err := work(args); err != nil {
		fmt.Fprintf(os.Stderr, "workload %s: %v\n", name, err)
		os.Exit(99)
	}
}

func exit(args []string) error {
	n, err := strconv.Atoi(args[0])
	if err == nil {
		os.Exit(n)
	}
	return err
}

// discard reads a gate that opens when the test closes it.
func discard(r io.Reader) { _, _ = io.Copy(io.Discard, r) }
