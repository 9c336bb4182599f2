// Package place says in which container and pod an event happened: from the
// cgroup id that the kernel puts into every event to the cgroup's path, from
// the path to a pod's uid and a container's id, and from those to names.
//
// It must not know of eBPF, events or how they are shown: it is told ids, and
// answers with a [Place]. It writes nothing anywhere, and what it reads it
// takes as a stranger's: names are cut to a bounded length and handed on as
// they are, for rendering to quote.
//
// Start reading at [Resolver.Lookup], then identify. Who is asked for names
// stands in two tables, the cheapest and most trusted first: fileSources, of
// what runtimes and kubelet leave on disk, and for pods that files do not
// name, Resolver.remote, of sockets and the kubelet's port. A new source is a
// row in one of them.
//
//	place.go     places, roots and bounds
//	lookup.go    what others call: start, look up, be told, watch
//	resolve.go   the goroutines that do the reading and asking
//	known.go     what is known of cgroups and containers, and what is missing
//	cgroup.go    /proc/PID/cgroup, paths, the walk of the tree
//	files.go     names from files
//	sockets.go   names from gRPC over unix sockets
//	kubelet.go   names from the kubelet's HTTP interface
//	filter.go    which places are of interest
//	survey.go    what a host has, without a Resolver
//	queue.go     work for the one goroutine that may do it
//	patience.go  how long a lookup may wait
package place

import (
	"path/filepath"
	"time"

	"tracer/trace/event"
)

// Bounds of what is kept and how long.
const (
	maxCgroups = 32768 // known at one time
	maxQueue   = 2 * maxCgroups
	maxLost    = 4096                   // ids looked for in the tree at one time
	waitTime   = 50 * time.Millisecond  // Options.Wait, if 0
	keepTime   = time.Minute            // for a removed cgroup
	lostTime   = 10 * time.Second       // before an id that was nowhere is looked for again
	renameTime = time.Second            // between two looks at files that names are from
	scanTime   = 2 * time.Second        // between two walks of the tree
	askTime    = 5 * time.Second        // for one question to a socket or port
	listAge    = 250 * time.Millisecond // before a list is asked for again, for a container that it lacks
	podAge     = 100 * time.Millisecond // the same, for a pod that it lacks
	retryTime  = 100 * time.Millisecond // before the second try, then twice that, and so on
	maxTries   = 9                      // 26 s; then only as long as events come from there
	againTime  = 250 * time.Millisecond // before a name is looked for again because of an event, or a quarter of what is waited already
	tree       = "cgroup tree"          // as a source of problems
)

// A Place is where a process runs. Container is the name; the first 12 digits of
// ContainerID until one is known; empty for a pod's sandbox, which has none.
// PodUID is as in the cgroup: of a static pod, not the API server's. It is shared
// between events: do not change it.
type Place = event.Place

func short(id string) string { return id[:min(12, len(id))] }

// Roots are where the host's files are found, so that tests, and a tracer in
// a container, bring their own.
type Roots struct {
	FS     string // "" is /
	Proc   string // "" is /proc below FS
	Cgroup string // "" is what FindHierarchies finds in the mounts
}

func (r Roots) filled() Roots {
	if r.FS == "" {
		r.FS = "/"
	}
	if r.Proc == "" {
		r.Proc = filepath.Join(r.FS, "proc")
	}
	return r
}
