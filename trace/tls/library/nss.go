package library

// NSS is a layer under the files of NSPR: its users read and write by NSPR's functions,
// of libnspr4 or, as in Firefox, of a libnss3 that has everything. They carry plain
// sockets and files, too.
// Handshakes are in NSS's own libssl3, where there is one.
var nss = finder{
	kind:     NSS,
	exported: append(nsprNames, nssHandshake, "SSL_ImportFD"),
	find: func(l *lookup) (found Library, err error) {
		whole := true
		for _, name := range nsprNames {
			_, ok := l.exported[name]
			whole = whole && ok
		}
		_, tls := l.exported["SSL_ImportFD"]
		if !whole && !tls {
			return found, ErrNone
		}
		list := []wanted{
			{"PR_Read", NSPRRead}, {"PR_Recv", NSPRRead},
			{"PR_Write", NSPRWrite}, {"PR_Send", NSPRWrite},
		}
		if tls {
			list = append(list, wanted{nssHandshake, Handshake})
		}
		found.Functions, err = l.all(l.exported, list...)
		return found, err
	},
}

var nsprNames = []string{"PR_Read", "PR_Recv", "PR_Write", "PR_Send"}

const nssHandshake = "SSL_ForceHandshake"
