package session

import "tracer/trace/place"

// Exists is what --pid asks.
var Exists = exists

// Scanned is closed when all cgroups that there were at the start are known; nil where
// events have no place.
func (s *Session) Scanned() <-chan struct{} {
	if s.places == nil {
		return nil
	}
	return s.places.resolver.Scanned()
}

// AfterVerdicts returns when the kernel knows of all cgroups whether they are wanted.
func (s *Session) AfterVerdicts() {
	s.places.resolver.Watch(place.Filter{}, func(uint64, place.Verdict) {})()
}
