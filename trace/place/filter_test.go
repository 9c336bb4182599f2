package place

import "testing"

func TestFilter(t *testing.T) {
	place := &Place{Container: "web-app", ContainerID: idA, Pod: "web-0", Namespace: "prod-eu", PodUID: uid}
	tests := map[string]struct {
		filter Filter
		place  *Place
		want   bool
	}{
		"the empty one matches the host":       {Filter{}, nil, true},
		"the empty one matches all":            {Filter{}, place, true},
		"no other matches the host":            {Filter{Pod: "*"}, nil, false},
		"a name":                               {Filter{Container: "web-app"}, place, true},
		"a part of a name is another":          {Filter{Container: "web"}, place, false},
		"any text":                             {Filter{Container: "w*p"}, place, true},
		"any character":                        {Filter{Pod: "web-?"}, place, true},
		"any character is one":                 {Filter{Pod: "web-0?"}, place, false},
		"an id":                                {Filter{Container: idA}, place, true},
		"the first digits of an id":            {Filter{Container: idA[:12]}, place, true},
		"too few digits":                       {Filter{Container: idA[:3]}, place, false},
		"other digits":                         {Filter{Container: idA[1:9]}, place, false},
		"all of it must match":                 {Filter{Container: "web-app", Namespace: "test"}, place, false},
		"and does":                             {Filter{Container: "*app", Pod: "web-*", Namespace: "prod-*"}, place, true},
		"a pod is not asked for by its uid":    {Filter{Pod: uid}, place, false},
		"what is not known matches no pattern": {Filter{Pod: "*"}, &Place{ContainerID: idA}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tt.filter.Match(tt.place); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestFilterOfWhatIsNotAllKnown(t *testing.T) {
	nameless := &Place{Container: idA[:12], ContainerID: idA, PodUID: uid}
	named := &Place{Container: "app", ContainerID: idA, PodUID: uid}
	pod := &Place{Pod: "web-0", Namespace: "prod", PodUID: uid}
	tests := map[string]struct {
		filter   Filter
		place    *Place
		complete bool
		want     Verdict
	}{
		"the empty one wants all":               {Filter{}, nil, false, Wanted},
		"an unknown cgroup may be any":          {Filter{Pod: "*"}, nil, false, Unknown},
		"the host is no pod":                    {Filter{Pod: "*"}, nil, true, Unwanted},
		"a pod may get a name":                  {Filter{Pod: "web-*"}, nameless, false, Unknown},
		"a pod may not get another":             {Filter{Pod: "db-*"}, pod, false, Unwanted},
		"nor another namespace":                 {Filter{Pod: "web-*", Namespace: "test"}, pod, false, Unwanted},
		"a container may get a name":            {Filter{Container: "app"}, nameless, false, Unknown},
		"a container may not get another":       {Filter{Container: "db"}, named, false, Unwanted},
		"it is named by its id before it is":    {Filter{Container: idA[:12]}, nameless, false, Wanted},
		"and by its id where it is":             {Filter{Container: idA[:6]}, named, false, Wanted},
		"its id says nothing of the pod":        {Filter{Container: idA[:6], Pod: "web-0"}, named, false, Unknown},
		"what is complete and matches":          {Filter{Pod: "web-0"}, pod, true, Wanted},
		"what is complete and does not":         {Filter{Container: "app"}, nameless, true, Unwanted},
		"a matching part that is not all of it": {Filter{Namespace: "prod", Container: "app"}, pod, false, Unknown},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tt.filter.Judge(tt.place, tt.complete); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
