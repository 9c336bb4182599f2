package event

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// everyKind returns an empty event of each kind.
func everyKind() []Event {
	var all []Event
	for _, kind := range []string{
		KindExec, KindExit, KindExecFailed, KindExecSummary, KindConnect, KindConnectFailed, KindConnectStuck, KindAccept, KindClose, KindOpen, KindConnSummary,
		KindTraffic, KindHTTP, KindHTTPStuck, KindHTTPSummary,
	} {
		e := newEvent(kind)
		e.Head().Kind = kind
		all = append(all, e)
	}
	return all
}

// everyObject returns an empty object of each kind.
func everyObject() []Object {
	all := []Object{&Start{}, &Account{}}
	for _, e := range everyKind() {
		all = append(all, e)
	}
	for _, kind := range []string{KindNote, KindWarning, KindLost, KindOverflow, KindTotal, KindSlowest} {
		all = append(all, &Notice{Kind: kind})
	}
	return all
}

// lineOf is the line of an object of any kind.
func lineOf(o Object) []byte {
	if e, ok := o.(Event); ok {
		return AppendJSON(nil, e)
	}
	return o.(interface{ AppendJSON(dst []byte) []byte }).AppendJSON(nil)
}

func TestEveryKindIsTested(t *testing.T) {
	var tested []string
	for _, o := range everyObject() {
		var head struct{ Event string }
		if err := json.Unmarshal(lineOf(o), &head); err != nil {
			t.Fatal(err)
		}
		tested = append(tested, head.Event)
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, constant := range regexp.MustCompile(`\bKind\w+ *= "(\w+)"`).FindAllSubmatch(text, -1) {
			found++
			if kind := string(constant[1]); newEvent(kind) == nil && newReport(kind) == nil || !slices.Contains(tested, kind) {
				t.Errorf("%s: there is no object of kind %q, or no test of it", file, kind)
			}
		}
	}
	if found == 0 {
		t.Error("no constants found")
	}
}

// source makes values: of its bytes, or where there are none left each another.
type source struct {
	data  []byte
	given int
}

func (s *source) uint64() uint64 {
	s.given++
	if len(s.data) < 8 {
		return uint64(s.given)
	}
	n := binary.LittleEndian.Uint64(s.data)
	s.data = s.data[8:]
	return n >> (n % 64) // small ones as often as large ones
}

func (s *source) text() string {
	s.given++
	if len(s.data) == 0 {
		return fmt.Sprintf("text %d", s.given)
	}
	n := min(int(s.data[0])%32, len(s.data)-1)
	text := string(s.data[1 : 1+n])
	s.data = s.data[1+n:]
	return text
}

func (s *source) addr() netip.Addr {
	switch n := s.uint64(); {
	case len(s.data) == 0:
		return netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)})
	case n%3 == 0:
		return netip.Addr{}
	default:
		var b [16]byte
		copy(b[:], s.data)
		return netip.AddrFrom16(b).Unmap()
	}
}

// fill sets all fields of an object but its kind.
func fill(o Object, s *source) {
	var set func(v reflect.Value)
	set = func(v reflect.Value) {
		switch p := v.Addr().Interface().(type) {
		case *time.Time:
			*p = time.Unix(int64(s.uint64()%(1<<33)), int64(s.uint64()%1e9)).UTC()
			return
		case *time.Duration:
			if *p = time.Duration(s.uint64()); len(s.data) < 8 {
				*p *= time.Microsecond
			}
			return
		case *netip.Addr:
			*p = s.addr()
			return
		case *netip.AddrPort:
			*p = netip.AddrPortFrom(s.addr(), uint16(s.uint64()))
			return
		case *Event:
			if about := everyKind(); s.uint64()%2 == 1 {
				*p = about[int(s.uint64()%uint64(len(about)))]
				fill(*p, s)
			}
			return
		}
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				if name := v.Type().Field(i).Name; name != "Kind" && name != "Recorded" {
					set(v.Field(i))
				}
			}
		case reflect.String:
			v.SetString(s.text())
		case reflect.Bool:
			v.SetBool(s.uint64()%2 != 0 || len(s.data) == 0)
		case reflect.Int:
			v.SetInt(int64(s.uint64()))
		case reflect.Uint8:
			v.SetUint(s.uint64() & 0xff)
		case reflect.Uint16, reflect.Uint32, reflect.Uint64:
			v.SetUint(s.uint64())
		case reflect.Float64:
			v.SetFloat(float64(s.uint64()))
		case reflect.Array:
			for i := range v.Len() {
				set(v.Index(i))
			}
		case reflect.Slice:
			n := 2
			if len(s.data) > 0 {
				n = int(s.data[0]) % 4
			}
			if n < 3 {
				v.Set(reflect.MakeSlice(v.Type(), n, n))
			}
			for i := range v.Len() {
				set(v.Index(i))
				if a, ok := v.Index(i).Addr().Interface().(*netip.Addr); ok && !a.IsValid() {
					*a = netip.IPv6Loopback() // a list has no unknown ones
				}
			}
		case reflect.Map:
			by := map[string]uint64{}
			for range 2 {
				by[strings.ToValidUTF8(s.text(), "?")] = s.uint64() // names are tracer's own
			}
			v.Set(reflect.ValueOf(by))
		default:
			panic("a type that this test does not know: " + v.Type().String())
		}
	}
	set(reflect.ValueOf(o).Elem())
}

// onScreen are the fields that no line tells.
var onScreen = []string{
	"Account.Unopened",
	"Account.Unseen",
	"ConnSummary.Answered", // only whether it is 0
	"ConnSummary.Rate",
	"Exec.Depth",
	"ExecFailed.Depth",
	"ExecSummary.Failing",
	"ExecSummary.Rate",
	"Exit.Depth",
	"HTTPSummary.Answered", // only whether it is 0
	"HTTPSummary.Both",
	"HTTPSummary.Failing",
	"HTTPSummary.Last",
	"HTTPSummary.Rate",
	"HTTPSummary.ServerAnswered", // only whether it is 0
	"HTTPSummary.Slow",
	"HTTPSummary.Spent",
	"HTTPSummary.Spread",
	"HTTPSummary.Where",
	"Process.Cgroup",
	"Traffic.Part",
	"Traffic.TotalRx",
	"Traffic.TotalTx",
}

func TestEveryFieldIsInATable(t *testing.T) {
	fields, told := map[string]bool{}, map[string]bool{}
	for _, o := range everyObject() {
		// Some fields are told only if others are not.
		for _, change := range []func(Object){
			func(Object) {},
			func(o Object) {
				switch o := o.(type) {
				case *Exit:
					o.Signal = ""
				case *HTTP:
					o.Role = RoleBoth
				case *Notice:
					o.About = &Accept{Common: Common{Time: when.UTC(), Kind: KindAccept}}
				}
			},
		} {
			fill(o, &source{})
			change(o)
			read, err := DecodeLine(lineOf(o))
			if err != nil {
				t.Fatalf("%T: %v", o, err)
			}
			var walk func(path string, a, b reflect.Value)
			walk = func(path string, a, b reflect.Value) {
				for i := range a.NumField() {
					f, name := a.Type().Field(i), path
					if !f.Anonymous {
						name += "." + f.Name
					} else {
						walk(path, a.Field(i), b.Field(i))
						continue
					}
					if f.Name == "Recorded" { // it is the line
						continue
					}
					if f.Name == "Cgroup" { // every event has it
						name = "Process.Cgroup"
					}
					fields[name] = true
					if reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
						told[name] = true
					}
				}
			}
			v := reflect.ValueOf(o).Elem()
			walk(v.Type().Name(), v, reflect.ValueOf(read).Elem())
		}
	}
	for name := range told {
		delete(fields, name)
	}
	if diff := cmp.Diff(onScreen, slices.Sorted(maps.Keys(fields))); diff != "" {
		t.Errorf("fields in no table: %s", diff)
	}
}

// The samples are what tracer wrote with --json, stdout and stderr together,
// while programs did what it reports, with hostile arguments and paths. The
// http-both ones are stdout alone.
func TestRecordedLinesComeBackAsTheyWere(t *testing.T) {
	files, err := filepath.Glob("../../testdata/samples/*.jsonl")
	if err != nil || len(files) == 0 {
		t.Fatal("no samples: ", err)
	}
	seen := map[string]int{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for n, line := range bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n")) {
			o, err := DecodeLine(line)
			if err != nil {
				t.Errorf("%s:%d: %v", file, n+1, err)
				continue
			}
			if again := lineOf(o); !bytes.Equal(again, line) {
				t.Errorf("%s:%d:\n%s\nbecame\n%s", file, n+1, line, again)
			}
			var head struct{ Event string }
			if err := json.Unmarshal(line, &head); err != nil {
				t.Errorf("%s:%d: %v", file, n+1, err)
			}
			seen[head.Event]++
		}
	}
	for _, e := range everyKind() {
		if kind := e.Head().Kind; seen[kind] == 0 {
			t.Errorf("no sample of %s", kind)
		}
	}
	for _, kind := range []string{KindStart, KindEnd, KindNote, KindWarning, KindLost, KindOverflow, KindTotal, KindSlowest} {
		if seen[kind] == 0 {
			t.Errorf("no sample of %s", kind)
		}
	}
}

func TestDecodeLine(t *testing.T) {
	const at = `"time":"2024-03-05T13:04:05.120000000Z"`
	moment := when.UTC()
	head := Common{Time: moment, Kind: KindAccept}
	deep := func(n int) string {
		return `{` + at + `,"event":"accept","x":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}`
	}
	for _, c := range []struct {
		name, line string
		want       Object
		err        error
	}{
		{name: "a line as it was written", line: `{` + at + `,"event":"accept"}`, want: &Accept{Common: head}},
		{name: "a newline at its end", line: `{` + at + `,"event":"accept"}` + "\n", want: &Accept{Common: head}},
		{name: "space between all tokens", line: " {\t" + at + ` , "event" : "accept" , "pid" : 7 }` + "\r\n", want: &Accept{Common: Common{Time: moment, Kind: KindAccept, Process: Process{PID: 7}}}},
		{name: "keys in another order", line: `{"role":"server","pid":7,"event":"accept",` + at + `}`, want: &Accept{Common: Common{Time: moment, Kind: KindAccept, Process: Process{PID: 7}}, Connection: Connection{Role: RoleServer}}},
		{
			name: "keys of a newer version are skipped",
			line: `{` + at + `,"seq":[1,{"a":{}}],"event":"accept","":null,"role":"server","flow_id":"7","x":-1.5e+7,"y":true}`,
			want: &Accept{Common: head, Connection: Connection{Role: RoleServer}},
		},
		{
			name: "the name of a connection, of which both numbers are 0",
			line: `{` + at + `,"event":"accept","conn_id":"0000000000000000"}`,
			want: &Accept{Common: head, Connection: Connection{ID: ConnID{Known: true}}},
		},
		{name: "a name that is too short", line: `{` + at + `,"event":"accept","conn_id":"000000000000000"}`, err: ErrForeign},
		{name: "a name in capitals", line: `{` + at + `,"event":"accept","conn_id":"00000000DEADBEEF"}`, err: ErrForeign},
		{name: "a name with a sign", line: `{` + at + `,"event":"accept","conn_id":"+000000000000000"}`, err: ErrForeign},
		{name: "a name that is a number", line: `{` + at + `,"event":"accept","conn_id":1000000000000000}`, err: ErrForeign},
		{name: "an escaped key", line: `{` + at + `,"event":"accept","\u0070id":7}`, want: &Accept{Common: Common{Time: moment, Kind: KindAccept, Process: Process{PID: 7}}}},
		{name: "escapes in a value", line: `{` + at + `,"event":"accept","role":"\u001b\n\ud83d\ude00\ud83d\\\/é"}`, want: &Accept{Common: head, Connection: Connection{Role: "\x1b\n😀\ufffd\\/é"}}},
		{name: "a time without a fraction", line: `{"time":"2024-03-05T13:04:05Z","event":"start"}`, want: &Start{Time: time.Date(2024, 3, 5, 13, 4, 5, 0, time.UTC)}},
		{
			name: "the largest numbers",
			line: `{` + at + `,"event":"close","cgroup_id":18446744073709551615,"pid":4294967295,"src_port":65535,"duration_us":9223372036854775}`,
			want: &Close{
				Common: Common{Time: moment, Kind: KindClose, Process: Process{PID: 4294967295, CgroupID: 18446744073709551615}}, Duration: 9223372036854775 * time.Microsecond,
				Connection: Connection{Src: netip.AddrPortFrom(netip.Addr{}, 65535)},
			},
		},
		{name: "a duration below a microsecond is not an unknown one", line: `{` + at + `,"event":"connect","latency_us":0}`, want: &Connect{Common: Common{Time: moment, Kind: KindConnect}, Latency: 1}},
		{
			name: "an event within a notice", line: `{` + at + `,"event":"slowest","about":{` + at + `,"event":"accept"}}`,
			want: &Notice{Time: moment, Kind: KindSlowest, About: &Accept{Common: head}},
		},
		{
			name: "counters", line: `{` + at + `,"event":"lost","message":"m","lost":3,"lost_by":{"a":1,"b":2}}`,
			want: &Notice{Time: moment, Kind: KindLost, Message: "m", Lost: 3, LostBy: map[string]uint64{"a": 1, "b": 2}},
		},
		{name: "lists", line: `{` + at + `,"event":"start","args":[],"addresses":["::1"]}`, want: &Start{Time: moment, Args: []string{}, Addresses: []netip.Addr{netip.IPv6Loopback()}}},
		{name: "nesting as deep as is allowed", line: deep(maxDepth), want: &Accept{Common: head}},

		{name: "nothing", line: "", err: ErrSyntax},
		{name: "text", line: "hello", err: ErrSyntax},
		{name: "a cut line", line: `{` + at + `,"event":"acc`, err: ErrSyntax},
		{name: "a line cut behind a wrong value", line: `{` + at + `,"event":"accept","pid":"x","comm":"a`, err: ErrSyntax},
		{name: "a line cut behind an unknown kind", line: `{` + at + `,"event":"quic"`, err: ErrSyntax},
		{name: "two objects", line: `{` + at + `,"event":"accept"}{}`, err: ErrSyntax},
		{name: "a trailing comma", line: `{` + at + `,"event":"accept",}`, err: ErrSyntax},
		{name: "a number with a leading zero", line: `{` + at + `,"event":"accept","pid":07}`, err: ErrSyntax},
		{name: "a raw control character", line: `{` + at + `,"event":"accept","comm":"` + "\x1b" + `"}`, err: ErrSyntax},
		{name: "a wrong escape", line: `{` + at + `,"event":"accept","comm":"\x"}`, err: ErrSyntax},
		{name: "bytes that are not UTF-8", line: `{` + at + `,"event":"accept","comm":"` + "\xff" + `"}`, err: ErrSyntax},
		{name: "too deep", line: deep(maxDepth + 1), err: ErrSyntax},
		{name: "much too deep", line: strings.Repeat("[", 1<<20), err: ErrSyntax},

		{name: "a foreign object that is deep", line: `{"x":` + strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth) + `}`, err: ErrForeign},
		{name: "a list", line: `[1]`, err: ErrForeign},
		{name: "null", line: `null`, err: ErrForeign},
		{name: "an empty object", line: `{}`, err: ErrForeign},
		{name: "an object without a kind", line: `{` + at + `,"pid":7}`, err: ErrForeign},
		{name: "an object without a time", line: `{"event":"accept","pid":7}`, err: ErrForeign},
		{name: "an unknown kind without a time", line: `{"event":"login","user":"ann"}`, err: ErrForeign},
		{name: "an unknown kind with another kind of time", line: `{"time":1709643845,"event":"login"}`, err: ErrForeign},
		{name: "a kind that is not text", line: `{` + at + `,"event":7}`, err: ErrForeign},
		{name: "two kinds", line: `{` + at + `,"event":"accept","event":"exec"}`, err: ErrForeign},
		{name: "a time in a zone", line: `{"time":"2024-03-05T13:04:05+01:00","event":"accept"}`, err: ErrForeign},
		{name: "a number as text", line: `{` + at + `,"event":"accept","pid":"7"}`, err: ErrForeign},
		{name: "a text as a number", line: `{` + at + `,"event":"accept","comm":7}`, err: ErrForeign},
		{name: "null for a text", line: `{` + at + `,"event":"accept","comm":null}`, err: ErrForeign},
		{name: "a negative count", line: `{` + at + `,"event":"accept","pid":-7}`, err: ErrForeign},
		{name: "a fraction", line: `{` + at + `,"event":"accept","pid":7.0}`, err: ErrForeign},
		{name: "an exponent", line: `{` + at + `,"event":"accept","pid":7e0}`, err: ErrForeign},
		{name: "a number that is too large for its field", line: `{` + at + `,"event":"accept","pid":4294967296}`, err: ErrForeign},
		{name: "a port that is too large", line: `{` + at + `,"event":"accept","src_port":65536}`, err: ErrForeign},
		{name: "a duration that is too large", line: `{` + at + `,"event":"exit","duration_us":9223372036854776}`, err: ErrForeign},
		{name: "an address that is none", line: `{` + at + `,"event":"accept","src_addr":"localhost"}`, err: ErrForeign},
		{name: "an address with a zone", line: `{` + at + `,"event":"accept","src_addr":"fe80::1%\""}`, err: ErrForeign},
		{name: "a flag that is none", line: `{` + at + `,"event":"close","open_before":1}`, err: ErrForeign},
		{name: "a list that is none", line: `{` + at + `,"event":"exec","args":"x"}`, err: ErrForeign},
		{name: "a list of others", line: `{` + at + `,"event":"exec","args":[1]}`, err: ErrForeign},
		{name: "counters that are none", line: `{` + at + `,"event":"end","kinds":[]}`, err: ErrForeign},
		{name: "a notice within a notice", line: `{` + at + `,"event":"note","about":{` + at + `,"event":"note"}}`, err: ErrForeign},
		{name: "a foreign object within a notice", line: `{` + at + `,"event":"note","about":{}}`, err: ErrForeign},

		{name: "a kind of a newer version", line: `{` + at + `,"event":"quic","pid":7,"x":1}`, err: ErrNewer},
		{name: "a kind of a newer version within a notice", line: `{` + at + `,"event":"note","about":{` + at + `,"event":"quic"}}`, err: ErrNewer},
		{name: "a line that is too long", line: strings.Repeat(" ", MaxLine+1), err: ErrTooLong},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := DecodeLine([]byte(c.line))
			if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			if diff := cmp.Diff(c.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDecodeTakesOnlyEvents(t *testing.T) {
	line := (&Start{Time: when}).AppendJSON(nil)
	if e, err := Decode(line); e != nil || !errors.Is(err, ErrForeign) {
		t.Errorf("%v, %v", e, err)
	}
	line = AppendJSON(nil, &Accept{Common: Common{Time: when, Kind: KindAccept}})
	e, err := Decode(line)
	if err != nil {
		t.Fatal(err)
	}
	clear(line)
	if e.Head().Kind != KindAccept {
		t.Error("the event is not independent of the line")
	}
}

// FuzzWrittenLines: whatever an object holds, its line is valid, and comes back
// as it was.
func FuzzWrittenLines(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x00\x01\x02\x03\x04\x05\x06\x07\x08\xff\xfe\xfd"))
	f.Add(bytes.Repeat([]byte{0}, 500))
	f.Add(bytes.Repeat([]byte{0xff}, 500))
	f.Add([]byte(strings.Repeat(strings.Join(hostile[:28], ""), 2)))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, o := range everyObject() {
			fill(o, &source{data: data})
			line := lineOf(o)
			checkLine(t, line)
			read, err := DecodeLine(line)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			if again := lineOf(read); !bytes.Equal(again, line) {
				t.Fatalf("%s\nbecame\n%s", line, again)
			}
		}
	})
}

// FuzzDecodeLine: DecodeLine agrees with encoding/json on what is valid and what
// it holds; what it reads can be written, and comes back as it was.
func FuzzDecodeLine(f *testing.F) {
	for _, o := range everyObject() {
		fill(o, &source{})
		f.Add(lineOf(o))
	}
	f.Add([]byte(`{"time":"2024-03-05T13:04:05Z","event":"exec","args":["\ud83d\ude00\udead","\/\b\f"],"x":[-0.1e+5,true,null,{"y":{}}]}`))
	f.Add([]byte(`{"time":"2024-03-05T13:04:05Z","event":"quic"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		o, err := DecodeLine(line)
		valid := json.Valid(line) && utf8.Valid(line)
		if depth(line) < maxDepth && errors.Is(err, ErrSyntax) == valid {
			t.Fatalf("%q: %v, valid: %t", line, err, valid)
		}
		if err != nil {
			if o != nil || !errors.Is(err, ErrSyntax) && !errors.Is(err, ErrForeign) && !errors.Is(err, ErrNewer) {
				t.Fatalf("%q: %v, %v", line, o, err)
			}
			return
		}
		again := lineOf(o)
		sameValues(t, line, again)
		read, err := DecodeLine(again)
		if err != nil {
			t.Fatalf("%q became %s: %v", line, again, err)
		}
		if third := lineOf(read); !bytes.Equal(third, again) {
			t.Fatalf("%q became\n%s and\n%s", line, again, third)
		}
	})
}

// depth is how deep a line may nest, at most.
func depth(line []byte) int { return bytes.Count(line, []byte("[")) + bytes.Count(line, []byte("{")) }

// sameValues compares what encoding/json reads of two lines: all that is in the
// second and is not spelled anew.
func sameValues(t *testing.T, line, again []byte) {
	t.Helper()
	read := func(line []byte) (values map[string]any) {
		d := json.NewDecoder(bytes.NewReader(line))
		d.UseNumber()
		if err := d.Decode(&values); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		return values
	}
	want := read(line)
	for key, got := range read(again) {
		switch key {
		case "time", "about", "family", "src_addr", "dst_addr", "peer_addr", "addresses":
			continue
		}
		if before, ok := want[key]; ok && got != "-0" && !agree(got, before) && before != json.Number("-0") {
			t.Fatalf("%q: %s: %v, became %v", line, key, before, got)
		}
	}
}

// agree compares values of which the second may be a list of objects with keys that are
// not known, and without some that are.
func agree(got, before any) bool {
	list, isList := got.([]any)
	was, wasList := before.([]any)
	if !isList || !wasList || len(list) != len(was) {
		return reflect.DeepEqual(got, before)
	}
	for i := range list {
		object, isObject := list[i].(map[string]any)
		wasObject, ok := was[i].(map[string]any)
		if !isObject || !ok {
			if !reflect.DeepEqual(list[i], was[i]) {
				return false
			}
			continue
		}
		for key, value := range object {
			if b, there := wasObject[key]; there && b != json.Number("-0") && !agree(value, b) {
				return false
			}
		}
	}
	return true
}

func BenchmarkDecode(b *testing.B) {
	for _, e := range benchEvents {
		line := AppendJSON(nil, e)
		b.Run(e.Head().Kind, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(line)))
			before := cpuTime()
			for range b.N {
				if _, err := Decode(line); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(cpuTime()-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// A line comes back as it was recorded, unknown keys included, but for what would control a
// terminal: that means the same.
func TestDecodeRecordedKeepsTheLine(t *testing.T) {
	const head = `{"time":"2026-01-01T00:00:00.000000000Z","event":"exec","pid":1,"comm":`
	for _, test := range []struct{ name, line, want string }{
		{"unknown keys", head + `"a","uid":0,"ppid":1,"new":{"x":[1, 2]}}`, ""},
		{"spaces, and keys in another order", `{ "event":"exec", "time":"2026-01-01T00:00:00Z","ppid":1,"pid":1,"comm":"a","uid":0}`, ""},
		{"text of any script", head + `"größe 漢字 😀","uid":0,"ppid":1}`, ""},
		{"what controls a terminal", head + "\"a\u009b2J\u202eb\x7f\",\"uid\":0,\"ppid\":1,\"new\":\"\u2028\"}", head + `"a\u009b2J\u202eb\u007f","uid":0,"ppid":1,"new":"\u2028"}`},
	} {
		if test.want == "" {
			test.want = test.line
		}
		o, err := DecodeRecorded([]byte(test.line))
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		e := o.(*Exec)
		if got := string(AppendJSON(nil, e)); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
		again, err := Decode([]byte(e.Recorded))
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		e.Recorded = ""
		if diff := cmp.Diff(e, again); diff != "" {
			t.Errorf("%s: it means something else: %s", test.name, diff)
		}
	}
}
