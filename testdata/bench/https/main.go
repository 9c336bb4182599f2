// Command https is what https.sh needs beside nginx and wrk: a server of Go, and programs
// that do nothing in TLS libraries, at their public functions or where tracer has its own.
package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"tracer/trace/tls/elf"
	"tracer/trace/tls/library"
)

const usage = `usage:
  https serve ADDRESS CERTIFICATE KEY   a server of Go: HTTP/1, "hello"
  https public LIBRARY                  programs that do nothing at SSL_read and SSL_write, until interrupted
  https inner FILE                      the same where tracer has its own`

func main() {
	args := os.Args[1:]
	switch {
	case len(args) == 4 && args[0] == "serve":
		serve(args[1], args[2], args[3])
	case len(args) == 2 && (args[0] == "public" || args[0] == "inner"):
		if err := empty(args[0] == "public", args[1]); err != nil {
			fail(err)
		}
	default:
		fail(usage)
	}
}

func fail(what any) {
	fmt.Fprintln(os.Stderr, what)
	os.Exit(1)
}

func serve(address, cert, key string) {
	s := &http.Server{
		Addr:         address,
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
		Handler:      http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello\n") }),
	}
	fail(s.ListenAndServeTLS(cert, key))
}

// empty attaches programs until it is interrupted.
func empty(public bool, path string) error {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.Kprobe, AttachType: ebpf.AttachTraceUprobeMulti, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return err
	}
	defer p.Close()
	exe, err := link.OpenExecutable(path)
	if err != nil {
		return err
	}
	attach := func(names []string, at []uint64, onReturn bool) error {
		if len(names)+len(at) == 0 {
			return nil
		}
		of := exe.UprobeMulti
		if onReturn {
			of = exe.UretprobeMulti
		}
		_, err := of(names, p, &link.UprobeMultiOptions{Addresses: at})
		return err
	}
	var names []string
	var entries, returns, rets []uint64
	if public {
		names = []string{"SSL_read", "SSL_write"}
	} else {
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		var l library.Library
		if err := elf.Read(file, func(m *elf.Image) (err error) { l, err = library.Find(m); return err }); err != nil {
			return err
		}
		for _, f := range l.Functions {
			switch {
			case f.Return.Offset != 0 && f.Use.Result() != 0 && f.Use != library.BIOWrite:
				entries, returns = append(entries, f.Return.Offset), append(returns, f.Return.Offset)
			case f.Use == library.GoRead:
				entries, rets = append(entries, f.Entry.Offset), append(rets, f.Rets...)
			case f.Use == library.GoWrite:
				entries = append(entries, f.Entry.Offset)
			}
		}
	}
	if err := attach(names, append(entries, rets...), false); err != nil {
		return err
	}
	if err := attach(names, returns, true); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "ready")
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	<-c
	return nil
}
