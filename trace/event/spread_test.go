package event

import (
	"testing"
	"time"
)

// A cell begins where it says, three for each power of ten.
func TestCellsOfASpread(t *testing.T) {
	for cell, begins := range map[int]time.Duration{
		1: 21540, 2: 46420, 3: 100 * time.Microsecond, 4: 215400, 5: 464200, 6: time.Millisecond, 9: 10 * time.Millisecond,
		12: 100 * time.Millisecond, 15: time.Second, 18: 10 * time.Second, 19: 21540 * time.Millisecond, 20: 46420 * time.Millisecond,
	} {
		var at, before Spread
		at.Add(begins)
		before.Add(begins - 1)
		if at[cell] != 1 || before[cell-1] != 1 {
			t.Errorf("cell %d: %v in %v, 1ns less in %v", cell, begins, at, before)
		}
	}
	var s Spread
	for _, d := range []time.Duration{-1, 0, 1, 1000 * time.Hour} {
		s.Add(d)
	}
	more := Spread{1: 7}
	s.Merge(&more)
	if s[0] != 3 || s[1] != 7 || s[SpreadCells-1] != 1 {
		t.Error(s)
	}
}
