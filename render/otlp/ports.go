package otlp

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// ports are the own ends of the connections to the endpoint. What is sent there is an
// exchange, too: if the endpoint is on this host its end of it is seen, and to send that
// would go on for ever.
type ports struct {
	mu   sync.RWMutex
	list []netip.AddrPort // the last ones
	next int
}

const maxPorts = 32

// dial is net.Dialer's.
func (p *ports) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if a, ok := conn.LocalAddr().(*net.TCPAddr); ok {
		own := a.AddrPort()
		own = netip.AddrPortFrom(own.Addr().Unmap(), own.Port())
		p.mu.Lock()
		if len(p.list) < maxPorts {
			p.list = append(p.list, own)
		} else {
			p.list[p.next%maxPorts] = own
		}
		p.next++
		p.mu.Unlock()
	}
	return conn, nil
}

// has reports whether a is one of them.
func (p *ports) has(a netip.AddrPort) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, own := range p.list {
		if own == a {
			return true
		}
	}
	return false
}

const (
	dialTimeout     = 5 * time.Second
	exchangeTimeout = 10 * time.Second // from the connection to the answer
)

// transport makes connections to an endpoint, and takes note of their own ends.
func (p *ports) transport(e *Endpoint) *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           p.dial,
		TLSClientConfig:       &tls.Config{RootCAs: e.roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   dialTimeout,
		MaxIdleConnsPerHost:   int(signals),
		IdleConnTimeout:       time.Minute,
		DisableCompression:    true,
		ResponseHeaderTimeout: exchangeTimeout,
	}
}
