package http

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"tracer/trace/http1"
)

// portList is the value of --port.
type portList []uint16

func (l *portList) String() string { return "" }

func (l *portList) Set(s string) error {
	for _, item := range strings.Split(s, ",") {
		n, err := strconv.ParseUint(strings.TrimSpace(item), 10, 16)
		if err != nil || n == 0 {
			return fmt.Errorf("%q is no port", item)
		}
		*l = append(*l, uint16(n))
	}
	return nil
}

// nameList is the value of --method.
type nameList []string

func (l *nameList) String() string { return "" }

func (l *nameList) Set(s string) error {
	for _, item := range strings.Split(s, ",") {
		if item = strings.TrimSpace(item); item == "" {
			return errors.New("a method is empty")
		}
		if !http1.IsMethod(item) {
			return fmt.Errorf("%q is no method", item)
		}
		*l = append(*l, item)
	}
	return nil
}

func (l nameList) has(name string) bool {
	for _, n := range l {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

// statusList is the value of --status: ranges, both ends included.
type statusList [][2]int

func (l *statusList) String() string { return "" }

func (l *statusList) Set(s string) error {
	for _, item := range strings.Split(s, ",") {
		item = strings.TrimSpace(item)
		var low, high int
		var err error
		switch a, b, ranged := strings.Cut(item, "-"); {
		case ranged:
			var errHigh error
			low, err = strconv.Atoi(a)
			high, errHigh = strconv.Atoi(b)
			err = cmp.Or(err, errHigh)
		case len(item) == 3 && strings.EqualFold(item[1:], "xx"):
			low, err = strconv.Atoi(item[:1])
			low, high = low*100, low*100+99
		default:
			low, err = strconv.Atoi(item)
			high = low
		}
		if err != nil || low < 100 || high > 999 || low > high {
			return fmt.Errorf("%q is no status, as 500, 5xx or 400-499", item)
		}
		*l = append(*l, [2]int{low, high})
	}
	return nil
}

func (l statusList) has(status int) bool {
	for _, r := range l {
		if r[0] <= status && status <= r[1] {
			return true
		}
	}
	return false
}

// byteSize is the value of --prefix.
type byteSize uint32

func (b *byteSize) String() string {
	if *b >= 1<<10 && *b%(1<<10) == 0 {
		return strconv.Itoa(int(*b>>10)) + "KiB"
	}
	return strconv.Itoa(int(*b))
}

func (b *byteSize) Set(s string) error {
	digits, unit := s, uint64(1)
	for _, suffix := range []string{"KiB", "kib", "KB", "K", "k"} {
		if d, ok := strings.CutSuffix(s, suffix); ok {
			digits, unit = d, 1<<10
			break
		}
	}
	digits = strings.TrimSuffix(digits, "B")
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || n*unit > math.MaxUint32 {
		return fmt.Errorf("%q is no size, as 1KiB", s)
	}
	*b = byteSize(n * unit)
	return nil
}
