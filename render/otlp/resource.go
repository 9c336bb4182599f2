package otlp

import (
	"tracer/trace/event"
)

// whose is a process, as far as a resource tells it.
type whose struct {
	host  string
	pid   uint32
	comm  string
	place event.Place
}

// A resource is a process, encoded.
type resource struct {
	body []byte // message Resource; never changed
	// Which group of the batch that is being filled may be its.
	group [signals]int
}

// maxResources bounds how many are kept. What is forgotten is made again.
const maxResources = 4096

// resources are those of an exporter.
type resources struct {
	all  map[whose]*resource
	last [2]struct { // most events are of who had the last ones
		whose    whose
		resource *resource
	}
	common []Attribute // that all have: those that the user gives
	host   string
}

func newResources(common []Attribute, host string) resources {
	return resources{all: map[whose]*resource{}, common: common, host: host}
}

func (r *resources) of(w whose) *resource {
	for i := range r.last {
		if r.last[i].whose == w && r.last[i].resource != nil {
			return r.last[i].resource
		}
	}
	r.last[1] = r.last[0]
	r.last[0].whose, r.last[0].resource = w, r.find(w)
	return r.last[0].resource
}

func (r *resources) find(w whose) *resource {
	if known := r.all[w]; known != nil {
		return known
	}
	if len(r.all) >= maxResources {
		clear(r.all)
	}
	made := &resource{body: r.encode(&w)}
	r.all[w] = made
	return made
}

// encode makes the attributes. What is known of a process outweighs what the user gives,
// which is of all; a service and a host are called as the user says.
func (r *resources) encode(w *whose) []byte {
	const attributes = 1
	var b []byte
	has := map[string]bool{}
	put := func(key, value string) {
		if value != "" && !has[key] {
			has[key] = true
			b = appendString(b, attributes, key, value)
		}
	}
	given := func(key string) {
		for _, a := range r.common {
			if a.Key == key {
				put(key, a.Value)
			}
		}
	}
	given("service.name")
	given("host.name")
	switch {
	case w.place.Container != "":
		put("service.name", w.place.Container)
	case w.comm != "":
		put("service.name", w.comm)
	default:
		put("service.name", "unknown_service:tracer")
	}
	if w.host != "" {
		put("host.name", w.host)
	}
	put("host.name", r.host)
	if w.pid != 0 {
		b = appendInt(b, attributes, "process.pid", int64(w.pid))
		has["process.pid"] = true
	}
	put("tracer.comm", w.comm)
	put("k8s.namespace.name", w.place.Namespace)
	put("k8s.pod.name", w.place.Pod)
	put("k8s.pod.uid", w.place.PodUID)
	if w.place.Pod != "" {
		put("k8s.container.name", w.place.Container)
	} else {
		put("container.name", w.place.Container)
	}
	put("container.id", w.place.ContainerID)
	for _, a := range r.common {
		put(a.Key, a.Value)
	}
	return b
}
