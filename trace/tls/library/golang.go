package library

import (
	"errors"
	"fmt"

	"tracer/trace/tls/elf"
)

// Go's functions are entered anew when their stack has grown, which moves it: a program
// at the entry stands behind the check of its size, and returns are seen at each RET.
var golang = finder{
	kind: Go,
	find: func(l *lookup) (found Library, err error) {
		const (
			read, write    = "crypto/tls.(*Conn).Read", "crypto/tls.(*Conn).Write"
			client, server = "crypto/tls.(*Conn).clientHandshake", "crypto/tls.(*Conn).serverHandshake"
		)
		s, err := l.Go(read, write, client, server)
		switch {
		case errors.Is(err, elf.ErrNotGo), err == nil && len(s) == 0:
			return found, ErrNone
		case err != nil:
			return found, err
		}
		// The linker leaves out what is not called: a program may only read, or only write.
		if found.Functions, err = l.all(s, wanted{read, GoRead}, wanted{write, GoWrite},
			wanted{client, GoHandshake}, wanted{server, GoHandshake}); err != nil {
			return found, err
		}
		for _, f := range found.Functions {
			if f.Use == GoRead && f.Rets == nil {
				return found, fmt.Errorf("%s: its returns are not known", f.Name)
			}
		}
		return found, nil
	},
}
