package conn

import (
	"io"
	"math/bits"
	"time"
	"unsafe"

	"tracer/bpf"
	"tracer/trace/event"
	"tracer/trace/kernel"
)

const (
	turnsFeature = "turns"
	// turnBuckets are the buckets of a talk: 16 for each power of two of microseconds.
	turnBuckets = len(bpf.ConnTalk{}.Buckets)
	// mixedMost: of so many turns one may be mixed. Where more are, both sides talk at once,
	// and of such a connection nothing is told.
	mixedMost = 8
	// maxTalks bounds those whose close is awaited: it comes right behind, or was lost.
	maxTalks = 1 << 16
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

// decodeTalk keeps what a connection's close, which follows, will tell.
func (t *tracer) decodeTalk(record []byte) bool {
	r := (*bpf.ConnTalk)(unsafe.Pointer(unsafe.SliceData(record)))
	if r.Role != bpf.ConnRoleClient && r.Role != bpf.ConnRoleServer {
		return false
	}
	if len(t.talks) >= maxTalks {
		clear(t.talks)
	}
	if turns := turnsOf(r); turns != nil {
		t.talks[wait{r.Socket, r.Start}] = turns
	}
	return true
}

// turned fills in the turns of a connection that has ended, and returns them; nil: there
// are none.
func (t *tracer) turned(e *event.Close, key wait) *turns {
	turns := t.talks[key]
	if turns == nil {
		return nil
	}
	delete(t.talks, key)
	e.Turns, e.TurnMax = uint64(turns.count), turns.max
	e.TurnP50 = turns.quantile(50)
	return turns
}

// readTalks takes the turns of connections that are open into the summary.
func (t *tracer) readTalks() {
	if t.talking == nil {
		return
	}
	var r bpf.ConnTalk
	err := t.talking.Read(func(from io.Reader) error {
		return kernel.Records(from, &r, func() {
			if turns := turnsOf(&r); turns != nil {
				t.sum.turns(wait{r.Socket, r.Start}, turns)
			}
		})
	})
	if err != nil {
		t.host.Notice(&event.Notice{Kind: event.KindWarning, Message: "turns of open connections could not be read: " + err.Error()})
		t.talking = nil
	}
}

// turnsDoors are the ways to see calls that move bytes.
func turnsDoors(recvArgs int) []kernel.Door {
	doors := []kernel.Door{{Tier: kernel.Tracepoint, Programs: []string{bpf.ConnProgConnSendLength, bpf.ConnProgConnRecvLength}}}
	recvmsg := map[int]string{
		4: bpf.ConnProgConnRecvmsgFexit4,
		5: bpf.ConnProgConnRecvmsgFexit5,
		6: bpf.ConnProgConnRecvmsgFexit6,
	}[recvArgs]
	if recvmsg != "" {
		doors = append(doors, kernel.Door{Tier: kernel.Function, Programs: []string{bpf.ConnProgConnSendmsgFexit, recvmsg}})
	}
	return append(doors, kernel.Door{Tier: kernel.Kprobe, Programs: []string{
		bpf.ConnProgConnSendmsgKprobe, bpf.ConnProgConnSendmsgKretprobe,
		bpf.ConnProgConnRecvmsgKprobe, bpf.ConnProgConnRecvmsgKretprobe,
	}})
}

// turnsFeatures are what --turns needs.
func (t *tracer) turnsFeatures() []kernel.Feature {
	if !t.turns {
		return nil
	}
	f := []kernel.Feature{{
		Name:    turnsFeature,
		Doors:   turnsDoors(t.recvArgs),
		Without: "turns are not told: this kernel does not show what sockets send and receive",
	}}
	if t.summed {
		f = append(f, kernel.Feature{
			Name:    "turns of open connections",
			Doors:   []kernel.Door{{Tier: kernel.Tracepoint, Programs: []string{bpf.ConnProgConnReadTalks}}},
			Without: "turns of connections are told when they end: this kernel cannot list those that are open",
		})
	}
	return f
}
