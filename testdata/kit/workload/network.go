package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// web makes three exchanges on one connection.
func web([]string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() { _ = http.Serve(l, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})) }() // it ends with the process
	// One connection, however slow the machine is: a http.Client may make another.
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return err
	}
	answers := bufio.NewReader(conn)
	for range 3 {
		if _, err := fmt.Fprintf(conn, "GET /web HTTP/1.1\r\nHost: %s\r\n\r\n", l.Addr()); err != nil {
			return err
		}
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			return err
		}
		if err := resp.Body.Close(); err != nil {
			return err
		}
	}
	return conn.Close()
}

// network makes a connection that carries 1009 bytes each way and is closed by the server, and one that is refused, as
// Go programs do it: the listener is an MPTCP one by default.
func network([]string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := make(chan error)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			_, err = io.Copy(conn, io.LimitReader(conn, 1009))
			_ = conn.Close()
		}
		server <- err
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return err
	}
	if _, err := conn.Write(make([]byte, 1009)); err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, conn)
	if err == nil && n != 1009 {
		err = fmt.Errorf("%d bytes came back", n)
	}
	if err := errors.Join(err, <-server, conn.Close(), l.Close()); err != nil {
		return err
	}
	if _, err = net.Dial("tcp", l.Addr().String()); !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("not refused: %w", err)
	}
	return nil
}

// named is network of a process that calls itself so.
func named(args []string) error {
	if err := os.WriteFile("/proc/self/comm", []byte(args[0]), 0); err != nil {
		return err
	}
	return network(nil)
}

// sshd carries a session of which a program is part: it connects to an address once it is told to, and ends the program
// with its input.
func sshd(args []string) error {
	address, program := args[0], args[1:]
	child := exec.Command(program[0], program[1:]...)
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	if err := child.Start(); err != nil {
		return err
	}
	in := bufio.NewReader(os.Stdin)
	if _, err := in.ReadString('\n'); err != nil {
		return err
	}
	conn, err := net.Dial("tcp4", address)
	if err != nil {
		return err
	}
	if err := conn.Close(); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "connected")
	discard(in)
	return errors.Join(child.Process.Signal(os.Interrupt), child.Wait())
}
