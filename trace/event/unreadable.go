package event

// Unreadable are connections that speak TLS and whose plaintext was not seen.
type Unreadable struct {
	Comm        string   // of the process, the client where both ends are here
	ServerName  string   // that the client asked for; empty if it was not seen
	ALPN        []string // protocols that the client offered
	Why         string   // the plaintext is not seen; empty if that is not known
	Connections uint64   // one with both ends here counts once
}

func (u *Unreadable) fields(t *table) {
	t.text("comm", &u.Comm, true)
	t.text("server_name", &u.ServerName, u.ServerName != "")
	t.texts("alpn", &u.ALPN, len(u.ALPN) > 0)
	t.text("why", &u.Why, u.Why != "")
	t.uint64("connections", &u.Connections, true)
}

// unreadable is a list of them.
func (t *table) unreadable(key string, p *[]Unreadable, when bool) {
	switch {
	case t.in == nil && when:
		objects(t, key, *p)
	case t.reads(key):
		*p = readList(t.in, func() (u Unreadable) {
			of := read(t.in, "")
			for of.timed = true; of.again(); { // it needs no time
				u.fields(&of)
			}
			return u
		})
		t.in.next()
	}
}
