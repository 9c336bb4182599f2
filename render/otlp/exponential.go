package otlp

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// expScale makes eight buckets of each power of two: a value is known to 4.5 %. It is not
// changed while tracing, so that sums of all hosts and times can be added.
const expScale = 3

// Indexes of the first and the last bucket: from half a microsecond to about 36 hours.
// Values beyond are counted in those.
const expFirst, expLast = -21 << expScale, 17<<expScale - 1

// An exponential counts values in buckets that grow by 2^(1/8). Bucket i has what is above
// 2^(i/8), up to 2^((i+1)/8).
type exponential struct {
	zero   uint64 // no time at all
	counts [expLast - expFirst + 1]uint64
}

func (e *exponential) add(seconds float64) {
	if seconds <= 0 {
		e.zero++
		return
	}
	i := int(math.Ceil(math.Log2(seconds)*(1<<expScale))) - 1
	e.counts[min(max(i, expFirst), expLast)-expFirst]++
}

// Fields of message ExponentialHistogramDataPoint.
const (
	metricExponential                   = 10
	expAttributes                       = 1
	expPointScale, expZero, expPositive = 6, 7, 8
	expLeast, expMost                   = 12, 13
	bucketsOffset, bucketsCounts        = 1, 2
)

// append appends what a point has of them.
func (e *exponential) append(b []byte) []byte {
	b = appendVarint(b, expPointScale, protowire.EncodeZigZag(expScale))
	b = appendFixed(b, expZero, e.zero)
	first, last := 0, len(e.counts)-1
	for first <= last && e.counts[first] == 0 {
		first++
	}
	for last > first && e.counts[last] == 0 {
		last--
	}
	if first > last {
		return b
	}
	var counts []byte
	for _, n := range e.counts[first : last+1] {
		counts = protowire.AppendVarint(counts, n)
	}
	buckets := appendVarint(nil, bucketsOffset, protowire.EncodeZigZag(int64(first+expFirst)))
	return appendBytes(b, expPositive, appendBytes(buckets, bucketsCounts, counts))
}
