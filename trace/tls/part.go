package tls

import (
	"maps"
	"slices"

	"tracer/bpf"
	"tracer/trace/kernel"
	"tracer/trace/tls/library"
)

// Feature is what it is called that plaintext is seen.
const Feature = "HTTPS: plaintext of TLS libraries"

// A program is what runs at a function.
type program struct {
	entry    string
	returned string // at its return, or its RETs; empty: none is needed
}

// use is what tells which program is for a function.
type use struct {
	kind library.Kind
	use  library.Use
}

// programs is the table of what can be attached.
var programs = map[use]program{
	{library.OpenSSL, library.SSLRead}:     {bpf.TlsProgOpensslRead, bpf.TlsProgTlsReturned},
	{library.OpenSSL, library.SSLWrite}:    {bpf.TlsProgOpensslWrite, bpf.TlsProgTlsReturned},
	{library.OpenSSL, library.SSLReadEx}:   {bpf.TlsProgOpensslReadEx, bpf.TlsProgTlsReturned},
	{library.OpenSSL, library.SSLWriteEx}:  {bpf.TlsProgOpensslWriteEx, bpf.TlsProgTlsReturned},
	{library.OpenSSL, library.SSLWriteEx2}: {bpf.TlsProgOpensslWriteEx2, bpf.TlsProgTlsReturned},
	{library.OpenSSL, library.Handshake}:   {bpf.TlsProgOpensslHandshake, bpf.TlsProgTlsReturned},
	{library.OpenSSL, library.BIOWrite}:    {bpf.TlsProgOpensslBioWrite, ""},
	{library.GnuTLS, library.GnuTLSRecv}:   {bpf.TlsProgGnutlsRecv, bpf.TlsProgTlsReturned},
	{library.GnuTLS, library.GnuTLSSend}:   {bpf.TlsProgGnutlsSend, bpf.TlsProgTlsReturned},
	{library.GnuTLS, library.Handshake}:    {bpf.TlsProgGnutlsShakeHands, bpf.TlsProgTlsReturned},
	{library.NSS, library.NSPRRead}:        {bpf.TlsProgNsprRead, bpf.TlsProgTlsReturned},
	{library.NSS, library.NSPRWrite}:       {bpf.TlsProgNsprWrite, bpf.TlsProgTlsReturned},
	{library.NSS, library.Handshake}:       {bpf.TlsProgNssHandshake, bpf.TlsProgTlsReturned},
	{library.Go, library.GoRead}:           {bpf.TlsProgGolangRead, bpf.TlsProgTlsReturned},
	{library.Go, library.GoWrite}:          {bpf.TlsProgGolangWrite, ""},
	{library.Go, library.GoHandshake}:      {bpf.TlsProgGolangHandshake, ""},
}

// Part is the source as a part of an object, which has the knobs and sizes that are the
// same here.
func Part(of *kernel.Plan) kernel.Part {
	list := map[string]bool{}
	for _, p := range programs {
		list[p.entry] = true
		list[p.returned] = true
	}
	delete(list, "")
	all := slices.Sorted(maps.Keys(list))
	tails := map[string]string{bpf.TlsMapTlsTails: bpf.TlsProgTlsReturned}
	return kernel.Part{
		Name:  "tls",
		Knobs: of.Knobs,
		Features: []kernel.Feature{{
			Name: Feature,
			Doors: []kernel.Door{
				{Tier: kernel.UprobeMulti, Programs: all, Tails: tails},
				{Tier: kernel.Uprobe, Programs: all, Tails: tails},
			},
			Without: "HTTPS is not seen: programs cannot be attached to functions of TLS libraries",
		}},
	}
}
