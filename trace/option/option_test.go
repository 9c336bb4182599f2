package option

import (
	"flag"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

var (
	_ flag.Value  = (*Value)(nil)
	_ pflag.Value = (*Value)(nil)
)

// A setting gives a value to a flag of each kind and reads the variable back.
func setting[T any](value func(*T) *Value) func(string) (any, error) {
	return func(s string) (any, error) {
		into := new(T)
		err := value(into).Set(s)
		return *into, err
	}
}

var (
	names     = setting(Names)
	ids       = setting(IDs)
	ports     = setting(Ports)
	comms     = setting(Comms)
	methods   = setting((*Methods).Value)
	statuses  = setting((*Statuses).Value)
	texts     = setting(Text)
	sizes     = setting(func(n *uint64) *Value { return Size(n, 64, 16<<30) })
	durations = setting(func(d *time.Duration) *Value { return Duration(d, 0) })
	intervals = setting(func(d *time.Duration) *Value { return Duration(d, 10*time.Millisecond) })
	counts    = setting(func(n *uint64) *Value { return Number(n, 1) })
	several   = setting(func(l *[]string) *Value { return Some(l, "exec", "conn", "http") })
	rotations = setting(func(r *Rotation) *Value { return r.Value(1<<10, 1<<40) })
	choices   = setting(func(s *string) *Value { return OneOf(s, "tx", "rx", "total") })
)

func TestValuesThatAreTaken(t *testing.T) {
	tests := map[string]struct {
		set  func(string) (any, error)
		text string
		want any
	}{
		"a list with one value":           {ids, "7", []uint32{7}},
		"commas between values":           {ids, "1,2,3", []uint32{1, 2, 3}},
		"spaces between values":           {ids, "1 2\t3", []uint32{1, 2, 3}},
		"line ends, as pgrep writes them": {ids, "1\n2\n3\n", []uint32{1, 2, 3}},
		"carriage returns":                {ids, "1\r\n2", []uint32{1, 2}},
		"all of them at once":             {ids, " 1, 2\n,3 4 ", []uint32{1, 2, 3, 4}},
		"the largest process id":          {ids, "4294967295", []uint32{4294967295}},
		"names":                           {names, "time, pid", []string{"time", "pid"}},
		"ports":                           {ports, "1,80 65535", []uint16{1, 80, 65535}},
		"names of processes":              {comms, "nginx,kworker/*", []string{"nginx", "kworker/*"}},
		"a name as long as the kernel's":  {comms, "containerd-shim*", []string{"containerd-shim*"}},
		"methods of any case":             {methods, "GET,purge", Methods{"GET", "purge"}},
		"methods with signs":              {methods, "M-SEARCH", Methods{"M-SEARCH"}},
		"statuses of each form":           {statuses, "500,5xx 400-499", Statuses{{500, 500}, {500, 599}, {400, 499}}},
		"classes from 1xx to 9xx":         {statuses, "1xx,6XX,9xx", Statuses{{100, 199}, {600, 699}, {900, 999}}},
		"bytes":                           {sizes, "64", uint64(64)},
		"bytes with their unit":           {sizes, "2048B", uint64(2048)},
		"kibibytes":                       {sizes, "1KiB", uint64(1024)},
		"kibibytes in short":              {sizes, "16k", uint64(16384)},
		"kibibytes in small letters":      {sizes, "1kib", uint64(1024)},
		"mebibytes":                       {sizes, "100MB", uint64(100 << 20)},
		"the largest size":                {sizes, "16GiB", uint64(16 << 30)},
		"a duration":                      {durations, "1m30s", 90 * time.Second},
		"no duration, if 0 is allowed":    {durations, "0", time.Duration(0)},
		"the shortest interval":           {intervals, "10ms", 10 * time.Millisecond},
		"a number":                        {counts, "18446744073709551615", uint64(18446744073709551615)},
		"a choice":                        {choices, "rx", "rx"},
		"a text":                          {texts, " ", " "},
		"some choices":                    {several, "http, exec", []string{"http", "exec"}},
		"a size to rotate at":             {rotations, "100MiB", Rotation{Size: 100 << 20}},
		"a size, and how many files":      {rotations, "1KiB, 5", Rotation{Size: 1 << 10, Keep: 5}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := tt.set(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestValuesThatAreRefused(t *testing.T) {
	tests := map[string]struct {
		set  func(string) (any, error)
		text string
		want string // what the error contains
	}{
		"an empty list":               {ids, "", "the list is empty"},
		"a list of spaces":            {ids, " \n", "the list is empty"},
		"a comma at the end":          {ids, "1,", "a value is missing beside a comma"},
		"a comma at the beginning":    {ids, ",1", "a value is missing"},
		"two commas":                  {comms, "a,,b", "a value is missing"},
		"only a comma":                {names, ",", "a value is missing"},
		"process 0":                   {ids, "0", `invalid process id "0"`},
		"a process with a letter":     {ids, "1,12x", `invalid process id "12x"`},
		"a negative process":          {ids, "-1", `invalid process id "-1"`},
		"a process beyond 32 bits":    {ids, "4294967296", `invalid process id "4294967296"`},
		"port 0":                      {ports, "80,0", `invalid port "0" (1 to 65535)`},
		"a port beyond 16 bits":       {ports, "65536", `invalid port "65536"`},
		"a range of ports":            {ports, "80-90", `invalid port "80-90"`},
		"a name that can never match": {comms, "containerd-shim-runc-v2", "keeps only the first 15 bytes"},
		"a long name with a star":     {comms, "containerd-shim-*", "too long"},
		"a method with a bracket":     {methods, "GET,(", `invalid method "(" (for example GET)`},
		"a status without a class":    {statuses, "5", `invalid status "5" (for example 500, 5xx or 400-499)`},
		"a status below 100":          {statuses, "99", "invalid status"},
		"a status of four digits":     {statuses, "1000", "invalid status"},
		"class 0":                     {statuses, "0xx", "invalid status"},
		"a class of four characters":  {statuses, "5xxx", "invalid status"},
		"a range that goes down":      {statuses, "499-400", "invalid status"},
		"a range of classes":          {statuses, "4xx-5xx", "invalid status"},
		"a range without an end":      {statuses, "400-", "invalid status"},
		"a range without a beginning": {statuses, "-400", "invalid status"},
		"a size below the least":      {sizes, "63", "63 is out of range (64 to 16GiB)"},
		"a size above the most":       {sizes, "17GiB", "17GiB is out of range (64 to 16GiB)"},
		"a negative size":             {sizes, "-1", `invalid size "-1" (for example 512, 16KiB or 100MiB)`},
		"a size with a point":         {sizes, "1.5KiB", "invalid size"},
		"a unit alone":                {sizes, "KiB", "invalid size"},
		"two units":                   {sizes, "64KMB", "invalid size"},
		"half a unit":                 {sizes, "64i", "invalid size"},
		"a size that overflows":       {sizes, "18014398509481984T", "invalid size"},
		"no size":                     {sizes, "", "invalid size"},
		"a duration without a unit":   {durations, "10", `invalid duration "10" (for example 10s)`},
		"a duration in words":         {durations, "soon", `invalid duration "soon" (for example 10s)`},
		"a negative duration":         {durations, "-1s", "-1s is too short"},
		"an interval that is short":   {intervals, "9ms", "9ms is too short (at least 10ms)"},
		"a count of 0":                {counts, "0", `invalid number "0" (at least 1)`},
		"a count in words":            {counts, "many", `invalid number "many"`},
		"another choice":              {choices, "both", `invalid value "both" (choose tx, rx or total)`},
		"an empty text":               {texts, "", "the value is empty"},
		"one that is no choice":       {several, "exec,traffic", `invalid value "traffic" (choose from exec, conn or http)`},
		"too small a file":            {rotations, "1023", "1023 is out of range (1KiB to 1TiB)"},
		"no files at all":             {rotations, "1KiB,0", `invalid number of files "0" (at least 1)`},
		"files in words":              {rotations, "1KiB,many", `invalid number of files "many"`},
		"a comma without a number":    {rotations, "1KiB,", "invalid number of files"},
		"two numbers of files":        {rotations, "1KiB,2,3", "invalid number of files"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := tt.set(tt.text)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, error %v; want an error with %q", got, err, tt.want)
			}
		})
	}
}

func TestAListThatIsGivenTwiceHasBoth(t *testing.T) {
	var got []uint16
	v := Ports(&got)
	for _, s := range []string{"80", "81,82"} {
		if err := v.Set(s); err != nil {
			t.Fatal(err)
		}
	}
	if v.Set("83,x") == nil {
		t.Error("a wrong port is taken")
	}
	if diff := cmp.Diff([]uint16{80, 81, 82}, got); diff != "" {
		t.Error(diff)
	}
}

func TestDefaultsAreShownAsTheyAreTyped(t *testing.T) {
	prefix, stuck, count, sort := uint64(1<<10), time.Second, uint64(0), "total"
	var list []uint16
	tests := map[string]*Value{
		"1KiB":  Size(&prefix, 64, 16<<10),
		"1s":    Duration(&stuck, 0),
		"0":     Number(&count, 0),
		"total": OneOf(&sort, "tx", "rx", "total"),
		"":      Ports(&list),
	}
	for want, v := range tests {
		if got := v.String(); got != want {
			t.Errorf("%s: %q, want %q", v.Type(), got, want)
		}
	}
	if got := new(Value).String(); got != "" {
		t.Errorf("an unused value shows %q", got)
	}
}

func TestStatusesAndMethodsFilter(t *testing.T) {
	var s Statuses
	if err := s.Value().Set("5xx,404,200-201"); err != nil {
		t.Fatal(err)
	}
	for status := range 1000 {
		want := status >= 500 && status < 600 || status == 404 || status == 200 || status == 201
		if s.Has(status) != want {
			t.Errorf("status %d: %v", status, !want)
		}
	}
	m := Methods{"get", "PURGE"}
	if !m.Has("GET") || !m.Has("purge") || m.Has("POST") || m.Has("") {
		t.Error("methods are compared wrongly")
	}
}

// Whatever separates the values of a list, they are the same.
func FuzzSplit(f *testing.F) {
	f.Add("1,2\n3 4", uint8(1))
	f.Add(" a , b ", uint8(0))
	f.Fuzz(func(t *testing.T, s string, sep uint8) {
		items, err := Split(s)
		if err != nil {
			return
		}
		if len(items) == 0 {
			t.Fatalf("%q: neither values nor an error", s)
		}
		for _, item := range items {
			if item == "" || strings.ContainsAny(item, ", \t\r\n") {
				t.Fatalf("%q has the value %q", s, item)
			}
		}
		again, err := Split(strings.Join(items, []string{",", " ", "\n", ", ", "\r\n"}[sep%5]))
		if err != nil || !slices.Equal(items, again) {
			t.Errorf("%q: %q, then %q, %v", s, items, again, err)
		}
	})
}

// A size that is shown and read again is the same.
func FuzzSize(f *testing.F) {
	f.Add("16KiB")
	f.Add("1T")
	f.Fuzz(func(t *testing.T, s string) {
		n, err := parseSize(s)
		if err != nil {
			return
		}
		if again, err := parseSize(formatSize(n)); err != nil || again != n {
			t.Errorf("%q is %d, shown as %s, which is %d, %v", s, n, formatSize(n), again, err)
		}
	})
}

// What is taken as a status filter lets at least one status through.
func FuzzStatus(f *testing.F) {
	f.Add("5xx")
	f.Add("400-499")
	f.Add("9XX")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := parseStatus(s)
		if err != nil {
			return
		}
		if r[0] < 100 || r[1] > 999 || r[0] > r[1] {
			t.Errorf("%q is taken as %d", s, r)
		}
		if n, err := strconv.Atoi(s); err == nil && r != [2]int{n, n} {
			t.Errorf("%q is taken as %d", s, r)
		}
	})
}
