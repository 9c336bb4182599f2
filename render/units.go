package render

import (
	"strconv"
	"time"
)

// AppendDuration appends d in a unit that fits, in three digits: 840µs,
// 12.3ms, 4.21s, 3m07s, 2h05m. From a microsecond on it shows whole ones, as JSON lines
// have them: what was recorded looks as it did live.
func AppendDuration(b []byte, d time.Duration) []byte {
	if d < 0 {
		b, d = append(b, '-'), -d
	}
	if d >= time.Microsecond {
		d = d.Truncate(time.Microsecond)
	}
	switch {
	case d < time.Microsecond:
		return append(strconv.AppendInt(b, int64(d), 10), "ns"...)
	case d < 999500*time.Nanosecond:
		return append(appendThree(b, float64(d)/1e3), "µs"...)
	case d < 999500*time.Microsecond:
		return append(appendThree(b, float64(d)/1e6), "ms"...)
	case d < 59950*time.Millisecond:
		return append(appendThree(b, float64(d)/1e9), 's')
	}
	s := int64(d.Round(time.Second) / time.Second)
	if s < 3600 {
		return appendPair(b, s/60, 'm', s%60, 's')
	}
	m := int64(d.Round(time.Minute) / time.Minute)
	if m < 48*60 {
		return appendPair(b, m/60, 'h', m%60, 'm')
	}
	h := int64(d.Round(time.Hour) / time.Hour)
	return appendPair(b, h/24, 'd', h%24, 'h')
}

// AppendSize appends a number of bytes: 512B, 1.2MiB.
func AppendSize(b []byte, n uint64) []byte {
	if n < 1000 {
		return append(strconv.AppendUint(b, n, 10), 'B')
	}
	f := float64(n)
	for _, unit := range []string{"KiB", "MiB", "GiB", "TiB", "PiB"} {
		f /= 1024
		if f < 999.5 {
			return append(appendThree(b, f), unit...)
		}
	}
	return append(appendThree(b, f/1024), "EiB"...)
}

// appendMoved appends a number of bytes unless there are none.
func appendMoved(b []byte, n uint64) []byte {
	if n == 0 {
		return b
	}
	return AppendSize(b, n)
}

// appendThree appends f, which is below 999.5, in at most three digits, without zeros
// at the end of its fraction.
func appendThree(b []byte, f float64) []byte {
	digits := 2
	switch {
	case f >= 99.95:
		digits = 0
	case f >= 9.995:
		digits = 1
	}
	start := len(b)
	b = strconv.AppendFloat(b, f, 'f', digits, 64)
	if digits > 0 {
		for b[len(b)-1] == '0' && len(b) > start {
			b = b[:len(b)-1]
		}
		if b[len(b)-1] == '.' {
			b = b[:len(b)-1]
		}
	}
	return b
}

// appendPair appends two numbers with their units, the second in two digits.
func appendPair(b []byte, whole int64, unit byte, part int64, partUnit byte) []byte {
	b = append(strconv.AppendInt(b, whole, 10), unit)
	if part < 10 {
		b = append(b, '0')
	}
	return append(strconv.AppendInt(b, part, 10), partUnit)
}
