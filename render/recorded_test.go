package render

import (
	"reflect"
	"strings"
	"testing"

	"tracer/trace/event"
)

// A recording is a file of anybody's: what it says is no tracer's word, not even a role or
// the name of an error.
func TestNothingOfARecordingControlsTheTerminal(t *testing.T) {
	const hostile = "\x1b[2J\u202e\u009b\x07"
	kinds := map[string]event.Event{
		event.KindExec: &event.Exec{}, event.KindExit: &event.Exit{}, event.KindExecFailed: &event.ExecFailed{}, event.KindExecSummary: &event.ExecSummary{},
		event.KindConnect: &event.Connect{}, event.KindConnectFailed: &event.ConnectFailed{}, event.KindConnectStuck: &event.ConnectStuck{},
		event.KindAccept: &event.Accept{}, event.KindClose: &event.Close{}, event.KindOpen: &event.Open{}, event.KindConnSummary: &event.ConnSummary{},
		event.KindTraffic: &event.Traffic{}, event.KindHTTP: &event.HTTP{}, event.KindHTTPStuck: &event.HTTP{}, event.KindHTTPSummary: &event.HTTPSummary{},
	}
	var fill func(v reflect.Value)
	fill = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				if v.Field(i).CanSet() {
					fill(v.Field(i))
				}
			}
		case reflect.String:
			v.SetString(hostile)
		case reflect.Slice:
			if v.Type().Elem().Kind() == reflect.String {
				v.Set(reflect.ValueOf([]string{hostile, hostile}))
			}
		}
	}
	shown := 0
	for kind, e := range kinds {
		fill(reflect.ValueOf(e).Elem())
		for _, role := range []string{hostile, event.RoleBoth} {
			e.Head().Kind = kind
			if h, ok := e.(*event.HTTP); ok {
				h.Role = role
				h.Status = 500
			}
			for name, view := range Views {
				for _, c := range WithPlaces(view.Columns, view.Paged) {
					cell := string(c.Cell(nil, e))
					if strings.ContainsAny(cell, hostile[:1]+"\u202e\u009b\x07") {
						t.Errorf("column %s of %s passes on what %s says: %q", c.Name, name, kind, cell)
					}
					if strings.Contains(cell, `\x1b`) {
						shown++
					}
				}
				if view.Below != nil {
					if text := string(view.Below(nil, e)); strings.ContainsAny(text, "\x1b\u202e\u009b\x07") {
						t.Errorf("below %s: %q", name, text)
					}
				}
			}
		}
	}
	if shown < 100 {
		t.Errorf("only %d cells have any of it", shown)
	}
}
