package library

import "errors"

// gnutls_record_send jumps to gnutls_record_send2, from GnuTLS 3.6.3 on: a probe at both
// would see each message twice.
var gnuTLS = finder{
	kind:     GnuTLS,
	exported: gnuTLSNames,
	find: func(l *lookup) (found Library, err error) {
		s := l.symbols("gnutls_record_recv", gnuTLSNames...)
		if s == nil {
			return found, ErrNone
		}
		send := "gnutls_record_send2"
		if _, ok := s[send]; !ok {
			send = "gnutls_record_send"
		}
		if _, ok := s[send]; !ok {
			return found, errors.New("it has gnutls_record_recv and no gnutls_record_send")
		}
		found.Functions, err = l.all(s, wanted{"gnutls_record_recv", GnuTLSRecv}, wanted{send, GnuTLSSend},
			wanted{"gnutls_handshake", Handshake})
		return found, err
	},
}

var gnuTLSNames = []string{"gnutls_record_recv", "gnutls_record_send", "gnutls_record_send2", "gnutls_handshake"}
