package render

import (
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestAppendDuration(t *testing.T) {
	const us, ms = time.Microsecond, time.Millisecond
	for d, want := range map[time.Duration]string{
		0:                         "0ns",
		1:                         "1ns",
		999:                       "999ns",
		us:                        "1µs",
		1004:                      "1µs",
		1999:                      "1µs",
		9999:                      "9µs",
		12340:                     "12µs",
		99950:                     "99µs",
		840 * us:                  "840µs",
		999499:                    "999µs",
		999500:                    "999µs",
		1006999:                   "1.01ms",
		1004999:                   "1ms",
		12300 * us:                "12.3ms",
		12 * ms:                   "12ms",
		100 * ms:                  "100ms",
		999499 * us:               "999ms",
		999500 * us:               "1s",
		4210 * ms:                 "4.21s",
		4200 * ms:                 "4.2s",
		59949 * ms:                "59.9s",
		59950 * ms:                "1m00s",
		time.Minute:               "1m00s",
		187 * time.Second:         "3m07s",
		3599499 * ms:              "59m59s",
		3599500 * ms:              "1h00m",
		time.Hour:                 "1h00m",
		125 * time.Minute:         "2h05m",
		48*time.Hour - 30*1000*ms: "2d00h",
		48*time.Hour - 31*1000*ms: "47h59m",
		51 * time.Hour:            "2d03h",
		400 * 24 * time.Hour:      "400d00h",
		math.MaxInt64:             "106751d23h",
		-1500 * us:                "-1.5ms",
		-1:                        "-1ns",
	} {
		if got := string(AppendDuration([]byte("x"), d)); got != "x"+want {
			t.Errorf("%d: %s, want x%s", d, got, want)
		}
	}
}

func TestAppendSize(t *testing.T) {
	const mib = 1 << 20
	for n, want := range map[uint64]string{
		0:                          "0B",
		1:                          "1B",
		512:                        "512B",
		999:                        "999B",
		1000:                       "0.98KiB",
		1024:                       "1KiB",
		1536:                       "1.5KiB",
		10 << 10:                   "10KiB",
		999 << 10:                  "999KiB",
		999<<10 + 511:              "999KiB",
		999<<10 + 512:              "0.98MiB",
		mib:                        "1MiB",
		mib + mib/5 + 1:            "1.2MiB",
		12*mib + mib/3:             "12.3MiB",
		100 * mib:                  "100MiB",
		1 << 30:                    "1GiB",
		1 << 40:                    "1TiB",
		1 << 50:                    "1PiB",
		1 << 60:                    "1EiB",
		math.MaxUint64:             "16EiB",
		math.MaxUint64 - (1 << 60): "15EiB",
	} {
		if got := string(AppendSize([]byte("x"), n)); got != "x"+want {
			t.Errorf("%d: %s, want x%s", n, got, want)
		}
	}
}

// FuzzUnits: a number has three digits at most, reads as what was given within
// half of its last digit, and fits the columns of a table.
func FuzzUnits(f *testing.F) {
	for _, n := range []uint64{0, 999, 1000, 999499, 999500, 59949999999, 59950000000, 1<<63 - 1, 1 << 63, math.MaxUint64} {
		f.Add(n)
	}
	f.Fuzz(func(t *testing.T, n uint64) {
		size := string(AppendSize(nil, n))
		if got := readUnits(t, size, sizes); math.Abs(got-float64(n)) > 0.006*float64(n) {
			t.Errorf("%d is %s, which is %v", n, size, got)
		}
		d := time.Duration(n >> 1)
		text := string(AppendDuration(nil, d))
		if got := readUnits(t, text, times); math.Abs(got-float64(d)) > max(0.01*float64(d), 1000) {
			t.Errorf("%v is %s, which is %v", d, text, got)
		}
		if minus := string(AppendDuration(nil, -d)); d > 0 && minus != "-"+text {
			t.Errorf("%v is %s, and %v is %s", d, text, -d, minus)
		}
		if utf8.RuneCountInString(text) > 8 && d < 9999*24*time.Hour || utf8.RuneCountInString(size) > 7 {
			t.Errorf("too wide for a column: %s, %s", text, size)
		}
	})
}

var (
	sizes = map[string]float64{"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "PiB": 1 << 50, "EiB": 1 << 60}
	times = map[string]float64{"ns": 1, "µs": 1e3, "ms": 1e6, "s": 1e9, "m": 60e9, "h": 3600e9, "d": 86400e9}
)

// readUnits adds up numbers with units.
func readUnits(t *testing.T, s string, units map[string]float64) float64 {
	t.Helper()
	var sum float64
	for rest := s; rest != ""; {
		end := strings.IndexFunc(rest, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
		if end < 1 {
			t.Fatalf("no number and unit: %s", s)
		}
		var n, scale float64
		digits := strings.Replace(rest[:end], ".", "", 1)
		if len(strings.TrimLeft(digits, "0")) > 3 && s == rest && !strings.Contains(s, "d") {
			t.Fatalf("too many digits: %s", s)
		}
		for _, c := range digits {
			n = 10*n + float64(c-'0')
		}
		if point := strings.IndexByte(rest[:end], '.'); point >= 0 {
			n /= math.Pow(10, float64(end-point-1))
			if rest[end-1] == '0' {
				t.Fatalf("a zero at the end: %s", s)
			}
		}
		rest = rest[end:]
		end = strings.IndexAny(rest, "0123456789.")
		if end < 0 {
			end = len(rest)
		}
		if scale = units[rest[:end]]; scale == 0 {
			t.Fatalf("no unit %q: %s", rest[:end], s)
		}
		sum += n * scale
		rest = rest[end:]
	}
	return sum
}
