package place

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
)

// servePods is a kubelet's port without credentials.
func servePods(t *testing.T, pods string) (url string) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path != "/pods" || req.Header.Get("Authorization") != "" {
			t.Errorf("asked %s with %q", req.URL, req.Header)
		}
		io.WriteString(w, pods)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// serveGRPC answers unary calls on a unix socket; a nil answer is an error's.
func serveGRPC(t *testing.T, h *host, socket string, answer func(method string, message []byte) []byte) {
	t.Helper()
	path := filepath.Join(h.root, socket)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil || req.ProtoMajor != 2 || req.Header.Get("Content-Type") != "application/grpc" || req.Header.Get("TE") != "trailers" {
			t.Errorf("call %s: %v, %s %v", req.URL, err, req.Proto, req.Header)
		}
		if len(body) < 5 || !bytes.Equal(body, frame(body[5:])) {
			t.Errorf("call %s: body %q", req.URL, body)
			return
		}
		w.Header().Set("Content-Type", "application/grpc")
		message := answer(req.URL.Path, body[5:])
		if message == nil {
			w.Header().Set("Grpc-Status", "12")
			w.Header().Set("Grpc-Message", "not here")
			return
		}
		w.Header().Set("Trailer", "Grpc-Status")
		w.Write(frame(message))
		w.Header().Set("Grpc-Status", "0")
	})}
	s.Protocols.SetUnencryptedHTTP2(true)
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
}

// servePodsSocket is the kubelet's socket, with that list of pods.
func servePodsSocket(t *testing.T, h *host, list string) {
	serveGRPC(t, h, "var/lib/kubelet/pods-api/pods-api.sock", func(method string, m []byte) []byte {
		if method != "/v1alpha1.Pods/ListPods" || len(m) != 0 {
			t.Errorf("called %s %q", method, m)
		}
		return append([]byte{}, list...)
	})
}

// serveCRI is a runtime with those containers.
func serveCRI(t *testing.T, h *host, socket string, list criList) {
	serveGRPC(t, h, socket, func(method string, m []byte) []byte {
		id := string(get(get(m, 1), 1))
		items, num := list.Containers, protowire.Number(8)
		switch method {
		case "/runtime.v1.RuntimeService/ListPodSandbox":
			items, num = list.Sandboxes, 5
		case "/runtime.v1.RuntimeService/ListContainers":
		default:
			t.Errorf("called %s", method)
		}
		message := []byte{}
		for _, x := range items {
			if x.ID == id {
				item := field(1, []byte(x.ID))
				for k, v := range x.Labels {
					item = append(item, field(num, append(field(1, []byte(k)), field(2, []byte(v))...))...)
				}
				message = append(message, field(1, item)...)
			}
		}
		return message
	})
}

func TestCRISockets(t *testing.T) {
	h := newHost(t, false)
	list := criList{Containers: []struct {
		ID     string
		Labels map[string]string
	}{{idA, map[string]string{"io.kubernetes.container.name": "app", "io.kubernetes.pod.name": "web-0"}}}}
	serveGRPC(t, h, criSockets[0], func(string, []byte) []byte { return nil }) // docker's containerd has no CRI
	serveCRI(t, h, criSockets[2], list)

	find := cri(h.root)
	got, err := find(t.Context(), target{podUID: uid, id: idA})
	if diff := cmp.Diff(names{container: "app", pod: "web-0"}, got, sameNames); diff != "" {
		t.Errorf("error %v, names (-want +got):\n%s", err, diff)
	}
	got, err = find(t.Context(), target{podUID: uid, id: idB})
	if got != (names{}) || err == nil || !strings.Contains(err.Error(), `status "12": not here`) {
		t.Errorf("of an unknown container: %+v, %v", got, err)
	}
	if got, err = find(t.Context(), target{podUID: uid}); got != (names{}) || err != nil {
		t.Errorf("of no container: %+v, %v", got, err)
	}
}

func TestSocketThatNeverAnswers(t *testing.T) {
	h := newHost(t, false)
	asked := make(chan struct{})
	release := make(chan struct{})
	serveGRPC(t, h, criSockets[0], func(string, []byte) []byte { close(asked); <-release; return nil })
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := cri(h.root)(ctx, target{id: idA})
		failed <- err
	}()
	await(t, asked, "the call")
	cancel()
	if err := await(t, failed, "the call to end"); err == nil {
		t.Error("no error")
	}
}

// A roster that was just fetched is not fetched again for what it lacks.
func TestCachedList(t *testing.T) {
	calls := 0
	find := cached(func(context.Context) (*roster, error) {
		calls++
		all := newRoster()
		n := names{pod: "web-0", namespace: "demo", podUID: uid}
		all.addPod(n)
		all.addContainer(n, "app", "containerd://"+idA)
		all.addContainer(n, "starting", "")
		return all, nil
	})
	for range 3 {
		for id, want := range map[string]names{
			idA: {container: "app", pod: "web-0", namespace: "demo", podUID: uid},
			idB: {pod: "web-0", namespace: "demo", podUID: uid},
		} {
			got, err := find(t.Context(), target{podUID: uid, id: id})
			if diff := cmp.Diff(want, got, sameNames); diff != "" || err != nil {
				t.Errorf("error %v (-want +got):\n%s", err, diff)
			}
		}
	}
	if calls != 1 {
		t.Errorf("%d calls", calls)
	}
}

// certify makes a certificate for name, signed by parent or by itself, and
// writes it and its key to files.
func certify(t *testing.T, name string, parent *tls.Certificate) (cert tls.Certificate, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	signer, signerKey := template, any(key)
	if parent == nil {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	} else {
		signer, signerKey = parent.Leaf, parent.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer, &key.PublicKey, signerKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "crt"), filepath.Join(dir, "key")
	cert, err = tls.X509KeyPair(certPEM, keyPEM)
	if err := errOf(err, os.WriteFile(certFile, certPEM, 0o600), os.WriteFile(keyFile, keyPEM, 0o600)); err != nil {
		t.Fatal(err)
	}
	return cert, certFile, keyFile
}

func TestKubeletsPort(t *testing.T) {
	ca, caFile, _ := certify(t, "ca", nil)
	_, otherFile, _ := certify(t, "other ca", nil)
	node, _, _ := certify(t, "node1", &ca)
	local, _, _ := certify(t, "localhost", &ca)
	_, clientFile, clientKey := certify(t, "client", &ca)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AddCert(ca.Leaf)

	tests := map[string]struct {
		serves tls.Certificate
		conf   Kubelet
		fails  string
		// seen is false where the kubelet must not even see the request.
		seen bool
	}{
		"with a token":                          {local, Kubelet{TokenFile: token, CAFile: caFile}, "", true},
		"with a certificate":                    {local, Kubelet{CertFile: clientFile, KeyFile: clientKey, CAFile: caFile}, "", true},
		"for the node's name":                   {node, Kubelet{TokenFile: token, CAFile: caFile, ServerName: "node1"}, "", true},
		"unchecked":                             {node, Kubelet{TokenFile: token, Insecure: true}, "", true},
		"without a credential":                  {local, Kubelet{CAFile: caFile}, "401 Unauthorized: it wants a token", true},
		"whose certificate another signed":      {local, Kubelet{TokenFile: token, CAFile: otherFile}, "unknown authority", false},
		"whose certificate nobody known signed": {local, Kubelet{TokenFile: token}, "unknown authority", false},
		"whose certificate is another host's":   {node, Kubelet{TokenFile: token, CAFile: caFile}, "for none of", false},
		"whose certificate is not of that name": {local, Kubelet{TokenFile: token, CAFile: caFile, ServerName: "node1"}, "for none of", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			seen := false
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				seen = true
				if req.Header.Get("Authorization") != "Bearer secret" && len(req.TLS.PeerCertificates) == 0 {
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				io.WriteString(w, `{"items":[{"metadata":{"name":"web-0","namespace":"demo","uid":"`+uid+`"},
					"status":{"initContainerStatuses":[{"name":"app","containerID":"containerd://`+idA+`"}]}}]}`)
			}))
			s.TLS = &tls.Config{Certificates: []tls.Certificate{tt.serves}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: clients}
			s.Config.ErrorLog = discardLog
			s.StartTLS()
			defer s.Close()
			tt.conf.URL = s.URL
			k, err := newKubelet(tt.conf)
			if err != nil {
				t.Fatal(err)
			}
			all, err := k.list(t.Context())
			if seen != tt.seen {
				t.Errorf("the kubelet saw the request: %v", seen)
			}
			if tt.fails != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fails) {
					t.Errorf("got error %v, want %q", err, tt.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := names{container: "app", pod: "web-0", namespace: "demo", podUID: uid}
			if diff := cmp.Diff(want, all.find(target{uid, idA, ""}), sameNames); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestKubeletThatMisbehaves(t *testing.T) {
	tests := map[string]struct {
		serve http.HandlerFunc
		want  string
	}{
		"redirects": {func(w http.ResponseWriter, req *http.Request) {
			if req.URL.Path != "/pods" {
				t.Errorf("followed to %s", req.URL)
			}
			http.Redirect(w, req, "/elsewhere", http.StatusFound)
		}, "302"},
		"is ill":            {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, "500"},
		"is something else": {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }, "parse pods"},
		"never ends": {func(w http.ResponseWriter, _ *http.Request) {
			for chunk := bytes.Repeat([]byte(" "), 1<<20); ; {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}, "larger than"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(tt.serve)
			defer s.Close()
			k, err := newKubelet(Kubelet{URL: s.URL})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := k.list(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want %q", err, tt.want)
			}
		})
	}
}

// The fields lie in the message one after the other, and are never read past.
func FuzzFields(f *testing.F) {
	f.Add(field(1, field(3, []byte("demo"))))
	f.Add([]byte{7 << 3, 200, 1, 2<<3 | 1, 0, 0, 0, 0, 0, 0, 0, 0, 3<<3 | 5, 0, 0, 0, 0})
	f.Add([]byte{1<<3 | 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, message []byte) {
		total := 0
		for _, b := range fields(message) {
			if total += len(b) + 2; total > len(message) {
				t.Fatalf("fields of %d bytes in a message of %d", total, len(message))
			}
		}
		parsePodsProto(message)
		parseLabels(message, idA, 8)
	})
}

// discardLog keeps the server's word on refused handshakes out of the output.
var discardLog = log.New(io.Discard, "", 0)
