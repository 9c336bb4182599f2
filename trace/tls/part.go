package tls

import (
	"tracer/bpf"
	"tracer/trace/kernel"
	"tracer/trace/tls/library"
)

// Feature is what it is called that plaintext is seen.
const Feature = "HTTPS: plaintext of TLS libraries"

// A program is what runs at a function, by its use.
type program struct {
	entry    string
	returned string // the same for all functions of C: at the return; empty: none is needed
}

// programs is the table of what can be attached.
var programs = map[library.Use]program{
	library.SSLRead:     {bpf.TlsProgOpensslRead, bpf.TlsProgTlsReturned},
	library.SSLWrite:    {bpf.TlsProgOpensslWrite, bpf.TlsProgTlsReturned},
	library.SSLReadEx:   {bpf.TlsProgOpensslReadEx, bpf.TlsProgTlsReturned},
	library.SSLWriteEx:  {bpf.TlsProgOpensslWriteEx, bpf.TlsProgTlsReturned},
	library.SSLWriteEx2: {bpf.TlsProgOpensslWriteEx2, bpf.TlsProgTlsReturned},
	library.BIOWrite:    {bpf.TlsProgOpensslBioWrite, ""},
	library.GnuTLSRecv:  {bpf.TlsProgGnutlsRecv, bpf.TlsProgTlsReturned},
	library.GnuTLSSend:  {bpf.TlsProgGnutlsSend, bpf.TlsProgTlsReturned},
	library.NSPRRead:    {bpf.TlsProgNsprRead, bpf.TlsProgTlsReturned},
	library.NSPRWrite:   {bpf.TlsProgNsprWrite, bpf.TlsProgTlsReturned},
	library.GoRead:      {bpf.TlsProgGolangRead, bpf.TlsProgGolangReturned},
	library.GoWrite:     {bpf.TlsProgGolangWrite, ""},
}

// Part is the source as a part of an object, which has the knobs and sizes that are the
// same here.
func Part(of *kernel.Plan) kernel.Part {
	all := []string{
		bpf.TlsProgTlsReturned,
		bpf.TlsProgOpensslRead, bpf.TlsProgOpensslWrite, bpf.TlsProgOpensslReadEx, bpf.TlsProgOpensslWriteEx,
		bpf.TlsProgOpensslWriteEx2, bpf.TlsProgOpensslHandshake, bpf.TlsProgOpensslBioWrite,
		bpf.TlsProgGnutlsRecv, bpf.TlsProgGnutlsSend, bpf.TlsProgGnutlsShakeHands,
		bpf.TlsProgNsprRead, bpf.TlsProgNsprWrite, bpf.TlsProgNssHandshake,
		bpf.TlsProgGolangRead, bpf.TlsProgGolangReturned, bpf.TlsProgGolangWrite, bpf.TlsProgGolangHandshake,
	}
	return kernel.Part{
		Name: "tls", Load: bpf.LoadTls,
		Knobs: of.Knobs,
		Features: []kernel.Feature{{
			Name: Feature,
			Doors: []kernel.Door{
				{Tier: kernel.UprobeMulti, Programs: all},
				{Tier: kernel.Uprobe, Programs: all},
			},
			Without: "HTTPS is not seen: programs cannot be attached to functions of TLS libraries",
		}},
	}
}
