// Package work is what processes do that tests trace: plain system calls, one after
// the other, so that it is known exactly what happens and who does it. A test binary
// runs itself once more as such a process: see [Main] and [Start]. A failure ends the
// process, and with it the test.
//
//	conn.go     connections, in every way that they can come and go
//	measure.go  what is measured of them
//	reject.go   those that something on the way rejects, and those that are older
//	traffic.go  bytes, in every way that they can be moved
//	http.go     scripts of messages, servers and clients
//	identity.go connections whose names are known
//	names.go    what a test hears of those
//	socket.go   what tests do with sockets of their own
package work

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// variable names the workload to a process, with its arguments.
const variable = "TRACER_TEST_WORK"

// table is what there is to do, by name.
func table() map[string]func(args []string) {
	return map[string]func(args []string){
		"blockedAccept":     blockedAccept,
		"connectTo":         connectTo,
		"vanish":            vanish,
		"byThreads":         byThreads,
		"passFD":            passFD,
		"echoPassed":        func([]string) { echo(receiveFD(3)) },
		"goNet":             goNet,
		"withoutIPv6":       withoutIPv6,
		"older":             olderThanTracing,
		"olderHalfClosed":   olderHalfClosed,
		"olderConnecting":   olderConnecting,
		"server":            server,
		"client":            client,
		"talk":              func(args []string) { talkAsClient(3, args[0]) },
		"echo":              func([]string) { echo(3) },
		"acceptParent":      acceptParent,
		"connectParent":     connectParent,
		"acceptLate":        acceptLate,
		"resetBeforeAccept": resetBeforeAccept,
		"reset":             reset,
		"refused":           refused,
		"atOnce":            atOnce,
		"hostUnreachable":   hostUnreachable,
		"rejectedWhileHeld": rejectedWhileHeld,
		"rejected":          rejected,
		"rejectedAndReused": reusedAfterRejection,
		"changesUser":       changesUser,
		"olderReset":        olderReset,
		"olderConnected":    olderConnected,
		"lostSegments":      lostSegments,
		"reused":            reused,
		"bytes":             allWaysToSend,
		"fastOpen":          fastOpen,
		"mptcp":             mptcp,
		"ioUring":           ioUring,
		"noAnswer":          noAnswer,
		"timeout":           timeout,
		"many":              many,
		"manyFates":         manyFates,
		"manyRaces":         manyRaces,
		"holdMany":          holdMany,
		"play":              playAll,
		"serveInTurns":      serveInTurns,
		"hog":               hog,
		"serveHTTP":         serveHTTP,
		"proxyHTTP":         proxyHTTP,
		"getHTTP":           getHTTP,
		"ringClient":        ringClient,
		"ringServer":        ringServer,
		"waysServer":        waysServer,
		"waysClient":        waysClient,
		"echoServer":        echoServer,
		"echoClient":        echoClient,
		"endServer":         endServer,
		"endClient":         endClient,
		"sentAgain":         sentAgain,
		"shared":            sharedSocket,
		"sharer":            sharer,
		"heldParent":        heldParent,
		"waysSink":          sharedSink,
		"readSlowly":        readSlowly,
		"callDeaf":          callDeaf,
		"writeAll":          func(args []string) { writeFull(3, number(args[0])) },
		"neverRead":         neverRead,
		"talkMany":          talkMany,
		"udp":               udpWays,
		"udpNoise":          udpNoise,
		"udpPorts":          udpPorts,
		"udpEnds":           udpEnds,
		"trafficNetwork":    trafficNetwork,
		"nothingMoves":      nothingMoves,
		"identity":          identity,
		"turns":             turns,
		"overflow":          overflow,
		"idle":              idle,
		"unread":            unread,
		"queue":             queue,
		"limited":           limited,
		"holdOpen":          holdOpen,
		"holdListener":      holdListener,
	}
}

// Main makes the process a workload if it was started as one: it returns in any other.
// TestMain calls it first.
func Main() {
	args := strings.Fields(os.Getenv(variable))
	if len(args) == 0 {
		return
	}
	table()[args[0]](args[1:])
	os.Exit(0)
}

// A Process runs one of the functions of the table.
type Process struct {
	PID int

	t   testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

// Start starts a process, which is killed when the test ends.
func Start(t testing.TB, name string, args ...string) *Process {
	t.Helper()
	p := &Process{t: t, cmd: exec.Command("/proc/self/exe")}
	p.cmd.Env = append(os.Environ(), "GODEBUG=asyncpreemptoff=1", variable+"="+name+" "+strings.Join(args, " "))
	p.cmd.Stderr = os.Stderr
	p.in, _ = p.cmd.StdinPipe()
	out, _ := p.cmd.StdoutPipe()
	p.out = bufio.NewScanner(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.PID = p.cmd.Process.Pid
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended
		_ = p.cmd.Wait()
	})
	return p
}

// Say lets the process go on.
func (p *Process) Say(text string) {
	if _, err := io.WriteString(p.in, text+"\n"); err != nil {
		p.t.Fatal(err)
	}
}

// Kill ends the process at once.
func (p *Process) Kill() error { return p.cmd.Process.Kill() }

// Wait waits until the process has ended by itself.
func (p *Process) Wait() {
	p.t.Helper()
	if err := p.cmd.Wait(); err != nil {
		p.t.Fatal(err)
	}
}

// Hear waits for what the process says. If that is why it cannot do its work, the test
// is skipped.
func (p *Process) Hear() string {
	p.t.Helper()
	for p.out.Scan() {
		if text, ok := strings.CutPrefix(p.out.Text(), "said: "); ok {
			if why, ok := strings.CutPrefix(text, "skip: "); ok {
				p.t.Skip(why)
			}
			return text
		}
	}
	p.t.Fatalf("the workload ended: %v", p.out.Err())
	return ""
}

// HearInt is Hear for a number.
func (p *Process) HearInt() int {
	p.t.Helper()
	n, err := strconv.Atoi(p.Hear())
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

// What follows is for the processes.

var fromTest = bufio.NewScanner(os.Stdin)

func said(v any) { fmt.Println("said:", v) }

// heard waits for the test's word, forever if there is none.
func heard() {
	if !fromTest.Scan() {
		os.Exit(0)
	}
}

// Must panics if there is an error.
func Must(err error) {
	if err != nil {
		panic(err)
	}
}

// Must1 is Must for what returns a value, too.
func Must1[T any](v T, err error) T {
	Must(err)
	return v
}
