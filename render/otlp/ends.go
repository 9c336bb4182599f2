package otlp

import (
	"time"

	"tracer/trace/event"
)

// whoseOf is the process that an event is of.
func whoseOf(e *event.Common) whose {
	return whose{host: e.Hostname, pid: e.PID, comm: e.Comm, place: e.Place}
}

// peerOf is the client of an exchange whose two ends were seen.
func peerOf(e *event.HTTP) whose {
	host := e.PeerHostname
	if host == "" {
		host = e.Hostname
	}
	return whose{host: host, pid: e.PeerPID, comm: e.PeerComm, place: event.Place{
		Container: e.PeerContainer, ContainerID: e.PeerContainerID, Pod: e.PeerPod, Namespace: e.PeerNamespace,
	}}
}

// serverTimes are when the request came to the server of such an exchange, and how long
// that took. Recordings of versions that did not tell have less: what is known is within
// the client's times.
func serverTimes(e *event.HTTP) (start time.Time, d time.Duration) {
	start, d = e.ServerTime, e.ServerDuration
	if start.IsZero() {
		start = e.Time
	}
	if d == 0 {
		d = e.ServerLatency
	}
	if d == 0 {
		d = e.Duration
	}
	return start, d
}
