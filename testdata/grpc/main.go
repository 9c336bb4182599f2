// Grpcpeer is a server and a client of gRPC, for the tests and for make bench-http2: what they call each other is known.
// It is a module of its own, so that tracer's has no gRPC in it.
//
//	grpcpeer server                                    says its port, and serves until its stdin ends
//	grpcpeer client PORT SCRIPT…                       makes the calls of each script, one after the other, on one connection
//	grpcpeer load PORT CALLS WORKERS CONNECTIONS SIZE  makes unary calls; says how many a second
//
// A script is METHOD[:N[:BYTES]]: N messages (1) of BYTES (10). It says what came of each call: its name, the status.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// raw is a message as it is.
type raw struct{ bytes []byte }

type codec struct{}

func (codec) Marshal(v any) ([]byte, error) { return v.(*raw).bytes, nil }
func (codec) Unmarshal(data []byte, v any) error {
	v.(*raw).bytes = append([]byte(nil), data...)
	return nil
}
func (codec) Name() string { return "proto" }

const service = "/tracer.test.Echo/"

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 {
		log.Fatal("server or client")
	}
	switch os.Args[1] {
	case "server":
		serve()
	case "client":
		client(os.Args[2], os.Args[3:])
	case "load":
		load(os.Args[2:])
	default:
		log.Fatalf("no %q", os.Args[1])
	}
}

func serve() {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	s := grpc.NewServer(grpc.ForceServerCodec(codec{}), grpc.UnknownServiceHandler(handle))
	go func() {
		if err := s.Serve(l); err != nil {
			log.Fatal(err)
		}
	}()
	fmt.Println(l.Addr().(*net.TCPAddr).Port)
	_, _ = io.Copy(io.Discard, os.Stdin)
	s.GracefulStop()
}

// handle does what the method's name says.
func handle(_ any, s grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(s)
	name := strings.TrimPrefix(method, service)
	var m raw
	switch name {
	case "Unary": // one message, one back
		if err := s.RecvMsg(&m); err != nil {
			return err
		}
		return s.SendMsg(&m)
	case "ClientStream": // all messages, then their number
		n := 0
		for s.RecvMsg(&m) == nil {
			n++
		}
		return s.SendMsg(&raw{strconv.AppendInt(nil, int64(n), 10)})
	case "ServerStream": // one message, that says how many of how many bytes come back
		if err := s.RecvMsg(&m); err != nil {
			return err
		}
		var n, size int
		if _, err := fmt.Sscan(string(m.bytes), &n, &size); err != nil {
			return status.Error(codes.InvalidArgument, err.Error())
		}
		for range n {
			if err := s.SendMsg(&raw{make([]byte, size)}); err != nil {
				return err
			}
		}
		return nil
	case "Bidi": // each message comes back
		for {
			if err := s.RecvMsg(&m); err == io.EOF {
				return nil
			} else if err != nil {
				return err
			}
			if err := s.SendMsg(&m); err != nil {
				return err
			}
		}
	case "NotFound": // an error without any data
		return status.Error(codes.NotFound, "nothing here: 100 % sure")
	case "Late": // an error behind data
		if err := s.RecvMsg(&m); err != nil {
			return err
		}
		if err := s.SendMsg(&m); err != nil {
			return err
		}
		return status.Error(codes.DataLoss, "half")
	case "Early": // an answer before the requests have ended
		if err := s.RecvMsg(&m); err != nil {
			return err
		}
		return nil
	case "Hang": // until the client gives up
		<-s.Context().Done()
		return s.Context().Err()
	}
	return status.Errorf(codes.Unimplemented, "no method %s", name)
}

func dial(port string) *grpc.ClientConn {
	conn, err := grpc.NewClient("127.0.0.1:"+port,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodec(codec{})))
	if err != nil {
		log.Fatal(err)
	}
	return conn
}

// client makes the calls of scripts. A script "wait" waits for a line of stdin.
func client(port string, scripts []string) {
	conn := dial(port)
	stdin := bufio.NewReader(os.Stdin)
	for _, script := range scripts {
		name, n, size := script, 1, 10
		if at := strings.IndexByte(script, ':'); at >= 0 {
			name = script[:at]
			_, _ = fmt.Sscanf(script[at:], ":%d:%d", &n, &size) // the second may be missing
		}
		if name == "wait" {
			fmt.Println("waits")
			_, _ = stdin.ReadString('\n')
			continue
		}
		fmt.Println(script, status.Code(call(conn, name, n, size)))
	}
	conn.Close()
}

func call(conn *grpc.ClientConn, name string, n, size int) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	message := &raw{make([]byte, size)}
	method := service + name
	switch name {
	case "Deadline":
		ctx, cancel = context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		method = service + "Hang"
	case "Cancel":
		time.AfterFunc(50*time.Millisecond, cancel)
		method = service + "Hang"
	case "ServerStream":
		message = &raw{fmt.Appendf(nil, "%d %d", n, size)}
		n = 1
	case "Unary", "NotFound", "Late", "Missing":
		for range n {
			var answer raw
			err := conn.Invoke(ctx, method, message, &answer)
			if name == "Unary" && (err != nil || len(answer.bytes) != size) {
				return err
			}
			if name != "Unary" && err == nil {
				log.Fatal(name, " succeeded")
			}
			if name != "Unary" {
				return err
			}
		}
		return nil
	}
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		return err
	}
	for range n {
		if err := s.SendMsg(message); err != nil {
			break
		}
		if name == "Bidi" {
			if err := s.RecvMsg(message); err != nil {
				return err
			}
		}
	}
	if name != "Early" {
		if err := s.CloseSend(); err != nil {
			return err
		}
	}
	for {
		if err := s.RecvMsg(&raw{}); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// load makes unary calls.
func load(args []string) {
	var n [4]int
	for i := range n {
		v, err := strconv.Atoi(args[1+i])
		if err != nil {
			log.Fatal(err)
		}
		n[i] = v
	}
	calls, workers, conns, size := n[0], n[1], n[2], n[3]
	var list []*grpc.ClientConn
	for range conns {
		conn := dial(args[0])
		if err := call(conn, "Unary", 1, size); err != nil {
			log.Fatal(err)
		}
		list = append(list, conn)
	}
	began := time.Now()
	var wait sync.WaitGroup
	for i := range workers {
		wait.Go(func() {
			if err := call(list[i%conns], "Unary", calls/workers, size); err != nil {
				log.Fatal(err)
			}
		})
	}
	wait.Wait()
	fmt.Printf("%.0f\n", float64(calls/workers*workers)/time.Since(began).Seconds())
	for _, conn := range list {
		conn.Close()
	}
}
