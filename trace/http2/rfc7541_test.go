package http2

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"
)

// unhexed are the bytes of a dump.
func unhexed(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// said is what a head says, but for fields of no interest.
func said(h *head) string {
	var b strings.Builder
	for n := method; n < names; n++ {
		if h.hasName(n) {
			fmt.Fprintf(&b, "%s=%s ", named[n].plain, h.value(n))
		}
	}
	if h.partial {
		b.WriteString("?")
	}
	return strings.TrimSpace(b.String())
}

// RFC 7541, C.3, C.4: three requests, without and with Huffman code. C.5, C.6: three
// responses, with evictions.
func TestExamplesOfRFC7541(t *testing.T) {
	requests := []string{
		":method=GET :scheme=http :authority=www.example.com :path=/",
		":method=GET :scheme=http :authority=www.example.com :path=/",
		":method=GET :scheme=https :authority=www.example.com :path=/index.html",
	}
	responses := []string{":status=302", ":status=307", ":status=200"}
	for _, test := range []struct {
		name   string
		blocks [3]string
		want   []string
	}{
		{"C.3", [3]string{
			"8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
			"8286 84be 5808 6e6f 2d63 6163 6865",
			"8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65"}, requests},
		{"C.4", [3]string{
			"8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
			"8286 84be 5886 a8eb 1064 9cbf",
			"8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf"}, requests},
		{"C.5", [3]string{
			"4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
			"4803 3330 37c1 c0bf",
			"88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31"}, responses},
		{"C.6", [3]string{
			"4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
			"4883 640e ffc1 c0bf",
			"88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07"}, responses},
	} {
		var tab table
		var h head
		for i, b := range test.blocks {
			if !h.read(&tab, unhexed(b)) || said(&h) != test.want[i] || !parses(unhexed(b)) {
				t.Errorf("%s.%d: %s", test.name, i+1, said(&h))
			}
		}
	}
}

// RFC 7541, 5.1, 5.2, 6: each form of a field, and what is none.
func TestFields(t *testing.T) {
	for name, test := range map[string]struct{ block, want string }{
		"indexed (6.1)":                                    {"83", ":method=POST"},
		"inserted, with an indexed name (6.2.1)":           {"44 02 2f61", ":path=/a"},
		"inserted, with a new name (6.2.1)":                {"40 05 3a70617468 02 2f61", ":path=/a"},
		"not indexed (6.2.2)":                              {"04 02 2f61 00 05 3a70617468 02 2f62", ":path=/a"},
		"never indexed (6.2.3)":                            {"14 02 2f61", ":path=/a"},
		"a name in two bytes (5.1)":                        {"0f 10 10 6170706c69636174696f6e2f67727063", "content-type=application/grpc"},
		"an empty value":                                   {"44 00", ":path="},
		"an empty name":                                    {"40 00 01 61 83", ":method=POST"},
		"a size update (4.2)":                              {"3fe11f 83", ":method=POST"},
		"two of them, as x/net's server":                   {"20 3fe11f 83", ":method=POST"},
		"nothing but one":                                  {"20", ""},
		"nothing":                                          {"", ""},
		"an index that was not seen":                       {"be 83", ":method=POST ?"},
		"the same, far beyond all tables":                  {"ff ffffffff07 83", ":method=POST ?"},
		"a name that was not seen":                         {"7e 01 61 83", ":method=POST ?"},
		"the first one of several":                         {"83 82", ":method=POST"},
		"a status of two digits (RFC 9110, 15)":            {"08 02 3230", ":status=20"},
		"index 0":                                          {"80", "bad"},
		"a size update behind a field":                     {"83 20", "bad"},
		"an integer without end":                           {"ff ffffffffff07", "bad"},
		"an integer beyond 32 bits":                        {"ff ffffffff7f", "bad"},
		"an integer that is cut":                           {"ff ff", "bad"},
		"a value longer than the block":                    {"44 03 2f61", "bad"},
		"no value":                                         {"44", "bad"},
		"no name":                                          {"40", "bad"},
		"a name without a value":                           {"40 01 61", "bad"},
		"wrong Huffman code (5.2: EOS)":                    {"44 84 ffffffff", "bad"},
		"wrong Huffman code (5.2: padding of more than 7)": {"44 82 1fff", "bad"},
	} {
		var tab table
		var h head
		got := "bad"
		if h.read(&tab, unhexed(test.block)) {
			got = said(&h)
		}
		if got != test.want {
			t.Errorf("%s: %s: %q, not %q", name, test.block, got, test.want)
		}
	}
}

// RFC 7541, 2.3.3 and 4: what was inserted since the last gap is found, whatever was
// there before. What refers to older entries is unknown, and never something else.
func TestTableIsExactFromAnyStart(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 300 {
		p := newSide()
		size := []uint32{4096, 4096, 128, 0, 64 << 10, 300}[round%6]
		p.enc.SetMaxDynamicTableSizeLimit(size)
		p.enc.SetMaxDynamicTableSize(size)
		decoder := hpack.NewDecoder(size, nil)
		var tab table
		tab.allow(size)
		var h head
		start := random.IntN(60)
		before := map[string]bool{} // fields that were sent before that
		right, unknown := 0, 0
		for i := range 200 {
			if random.IntN(40) == 0 {
				p.enc.SetMaxDynamicTableSize(uint32(random.IntN(int(size) + 1))) // RFC 7541, 4.2
			}
			lines := get(fmt.Sprintf("/%d", random.IntN(7)), fmt.Sprintf("x-%d: %d", random.IntN(9), random.IntN(3)), fmt.Sprintf("content-type: %d", random.IntN(3)))
			if random.IntN(3) == 0 {
				lines = append(lines, fmt.Sprintf("grpc-message: %s", strings.Repeat("m", random.IntN(200))), "!cookie: secret")
			}
			if random.IntN(50) == 0 {
				lines = append(lines, "big: "+strings.Repeat("B", 5000)) // RFC 7541, 4.4: it empties the table
			}
			block := p.block(lines...)
			fields, err := decoder.DecodeFull([]byte(block))
			if err != nil {
				t.Fatal(err)
			}
			if i == start && round%3 > 0 { // some were lost before
				tab.forget()
			}
			if i < start {
				for _, f := range fields {
					before[f.Name] = round%3 > 0
				}
			}
			if i < start && round%3 == 2 {
				continue // all were
			}
			if !h.read(&tab, []byte(block)) || !parses([]byte(block)) {
				t.Fatalf("%x is none", block)
			}
			whole := true
			for _, f := range fields {
				n := nameOf(text{b: []byte(f.Name)})
				if n == other {
					continue
				}
				switch {
				case h.hasName(n) && string(h.value(n)) == f.Value:
					right++
				case !h.hasName(n) && h.partial && before[f.Name]:
					unknown++
					whole = false
				default:
					t.Fatalf("round %d, block %d: %v is told as %q", round, i, f, said(&h))
				}
			}
			if !h.partial && !whole {
				t.Fatal("what is unknown was not said to be")
			}
		}
		if round%3 == 0 && (unknown > 0 || h.partial) {
			t.Fatalf("%d unknown where all was seen", unknown)
		}
		if right < 300 {
			t.Fatalf("only %d right", right)
		}
	}
}

// An insertion whose name is not known is one all the same (grpc-go does this with
// grpc-timeout on every call).
func TestPlaceholder(t *testing.T) {
	p := newSide()
	p.block(append(grpcCall("/a.B/C"), "grpc-timeout: 1S")...)
	var tab table // all that was lost
	var h head
	for i := range 5 {
		if !h.read(&tab, []byte(p.block(append(grpcCall(fmt.Sprintf("/a.B/%d", i)), fmt.Sprintf("grpc-timeout: %dS", i+2))...))) {
			t.Fatal("bad")
		}
		if want := fmt.Sprintf(":method=POST :scheme=http :path=/a.B/%d ?", i); said(&h) != want {
			t.Errorf("%q, not %q", said(&h), want)
		}
	}
	for i := range 5 {
		if !h.read(&tab, []byte(p.block(grpcCall(fmt.Sprintf("/a.B/%d", i))...))) {
			t.Fatal("bad")
		}
		if want := fmt.Sprintf(":method=POST :scheme=http :path=/a.B/%d ?", i); said(&h) != want {
			t.Errorf("%q, not %q", said(&h), want)
		}
	}
}

// The memory of a table is bounded by what SETTINGS allow, and by its own limit.
func TestTableIsBounded(t *testing.T) {
	for _, size := range []uint32{0, 4096, 64 << 10, 1 << 30} {
		var tab table
		tab.allow(size)
		for i := range 10000 {
			tab.insert(path, make([]byte, i%300))
			entries, bytes := 0, 0
			for i := range tab.ring {
				bytes += len(tab.ring[i].value)
			}
			entries = tab.n
			if limit := int(max(4096, min(size, maxTable))); entries > limit/32 || tab.bytes > limit || bytes > 2*limit+300*len(tab.ring) {
				t.Fatalf("size %d: %d entries with %d bytes", size, entries, tab.bytes)
			}
		}
		tab.insert(path, make([]byte, 100<<10)) // RFC 7541, 4.4
		if tab.n != 0 || tab.bytes != 0 {
			t.Errorf("size %d: what is larger than a table is in it", size)
		}
		tab.insert(path, []byte("/x"))
		if e := tab.entry(62); string(e.value) != "/x" || tab.entry(63).name != unknown {
			t.Errorf("size %d: %v", size, e)
		}
	}
}

// Percent codes of gRPC: what is none stays.
func TestPercentCodes(t *testing.T) {
	for s, want := range map[string]string{"": "", "a b": "a b", "%41%c3%A4": "A\u00e4", "100%": "100%", "%4": "%4", "%zz%25": "%zz%", "%%41": "%A"} {
		if got := string(appendPercent(nil, []byte(s))); got != want {
			t.Errorf("%q: %q", s, got)
		}
	}
}

// FuzzBlock: what this package takes of a header block is what x/net's decoder does; what
// that refuses may be taken, as tables of any size are.
func FuzzBlock(f *testing.F) {
	p := newSide()
	for i := range 5 {
		f.Add([]byte(p.block(get(fmt.Sprintf("/%d", i%2), "content-type: application/grpc")...)), uint16(3))
	}
	f.Fuzz(func(t *testing.T, data []byte, cut uint16) {
		var tab table
		var h head
		decoder := hpack.NewDecoder(4096, nil)
		for _, b := range [][]byte{data[:min(int(cut), len(data))], data[min(int(cut), len(data)):]} {
			fields, err := decoder.DecodeFull(b)
			ok := h.read(&tab, b)
			if ok && !parses(b) && len(fields) > 0 {
				t.Fatalf("%x does not parse", b)
			}
			if err != nil {
				return
			}
			if !ok && resizesLate(b) {
				return // x/net takes size updates behind fields if the table is empty
			}
			if !ok {
				t.Fatalf("%x is none, but for x/net", b)
			}
			told := map[name]bool{}
			for _, f := range fields {
				n := nameOf(text{b: []byte(f.Name)})
				if n == other || told[n] {
					continue
				}
				told[n] = true
				if !h.hasName(n) || string(h.value(n)) != f.Value {
					t.Fatalf("%x: %v, not %q", b, f, said(&h))
				}
			}
			if h.partial {
				t.Fatalf("%x: something is unknown", b)
			}
		}
	})
}

func resizesLate(b []byte) bool {
	r := block{b: b}
	for n := 0; ; n++ {
		if f, ok := r.next(); !ok || f.resizes && n > 0 {
			return ok
		}
	}
}
