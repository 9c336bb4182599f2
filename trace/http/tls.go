package http

import (
	"time"
	"unsafe"

	"tracer/bpf"
)

// tlsNames are the libraries as the key tls names them.
var tlsNames = [...]string{
	bpf.HttpLibraryNoLibrary: "",
	bpf.HttpLibraryOpenssl:   "openssl",
	bpf.HttpLibraryGnutls:    "gnutls",
	bpf.HttpLibraryNss:       "nss",
	bpf.HttpLibraryGolang:    "go",
	bpf.HttpLibraryKernelTls: "ktls",
}

const (
	// linkPatience is how long plaintext without a socket is held: an answer may take
	// its time, and only what is sent tells the socket.
	linkPatience = time.Minute
	maxUnlinked  = 1024 // objects of which it is held
)

// An object is a TLS library's of a connection whose socket is not known yet.
type object struct {
	address, since uint64
	pid            uint32
}

// A heldCall is one that waits for its socket.
type heldCall struct {
	call bpf.HttpHttpCall
	data []byte
}

type held struct {
	calls []heldCall
	due   uint64
}

// decodeTLS takes a record of TLS.
func (t *tracer) decodeTLS(r *bpf.HttpHttpRecord, data []byte, intro *bpf.HttpHttpIntro) bool {
	about := (*bpf.HttpTlsAbout)(unsafe.Pointer(&r.Kept))
	o := object{about.Object, about.Since, about.Pid}
	switch r.Type {
	case bpf.HttpEventPlainUnlinked:
		t.unlinked.hold(o, &r.Call, data, t.conns.now)
	case bpf.HttpEventTlsLinked:
		c := t.conns.open(r.Socket, r.Seen, nil)
		if c == nil {
			return true // it is over, and nobody has told more of it
		}
		c.heard = r.Time
		c.based = true
		t.conns.current = c
		for _, h := range t.unlinked.take(o) {
			t.conns.feed(c, &h.call, h.data)
		}
		t.settle()
	case bpf.HttpEventBioNeeded:
		t.tls.Need(about.Pid)
	case bpf.HttpEventClientHello:
		if intro == nil {
			return false
		}
		t.tls.Saw(intro.Owner.Pid)
	default:
		return false
	}
	return true
}

// unlinked is plaintext that waits for its socket.
type unlinked struct {
	objects map[object]*held
	order   []object // as they came
	lost    func(uint64)
}

// hold keeps a call.
func (u *unlinked) hold(o object, call *bpf.HttpHttpCall, data []byte, now uint64) {
	if u.objects == nil {
		u.objects = map[object]*held{}
	}
	h := u.objects[o]
	if h == nil {
		h = &held{due: now + uint64(linkPatience)}
		u.objects[o] = h
		u.order = append(u.order, o)
	}
	h.calls = append(h.calls, heldCall{*call, append([]byte(nil), data...)})
}

// take returns what was held.
func (u *unlinked) take(o object) []heldCall {
	h := u.objects[o]
	if h == nil {
		return nil
	}
	delete(u.objects, o)
	return h.calls
}
