package hello

import (
	"crypto/tls"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// sent is what Go's client sends first.
func sent(t testing.TB, config *tls.Config) []byte {
	t.Helper()
	a, b := net.Pipe()
	defer b.Close()
	go func() {
		_ = tls.Client(a, config).Handshake()
		a.Close()
	}()
	_ = b.SetReadDeadline(time.Now().Add(30 * time.Second))
	buf := make([]byte, 64<<10)
	n, err := b.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}

func TestClientHellosAreRead(t *testing.T) {
	for _, c := range []struct {
		name   string
		config *tls.Config
		want   Hello
	}{
		{"name and protocols", &tls.Config{ServerName: "www.example.org", NextProtos: []string{"h2", "http/1.1"}}, Hello{"www.example.org", []string{"h2", "http/1.1"}, true}},
		{"an address is no name", &tls.Config{ServerName: "192.0.2.1"}, Hello{"", nil, true}},
		{"TLS 1.2", &tls.Config{ServerName: "a", MaxVersion: tls.VersionTLS12}, Hello{"a", nil, true}},
	} {
		got, ok := Parse(sent(t, c.config))
		if d := cmp.Diff(c.want, got); d != "" || !ok {
			t.Errorf("%s: %v %s", c.name, ok, d)
		}
	}
}

// However it is cut: what is told is true, and once the names are there they stay.
func TestCutHellosTellWhatTheyHave(t *testing.T) {
	whole := sent(t, &tls.Config{ServerName: "www.example.org", NextProtos: []string{"h2"}})
	named, offered := 0, 0
	for n := range len(whole) + 1 {
		h, ok := Parse(whole[:n])
		if ok != (n > recordHead) || h.Complete != (n == len(whole)) {
			t.Fatalf("%d of %d bytes: %+v %v", n, len(whole), h, ok)
		}
		switch {
		case h.ServerName == "www.example.org" && named == 0:
			named = n
		case h.ServerName == "www.example.org":
		case h.ServerName != "" || named > 0:
			t.Fatalf("%d bytes: name %q", n, h.ServerName)
		}
		switch {
		case slices.Equal(h.ALPN, []string{"h2"}) && offered == 0:
			offered = n
		case slices.Equal(h.ALPN, []string{"h2"}):
		case h.ALPN != nil || offered > 0:
			t.Fatalf("%d bytes: protocols %q", n, h.ALPN)
		}
	}
	if named == 0 || offered == 0 {
		t.Errorf("name at %d, protocols at %d", named, offered)
	}
}

// A client may send it in several records.
func TestAHelloInSeveralRecords(t *testing.T) {
	whole := sent(t, &tls.Config{ServerName: "www.example.org", NextProtos: []string{"h2"}})
	message := whole[recordHead:]
	var cut []byte
	for len(message) > 0 {
		part := message[:min(17, len(message))]
		cut = append(cut, recordHandshake, 3, 1, 0, byte(len(part)))
		cut = append(cut, part...)
		message = message[len(part):]
	}
	h, ok := Parse(cut)
	if d := cmp.Diff(Hello{"www.example.org", []string{"h2"}, true}, h); d != "" || !ok {
		t.Errorf("%v %s", ok, d)
	}
}

func TestWhatIsNoHello(t *testing.T) {
	whole := sent(t, &tls.Config{ServerName: "www.example.org"})
	long := slices.Clone(whole)
	long[6] = 0xff // of the message
	shorter := slices.Clone(whole)
	shorter[8] -= 3
	server := slices.Clone(whole)
	server[5] = 2
	for name, b := range map[string][]byte{
		"nothing": nil, "HTTP": []byte("GET / HTTP/1.1\r\n"), "a message of 16 MiB": long,
		"one that ends inside of an extension": shorter, "the server's": server, "data": append([]byte{23, 3, 3, 0, 100, 1}, make([]byte, 100)...),
	} {
		if h, ok := Parse(b); ok || h.ServerName != "" {
			t.Errorf("%s: %+v", name, h)
		}
	}
}

// The names are inside of the bytes, and more bytes never take back what fewer told.
func FuzzParse(f *testing.F) {
	f.Add(sent(f, &tls.Config{ServerName: "www.example.org", NextProtos: []string{"h2", "http/1.1"}}))
	f.Add([]byte{22, 3, 1, 0, 5, 1, 0, 0, 1, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, ok := Parse(b)
		if !ok && (h.ServerName != "" || h.ALPN != nil || h.Complete) {
			t.Fatalf("%+v of what is no ClientHello", h)
		}
		size := len(h.ServerName)
		for _, p := range h.ALPN {
			size += len(p)
		}
		if size > len(b) {
			t.Fatalf("%+v of %d bytes", h, len(b))
		}
		if ok && !h.Complete && len(b) > 0 {
			cut, okCut := Parse(b[:len(b)-1])
			if okCut && cut.Complete {
				t.Fatal("complete with fewer bytes")
			}
		}
	})
}
