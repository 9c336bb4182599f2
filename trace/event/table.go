package event

import (
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// A table goes through the keys of an object and writes or reads each. Its rows
// are calls in the method fields of the object's type, one for each key, in the
// order of the line:
//
//	t.text("user", &e.User, e.User != "")
//
// that is: the type of the value, its key, where it is kept, and when to write
// it. Rows are calls rather than data so that writing costs no more than code
// that is made by hand for each type.
type table struct {
	out []byte   // what is written: members, each behind a comma
	in  *scanner // what is read; nil when writing

	// Of the object that is read:
	of    string // its kind
	timed bool   // it has a time
	from  int    // where the last pass through the table began
}

// read begins to read an object of a kind. The caller goes through the table of
// its type for as long as again is true.
func read(r *scanner, kind string) table {
	r.open()
	return table{in: r, of: kind}
}

// again returns whether to go through the table, until all members are read:
// once for a line that has its keys in the table's order, as this version writes
// them. A key that is in no row is skipped.
func (t *table) again() bool {
	r := t.in
	if r.more && r.at == t.from {
		r.skip()
		r.next()
	}
	t.from = r.at
	if !r.more && !t.timed {
		r.fail(fmt.Errorf("%w: it has no time", ErrForeign))
	}
	return r.more
}

// key writes the key of a value.
func (t *table) key(key string) {
	b := append(t.out, ',', '"')
	b = append(b, key...)
	t.out = append(b, '"', ':')
}

// writes returns whether to write a value, and writes its key.
func (t *table) writes(key string, when bool) bool {
	if !when || t.in != nil {
		return false
	}
	t.key(key)
	return true
}

// close makes an object of the members from start on.
func (t *table) close(start int) []byte {
	t.out[start] = '{' // was a comma
	return append(t.out, '}')
}

// reads returns whether the value of a key is to be read.
func (t *table) reads(key string) bool { return t.in != nil && t.in.key == key }

// Most keys are left out of most lines. For the common types of values this is
// decided here, in functions so small that the compiler inlines them.

func (t *table) text(key string, p *string, when bool) {
	if when || t.in != nil {
		t.textRow(key, p)
	}
}

func (t *table) flag(key string, p *bool, when bool) {
	if when || t.in != nil {
		t.flagRow(key, p)
	}
}

func (t *table) uint32(key string, p *uint32, when bool) {
	if when || t.in != nil {
		t.uint32Row(key, p)
	}
}

func (t *table) uint64(key string, p *uint64, when bool) {
	if when || t.in != nil {
		t.uint64Row(key, p)
	}
}

func (t *table) int(key string, p *int, when bool) {
	if when || t.in != nil {
		t.intRow(key, p)
	}
}

// micros is a duration in whole microseconds.
func (t *table) micros(key string, p *time.Duration, when bool) {
	if when || t.in != nil {
		t.microsRow(key, p, 0)
	}
}

// knownMicros is a duration of which 0 means unknown. One that was measured, but
// is below a microsecond, is written as 0: it is read as a nanosecond.
func (t *table) knownMicros(key string, p *time.Duration) {
	if *p != 0 || t.in != nil {
		t.microsRow(key, p, time.Nanosecond)
	}
}

func (t *table) textRow(key string, p *string) {
	switch {
	case t.in == nil:
		t.key(key)
		t.out = appendString(t.out, *p)
	case t.reads(key):
		*p = t.in.text()
		t.in.next()
	}
}

// derived is a string that follows from other values; left out if it is empty.
func (t *table) derived(key, s string) {
	switch {
	case t.writes(key, s != ""):
		t.out = appendString(t.out, s)
	case t.reads(key):
		t.in.text()
		t.in.next()
	}
}

// kind is the kind of an object, by which its type was chosen.
func (t *table) kind(key string, p *string) {
	switch {
	case t.writes(key, true):
		t.out = appendString(t.out, *p)
	case t.reads(key):
		if t.in.text() != t.of {
			t.in.foreign("there twice")
		}
		*p = t.of
		t.in.next()
	}
}

func (t *table) flagRow(key string, p *bool) {
	switch {
	case t.in == nil:
		t.key(key)
		t.out = strconv.AppendBool(t.out, *p)
	case t.reads(key):
		*p = t.in.bool()
		t.in.next()
	}
}

// uint16 is a number that few objects have.
func (t *table) uint16(key string, p *uint16, when bool) {
	switch {
	case t.writes(key, when):
		t.out = strconv.AppendUint(t.out, uint64(*p), 10)
	case t.reads(key):
		*p = uint16(t.in.uint(math.MaxUint16))
		t.in.next()
	}
}

func (t *table) uint64Row(key string, p *uint64) {
	switch {
	case t.in == nil:
		t.key(key)
		t.out = strconv.AppendUint(t.out, *p, 10)
	case t.reads(key):
		*p = t.in.uint(math.MaxUint64)
		t.in.next()
	}
}

func (t *table) uint32Row(key string, p *uint32) {
	switch {
	case t.in == nil:
		t.key(key)
		t.out = strconv.AppendUint(t.out, uint64(*p), 10)
	case t.reads(key):
		*p = uint32(t.in.uint(math.MaxUint32))
		t.in.next()
	}
}

func (t *table) intRow(key string, p *int) {
	switch {
	case t.in == nil:
		t.key(key)
		t.out = strconv.AppendInt(t.out, int64(*p), 10)
	case t.reads(key):
		*p = int(t.in.int())
		t.in.next()
	}
}

func (t *table) microsRow(key string, p *time.Duration, zero time.Duration) {
	switch {
	case t.in == nil:
		t.key(key)
		t.out = strconv.AppendInt(t.out, p.Microseconds(), 10)
	case t.reads(key):
		if *p = t.in.duration(time.Microsecond); *p == 0 {
			*p = zero
		}
		t.in.next()
	}
}

// nanos is a duration in nanoseconds.
func (t *table) nanos(key string, p *time.Duration, when bool) {
	switch {
	case t.writes(key, when):
		t.out = strconv.AppendInt(t.out, p.Nanoseconds(), 10)
	case t.reads(key):
		*p = t.in.duration(time.Nanosecond)
		t.in.next()
	}
}

// time is a time.
func (t *table) time(key string, p *time.Time, when bool) {
	switch {
	case t.writes(key, when):
		t.out = append(appendTime(append(t.out, '"'), *p), '"')
	case t.reads(key):
		*p = t.in.time()
		t.timed = t.timed || key == "time"
		t.in.next()
	}
}

// address is an IP address; left out if it is not valid.
func (t *table) address(key string, p *netip.Addr) {
	switch {
	case t.writes(key, p.IsValid()):
		t.out = appendAddress(t.out, *p)
	case t.reads(key):
		*p = t.in.address()
		t.in.next()
	}
}

// host is the address of an endpoint; left out if it is not valid.
func (t *table) host(key string, p *netip.AddrPort) {
	switch {
	case t.writes(key, p.Addr().IsValid()):
		t.out = appendAddress(t.out, p.Addr())
	case t.reads(key):
		*p = netip.AddrPortFrom(t.in.address(), p.Port())
		t.in.next()
	}
}

// port is the port of an endpoint; left out if it is 0.
func (t *table) port(key string, p *netip.AddrPort) {
	switch {
	case t.writes(key, p.Port() != 0):
		t.out = strconv.AppendUint(t.out, uint64(p.Port()), 10)
	case t.reads(key):
		*p = netip.AddrPortFrom(p.Addr(), uint16(t.in.uint(math.MaxUint16)))
		t.in.next()
	}
}

// connID is the name of a connection; left out if it is not known.
func (t *table) connID(key string, p *ConnID) {
	switch {
	case t.writes(key, p.Known):
		t.out, _ = p.AppendText(append(t.out, '"'))
		t.out = append(t.out, '"')
	case t.reads(key):
		*p = t.in.connID()
		t.in.next()
	}
}

// texts is a list of strings.
func (t *table) texts(key string, p *[]string, when bool) {
	switch {
	case t.writes(key, when):
		t.out = appendList(t.out, *p, appendString)
	case t.reads(key):
		*p = readList(t.in, t.in.text)
		t.in.next()
	}
}

// addresses is a list of IP addresses.
func (t *table) addresses(key string, p *[]netip.Addr, when bool) {
	switch {
	case t.writes(key, when):
		t.out = appendList(t.out, *p, appendAddress)
	case t.reads(key):
		*p = readList(t.in, t.in.address)
		t.in.next()
	}
}

// counts are counters by name.
func (t *table) counts(key string, p *map[string]uint64, when bool) {
	switch {
	case t.writes(key, when):
		t.out = appendCounts(t.out, *p)
	case t.reads(key):
		*p = readCounts(t.in)
		t.in.next()
	}
}

func appendAddress(b []byte, a netip.Addr) []byte {
	return append(a.AppendTo(append(b, '"')), '"')
}

func appendList[V any](b []byte, list []V, one func([]byte, V) []byte) []byte {
	b = append(b, '[')
	for i, v := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = one(b, v)
	}
	return append(b, ']')
}

func readList[V any](r *scanner, one func() V) []V {
	list := []V{}
	for more := r.openList(); more; more = r.nextOne() {
		list = append(list, one())
	}
	return list
}

func appendCounts(b []byte, by map[string]uint64) []byte {
	b = append(b, '{')
	for i, name := range slices.Sorted(maps.Keys(by)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, name), ':')
		b = strconv.AppendUint(b, by[name], 10)
	}
	return append(b, '}')
}

func readCounts(r *scanner) map[string]uint64 {
	by := map[string]uint64{}
	for more := r.open(); more; more = r.next() {
		name := r.key
		by[name] = r.uint(math.MaxUint64)
	}
	return by
}
