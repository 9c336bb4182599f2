//go:build !amd64

package tls

import "tracer/trace/kernel"

// selfTest tries nothing: return probes make no system calls here.
func selfTest(*kernel.Object) (lives bool, err error) { return true, nil }
