package option

import (
	"fmt"
	"strconv"
	"strings"
)

// A Rotation says when a file that grows is to make room for a new one.
type Rotation struct {
	Size uint64 // bytes, beyond which a new file begins; 0: never
	Keep uint64 // files in all; 0: all of them
}

// Value is the flag's value: SIZE or SIZE,N, as 100MiB,5.
func (r *Rotation) Value(least, most uint64) *Value {
	text := func() string {
		switch {
		case r.Size == 0:
			return ""
		case r.Keep == 0:
			return formatSize(r.Size)
		}
		return formatSize(r.Size) + "," + strconv.FormatUint(r.Keep, 10)
	}
	return &Value{kind: "rotation", text: text, set: func(s string) error {
		size, count, counted := strings.Cut(s, ",")
		var next Rotation
		if err := Size(&next.Size, least, most).Set(strings.TrimSpace(size)); err != nil {
			return err
		}
		if counted {
			var err error
			if next.Keep, err = strconv.ParseUint(strings.TrimSpace(count), 10, 32); err != nil || next.Keep == 0 {
				return fmt.Errorf("invalid number of files %q (at least 1)", count)
			}
		}
		*r = next
		return nil
	}}
}
