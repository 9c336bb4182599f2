package session

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"tracer/trace/account"
)

func TestRefusedEventsAreEitherFilteredOrLost(t *testing.T) {
	h := Offline(nil, Options{})
	h.Refuse(Refusal{Filter: "comm"}, 3)
	h.Refuse(Refusal{Cause: account.PlaceUnknown}, 5)
	got := h.Ledger.Account(0)
	if got.Seen != 8 || got.Lost != 5 {
		t.Errorf("%d seen, %d lost", got.Seen, got.Lost)
	}
	if diff := cmp.Diff(map[string]uint64{"comm": 3}, got.Filtered); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]uint64{account.PlaceUnknown: 5}, got.LostBy); diff != "" {
		t.Error(diff)
	}
}
