package option

import (
	"slices"
	"testing"
)

func TestOrder(t *testing.T) {
	var o Order
	flag := o.Flag("total", "count", "last")
	if o.Key() != "total" || flag.String() != "" || !slices.Equal(flag.Offers(), []string{"total", "count", "last"}) || o.Usage() != "`KEY` total|count|last" {
		t.Errorf("%s %q %v %q", o.Key(), flag, flag.Offers(), o.Usage())
	}
	for _, summary := range []bool{false, true} {
		if err := o.Validate(summary); err != nil {
			t.Errorf("without --sort: %v", err)
		}
	}
	if err := flag.Set("size"); err == nil || err.Error() != `invalid value "size" (choose total, count or last)` {
		t.Error(err)
	}
	if err := o.Validate(false); err != nil {
		t.Errorf("a wrong value counts: %v", err)
	}
	if err := flag.Set("count"); err != nil || o.Key() != "count" {
		t.Error(o.Key(), err)
	}
	if err := o.Validate(false); err == nil || err.Error() != "--sort needs --summary" {
		t.Error(err)
	}
	if err := o.Validate(true); err != nil {
		t.Error(err)
	}
	select {
	case <-o.Changed():
		t.Error("nothing has changed")
	default:
	}
	for _, want := range []string{"last", "total", "count"} { // told once, however often it changed
		if o.Next(); o.Key() != want {
			t.Errorf("got %s, want %s", o.Key(), want)
		}
	}
	<-o.Changed()
	select {
	case <-o.Changed():
		t.Error("told twice")
	default:
	}
}
