package event

import (
	"slices"
	"time"
)

// SpreadCells is how many cells a Spread has: three for each power of ten from 10µs on.
const SpreadCells = 21

// A Spread counts latencies by their magnitude. Cell 0 has what is below 21.5µs, cell 3
// begins at 100µs, cell 6 at 1ms, cell 18 at 10s, and the last one has all from 46.4s on.
type Spread [SpreadCells]uint64

// spreadBounds are where the cells from the second on begin.
var spreadBounds = func() (bounds [SpreadCells - 1]time.Duration) {
	power := 10 * time.Microsecond
	for i := range bounds {
		switch i % 3 {
		case 0:
			bounds[i] = power * 2154 / 1000
		case 1:
			bounds[i] = power * 4642 / 1000
		case 2:
			power *= 10
			bounds[i] = power
		}
	}
	return bounds
}()

// Add counts a latency.
func (s *Spread) Add(d time.Duration) {
	i, found := slices.BinarySearch(spreadBounds[:], d)
	if found {
		i++
	}
	s[i]++
}

// Merge adds what another one has counted.
func (s *Spread) Merge(from *Spread) {
	for i, n := range from {
		s[i] += n
	}
}
