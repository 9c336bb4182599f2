package conn

import (
	"math/bits"
	"time"

	"tracer/bpf"
)

const (
	// turnBuckets are the buckets of a talk: 16 for each power of two of microseconds.
	turnBuckets = len(bpf.ConnTalk{}.Buckets)
	// mixedMost: of so many turns one may be mixed. Where more are, both sides talk at once,
	// and of such a connection nothing is told.
	mixedMost = 8
)

// turns are times of answers, by their magnitude: what comes out of them is less than 4 %
// wrong, and no more than the longest.
type turns struct {
	count   int64
	max     time.Duration
	buckets [turnBuckets]int64
}

// add counts what from has more than before, or all of it; sign -1 takes it away.
func (t *turns) add(from, before *turns, sign int64) {
	if before == nil {
		before = &turns{}
	}
	t.count += sign * (from.count - before.count)
	for i := range t.buckets {
		t.buckets[i] += sign * (from.buckets[i] - before.buckets[i])
	}
	if sign > 0 {
		t.max = max(t.max, from.max)
	}
}

// quantile is the time that so many percent of the turns do not exceed; 0 if it is not known.
func (t *turns) quantile(percent int64) time.Duration {
	left := (t.count*percent + 99) / 100
	for i, n := range t.buckets {
		if n <= 0 {
			continue
		}
		if left -= n; left <= 0 {
			return min(bucketTime(i), t.max)
		}
	}
	return 0
}

// bucketTime is the middle of a bucket: turn_bucket() in bpf/conn/turns.h is its inverse.
func bucketTime(i int) time.Duration {
	if i < 16 {
		return time.Duration(i)*time.Microsecond + time.Microsecond/2
	}
	width := time.Microsecond << (i/16 - 1)
	return time.Duration(16+i%16)*width + width/2
}

// bucketOf is turn_bucket().
func bucketOf(d time.Duration) int {
	us := uint32(min(d/time.Microsecond, 1<<30-1))
	if us < 16 {
		return int(us)
	}
	high := bits.Len32(us) - 1
	return (high-3)*16 + int(us>>(high-4)&15)
}

// turnsOf are those of a talk; nil where both sides talk at once.
func turnsOf(r *bpf.ConnTalk) *turns {
	if r.Turns == 0 || r.Mixed > r.Turns/mixedMost {
		return nil
	}
	t := &turns{max: time.Duration(r.Max)}
	for i, n := range r.Buckets {
		t.buckets[i] = int64(n)
		t.count += int64(n)
	}
	return t
}
