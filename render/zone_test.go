package render

import (
	"testing"
	"time"
)

// What date(1) says for each rule.
func TestPosixZone(t *testing.T) {
	winter, summer := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC), time.Date(2026, 7, 15, 12, 0, 0, 0, time.UTC)
	for rule, want := range map[string][2]string{
		"EST5EDT,M3.2.0,M11.1.0":                     {"07:00:00", "08:00:00"},
		"EST5EDT":                                    {"07:00:00", "08:00:00"},
		"CET-1CEST,M3.5.0,M10.5.0/3":                 {"13:00:00", "14:00:00"},
		"CET-1CEST,M3.5.0/02:00:00,M10.5.0/03:00:00": {"13:00:00", "14:00:00"},
		"AEST-10AEDT,M10.1.0,M4.1.0/3":               {"23:00:00", "22:00:00"},
		"<+0545>-5:45":                               {"17:45:00", "17:45:00"},
		"<-03>3":                                     {"09:00:00", "09:00:00"},
		"UTC0":                                       {"12:00:00", "12:00:00"},
		"JST-9":                                      {"21:00:00", "21:00:00"},
		"IST-1GMT0,M10.5.0,M3.5.0/1":                 {"12:00:00", "13:00:00"},
		"<-02>2<-01>,M3.5.0/-1,M10.5.0/0":            {"10:00:00", "11:00:00"},
		"LMT-0:09:21":                                {"12:09:21", "12:09:21"},
		"EET-2EEST-3,J86/3,J299/4":                   {"14:00:00", "15:00:00"},
	} {
		zone, err := posixZone(rule)
		if err != nil {
			t.Errorf("%s: %v", rule, err)
			continue
		}
		if got := [2]string{winter.In(zone).Format(time.TimeOnly), summer.In(zone).Format(time.TimeOnly)}; got != want {
			t.Errorf("%s: %v, want %v", rule, got, want)
		}
	}
	for _, rule := range []string{"", "Nowhere/City", "E5", "EST", "EST5EDT,", "EST5EDT,M3.2.0,M11.1.0,M1.1.1", "<+1>", "EST5 ", "../../etc/passwd"} {
		if zone, err := posixZone(rule); err == nil {
			t.Errorf("%q is a rule: %v", rule, zone)
		}
	}
}
