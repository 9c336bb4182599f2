package traffic

import (
	"net/netip"

	"tracer/trace/event"
)

// isLocal reports whether both ends of a connection are on one host.
func isLocal(c *event.Connection) bool {
	src, dst := c.Src.Addr(), c.Dst.Addr()
	return dst.IsLoopback() || src.IsLoopback() || src.IsValid() && src == dst
}

// pairOf is the pair that one more socket or flow belongs to; nil for one whose other
// end does not matter or cannot be named.
func (t *tracer) pairOf(c event.Connection, proto string) *pair {
	if t.by != byService && (!isLocal(&c) || c.Src.Port() == 0) {
		return nil
	}
	key := pairKey{proto, c.Src, c.Dst}
	if proto == event.ProtoUDP {
		// A socket that is not connected, or bound to no address, does not tell its own.
		if !c.Src.Addr().IsValid() && c.Dst.Addr().IsLoopback() {
			key.src = netip.AddrPortFrom(loopbackOf(c.Dst.Addr()), c.Src.Port())
		}
		key.dst = netip.AddrPortFrom(netip.Addr{}, c.Dst.Port())
	}
	if !key.src.Addr().IsValid() || key.src.Port() == 0 {
		return nil
	}
	p := t.pairs[key]
	if p == nil {
		p = &pair{key: key}
		t.pairs[key] = p
	}
	p.ends++
	return p
}

// loopbackOf is the address from which the kernel sends to one of loopback.
func loopbackOf(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return netip.IPv6Loopback()
}

// leave says that a socket or a flow of the pair is over.
func (t *tracer) leave(p *pair) {
	if p == nil {
		return
	}
	if p.ends--; p.ends == 0 {
		delete(t.pairs, p.key)
	}
}

// add counts what one end has moved, and returns how many bytes both ends have in rows
// now that they had not before.
func (p *pair) add(role string, r *row, m moved) (doubled uint64) {
	e := &p.client
	if role == event.RoleServer {
		e = &p.server
	}
	e.row, e.seen = r, true
	e.tx += m.tx
	e.rx += m.rx
	both := min(p.client.tx, p.server.rx) + min(p.server.tx, p.client.rx)
	doubled = both - p.doubled // it only grows
	p.doubled = both
	return doubled
}

// service counts what one end has moved, and returns what of that is new to the row of
// the service: as the server sees it, or the client where there is no server here.
func (p *pair) service(role string, m moved) (more moved) {
	p.add(role, nil, m)
	sees := p.server.moved
	if !p.server.seen {
		sees = p.client.mirrored()
	}
	more = moved{sees.tx - min(p.told.tx, sees.tx), sees.rx - min(p.told.rx, sees.rx)}
	p.told.tx += more.tx
	p.told.rx += more.rx
	return more
}

// mirrored is what the other end sees.
func (m moved) mirrored() moved { return moved{m.rx, m.tx} }
