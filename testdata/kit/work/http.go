package work

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Move is one thing that an end of a connection does, by plain system calls.
// Scripts of moves are played by the test itself, as the client, and by a
// process of its own, as the server.
type Move struct {
	Send   string // these bytes
	Repeat int    // so many times over, in one go; 0: once
	Recv   int    // so many bytes, -1: until the end
	How    string // of Send: "", each (byte), writev, sendmsg, sendfile, urgent, thread (another one); of Recv: "", each, readv, recvmsg, peek, splice, poll (and read), trunc, stamps (and read); of neither: readable (waits until it is)
	Parts  int    // of writev, sendmsg, readv and recvmsg
	Pause  int    // ms; with How accept, as the first move: of a connection that waits to be accepted
	Burn   int    // ms of the processor
	End    string // reset (at the end, instead of a proper close), shutdown (of sending)
}

func Send(data string) Move       { return Move{Send: data} }
func Recv(n int) Move             { return Move{Recv: n} }
func Pause(ms int) Move           { return Move{Pause: ms} }
func Burn(ms int) Move            { return Move{Burn: ms} }
func (m Move) By(how string) Move { m.How = how; return m }
func (m Move) In(parts int) Move  { m.Parts = parts; return m }
func (m Move) Times(n int) Move   { m.Repeat = n; return m }

// Play plays a script on a connected, blocking socket and closes it.
func Play(fd int, script []Move) error {
	defer unix.Close(fd)
	return Perform(fd, script...)
}

// Perform is Play for a connection that goes on.
func Perform(fd int, script ...Move) error {
	for i, m := range script {
		if err := m.do(fd); err != nil {
			return fmt.Errorf("move %d: %w", i, err)
		}
	}
	return nil
}

func (m *Move) do(fd int) error {
	switch {
	case m.How == "readable":
		waitFor(fd, unix.POLLIN)
	case m.Pause > 0 && m.How == "accept":
	case m.Pause > 0:
		time.Sleep(time.Duration(m.Pause) * time.Millisecond)
	case m.Burn > 0:
		burn(time.Duration(m.Burn) * time.Millisecond)
	case m.End == "reset":
		return unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	case m.End == "shutdown":
		return unix.Shutdown(fd, unix.SHUT_WR)
	case m.Send != "":
		return m.send(fd, []byte(strings.Repeat(m.Send, max(m.Repeat, 1))))
	case m.Recv != 0:
		return m.recv(fd)
	}
	return nil
}

// burn has the thread work for so long, by its own clock.
func burn(long time.Duration) {
	clock := func() time.Duration {
		var ts unix.Timespec
		Must(unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts))
		return time.Duration(ts.Nano())
	}
	for until := clock() + long; clock() < until; {
	}
}

func (m *Move) send(fd int, data []byte) error {
	switch m.How {
	case "each":
		for i := range data {
			if _, err := unix.Write(fd, data[i:i+1]); err != nil {
				return err
			}
		}
		return nil
	case "writev":
		n, err := unix.Writev(fd, split(data, m.Parts))
		return whole(n, len(data), err)
	case "thread":
		done := make(chan error)
		go func() {
			runtime.LockOSThread() // as who plays the script does
			done <- (&Move{}).send(fd, data)
		}()
		return <-done
	case "urgent": // the last byte
		return unix.Sendto(fd, data, unix.MSG_OOB, nil)
	case "sendmsg":
		n, err := unix.SendmsgBuffers(fd, split(data, m.Parts), nil, nil, 0)
		return whole(n, len(data), err)
	case "sendfile":
		f, err := os.CreateTemp("", "")
		if err != nil {
			return err
		}
		defer os.Remove(f.Name())
		defer f.Close()
		if _, err := f.Write(data); err != nil {
			return err
		}
		var at int64
		for at < int64(len(data)) {
			if _, err := unix.Sendfile(fd, int(f.Fd()), &at, len(data)); err != nil {
				return err
			}
		}
		return nil
	}
	for len(data) > 0 {
		n, err := unix.Write(fd, data)
		if err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

func whole(n, want int, err error) error {
	if err == nil && n != want {
		return fmt.Errorf("%d of %d bytes", n, want)
	}
	return err
}

// split cuts data into parts with an empty one in front, as Go and libc do.
func split(data []byte, parts int) [][]byte {
	list := [][]byte{{}}
	for i := range parts {
		list = append(list, data[len(data)*i/parts:len(data)*(i+1)/parts])
	}
	return list
}

func (m *Move) recv(fd int) error {
	buf := make([]byte, 64<<10)
	var pipe [2]int
	if m.How == "splice" {
		if err := unix.Pipe(pipe[:]); err != nil {
			return err
		}
		defer unix.Close(pipe[0])
		defer unix.Close(pipe[1])
	}
	for left := m.Recv; left != 0; {
		room := len(buf)
		if left > 0 {
			room = min(room, left)
		}
		var n int
		var err error
		switch m.How {
		case "each":
			n, err = unix.Read(fd, buf[:1])
		case "poll": // it is in no call while it waits
			waitFor(fd, unix.POLLIN)
			n, err = unix.Read(fd, buf[:room])
		case "readv":
			n, err = unix.Readv(fd, split(buf[:room], m.Parts))
		case "recvmsg":
			n, _, _, _, err = unix.RecvmsgBuffers(fd, split(buf[:room], m.Parts), nil, 0)
		case "trunc": // taken out, and thrown away
			n, _, err = unix.Recvfrom(fd, buf[:room], unix.MSG_TRUNC)
		case "stamps":
			readStamps(fd)
			n, err = unix.Read(fd, buf[:room])
		case "peek":
			if _, _, err = unix.Recvfrom(fd, buf[:room], unix.MSG_PEEK); err == nil {
				n, _, err = unix.Recvfrom(fd, buf[:room], 0)
			}
		case "splice":
			var moved int64
			moved, err = unix.Splice(fd, nil, pipe[1], nil, min(room, 4096), 0)
			for n = 0; err == nil && int64(n) < moved; {
				var k int
				k, err = unix.Read(pipe[0], buf[:moved-int64(n)])
				n += k
			}
		default:
			n, err = unix.Read(fd, buf[:room])
		}
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ECONNRESET) && m.Recv < 0, n == 0 && err == nil && m.Recv < 0:
			return nil
		case err != nil:
			return err
		case n == 0:
			return errors.New("end of stream")
		}
		left -= n
	}
	return nil
}

// Stamps asks for time stamps of what is sent on a socket: they come by its error queue.
func Stamps(fd int) {
	Must(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPING, unix.SOF_TIMESTAMPING_TX_SOFTWARE|
		unix.SOF_TIMESTAMPING_SOFTWARE|unix.SOF_TIMESTAMPING_OPT_ID|unix.SOF_TIMESTAMPING_TX_ACK))
}

// readStamps waits for what comes by a socket's error queue, and reads all of it: with each
// stamp comes a copy of what was sent.
func readStamps(fd int) {
	waitFor(fd, unix.POLLERR)
	data, control := make([]byte, 4096), make([]byte, 512)
	for n := 0; ; n++ {
		if _, _, _, _, err := unix.Recvmsg(fd, data, control, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT); errors.Is(err, unix.EAGAIN) && n > 0 {
			return
		} else if !errors.Is(err, unix.EINTR) {
			Must(err)
		}
	}
}

// playAll plays scripts one after the other, each on a connection to a port of
// its own.
func playAll(args []string) {
	runtime.LockOSThread() // what one thread does is told
	var scripts [][]Move
	Must(gob.NewDecoder(bytes.NewReader(Must1(os.ReadFile(args[0])))).Decode(&scripts))
	var listeners []int
	for range scripts {
		fd, port := FixedListener()
		listeners = append(listeners, fd)
		said(port)
	}
	for i, script := range scripts {
		if len(script) > 0 && script[0].How == "accept" {
			Must1(unix.Poll([]unix.PollFd{{Fd: int32(listeners[i]), Events: unix.POLLIN}}, -1))
			time.Sleep(time.Duration(script[0].Pause) * time.Millisecond)
		}
		conn := accept(listeners[i])
		Timeouts(conn)
		if err := Play(conn, script); err != nil {
			panic(fmt.Sprintf("script %d: %v", i, err))
		}
		said("done")
	}
}

// serveInTurns is an event loop: one thread reads the requests of so many connections,
// works for so many ms, and answers them all, again and again.
func serveInTurns(args []string) {
	runtime.LockOSThread()
	fd, port := FixedListener()
	said(port)
	conns, buf := make([]int, number(args[0])), make([]byte, 4096)
	for i := range conns {
		conns[i] = accept(fd)
		Timeouts(conns[i])
	}
	for {
		for _, conn := range conns {
			if Must1(unix.Read(conn, buf)) == 0 {
				return
			}
		}
		burn(time.Duration(number(args[1])) * time.Millisecond)
		for _, conn := range conns {
			Must1(unix.Write(conn, []byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")))
		}
	}
}

// hog never gives a processor away.
func hog([]string) {
	for {
		burn(time.Hour)
	}
}

// FixedListener is a socket that listens on a port that nobody gets who does not
// ask for it: what others do is told from the test's own by its ports.
func FixedListener() (fd, port int) {
	for {
		port = 20000 + rand.IntN(10000)
		addr, family := sockaddr("127.0.0.1", port)
		fd = socket(family, 0, 0)
		if unix.Bind(fd, addr) == nil && unix.Listen(fd, 512) == nil {
			return fd, port
		}
		closeFD(fd)
	}
}

// listenFixed is the same for package net.
func listenFixed() net.Listener {
	fd, port := FixedListener()
	said(port)
	l := Must1(net.FileListener(os.NewFile(uintptr(fd), "listener")))
	return l
}

// Timeouts sees to it that no test hangs for ever.
func Timeouts(fd int) {
	tv := unix.Timeval{Sec: 30}
	Must(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv))
	Must(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv))
}

// serveHTTP is a server by net/http. /status/N answers with that status,
// /sleep/MS late, /bytes/N with so many bytes, /echo with what it got.
func serveHTTP([]string) {
	l := listenFixed()
	number := func(r *http.Request) int { return Must1(strconv.Atoi(r.PathValue("n"))) }
	mux := http.NewServeMux()
	mux.HandleFunc("/status/{n}", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(number(r)) })
	mux.HandleFunc("/sleep/{n}", func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		time.Sleep(time.Duration(number(r)) * time.Millisecond)
		w.Header().Set("X-Took", strconv.FormatInt(time.Since(began).Microseconds(), 10))
	})
	mux.HandleFunc("/bytes/{n}", func(w http.ResponseWriter, r *http.Request) { Must1(w.Write(make([]byte, number(r)))) })
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) { Must1(io.Copy(w, r.Body)) })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "hello") })
	Must((&http.Server{Handler: mux}).Serve(l))
}

// proxyHTTP passes requests on to the server at a port.
func proxyHTTP(args []string) {
	l := listenFixed()
	to := Must1(url.Parse("http://127.0.0.1:" + args[0]))
	Must((&http.Server{Handler: httputil.NewSingleHostReverseProxy(to)}).Serve(l))
}

// getHTTP sends so many requests to a URL, by so many at a time, each on a
// connection of its own or not.
func getHTTP(args []string) {
	target, total, workers, fresh := args[0], number(args[1]), number(args[2]), args[3] == "fresh"
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: fresh, MaxIdleConnsPerHost: workers}}
	heard()
	var left atomic.Int64
	left.Store(int64(total))
	var done sync.WaitGroup
	for range workers {
		done.Go(func() {
			for left.Add(-1) >= 0 {
				resp := Must1(client.Get(target))
				Must1(io.Copy(io.Discard, resp.Body))
				Must(resp.Body.Close())
			}
		})
	}
	done.Wait()
	client.CloseIdleConnections()
	said("done")
}

// move sends or receives by io_uring.
func (u *uring) move(fd int, b []byte, send bool) int {
	const opSend, opReceive = 26, 27
	opcode := uint8(opReceive)
	if send {
		opcode = opSend
	}
	res := u.doSized(opcode, fd, unsafe.Pointer(&b[0]), uint32(len(b)), 0)
	if res < 0 {
		panic(unix.Errno(-res))
	}
	return int(res)
}

// ringClient sends so many requests to a URL on one connection, by io_uring.
func ringClient(args []string) {
	u := newUring()
	to := Must1(url.Parse(args[0]))
	request := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: ring\r\n\r\n", to.Path)
	buf := make([]byte, 4096)
	heard()
	c := dial("127.0.0.1", number(to.Port()))
	for range number(args[1]) {
		if u.move(c, request, true) != len(request) {
			panic("a short send")
		}
		if n := u.move(c, buf, false); !bytes.HasSuffix(buf[:n], []byte("\r\n\r\nhello\n")) {
			panic("no answer")
		}
	}
	closeFD(c)
	said("done")
	heard()
}

// ringServer answers so many requests on one connection, by io_uring.
func ringServer(args []string) {
	u := newUring()
	l, port := FixedListener()
	said(port)
	c := accept(l)
	buf := make([]byte, 4096)
	for range number(args[0]) {
		if n := u.move(c, buf, false); !bytes.HasSuffix(buf[:n], []byte("\r\n\r\n")) {
			panic("no request")
		}
		u.move(c, []byte("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n"), true)
	}
	heard()
}
