// Package http2 turns the bytes of a connection that speaks HTTP/2 (RFC 9113) into
// exchanges, as far as they were captured.
package http2

import (
	"tracer/trace/message"
	"tracer/trace/stream"
)

// Protocol is HTTP/2.
var Protocol = message.Protocol{Name: "http2", New: func(c message.Calls) message.Parsers { return &parsers{calls: c} }}

type parsers struct {
	calls  message.Calls
	counts message.Counts
}

func (p *parsers) Counts() *message.Counts         { return &p.counts }
func (p *parsers) Conn(joined bool) message.Parser { return &parser{} }

type parser struct{}

func (p *parser) Feed(s *stream.Segment)                   {}
func (p *parser) Kind() message.Kind                       { return message.HTTP2 }
func (p *parser) Opaque() bool                             { return false }
func (p *parser) Body(dir stream.Direction) (uint64, bool) { return 0, false }
func (p *parser) Waiting() int                             { return 0 }
func (p *parser) Busy(uint32) bool                         { return false }
func (p *parser) Holds() bool                              { return false }
func (p *parser) Settle(now int64)                         {}
func (p *parser) Oldest() (since int64, ok bool)           { return 0, false }
func (p *parser) Stuck(before int64)                       {}
func (p *parser) Upgraded() *message.Upgrade               { return nil }
func (p *parser) Adopt(u *message.Upgrade)                 {}
func (p *parser) GiveUp()                                  {}
func (p *parser) Close(now int64, why stream.Ending)       {}
