package http

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"tracer/testdata/kit"

	"github.com/google/go-cmp/cmp"

	"tracer/trace/event"
	"tracer/trace/kernel"
	"tracer/trace/session"
)

// However bytes are cut into calls, whatever calls these are, the exchanges are
// the same: of random scripts, from both ends and from each alone.
func TestKernelHTTPRandomScriptsAreSeenWhole(t *testing.T) {
	kit.Needs(t, kit.EndsKernel)
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("SEED=%d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	plays := make([]randomPlay, 11)
	for i := range plays {
		plays[i] = randomScripts(r)
	}
	tiersOf(t, func(t *testing.T, tier kernel.Tier) {
		for try := 1; ; try++ {
			diff, misses := differs(t, tier, plays)
			if diff == "" {
				return
			}
			if !misses || try == 3 {
				t.Fatal(diff)
			}
			t.Logf("a program may have been missed, once more: %s", diff)
		}
	})
}

// differs plays all, and returns how what is told differs from what was done; and
// whether a program may have been left out, which spoils rows. The kernel counts
// that; an old one does not where it is a kprobe.
func differs(t *testing.T, tier kernel.Tier, plays []randomPlay) (diff string, misses bool) {
	var scripts [][]move
	for _, p := range plays {
		scripts = append(scripts, p.server)
	}
	server, ports := serve(t, scripts...)
	var sessions []*view
	defer func() {
		misses = tier == kernel.Kprobe
		for _, c := range sessions {
			missed := c.Stop().LostBy["program_missed"]
			misses = misses || missed > 0
		}
	}()
	roles := []string{event.RoleBoth, event.RoleClient, event.RoleServer}
	for _, role := range roles {
		args := []string{atPorts(ports...)}
		if role != event.RoleBoth {
			args = append(args, "--role="+role)
		}
		sessions = append(sessions, traceHTTP(t, session.Options{Tier: tier}, args...))
	}
	for i, p := range plays {
		call(t, ports[i], p.client)
		server.Hear()
	}
	for i, p := range plays {
		for j, role := range roles {
			var lines []string
			for _, line := range p.rows {
				lines = append(lines, role+line)
			}
			sessions[j].await(ports[i], len(lines))
			if diff := cmp.Diff(lines, rows(sessions[j].of(ports[i]))); diff != "" {
				return fmt.Sprintf("%d, %s:\n%s\nclient %+v\nserver %+v", i, role, diff, p.client, p.server), false
			}
		}
	}
	return "", false
}

// randomPlay is what a client and a server say to each other, and the rows of
// that, without their role.
type randomPlay struct {
	client, server []move
	rows           []string
}

// randomScripts invents a play, and how they move what they say.
func randomScripts(r *rand.Rand) (play randomPlay) {
	// A part of what is said: text is sent as it is, or n bytes of a body of
	// known length, which may go any way.
	type part struct {
		text string
		n    int
	}
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	size := func() int { return []int{0, 1, 5, 100, 1023, 1024, 1025, 4000, 70_001, 300_007}[r.IntN(10)] }
	message := func(head string, short bool) (parts []part) {
		n := size()
		if short {
			n %= 30 // several of them are captured whole
		}
		if n > 0 && r.IntN(3) == 0 {
			n %= 900 // the frames of chunks are found by what is captured of them
			body, text := strings.Repeat(pick("x", evil, get), n)[:n], ""
			for body != "" {
				k := 1 + r.IntN(len(body))
				text += fmt.Sprintf("%x\r\n%s\r\n", k, body[:k])
				body = body[k:]
			}
			return []part{{text: head + "Transfer-Encoding: chunked\r\n\r\n"}, {text: text + "0\r\n\r\n"}}
		}
		return []part{{text: head + length(n) + "\r\n"}, {n: n}}
	}
	total := func(parts []part) (n int) {
		for _, p := range parts {
			n += len(p.text) + p.n
		}
		return n
	}
	sendAll := func(parts []part) (moves []move) {
		for i := 0; i < len(parts); i++ {
			p := parts[i]
			text := p.text
			// A head and what follows may go in one call.
			if p.n == 0 && i+1 < len(parts) && parts[i+1].n <= 4000 && r.IntN(2) == 0 {
				i++
				text += parts[i].text + strings.Repeat("b", parts[i].n)
			}
			switch {
			case text == "" && p.n == 0:
			case text == "" && r.IntN(3) == 0:
				moves = append(moves, send("b").Times(p.n).By("sendfile"))
			case text == "":
				moves = append(moves, send("b").Times(p.n))
			default:
				for text != "" {
					n := len(text)
					if r.IntN(2) == 0 {
						n = 1 + r.IntN(n)
					}
					m := send(text[:n])
					switch how := pick("", "", "each", "writev", "sendmsg"); {
					case how == "each" && n < 200:
						m = m.By(how)
					case how != "each" && how != "":
						m = m.By(how).In(1 + r.IntN(min(n, 30)))
					}
					moves = append(moves, m)
					text = text[n:]
				}
			}
		}
		return moves
	}
	receiveAll := func(parts []part) (moves []move) {
		for i := 0; i < len(parts); i++ {
			n, body := len(parts[i].text), parts[i].n
			if n == 0 && body > 0 && r.IntN(2) == 0 {
				moves = append(moves, recv(body).By(pick("splice", "", "readv", "peek")).In(3))
				continue
			}
			n += body
			for n > 0 {
				k := n
				if r.IntN(2) == 0 {
					k = 1 + r.IntN(n)
				}
				m := recv(k).By(pick("", "", "readv", "recvmsg", "peek", "each")).In(1 + r.IntN(20))
				if m.How == "each" && k > 200 {
					m.How = ""
				}
				moves = append(moves, m)
				n -= k
			}
		}
		return moves
	}
	for batch := range 2 + r.IntN(6) {
		depth := 1
		if r.IntN(3) == 0 {
			depth = 1 + r.IntN(5)
		}
		var asks, answers []part
		for i := range depth {
			method := pick("GET", "POST", "PUT", "DELETE", "M-SEARCH")
			path := fmt.Sprintf("/%d/%d", batch, i)
			status := 200 + r.IntN(300)
			if status == 204 || status == 304 {
				status++
			}
			ask := message(method+" "+path+" HTTP/1.1\r\nHost: h\r\n", depth > 1)
			answer := message(fmt.Sprintf("HTTP/1.1 %d X\r\n", status), depth > 1)
			play.rows = append(play.rows, fmt.Sprintf(" %s %s %d %d+%d", method, path, status, total(ask), total(answer)))
			asks, answers = append(asks, ask...), append(answers, answer...)
		}
		play.client = append(append(play.client, sendAll(asks)...), receiveAll(answers)...)
		play.server = append(append(play.server, receiveAll(asks)...), sendAll(answers)...)
	}
	return play
}
