package option

import (
	"strings"
	"unicode/utf8"
)

// Match reports whether the whole of s matches pattern, in which * stands for
// any text, also none, and ? for one character. Nothing else is special: names
// of processes and paths of URLs hold brackets, backslashes and slashes. A byte
// that is no UTF-8 counts as a character. It returns to the last * on a
// mismatch: len(pattern)·len(s) steps at most.
//
// path.Match, which the standard library has, stops at slashes and gives a
// meaning to brackets and backslashes.
func Match(pattern, s string) bool {
	if !strings.ContainsAny(pattern, "*?") {
		return pattern == s
	}
	// Where the last * was, and where the text that it stands for ends.
	star, end := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, end = p, i
			p++
		case p < len(pattern) && pattern[p] == '?':
			i += width(s[i:])
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0:
			end += width(s[end:])
			p, i = star+1, end
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// MatchAny reports whether s matches one of the patterns, or there is none.
func MatchAny(patterns []string, s string) bool {
	for _, p := range patterns {
		if Match(p, s) {
			return true
		}
	}
	return len(patterns) == 0
}

func width(s string) int {
	_, n := utf8.DecodeRuneInString(s)
	return n
}
