package work

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Sizes of a request and an answer.
const (
	askedBytes    = 101
	answeredBytes = 211
)

// turns asks and answers on a connection of its own so many times, in one of some ways, and
// says what the client's own clock measured: half of the answers took less, and the longest.
//
//	plain      by one call each; every seventh answer takes longer
//	greeting   the server speaks first, and reads a request and sends an answer by two
//	           calls each, with a pause in between
//	pieces     a request is larger than what one call sends
//	pipelined  all is asked before anything is answered
//	window     there are always two requests under way
//	both       both sides send without being asked
func turns(args []string) {
	c, s := callMyself()
	for _, fd := range []int{c, s} {
		Must(unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
	}
	how, n := args[0], number(args[1])
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		switch how {
		case "both":
			speak(s, n, 3*time.Millisecond)
			readFull(s, n*askedBytes)
			return
		case "greeting":
			writeFull(s, 77)
		}
		for i := range n {
			answerOne(s, how, i)
		}
	}()
	var took []time.Duration
	switch how {
	case "pipelined":
		for range n {
			writeFull(c, askedBytes)
		}
		readFull(c, n*answeredBytes)
	case "window":
		writeFull(c, askedBytes)
		for i := range n {
			if i < n-1 {
				writeFull(c, askedBytes)
			}
			readFull(c, answeredBytes)
		}
	case "both":
		speak(c, n, 5*time.Millisecond)
		readFull(c, n*askedBytes)
	default:
		if how == "greeting" {
			readFull(c, 77)
		}
		for range n {
			took = append(took, askOne(c, how))
			time.Sleep(2 * time.Millisecond) // which is the client's, and no turn
		}
	}
	<-answered
	closeBoth(c, s)
	slices.Sort(took)
	if len(took) > 0 {
		said(took[(len(took)-1)/2].Microseconds())
		said(took[len(took)-1].Microseconds())
	}
	said("done")
	heard()
}

// speak sends without being asked.
func speak(fd, n int, every time.Duration) {
	for range n {
		writeFull(fd, askedBytes)
		time.Sleep(every)
	}
}

func answerOne(s int, how string, i int) {
	switch how {
	case "greeting":
		readFull(s, 4)
		readFull(s, askedBytes-4)
	case "pieces":
		readFull(s, 5*8192+askedBytes)
	default:
		readFull(s, askedBytes)
	}
	time.Sleep(10 * time.Millisecond)
	if i%7 == 3 {
		time.Sleep(50 * time.Millisecond)
	}
	if how == "greeting" {
		writeFull(s, answeredBytes-100)
		time.Sleep(5 * time.Millisecond)
		writeFull(s, 100)
		return
	}
	writeFull(s, answeredBytes)
}

// askOne returns how long the answer's first byte took.
func askOne(c int, how string) time.Duration {
	if how == "pieces" {
		for range 5 {
			writeFull(c, 8192)
		}
	}
	writeFull(c, askedBytes)
	begin := time.Now()
	readFull(c, 1)
	took := time.Since(begin)
	readFull(c, answeredBytes-1)
	return took
}
