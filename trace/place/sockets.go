package place

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/encoding/protowire"
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
		return parsePodsProto(data), nil
	}
}

// parsePodsProto reads a ListPodsResponse: field 1 of it is a v1.Pod.
func parsePodsProto(data []byte) *roster {
	all := newRoster()
	for num, pod := range fields(data) {
		if num != 1 {
			continue
		}
		meta, status := get(pod, 1), get(pod, 3)
		n := names{pod: string(get(meta, 1)), namespace: string(get(meta, 3)), podUID: string(get(meta, 5))}
		all.addPod(n)
		for num, c := range fields(status) {
			if num == 8 || num == 10 || num == 13 { // containers, init containers, ephemeral ones
				all.addContainer(n, string(get(c, 1)), string(get(c, 8)))
			}
		}
	}
	return all
}

// cri asks the runtimes (runtime.v1.RuntimeService) for the one container, and
// if there is none for the sandbox of that id.
func cri(root string) func(context.Context, target) (names, error) {
	return func(ctx context.Context, t target) (names, error) {
		if t.id == "" {
			return names{}, nil
		}
		failed := fs.ErrNotExist
		for _, socket := range criSockets {
			path := filepath.Join(root, socket)
			for _, list := range []struct {
				method string
				labels protowire.Number // the field of Container and of PodSandbox that holds them
			}{{"ListContainers", 8}, {"ListPodSandbox", 5}} {
				filter := field(1, field(1, []byte(t.id))) // request's filter, filter's id
				data, err := call(ctx, path, "/runtime.v1.RuntimeService/"+list.method, filter)
				if err != nil {
					if !errors.Is(err, fs.ErrNotExist) {
						failed = err
					}
					break
				}
				if labels := parseLabels(data, t.id, list.labels); labels != nil {
					n := fromLabels(labels)
					n.sandbox = list.method == "ListPodSandbox"
					return n, nil
				}
			}
		}
		return names{}, failed
	}
}

// parseLabels reads the labels of the container or sandbox of that id from a
// list of them; nil where it is not in it.
func parseLabels(data []byte, id string, labels protowire.Number) map[string]string {
	for _, item := range fields(data) {
		if string(get(item, 1)) != id {
			continue
		}
		found := make(map[string]string)
		for num, entry := range fields(item) {
			if num == labels {
				found[string(get(entry, 1))] = string(get(entry, 2))
			}
		}
		return found
	}
	return nil
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
func field(num protowire.Number, b []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), b)
}

// get is the first field of that number; nil where there is none.
func get(b []byte, want protowire.Number) []byte {
	for num, b := range fields(b) {
		if num == want {
			return b
		}
	}
	return nil
}

// fields goes through a protobuf message, giving those fields that hold bytes,
// and ends early where it is malformed. The few fields that are read here do not
// pay for generated types of all, nor for a gRPC client: they would add 7 MB.
func fields(b []byte) iter.Seq2[protowire.Number, []byte] {
	return func(yield func(protowire.Number, []byte) bool) {
		for len(b) > 0 {
			num, kind, head := protowire.ConsumeTag(b)
			if head < 0 {
				return
			}
			size := protowire.ConsumeFieldValue(num, kind, b[head:])
			if size < 0 {
				return
			}
			if kind == protowire.BytesType {
				if value, _ := protowire.ConsumeBytes(b[head:]); !yield(num, value) {
					return
				}
			}
			b = b[head+size:]
		}
	}
}
