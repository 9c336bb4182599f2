package library

// NSS is a layer under the files of NSPR: its users read and write by NSPR's functions,
// of libnspr4 or, as in Firefox, of a libnss3 that has everything. They carry plain
// sockets and files, too.
var nss = finder{
	kind:     NSS,
	exported: nsprNames,
	find: func(l *lookup) (found Library, err error) {
		for _, name := range nsprNames {
			if _, ok := l.exported[name]; !ok {
				return found, ErrNone
			}
		}
		found.Functions, err = l.all(l.exported,
			wanted{"PR_Read", NSPRRead}, wanted{"PR_Recv", NSPRRead},
			wanted{"PR_Write", NSPRWrite}, wanted{"PR_Send", NSPRWrite})
		return found, err
	},
}

var nsprNames = []string{"PR_Read", "PR_Recv", "PR_Write", "PR_Send"}
