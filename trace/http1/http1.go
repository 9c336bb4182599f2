package http1

import "tracer/trace/message"

// Protocol is HTTP/1.0 and 1.1 (RFC 9112).
var Protocol = message.Protocol{
	Name: "http1",
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
func (p *parser) Settle(now int64)            { p.Conn.Settle(now, p.to) }
func (p *parser) Stuck(before int64)          { p.Conn.Stuck(before, p.to) }
func (p *parser) Close(now int64, why Ending) { p.Conn.Close(now, why, p.to) }

// Busy: answers come in order, so that any request is one that is waited for.
func (p *parser) Busy(uint32) bool { return p.Conn.Busy() }

// Waits: there are no streams.
func (p *parser) Waits(uint32) bool { return false }

// GiveUp: what may be over is given up at once.
func (p *parser) GiveUp() {}

// Adopt: nothing goes on in HTTP/1.
func (p *parser) Adopt(*message.Upgrade) { p.opaque = true }
