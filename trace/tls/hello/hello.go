// Package hello reads the first message of a TLS connection, ClientHello, which is not
// encrypted: for which server it is, and which protocols the client offers.
//
// It knows bytes, and nothing of where they come from. Start with Parse.
package hello

import (
	"golang.org/x/crypto/cryptobyte"
)

// A Hello is what a ClientHello says.
type Hello struct {
	ServerName string   // RFC 6066, 3; empty if the client names none, or it was cut off
	ALPN       []string // RFC 7301: what it offers, the best first
	Complete   bool     // the message was read to its end: what is empty was not sent
}

const (
	recordHandshake = 22
	clientHello     = 1
	extensionName   = 0
	extensionALPN   = 16
	hostName        = 0
	recordHead      = 5
	maxHello        = 1 << 16 // bytes; clients send up to 2 KiB
	maxName         = 255
	maxProtocols    = 16
)

// Is tells whether bytes are the beginning of a connection's first TLS record, as far as
// they go: at least six are needed.
func Is(b []byte) bool {
	return len(b) > recordHead && b[0] == recordHandshake && b[1] == 3 && b[2] <= 4 && b[recordHead] == clientHello
}

// Parse reads the first bytes that a client sends, which may be cut anywhere: what came
// before the cut is told. It reports false for what is no ClientHello.
//
// With encrypted ClientHello the names are those of the outer one.
func Parse(b []byte) (h Hello, ok bool) {
	if !Is(b) {
		return h, false
	}
	m := message(b)
	if len(m) < 4 {
		return h, true
	}
	size := int(m[1])<<16 | int(m[2])<<8 | int(m[3])
	if size > maxHello {
		return Hello{}, false
	}
	m = m[4:]
	h.Complete = len(m) >= size
	s := cryptobyte.String(m[:min(size, len(m))])
	// Version, random, session, ciphers, compressions (RFC 8446, 4.1.2).
	var skipped cryptobyte.String
	if !s.Skip(2+32) || !s.ReadUint8LengthPrefixed(&skipped) || !s.ReadUint16LengthPrefixed(&skipped) || !s.ReadUint8LengthPrefixed(&skipped) {
		return broken(h)
	}
	if s.Empty() && h.Complete {
		return h, true // without extensions
	}
	var length uint16
	if !s.ReadUint16(&length) {
		return broken(h)
	}
	if len(s) > int(length) {
		return Hello{}, false
	}
	if len(s) < int(length) && h.Complete {
		return Hello{}, false
	}
	for !s.Empty() {
		var kind uint16
		var body cryptobyte.String
		if !s.ReadUint16(&kind) || !s.ReadUint16LengthPrefixed(&body) {
			return broken(h)
		}
		good := true
		switch kind {
		case extensionName:
			h.ServerName, good = serverName(body)
		case extensionALPN:
			h.ALPN, good = protocols(body)
		}
		if !good {
			return Hello{}, false
		}
	}
	return h, true
}

// broken is what to say where bytes are missing: that they were cut off, or that this is no
// ClientHello.
func broken(h Hello) (Hello, bool) {
	if h.Complete {
		return Hello{}, false
	}
	return h, true
}

// message puts a message together from records, of which it may take several.
func message(b []byte) []byte {
	var m []byte
	for len(b) >= recordHead && b[0] == recordHandshake && b[1] == 3 {
		size := int(b[3])<<8 | int(b[4])
		b = b[recordHead:]
		part := b[:min(size, len(b))]
		b = b[len(part):]
		if m == nil {
			m = part // mostly all
		} else {
			m = append(m[:len(m):len(m)], part...)
		}
		if len(part) < size || size == 0 || len(m) > maxHello {
			break
		}
	}
	return m
}

// serverName reads a list of names, of which there is one kind.
func serverName(s cryptobyte.String) (string, bool) {
	var list, name cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&list) || !s.Empty() {
		return "", false
	}
	for !list.Empty() {
		var kind uint8
		if !list.ReadUint8(&kind) || !list.ReadUint16LengthPrefixed(&name) {
			return "", false
		}
		if kind == hostName && len(name) <= maxName {
			return string(name), true
		}
	}
	return "", true
}

func protocols(s cryptobyte.String) (list []string, ok bool) {
	var names, name cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&names) || !s.Empty() {
		return nil, false
	}
	for !names.Empty() {
		if !names.ReadUint8LengthPrefixed(&name) || name.Empty() {
			return nil, false
		}
		if len(list) < maxProtocols {
			list = append(list, string(name))
		}
	}
	return list, true
}
