package trace

import (
	"fmt"
	"strings"

	"tracer/trace/place"
	"tracer/trace/proc"
)

// HostValues are what a shell can complete because it is on this host now: the values
// of some flags, by the flag's name. What stands behind a tab explains the value.
func HostValues() map[string]func() []string {
	processes := func() (list []string) {
		dir := proc.Dir("/proc")
		pids, _ := dir.PIDs()
		for _, pid := range pids {
			if stat, err := dir.Stat(pid); err == nil {
				list = append(list, fmt.Sprintf("%d\t%s", pid, stat.Comm))
			}
		}
		return list
	}
	return map[string]func() []string{
		"pid": processes,
		"comm": func() (names []string) {
			for _, p := range processes() {
				_, name, _ := strings.Cut(p, "\t")
				names = append(names, name)
			}
			return names
		},
		"uid": proc.NewUsers("/etc/passwd").List,
		"container": func() []string {
			containers, _, _ := place.Names(place.Roots{})
			return containers
		},
		"pod": func() []string {
			_, pods, _ := place.Names(place.Roots{})
			return pods
		},
		"namespace": func() []string {
			_, _, namespaces := place.Names(place.Roots{})
			return namespaces
		},
	}
}
