package event

import "testing"

func TestTraceIDsAreReadAsTheyAreWritten(t *testing.T) {
	const text = "4bf92f3577b34da6a3ce929d0e0e4736"
	for _, s := range []string{text, "4BF92F3577B34DA6A3CE929D0E0E4736"} {
		if id, err := ParseTraceID(s); err != nil || id.String() != text {
			t.Errorf("%s is read as %v: %v", s, id, err)
		}
	}
	for _, s := range []string{"", text[1:], text + "0", "00000000000000000000000000000000", "xbf92f3577b34da6a3ce929d0e0e4736", " bf92f3577b34da6a3ce929d0e0e4736", "İİİİİİİİİİİİİİİİ"} {
		if id, err := ParseTraceID(s); err == nil {
			t.Errorf("%q is read as %v", s, id)
		}
	}
}
