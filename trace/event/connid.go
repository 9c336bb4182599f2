package event

import (
	"errors"
	"strconv"
	"strings"
)

// ConnID names a TCP connection: the two ends' initial sequence numbers, that of who
// called first. It is the same at both ends, on whichever hosts, and through address
// translation. The zero value is that of a connection whose name is not known: any
// number may be an initial one.
type ConnID struct {
	Client, Server uint32
	Known          bool
}

// AppendText appends the sixteen hexadecimal digits of id; nothing if it is not known.
func (id ConnID) AppendText(b []byte) ([]byte, error) {
	if !id.Known {
		return b, nil
	}
	for shift := 60; shift >= 0; shift -= 4 {
		b = append(b, hex[(uint64(id.Client)<<32|uint64(id.Server))>>shift&15])
	}
	return b, nil
}

func (id ConnID) String() string {
	b, _ := id.AppendText(nil) // it has no errors
	return string(b)
}

// ParseConnID reads what AppendText appends.
func ParseConnID(s string) (ConnID, error) {
	if len(s) != 16 || strings.Trim(s, hex) != "" {
		return ConnID{}, errConnID
	}
	n, err := strconv.ParseUint(s, 16, 64)
	return ConnID{Client: uint32(n >> 32), Server: uint32(n), Known: err == nil}, err
}

var errConnID = errors.New("not 16 hexadecimal digits")
