// Command http is the load of http.sh that no package brings: requests at a
// fixed rate, a server and clients that tell their own times, traffic that is
// not HTTP; and programs that do nothing on the hooks of tracer, for this one
// and others.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
)

const usage = `usage:
  http pace ADDRESS PATH RATE SECONDS      median and p99 of GETs at a fixed rate, in µs
  http serve                               a server that answers with its own time; prints its address
  http ask ADDRESS RATE SECONDS            asks it; prints path, server's and client's own µs
  http stream SECONDS                      64 KiB writes, one way; prints bytes a second and calls
  http pingpong SECONDS                    64 bytes there and back; prints round trips a second and calls
  http empty TRACEPOINT…                   programs that do nothing, until interrupted`

func main() {
	if len(os.Args) < 2 {
		fail(usage)
	}
	args := os.Args[2:]
	switch verb := os.Args[1]; {
	case verb == "pace" && len(args) == 4:
		pace(args[0], args[1], number(args[2]), number(args[3]))
	case verb == "serve" && len(args) == 0:
		serve()
	case verb == "ask" && len(args) == 3:
		ask(args[0], number(args[1]), number(args[2]))
	case verb == "stream" && len(args) == 1:
		bulk(number(args[0]), false)
	case verb == "pingpong" && len(args) == 1:
		bulk(number(args[0]), true)
	case verb == "empty" && len(args) > 0:
		empty(args)
	default:
		fail(usage)
	}
}

func fail(what any) {
	fmt.Fprintln(os.Stderr, what)
	os.Exit(1)
}

func check(err error) {
	if err != nil {
		fail(err)
	}
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	check(err)
	return n
}

// each calls f at a rate, shared by as many connections, for some time.
func each(address string, conns, rate, seconds int, f func(conn net.Conn, i int)) {
	var all sync.WaitGroup
	begin := time.Now().Add(10 * time.Millisecond)
	for c := range conns {
		all.Go(func() {
			conn, err := net.Dial("tcp4", address)
			check(err)
			defer conn.Close()
			for i := c; i < rate*seconds; i += conns {
				time.Sleep(time.Until(begin.Add(time.Duration(i) * time.Second / time.Duration(rate))))
				f(conn, i)
			}
		})
	}
	all.Wait()
}

// get sends a request and reads its answer, which must come in one piece with
// a Content-Length; it returns the answer and how long that took.
func get(conn net.Conn, path string, buf []byte) (string, time.Duration) {
	request := []byte("GET " + path + " HTTP/1.1\r\nHost: bench\r\n\r\n")
	begin := time.Now()
	_, err := conn.Write(request)
	check(err)
	n, err := conn.Read(buf)
	took := time.Since(begin)
	check(err)
	if !bytes.HasPrefix(buf[:n], []byte("HTTP/1.1 200 ")) {
		fail(string(buf[:n]))
	}
	return string(buf[:n]), took
}

func pace(address, path string, rate, seconds int) {
	var mu sync.Mutex
	took := make([]time.Duration, 0, rate*seconds)
	begin := time.Now()
	each(address, 10, rate, seconds, func(conn net.Conn, _ int) {
		_, t := get(conn, path, make([]byte, 4096))
		mu.Lock()
		defer mu.Unlock()
		took = append(took, t)
	})
	slices.Sort(took)
	us := func(q float64) float64 { return float64(took[int(q*float64(len(took)-1))].Nanoseconds()) / 1000 }
	fmt.Printf("%.0f %.0f %.0f\n", us(0.5), us(0.99), float64(len(took))/time.Since(begin).Seconds())
}

// serve works for up to 2 ms on each request, by its own clock.
func serve() {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	check(err)
	fmt.Println(l.Addr())
	for {
		conn, err := l.Accept()
		check(err)
		go func() {
			defer conn.Close()
			buf := make([]byte, 4096)
			for {
				if _, err := conn.Read(buf); err != nil {
					return
				}
				begin := time.Now()
				time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond)
				took := time.Since(begin)
				if _, err := fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nX-Took: %.1f\r\nContent-Length: 0\r\n\r\n", float64(took.Nanoseconds())/1000); err != nil {
					return
				}
			}
		}()
	}
}

func ask(address string, rate, seconds int) {
	out := bufio.NewWriter(os.Stdout)
	var mu sync.Mutex
	each(address, 16, rate, seconds, func(conn net.Conn, i int) {
		path := fmt.Sprintf("/n%d", i)
		answer, took := get(conn, path, make([]byte, 4096))
		_, own, _ := strings.Cut(answer, "X-Took: ")
		own, _, _ = strings.Cut(own, "\r")
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(out, "%s %s %.1f\n", path, own, float64(took.Nanoseconds())/1000)
	})
	check(out.Flush())
}

// bulk moves bytes that are not HTTP from one thread to another.
func bulk(seconds int, back bool) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	check(err)
	client, err := net.Dial("tcp4", l.Addr().String())
	check(err)
	server, err := l.Accept()
	check(err)
	size := 64 << 10
	if back {
		size = 64
	}
	until := time.Now().Add(time.Duration(seconds) * time.Second)
	var sent, received, total int // calls, calls, bytes
	var both sync.WaitGroup
	both.Go(func() {
		buf := bytes.Repeat([]byte("\x16\x03\x01data"), size/7+1)[:size]
		for time.Now().Before(until) {
			_, err := client.Write(buf)
			check(err)
			sent++
			if back {
				_, err := io.ReadFull(client, buf)
				check(err)
				sent++
			}
		}
		client.Close()
	})
	both.Go(func() {
		buf := make([]byte, size)
		for {
			n, err := server.Read(buf)
			if err == io.EOF {
				return
			}
			check(err)
			received++
			total += n
			if back {
				_, err := server.Write(buf[:n])
				check(err)
				received++
			}
		}
	})
	both.Wait()
	fmt.Printf("%d %d\n", total/seconds, sent+received)
}

// empty attaches programs that only return.
func empty(hooks []string) {
	for _, hook := range hooks {
		program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Type:         ebpf.Tracing,
			AttachType:   ebpf.AttachTraceRawTp,
			AttachTo:     hook,
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
			License:      "GPL",
		})
		check(err)
		defer program.Close()
		l, err := link.AttachTracing(link.TracingOptions{Program: program})
		check(err)
		defer l.Close()
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	fmt.Println("ready")
	<-stop
}
