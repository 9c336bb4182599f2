package session

import "strings"

// Filter says whose events are wanted. PIDs and UID are decided in the kernel,
// the rest by match.
type Filter struct {
	PIDs  []uint32 // these processes and the children that they start; empty: all
	UID   *uint32  // this real user id; nil: all
	Comms []string // names; * and ? match; empty: all
}

// Wants reports whether a process of this name passes what the kernel did not
// decide.
func (f *Filter) Wants(comm string) bool {
	return len(f.Comms) == 0 || matchAny(f.Comms, comm)
}

func matchAny(patterns []string, s string) bool {
	for _, p := range patterns {
		if Match(p, s) {
			return true
		}
	}
	return false
}

// Match reports whether the whole of s matches pattern, in which * stands for
// any bytes and ? for one character. Nothing else is special.
func Match(pattern, s string) bool {
	if !strings.ContainsAny(pattern, "*?") {
		return pattern == s
	}
	// Where the last * was, and how far what it stands for reaches.
	star, mark := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && pattern[p] == '?':
			i += runeLen(s[i:])
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

func runeLen(s string) int {
	for i := range s {
		if i > 0 {
			return i
		}
	}
	return len(s)
}
