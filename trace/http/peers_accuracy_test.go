package http_test

import (
	"fmt"
	"math"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// peerAccuracy compares the times with what both ends' own clocks say.
func peerAccuracy(t *testing.T, p *peers) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	var mu sync.Mutex
	server, client := map[string]time.Duration{}, map[string]time.Duration{}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buf := make([]byte, 4096)
				for {
					n, err := conn.Read(buf)
					if err != nil {
						return
					}
					begin := time.Now()
					path := strings.Fields(string(buf[:n]))[1]
					ms, _ := strconv.Atoi(strings.Split(path, "/")[1])
					time.Sleep(time.Duration(ms) * time.Millisecond)
					took := time.Since(begin)
					mu.Lock()
					server[path] = took
					mu.Unlock()
					if _, err := conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")); err != nil {
						return
					}
				}
			}()
		}
	}()
	p.trace(port)
	classes := map[int]int{1: 101, 5: 53, 20: 29, 100: 11, 2500: 3}
	total := 0
	var wg sync.WaitGroup
	for ms, n := range classes {
		total += n
		at := min(n, 3) // at the same time, on as many connections
		for i := range at {
			wg.Go(func() {
				conn, err := net.Dial("tcp4", local(port))
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				buf := make([]byte, 4096)
				for j := i; j < n; j += at {
					path := fmt.Sprintf("/%d/%d", ms, j)
					request := []byte("GET " + path + " HTTP/1.1\r\nHost: clock\r\n\r\n")
					begin := time.Now()
					_, err := conn.Write(request)
					if err == nil {
						_, err = conn.Read(buf)
					}
					took := time.Since(begin)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					client[path] = took
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	rows := p.finish(total)
	p.both(rows, ownComm(t), ownComm(t), os.Getpid())
	var errors []float64
	for ms := range classes {
		var atClient, atServer, own []float64 // errors and the clock, in ms
		for _, r := range rows {
			if !strings.HasPrefix(r.Path, fmt.Sprintf("/%d/", ms)) || r.Latency == nil || r.ServerLatency == nil {
				continue
			}
			took := client[r.Path].Seconds() * 1000
			own = append(own, took)
			atClient = append(atClient, math.Abs(float64(*r.Latency)/1000-took))
			atServer = append(atServer, math.Abs(float64(*r.ServerLatency)/1000-server[r.Path].Seconds()*1000))
		}
		if len(own) != classes[ms] {
			t.Errorf("%d ms: %d rows, want %d", ms, len(own), classes[ms])
			continue
		}
		errors = append(append(errors, atClient...), atServer...)
		allowed := max(0.3, 0.02*middle(own))
		t.Logf("%d ms: median error %.3f ms at the client, %.3f ms at the server, n = %d", ms, middle(atClient), middle(atServer), len(own))
		if middle(atClient) > allowed || middle(atServer) > allowed {
			t.Errorf("%d ms: more than %.3f ms", ms, allowed)
		}
	}
	slices.Sort(errors)
	n := len(errors)
	t.Logf("all: median error %.3f ms, p99 %.3f ms, largest %.3f ms", errors[n/2], errors[n*99/100], errors[n-1])
}

func middle(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
