package conn

import (
	"io"
	"unsafe"

	"tracer/bpf"
	"tracer/trace/event"
	"tracer/trace/kernel"
)

const (
	turnsFeature = "turns"
	// maxTalks bounds those whose close is awaited: it comes right behind, or was lost.
	maxTalks = 1 << 16
)

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
