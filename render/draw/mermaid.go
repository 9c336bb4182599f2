package draw

import "strconv"

const (
	// mermaidBytes is more than which Mermaid draws an error instead.
	mermaidBytes = 50_000
	// mermaidText is how long a text is at most, as it is written.
	mermaidText = 240
	// mermaidSeats is how many participants a picture has.
	mermaidSeats = 20
)

// appendPicture appends a picture as a sequenceDiagram.
func (p *picture) appendMermaid(b []byte) []byte {
	id := func(n int) { b = strconv.AppendInt(append(b, 'p'), int64(n), 10) }
	text := func(s string) { b = append(appendMermaid(b, visible(s), mermaidText), '\n') }
	over := func(from, to int, s string) {
		b = append(b, "Note over "...)
		id(min(from, to))
		if from != to {
			b = append(b, ',')
			id(max(from, to))
		}
		b = append(b, ": "...)
		text(s)
	}
	indent := 1
	line := func() {
		for range indent {
			b = append(b, "  "...)
		}
	}
	b = append(b, "sequenceDiagram\n"...)
	for n, name := range p.names {
		line()
		b = append(b, "participant "...)
		id(n)
		b = append(b, " as "...)
		text(name)
	}
	for _, s := range p.told {
		line()
		over(0, len(p.names)-1, s)
	}
	for _, s := range p.steps {
		if s.kind == end {
			indent--
		}
		line()
		switch s.kind {
		case note:
			over(s.from, s.to, s.text)
			continue
		case loop:
			b = append(b, "loop "...)
			text(s.text)
			indent++
			continue
		case end:
			b = append(b, "end\n"...)
			continue
		}
		id(s.from)
		switch {
		case s.kind == request:
			b = append(b, "->>+"...)
		case s.kind == response:
			b = append(b, "-->>-"...)
		case s.failed:
			b = append(b, "-x"...)
		default:
			b = append(b, "-)"...)
		}
		id(s.to)
		b = append(b, ": "...)
		text(s.text)
	}
	return b
}
