package kube

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
)

// criSockets are where runtimes listen for the kubelet.
var criSockets = []string{
	"run/containerd/containerd.sock",
	"run/k3s/containerd/containerd.sock",
	"run/crio/crio.sock",
	"run/cri-dockerd.sock",
	"run/k0s/containerd.sock",
	"var/snap/microk8s/common/run/containerd.sock",
}

// podsSocket asks the kubelet's Pods API (v1alpha1.Pods/ListPods), which is on
// by default from Kubernetes 1.37.
func podsSocket(root string) func(context.Context) (*roster, error) {
	path := filepath.Join(root, "var/lib/kubelet/pods-api/pods-api.sock")
	return func(ctx context.Context) (*roster, error) {
		data, err := call(ctx, path, "/v1alpha1.Pods/ListPods", nil)
		if err != nil {
			return nil, err
		}
		return parsePodsProto(data)
	}
}

// parsePodsProto reads a ListPodsResponse: field 1 of it is a v1.Pod.
func parsePodsProto(data []byte) (*roster, error) {
	all := newRoster()
	err := fields(data, func(num int, pod []byte) error {
		if num != 1 {
			return nil
		}
		var n names
		var status []byte
		err := fields(pod, func(num int, b []byte) error {
			switch num {
			case 1: // metadata
				return fields(b, func(num int, b []byte) error {
					switch num {
					case 1:
						n.pod = string(b)
					case 3:
						n.namespace = string(b)
					case 5:
						n.podUID = string(b)
					}
					return nil
				})
			case 3:
				status = b
			}
			return nil
		})
		if err != nil {
			return err
		}
		all.addPod(n)
		return fields(status, func(num int, b []byte) error {
			if num != 8 && num != 10 && num != 13 { // containers, init containers, ephemeral ones
				return nil
			}
			var name, id string
			err := fields(b, func(num int, b []byte) error {
				switch num {
				case 1:
					name = string(b)
				case 8:
					id = string(b)
				}
				return nil
			})
			all.addContainer(n, name, id)
			return err
		})
	})
	return all, err
}

// cri asks the runtimes (runtime.v1.RuntimeService) for the one container, and
// if there is none for the sandbox of that id.
func cri(root string) func(context.Context, target) (names, error) {
	return func(ctx context.Context, t target) (names, error) {
		failed := fs.ErrNotExist
		for _, socket := range criSockets {
			path := filepath.Join(root, socket)
			for _, list := range []struct {
				method string
				labels int // the field of Container and of PodSandbox that holds them
			}{{"ListContainers", 8}, {"ListPodSandbox", 5}} {
				filter := field(1, field(1, []byte(t.id))) // request's filter, filter's id
				data, err := call(ctx, path, "/runtime.v1.RuntimeService/"+list.method, filter)
				if err != nil {
					if !errors.Is(err, fs.ErrNotExist) {
						failed = err
					}
					break
				}
				labels, err := parseLabels(data, t.id, list.labels)
				if err != nil || labels != nil {
					n := fromLabels(labels)
					n.sandbox = list.method == "ListPodSandbox"
					return n, err
				}
			}
		}
		return names{}, failed
	}
}

// parseLabels reads the labels of the container or sandbox of that id from a
// list of them; nil where it is not in it.
func parseLabels(data []byte, id string, labelsField int) (labels map[string]string, err error) {
	err = fields(data, func(num int, item []byte) error {
		if num != 1 {
			return nil
		}
		found, got := false, make(map[string]string)
		err := fields(item, func(num int, b []byte) error {
			switch num {
			case 1:
				found = string(b) == id
			case labelsField:
				var kv [3]string
				err := fields(b, func(num int, b []byte) error {
					if num < len(kv) {
						kv[num] = string(b)
					}
					return nil
				})
				got[kv[1]] = kv[2]
				return err
			}
			return nil
		})
		if found {
			labels = got
		}
		return err
	})
	return labels, err
}

// call makes one unary gRPC call over a unix socket: HTTP/2 without TLS, one
// message each way. https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
func call(ctx context.Context, socket, method string, message []byte) ([]byte, error) {
	if _, err := os.Stat(socket); err != nil {
		return nil, err
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
		Protocols: new(http.Protocols),
	}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()

	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost"+method, bytes.NewReader(frame(message)))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("TE", "trailers")
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("call %s on %q: %w", method, socket, err)
	}
	defer resp.Body.Close()
	data, err := readAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("call %s on %q: %w", method, socket, err)
	}
	status := resp.Trailer
	if resp.Header.Get("Grpc-Status") != "" { // an error without a message has one set of headers only
		status = resp.Header
	}
	if resp.StatusCode != http.StatusOK || status.Get("Grpc-Status") != "0" {
		return nil, fmt.Errorf("call %s on %q: HTTP %d, gRPC status %q: %s",
			method, socket, resp.StatusCode, status.Get("Grpc-Status"), status.Get("Grpc-Message"))
	}
	if len(data) < 5 || data[0] != 0 || uint64(binary.BigEndian.Uint32(data[1:])) != uint64(len(data)-5) {
		return nil, fmt.Errorf("call %s on %q: answer is not one uncompressed message", method, socket)
	}
	return data[5:], nil
}

// frame puts gRPC's prefix before a message: not compressed, and its length.
func frame(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

// field encodes a protobuf field of bytes.
func field(num int, b []byte) []byte {
	out := binary.AppendUvarint(nil, uint64(num)<<3|2)
	return append(binary.AppendUvarint(out, uint64(len(b))), b...)
}

var errProto = errors.New("parse protobuf: cut or malformed")

// fields calls f with every field of a protobuf message that holds bytes, and
// passes over numbers. https://protobuf.dev/programming-guides/encoding/
func fields(b []byte, f func(num int, b []byte) error) error {
	for len(b) > 0 {
		key, n := binary.Uvarint(b)
		if n <= 0 || key>>3 == 0 || key>>3 > 1<<29-1 {
			return errProto
		}
		b = b[n:]
		skip := 0
		switch key & 7 {
		case 0: // varint
			if _, skip = binary.Uvarint(b); skip <= 0 {
				return errProto
			}
		case 1: // 64 bits
			skip = 8
		case 5: // 32 bits
			skip = 4
		case 2: // bytes
			size, n := binary.Uvarint(b)
			if n <= 0 || size > uint64(len(b)-n) {
				return errProto
			}
			if err := f(int(key>>3), b[n:n+int(size)]); err != nil {
				return err
			}
			skip = n + int(size)
		default:
			return errProto
		}
		if skip > len(b) {
			return errProto
		}
		b = b[skip:]
	}
	return nil
}
