package library

import (
	"errors"
	"slices"

	"tracer/trace/tls/elf"
)

// OpenSSL's public functions have two forms, SSL_read and SSL_read_ex, and the second
// also those of early data call. In OpenSSL from 1.1.1 on both end in one inner function,
// which begins with a cheaper instruction and sees each message once. SSL_peek has another
// one. Compilers that put the inner one into both leave the public ones.
var openSSL = finder{
	kind:     OpenSSL,
	exported: sslNames,
	find:     findOpenSSL,
}

var sslNames = []string{
	"SSL_read", "SSL_read_ex",
	"SSL_write", "SSL_write_ex",
	"SSL_write_ex2",    // from OpenSSL 3.3 on
	"SSL_do_handshake", // by which SSL_accept and SSL_connect go
	// Of libcrypto, also where that is inside of the same file.
	"BIO_write", "BIO_s_mem", "BIO_s_null",
}

func findOpenSSL(l *lookup) (Library, error) {
	var found Library
	if l.Needs("libgnutls.so") { // GnuTLS with OpenSSL's interface before it
		return found, ErrNone
	}
	s := l.symbols("SSL_write", sslNames...)
	if s == nil {
		if _, ok := l.exported["BIO_write"]; !ok {
			return found, ErrNone
		}
		s = l.exported // a libcrypto
	}
	var err error
	if found.Later, err = l.all(s, wanted{"BIO_write", BIOWrite}); err != nil {
		return found, err
	}
	if addr, ok := l.memoryWrite(s); ok {
		if f, err := l.function("mem_write", BIOWrite, elf.Symbol{Addr: addr}); err == nil {
			found.Functions = []Function{f}
		}
	}
	if _, ok := s["SSL_write"]; !ok {
		return found, nil
	}
	if _, ok := s["SSL_read"]; !ok {
		return found, errors.New("it has SSL_write and no SSL_read")
	}
	long := wanted{"SSL_write_ex", SSLWriteEx}
	if _, ok := s["SSL_write_ex2"]; ok {
		long = wanted{"SSL_write_ex2", SSLWriteEx2} // which SSL_write_ex calls
	}
	reads, writes := []wanted{{"SSL_read", SSLRead}, {"SSL_read_ex", SSLReadEx}}, []wanted{{"SSL_write", SSLWrite}, long}
	read, err := l.direction(s, "ssl_read_internal", reads)
	if err != nil {
		return found, err
	}
	write, err := l.direction(s, "ssl_write_internal", writes)
	if err != nil {
		return found, err
	}
	handshake, err := l.all(s, wanted{"SSL_do_handshake", Handshake})
	if err != nil {
		return found, err
	}
	found.Functions = slices.Concat(read, write, handshake, found.Functions)
	if found.ByRets = l.byRets(s, append(reads, writes...)); found.ByRets != nil {
		for _, h := range handshake {
			if h.Rets != nil {
				found.ByRets = append(found.ByRets, h)
			}
		}
	}
	return found, nil
}

// memoryWrite finds the function that writes ciphertext to memory, for programs that move it
// themselves: the one that BIO_s_mem's methods have for it. They are a type, a name, and
// functions: write; from OpenSSL 1.1.1 on first one that all methods share, which calls the
// next.
func (l *lookup) memoryWrite(s map[string]elf.Symbol) (uint64, bool) {
	const write = 16
	memory, ok := l.methods(s, "BIO_s_mem")
	if !ok {
		return 0, false
	}
	p := l.Pointers(memory+write, memory+write+8)
	addr := p[0]
	if null, ok := l.methods(s, "BIO_s_null"); ok && l.Pointers(null + write)[0] == addr {
		addr = p[1] // BoringSSL has no BIO_s_null, and nothing to share
	}
	if f, ok := l.Image.Function(addr); ok && f.Addr != addr {
		return 0, false
	}
	_, ok = l.Code(addr)
	return addr, ok && addr != 0
}

// methods is the table that a function returns.
func (l *lookup) methods(s map[string]elf.Symbol, name string) (uint64, bool) {
	f, ok := s[name]
	if !ok {
		return 0, false
	}
	c, err := l.code(f)
	if err != nil {
		return 0, false
	}
	return c.Address()
}

// byRets are the public functions, if all of them return by RETs alone.
func (l *lookup) byRets(s map[string]elf.Symbol, public []wanted) []Function {
	list, err := l.all(s, public...)
	for _, f := range list {
		if f.Rets == nil {
			return nil
		}
	}
	if err != nil {
		return nil
	}
	return list
}

// direction finds the inner function of a public one and its longer form, or the public
// ones.
func (l *lookup) direction(s map[string]elf.Symbol, inner string, public []wanted) ([]Function, error) {
	short, ok := s[public[0].name]
	long, hasLong := s[public[1].name]
	if ok && hasLong {
		if target, use, ok := l.inner(short, long, public[1].use); ok {
			f, err := l.function(inner, use, elf.Symbol{Addr: target})
			if err == nil {
				return []Function{f}, nil
			}
		}
		if l.calls(long, short.Addr) { // as LibreSSL's
			public = public[:1]
		}
	}
	return l.all(s, public...)
}

// inner is the function that both a public one and its longer form call before any other:
// the short one with its own object and buffer and, as it has none, a variable of its own
// for the number of bytes; the long one with all that it was given.
func (l *lookup) inner(short, long elf.Symbol, use Use) (uint64, Use, bool) {
	a, err := l.code(short)
	if err != nil {
		return 0, 0, false
	}
	b, err := l.code(long)
	if err != nil {
		return 0, 0, false
	}
	for _, x := range a.Calls() {
		if !x.Passes(2) || x.Frame&(1<<(use.arguments()-1)) == 0 {
			continue
		}
		if f, ok := l.Image.Function(x.Target); ok && f.Addr != x.Target {
			continue // in .plt, or a part of a function
		}
		for _, y := range b.Calls() {
			if y.Target == x.Target && y.Passes(use.arguments()) {
				return x.Target, use, true
			}
		}
	}
	return 0, 0, false
}

// calls tells whether a function passes its object and buffer on to another before it
// calls anything else.
func (l *lookup) calls(s elf.Symbol, target uint64) bool {
	f, err := l.code(s)
	if err != nil {
		return false
	}
	for _, c := range f.Calls() {
		if c.Target == target && c.Passes(2) {
			return true
		}
	}
	return false
}
