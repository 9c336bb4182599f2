package otlp

import (
	"time"

	"tracer/trace/event"
)

// peerOf is the client of an exchange whose two ends were seen.
func peerOf(e *event.HTTP) whose {
	return whose{pid: e.PeerPID, comm: e.PeerComm}
}

// serverTimes are when the request came to the server of such an exchange, and how long
// that took, as far as they are known; else they are within the client's times.
func serverTimes(e *event.HTTP) (start time.Time, d time.Duration) {
	d = e.ServerLatency
	if d == 0 {
		d = e.Duration
	}
	return e.Time, d
}
