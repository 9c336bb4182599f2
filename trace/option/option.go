// Package option reads the values of flags: lists, ports, process ids, sizes,
// HTTP statuses, durations, choices, and patterns with * and ?.
//
// Each function takes a pointer to the variable that the flag sets and returns a
// [Value] for package flag or pflag. The variable's content is the default. An
// error says what is wrong with the value; whoever parses the command line puts
// the flag's name before it.
//
// The package knows no flag by name, no probe and no event. Start with Value,
// then Split, which all lists share, and Match.
package option

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Value sets one variable from the text behind a flag. It implements
// flag.Value and pflag.Value.
type Value struct {
	kind   string
	list   bool
	offers []string
	set    func(string) error
	text   func() string
}

// Set parses s. The variable keeps its content if s is wrong.
func (v *Value) Set(s string) error { return v.set(s) }

// String is the variable's content as it would be typed. Lists are empty at
// first, and so is their text.
func (v *Value) String() string {
	if v == nil || v.text == nil { // package flag makes such values
		return ""
	}
	return v.text()
}

// Type names the kind of value.
func (v *Value) Type() string { return v.kind }

// IsList reports whether the flag takes several values. A list that is given
// twice has the values of both.
func (v *Value) IsList() bool { return v.list }

// Offers are values that a shell may complete.
func (v *Value) Offers() []string { return v.offers }

// Split takes a list apart at commas, spaces and line ends. Each comma needs a
// value on both sides.
func Split(s string) ([]string, error) {
	var items []string
	for part := range strings.SplitSeq(s, ",") {
		fields := strings.Fields(part)
		switch {
		case len(fields) > 0:
			items = append(items, fields...)
		case strings.TrimSpace(s) == "":
			return nil, errors.New("the list is empty")
		default:
			return nil, errors.New("a value is missing beside a comma")
		}
	}
	return items, nil
}

func list[T any, L ~[]T](into *L, kind string, parse func(string) (T, error)) *Value {
	return &Value{kind: kind, list: true, text: func() string { return "" }, set: func(s string) error {
		items, err := Split(s)
		if err != nil {
			return err
		}
		values := make([]T, len(items))
		for i, item := range items {
			if values[i], err = parse(item); err != nil {
				return err
			}
		}
		*into = append(*into, values...)
		return nil
	}}
}

// Names is a list of any texts, as the names of columns.
func Names(into *[]string) *Value {
	return list(into, "names", func(s string) (string, error) { return s, nil })
}

// Files is a list of files with commas in between: names may have spaces.
func Files(into *[]string) *Value {
	return &Value{kind: "files", list: true, text: func() string { return "" }, set: func(s string) error {
		for name := range strings.SplitSeq(s, ",") {
			if name == "" {
				return errors.New("a file's name is empty")
			}
			*into = append(*into, name)
		}
		return nil
	}}
}

// IDs is a list of process ids.
func IDs(into *[]uint32) *Value {
	return list(into, "ids", func(s string) (uint32, error) {
		id, err := strconv.ParseUint(s, 10, 32)
		if err != nil || id == 0 {
			return 0, fmt.Errorf("invalid process id %q", s)
		}
		return uint32(id), nil
	})
}

// Ports is a list of TCP or UDP ports.
func Ports(into *[]uint16) *Value {
	return list(into, "ports", func(s string) (uint16, error) {
		port, err := strconv.ParseUint(s, 10, 16)
		if err != nil || port == 0 {
			return 0, fmt.Errorf("invalid port %q (1 to 65535)", s)
		}
		return uint16(port), nil
	})
}

// maxComm is how many bytes the kernel keeps of a process's name: TASK_COMM_LEN
// without the byte that ends it.
const maxComm = 15

// Comms is a list of patterns for names of processes.
func Comms(into *[]string) *Value {
	return list(into, "patterns", func(s string) (string, error) {
		if len(strings.ReplaceAll(s, "*", "")) > maxComm {
			return "", fmt.Errorf("the name %q is too long: the kernel keeps only the first %d bytes", s, maxComm)
		}
		return s, nil
	})
}

// Methods are HTTP methods. Upper and lower case are the same.
type Methods []string

// Has reports whether method is one of them.
func (m Methods) Has(method string) bool {
	return slices.ContainsFunc(m, func(s string) bool { return strings.EqualFold(s, method) })
}

// Value is the flag's value. A method is a token of RFC 9110, section 5.6.2.
func (m *Methods) Value() *Value {
	v := list(m, "methods", func(s string) (string, error) {
		for i := range len(s) {
			c := s[i]
			letter := c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9'
			if !letter && !strings.Contains("!#$%&'*+-.^_`|~", string(c)) {
				return "", fmt.Errorf("invalid method %q (for example GET)", s)
			}
		}
		return s, nil
	})
	v.offers = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
	return v
}

// Statuses are ranges of HTTP statuses, both ends included.
type Statuses [][2]int

// Has reports whether status is in one of the ranges.
func (l Statuses) Has(status int) bool {
	return slices.ContainsFunc(l, func(r [2]int) bool { return r[0] <= status && status <= r[1] })
}

// Value is the flag's value: 500, 5xx or 400-499. Servers also send statuses
// that no RFC defines: all from 100 to 999 are taken.
func (l *Statuses) Value() *Value {
	v := list(l, "statuses", parseStatus)
	v.offers = []string{"1xx", "2xx", "3xx", "4xx", "5xx"}
	return v
}

func parseStatus(s string) (r [2]int, err error) {
	low, high, _ := strings.Cut(s, "-")
	if class, ok := strings.CutSuffix(strings.ToLower(s), "xx"); ok && len(class) == 1 {
		low, high = class+"00", class+"99"
	}
	var errHigh error
	r[0], err = strconv.Atoi(low)
	r[1], errHigh = strconv.Atoi(cmp.Or(high, low))
	if err != nil || errHigh != nil || r[0] < 100 || r[1] > 999 || r[0] > r[1] || strings.HasSuffix(s, "-") {
		return r, fmt.Errorf("invalid status %q (for example 500, 5xx or 400-499)", s)
	}
	return r, nil
}

// Size is a number of bytes from least to most, as 512, 16KiB or 100MiB.
func Size(into *uint64, least, most uint64) *Value {
	return &Value{kind: "size", text: func() string { return formatSize(*into) }, set: func(s string) error {
		n, err := parseSize(s)
		if err != nil {
			return err
		}
		if n < least || n > most {
			return fmt.Errorf("%s is out of range (%s to %s)", s, formatSize(least), formatSize(most))
		}
		*into = n
		return nil
	}}
}

// Sizes count in steps of 1024, with or without the i: 1K = 1KB = 1KiB.
const sizeUnits = "KMGT"

func parseSize(s string) (uint64, error) {
	digits := strings.TrimRight(s, "KMGTBibkmgt")
	unit := strings.ToUpper(s[len(digits):])
	shift := 0
	if unit != "" && unit != "B" {
		shift = 10 * (1 + strings.IndexByte(sizeUnits, unit[0]))
		if rest := unit[1:]; shift == 0 || rest != "" && rest != "B" && rest != "IB" {
			digits = "" // wrong
		}
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || n > math.MaxUint64>>shift {
		return 0, fmt.Errorf("invalid size %q (for example 512, 16KiB or 100MiB)", s)
	}
	return n << shift, nil
}

func formatSize(n uint64) string {
	unit := ""
	for i := 0; i < len(sizeUnits) && n >= 1<<10 && n%(1<<10) == 0; i++ {
		n, unit = n>>10, sizeUnits[i:i+1]+"iB"
	}
	return strconv.FormatUint(n, 10) + unit
}

// Duration is a Go duration of at least this much.
func Duration(into *time.Duration, least time.Duration) *Value {
	return &Value{kind: "duration", text: func() string { return into.String() }, set: func(s string) error {
		d, err := time.ParseDuration(s)
		switch {
		case err != nil:
			return fmt.Errorf("invalid duration %q (for example 10s)", s)
		case d < least && least <= 1:
			return fmt.Errorf("%v is too short (for example 10s)", d)
		case d < least:
			return fmt.Errorf("%v is too short (at least %v)", d, least)
		}
		*into = d
		return nil
	}}
}

// Number is a whole number of at least this much.
func Number(into *uint64, least uint64) *Value {
	return &Value{kind: "number", text: func() string { return strconv.FormatUint(*into, 10) }, set: func(s string) error {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil || n < least {
			return fmt.Errorf("invalid number %q (at least %d)", s, least)
		}
		*into = n
		return nil
	}}
}

// Parsed is whatever parse takes; kind names it.
func Parsed[T any](into *T, kind string, parse func(string) (T, error)) *Value {
	return &Value{kind: kind, set: func(s string) error {
		v, err := parse(s)
		if err != nil {
			return fmt.Errorf("invalid %s %q: %w", kind, s, err)
		}
		*into = v
		return nil
	}}
}

// Text is any text but an empty one, which would be no choice at all: a script
// whose variable is not set gives one.
func Text(into *string) *Value {
	return &Value{kind: "text", text: func() string { return *into }, set: func(s string) error {
		if s == "" {
			return errors.New("the value is empty")
		}
		*into = s
		return nil
	}}
}

// OneOf is one of the choices.
func OneOf(into *string, choices ...string) *Value {
	return &Value{kind: "choice", offers: choices, text: func() string { return *into }, set: func(s string) error {
		if !slices.Contains(choices, s) {
			return fmt.Errorf("invalid value %q (choose %s)", s, either(choices))
		}
		*into = s
		return nil
	}}
}

// either joins names as a sentence does.
func either(names []string) string {
	last := len(names) - 1
	if last < 1 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:last], ", ") + " or " + names[last]
}
