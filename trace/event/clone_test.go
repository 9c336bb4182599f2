package event

import (
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

func TestCloneKeepsWhatIsUsedAgain(t *testing.T) {
	buffer := []byte("GET/pathhostwhy")
	text := func(from, to int) string { return unsafe.String(&buffer[from], to-from) }
	e := &HTTP{Common: Common{Kind: KindHTTP, Process: Process{PID: 7}}, Method: text(0, 3), Path: text(3, 8), Host: text(8, 12), GRPCMessage: text(12, 15)}
	c := Clone(e)
	e.PID = 8
	clear(buffer)
	want := &HTTP{Common: Common{Kind: KindHTTP, Process: Process{PID: 7}}, Method: "GET", Path: "/path", Host: "host", GRPCMessage: "why"}
	if diff := cmp.Diff(Event(want), c, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

// Events of a moment can be kept; what sums them up is of no moment.
func TestCloneKnowsAllEventsOfAMoment(t *testing.T) {
	for kind, want := range map[string]bool{
		KindExec: true, KindExit: true, KindExecFailed: true,
		KindConnect: true, KindConnectFailed: true, KindConnectStuck: true, KindAccept: true, KindClose: true, KindOpen: true,
		KindHTTP: true, KindHTTPStuck: true,
		KindTraffic: false, KindExecSummary: false, KindConnSummary: false, KindHTTPSummary: false,
	} {
		if got := Clone(newEvent(kind)) != nil; got != want {
			t.Errorf("%s: %t", kind, got)
		}
	}
}

func TestEnded(t *testing.T) {
	at := time.Unix(1000, 0)
	head := Common{Time: at}
	for name, tt := range map[string]struct {
		e    Event
		want time.Duration
	}{
		"an exchange ends with its last byte":    {&HTTP{Common: head, Latency: time.Second, Duration: 3 * time.Second}, 3 * time.Second},
		"a request that waits, when it is told":  {&HTTP{Common: head, Age: 5 * time.Second}, 5 * time.Second},
		"a process at its time, however it took": {&Exit{Common: head, Duration: time.Minute}, 0},
		"a connection, too":                      {&Close{Common: head, Duration: time.Minute}, 0},
	} {
		if got := Ended(tt.e).Sub(at); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}
