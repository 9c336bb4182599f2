package option

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"sh", "sh", true},
		{"sh", "bash", false},
		{"*sh", "bash", true},
		{"ba*", "bash", true},
		{"b*s*h", "bash", true},
		{"b*x*h", "bash", false},
		{"b?sh", "bash", true},
		{"b?sh", "bsh", false},
		{"b?sh", "bäsh", true},
		{"?", "ä", true},
		{"*??", "€", false},
		{"*?", "€", true},
		{"??", "\xff\xfe", true},
		{"*", "", true},
		{"?", "", false},
		{"**a**", "xay", true},
		{"kworker/*", "kworker/0:1", true},
		{"[a]", "[a]", true},
		{"[a]*", "a", false},
		{`\*`, "*", false},
		{`\*`, `\x`, true},
		{"", "", true},
	} {
		if got := Match(c.pattern, c.text); got != c.want {
			t.Errorf("Match(%q, %q) = %v", c.pattern, c.text, got)
		}
	}
}

func TestNoPatternMatchesAll(t *testing.T) {
	if !MatchAny(nil, "sh") || !MatchAny([]string{"x", "s*"}, "sh") || MatchAny([]string{"x", "y*"}, "sh") {
		t.Error("lists of patterns are matched wrongly")
	}
}

// Match agrees with a regular expression that says the same.
func FuzzMatch(f *testing.F) {
	f.Add("a*b?c", "aXXbYc")
	f.Add("**a*", "banana")
	f.Add("*??", "€")
	f.Add("?*", "\xff\n")
	f.Add("[*].?", "[x].y")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if !utf8.ValidString(pattern) || strings.Contains(pattern, "\ufffd") {
			return // no regular expression says this
		}
		same := regexp.MustCompile("(?s)^" + strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(pattern)) + "$")
		if want := same.MatchString(s); Match(pattern, s) != want {
			t.Errorf("Match(%q, %q) = %v", pattern, s, !want)
		}
	})
}

// A text with any part of it replaced by a star matches the pattern that this
// makes.
func FuzzMatchOfAPart(f *testing.F) {
	f.Add("bash", 1, 3)
	f.Fuzz(func(t *testing.T, s string, from, to int) {
		if strings.ContainsAny(s, "*?") || !utf8.ValidString(s) || from < 0 || to < from || to > len(s) ||
			!utf8.ValidString(s[:from]) || !utf8.ValidString(s[:to]) {
			return
		}
		if p := s[:from] + "*" + s[to:]; !Match(p, s) || !Match(s, s) || Match(s+"x", s) {
			t.Errorf("pattern %q, text %q", p, s)
		}
	})
}
