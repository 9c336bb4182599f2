package place

import (
	"strings"

	"tracer/trace/option"
)

// A Filter says which places are of interest. An empty pattern matches
// everything; * stands for any text and ? for one character.
type Filter struct {
	Container string // a container's name, or the first digits (4 or more) of its id
	Pod       string
	Namespace string
}

// minPrefix keeps a name like "db" from being taken for the start of an id.
const minPrefix = 4

// Match reports whether p is of interest. nil stands for the host, which only the
// empty Filter wants. It is safe for concurrent use.
func (f Filter) Match(p *Place) bool {
	if f == (Filter{}) {
		return true
	}
	if p == nil {
		return false
	}
	return (f.Container == "" || match(f.Container, p.Container) ||
		len(f.Container) >= minPrefix && strings.HasPrefix(p.ContainerID, f.Container)) &&
		(f.Pod == "" || match(f.Pod, p.Pod)) &&
		(f.Namespace == "" || match(f.Namespace, p.Namespace))
}

// A Verdict is what a Filter says of a place.
type Verdict int

// Verdicts.
const (
	Unknown Verdict = iota // it depends on what is not known (yet)
	Wanted
	Unwanted
)

// Judge is Match for a place of which, unless complete is true, something may
// be missing. It is safe for concurrent use.
func (f Filter) Judge(p *Place, complete bool) Verdict {
	switch {
	case f.Match(p):
		return Wanted
	case complete:
		return Unwanted
	case p == nil:
		return Unknown
	}
	name := p.Container
	if name == short(p.ContainerID) {
		name = "" // it stands for one that is not known
	}
	differs := func(pattern, s string) bool { return pattern != "" && s != "" && !match(pattern, s) }
	id := len(f.Container) >= minPrefix && strings.HasPrefix(p.ContainerID, f.Container)
	if differs(f.Container, name) && !id || differs(f.Pod, p.Pod) || differs(f.Namespace, p.Namespace) {
		return Unwanted
	}
	return Unknown
}

// match reports whether a name matches. A name that is not known matches nothing,
// not even *: it may be another than the one that was asked for.
func match(pattern, name string) bool { return name != "" && option.Match(pattern, name) }
