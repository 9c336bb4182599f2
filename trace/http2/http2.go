package http2

import "tracer/trace/message"

// Protocol is HTTP/2 (RFC 9113, with RFC 7541 and 8441).
var Protocol = message.Protocol{
	Name: "http2",
	New: func(calls message.Calls) message.Parsers {
		return &parsers{Sink{Exchange: calls.Exchange, Stuck: calls.Stuck, GaveUp: calls.GaveUp}}
	},
}

type parsers struct{ Sink }

func (p *parsers) Counts() *Counts { return &p.Sink.Counts }

func (p *parsers) Conn(joined bool) message.Parser {
	c := &parser{to: &p.Sink}
	c.Reset(joined)
	return c
}

// A parser is a Conn with its Sink.
type parser struct {
	Conn
	to *Sink
}

func (p *parser) Feed(s *Segment)             { p.Conn.Feed(s, p.to) }
func (p *parser) Adopt(u *message.Upgrade)    { p.Conn.Adopt(u, p.to) }
func (p *parser) Settle(now int64)            { p.Conn.Settle(now, p.to) }
func (p *parser) Stuck(before int64)          { p.Conn.Stuck(before, p.to) }
func (p *parser) GiveUp()                     { p.Conn.GiveUp(p.to) }
func (p *parser) Close(now int64, why Ending) { p.Conn.Close(now, why, p.to) }

// Upgraded: there is nothing behind HTTP/2.
func (p *parser) Upgraded() *message.Upgrade { return nil }

// Body: of bodies nothing need be told but where frames begin.
func (p *parser) Body(Direction) (until uint64, blind bool) { return 0, false }
