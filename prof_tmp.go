package main

import (
	"os"
	"runtime/pprof"
)

func init() {
	if f := os.Getenv("TPROF"); f != "" {
		w, _ := os.Create(f)
		pprof.StartCPUProfile(w)
		stopProf = pprof.StopCPUProfile
	}
}

var stopProf = func() {}
