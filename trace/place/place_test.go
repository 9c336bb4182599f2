package place

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	idA = "0a821c7bb7bf5fac912c2e9362ab82655d38c05b4d5d49844dea0c08ad0847e9"
	idB = "e92d114dd56686c7c2629397daa0b8fcf3a3bfbd2b2fc80c8cc5162d51a1e9c7"
	uid = "0b5d1f8e-3c5a-4a57-9a55-6f0c3a3c1e11"
)

// Each way to learn names is given to each recorded host, and must find what
// was recorded there by all means.
func TestRecordedHosts(t *testing.T) {
	const nothing, podsOnly, all = 0, 1, 2
	ways := []struct {
		name string
		// prepare gives the host what that way reads, if it was recorded.
		prepare func(*testing.T, *host, recorded, *Options) bool
		// What is told of a pod's sandbox, and of what runs in a pod outside
		// of its containers: both have no name, and some ways do not know them.
		sandbox, pod int
	}{
		{"nothing", func(*testing.T, *host, recorded, *Options) bool { return true }, nothing, nothing},
		{"bundles", func(t *testing.T, h *host, c recorded, _ *Options) bool {
			for id, a := range c.bundles(t) {
				data, err := json.Marshal(map[string]any{"ociVersion": "1.0.2", "hostname": "x", "annotations": a})
				if err != nil {
					t.Fatal(err)
				}
				h.write("run/containerd/io.containerd.runtime.v2.task/k8s.io/"+id+"/config.json", string(data))
			}
			return len(c.bundles(t)) > 0
		}, all, nothing},
		{"logs", func(t *testing.T, h *host, c recorded, _ *Options) bool {
			for line := range strings.Lines(c.read(t, "var_log.txt")) {
				if name, to, ok := strings.Cut(strings.TrimSpace(line), " -> "); ok {
					h.link(to, name)
					h.write(to, "")
				}
			}
			return strings.Contains(c.read(t, "var_log.txt"), " -> ")
		}, podsOnly, all},
		{"kubelet's port", func(t *testing.T, h *host, c recorded, o *Options) bool {
			o.Kubelet.URL = servePods(t, c.read(t, "pods.json"))
			return c.read(t, "pods.json") != ""
		}, podsOnly, all},
		{"kubelet's socket", func(t *testing.T, h *host, c recorded, _ *Options) bool {
			servePodsSocket(t, h, c.read(t, "pods.pb"))
			return c.read(t, "pods.pb") != ""
		}, podsOnly, all},
		{"runtime's socket", func(t *testing.T, h *host, c recorded, _ *Options) bool {
			serveCRI(t, h, "run/containerd/containerd.sock", c.cri(t))
			return c.read(t, "cri.json") != ""
		}, all, nothing},
	}
	for name, c := range allRecorded(t) {
		for _, way := range ways {
			t.Run(name+"/"+way.name, func(t *testing.T) {
				h := newHost(t, strings.HasPrefix(name, "v1"))
				opts := Options{Kubelet: closedPort}
				if !way.prepare(t, h, c, &opts) {
					t.Skip("not recorded there")
				}
				type answer struct {
					Place *Place
					All   bool
				}
				want := make(map[string]answer)
				ids := make(map[string]uint64)
				for _, p := range c.places {
					ids[p.path] = h.cgroup(p.path)
					if p.ContainerID == "" && p.PodUID == "" {
						want[p.path] = answer{nil, true}
						continue
					}
					place := p.Place
					known := all
					switch {
					case p.Namespace == "":
						known = nothing
					case p.ContainerID == "":
						known = way.pod
					case p.Container == "":
						known = way.sandbox
					case way.name == "nothing":
						known = nothing
					}
					if known == nothing {
						place.Pod, place.Namespace = "", ""
					}
					if known != all {
						place.Container = p.ContainerID[:min(12, len(p.ContainerID))]
					}
					want[p.path] = answer{&place, known == all}
				}
				r := h.resolver(opts)
				// What sockets and ports tell comes later: wait for all of it.
				named := make(chan struct{}, len(c.places))
				defer r.Watch(Filter{Namespace: "*"}, func(_ uint64, v Verdict) {
					if v == Wanted {
						named <- struct{}{}
					}
				})()
				for _, a := range want {
					if a.Place != nil && a.Place.Namespace != "" {
						await(t, named, "a pod's name")
					}
				}
				got := make(map[string]answer)
				for path, id := range ids {
					place, ok := r.Lookup(id, 0)
					got[path] = answer{place, ok}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("places (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// bundles gives the annotations of the containers' bundles: as recorded, else
// what containerd's are known to say, from what the runtime said.
func (c recorded) bundles(t *testing.T) map[string]map[string]string {
	all := make(map[string]map[string]string)
	if data := c.read(t, "bundles.json"); data != "" {
		for d := json.NewDecoder(strings.NewReader(data)); d.More(); {
			var b struct {
				ID          string
				Annotations map[string]string
			}
			if err := d.Decode(&b); err != nil {
				t.Fatal(err)
			}
			all[b.ID] = b.Annotations
		}
		return all
	}
	list := c.cri(t)
	for kind, items := range map[string]criList{"container": {Containers: list.Containers}, "sandbox": {Containers: list.Sandboxes}} {
		for _, x := range items.Containers {
			all[x.ID] = map[string]string{
				"io.kubernetes.cri.container-type":    kind,
				"io.kubernetes.cri.sandbox-name":      x.Labels["io.kubernetes.pod.name"],
				"io.kubernetes.cri.sandbox-namespace": x.Labels["io.kubernetes.pod.namespace"],
				"io.kubernetes.cri.sandbox-uid":       x.Labels["io.kubernetes.pod.uid"],
			}
			if kind == "container" {
				all[x.ID]["io.kubernetes.cri.container-name"] = x.Labels["io.kubernetes.container.name"]
			}
		}
	}
	return all
}

// The tracepoint's ids are the kernel's own, and need no directory.
func TestRecordedHostsToldByTracepoint(t *testing.T) {
	for name, c := range allRecorded(t) {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, strings.HasPrefix(name, "v1"))
			r := h.resolver(Options{})
			for _, p := range c.places {
				r.Mkdir(p.id, r.Hierarchies()[0].ID+1, "/docker/"+idA) // of another hierarchy
				r.Mkdir(p.id, r.Hierarchies()[0].ID, p.path)
			}
			for _, p := range c.places {
				got, _ := r.Lookup(p.id|h.mark, 0)
				if (p.ContainerID == "" && p.PodUID == "") != (got == nil) {
					t.Errorf("%s: got %+v", p.path, got)
				}
				if got != nil && (got.ContainerID != p.ContainerID || got.PodUID != p.PodUID) {
					t.Errorf("%s: got %+v", p.path, got)
				}
			}
		})
	}
}

func TestRecordedProcesses(t *testing.T) {
	for name, c := range allRecorded(t) {
		t.Run(name, func(t *testing.T) {
			known := map[[2]string]bool{}
			for _, p := range c.places {
				known[[2]string{p.PodUID, p.ContainerID}] = true
			}
			for block := range strings.SplitSeq(c.read(t, "proc_cgroup.txt"), "# ") {
				comm, text, _ := strings.Cut(block, "\n")
				if comm == "" {
					continue
				}
				var got [2]string
				if paths := ParseCgroup([]byte(text)); len(paths) > 0 {
					t := identify(paths[0])
					got = [2]string{t.podUID, t.id}
				}
				if strings.Contains(comm, "conmon") {
					if got != [2]string{} {
						t.Errorf("%s: got %q, want none: it runs on the host", comm, got)
					}
				} else if got[1] == "" || !known[got] && !strings.Contains(name, "mismatch") && !strings.Contains(comm, "split") {
					t.Errorf("%s: got %q, which is not among the cgroups", comm, got)
				}
			}
		})
	}
}

func TestLookupOfAnUnknownCgroup(t *testing.T) {
	tests := map[string]struct {
		proc string // of process 7, with TREE for where the cgroup is
		path string // of the cgroup
		want *Place
		ok   bool
	}{
		"is answered from a process in it": {
			proc: "0::/docker/" + idA + "\n", path: "/docker/" + idA,
			want: &Place{Container: "db", ContainerID: idA}, ok: true,
		},
		"is on the host if the process is": {
			proc: "0::/user.slice\n", path: "/user.slice", ok: true,
		},
		"does not believe a process that has moved": {
			proc: "0::/docker/" + idB + "\n", path: "/docker/" + idA,
			want: &Place{Container: "db", ContainerID: idA}, ok: true, // found in the tree
		},
		"believes a path outside of the cgroup namespace if it names a container": {
			proc: "0::/../../docker/" + idA + "\n", path: "/elsewhere",
			want: &Place{Container: "db", ContainerID: idA}, ok: true,
		},
		"finds a child of a container": {
			proc: "0::/docker/" + idA + "/init/docker/" + idB + "\n", path: "/docker/" + idA + "/init/docker/" + idB,
			want: &Place{Container: "db", ContainerID: idA}, ok: true,
		},
		"does without a process": {
			path: "/docker/" + idA, want: &Place{Container: "db", ContainerID: idA}, ok: true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHost(t, false)
				h.dockerContainer(idA, "db")
				h.cgroup("/docker/" + idB)
				r := h.resolver(Options{Wait: time.Hour})
				defer r.Close()
				if tt.proc != "" {
					h.write("proc/7/cgroup", tt.proc)
				}
				id := h.cgroup(tt.path)
				got, ok := r.Lookup(id, 7)
				if diff := cmp.Diff(tt.want, got); diff != "" || ok != tt.ok {
					t.Errorf("ok = %v, place (-want +got):\n%s", ok, diff)
				}
			})
		})
	}
}

// A container that has come and gone is to be found nowhere, but what tells of
// it may be on its way.
func TestLookupWaitsForWhatIsStillToBeTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, false)
		h.dockerContainer(idA, "db")
		var told atomic.Bool
		r := h.resolver(Options{Behind: func() bool { return !told.Load() }})
		defer r.Close()
		go func() {
			time.Sleep(waitTime / 2)
			r.Mkdir(1<<40, 0, "/docker/"+idA)
			told.Store(true)
		}()
		want := &Place{Container: "db", ContainerID: idA}
		if got, ok := r.Lookup(1<<40, 0); !ok || !cmp.Equal(got, want) {
			t.Errorf("got %v, %v, want %v", got, ok, want)
		}

		told.Store(false)
		time.Sleep(time.Second) // its patience comes back
		start := time.Now()
		if p, ok := r.Lookup(1<<41, 0); p != nil || ok {
			t.Errorf("got %v, %v", p, ok)
		}
		if waited := time.Since(start); waited != waitTime {
			t.Errorf("waited %v, want %v", waited, waitTime)
		}
	})
}

func TestLookupOfAnIDThatIsNowhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, false)
		r := h.resolver(Options{})
		defer r.Close()

		start := time.Now()
		if p, ok := r.Lookup(1<<40, 0); p != nil || ok {
			t.Errorf("got %v, %v", p, ok)
		}
		if waited := time.Since(start); waited != waitTime {
			t.Errorf("waited %v, want %v", waited, waitTime)
		}
		for range 1000 {
			r.Lookup(1<<40, 0) // a second wait for the same would be too long
		}
		for id := range uint64(1000) {
			r.Lookup(1<<41+id, 0)
		}
		if waited := time.Since(start); waited > 2*waitTime {
			t.Errorf("waited %v for a burst of unknown ids", waited)
		}

		// It was looked for in the tree, and is looked for again later.
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := r.Counts().Cgroups; n != 1 {
			t.Errorf("%d cgroups are kept, want the root alone", n)
		}
		id := h.cgroup("/docker/" + idA)
		r.Lookup(id, 0)
		time.Sleep(time.Minute)
		synctest.Wait()
		if p, _ := r.Lookup(id, 0); p == nil || p.ContainerID != idA {
			t.Errorf("got %v after a walk", p)
		}
	})
}

// On a full host names take long to read: until then its id says which container
// it is.
func TestPathsAreKnownBeforeNames(t *testing.T) {
	h := newHost(t, false)
	h.dockerContainer(idA, "db")
	r := h.resolver(Options{Wait: -1})
	busy, release := context.WithCancel(t.Context())
	defer release()
	r.queue.doFirst(func() { <-busy.Done() })
	id := h.cgroup("/docker/" + idA)
	r.scan()
	want := func(name string, complete bool) {
		t.Helper()
		deadline := time.Now().Add(10 * time.Second)
		for {
			p, ok := r.Lookup(id, 0)
			if p != nil && p.Container == name && ok == complete {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("got %+v, %v, want %s", p, ok, name)
			}
			time.Sleep(time.Millisecond)
		}
	}
	want(idA[:12], false)
	release()
	want("db", true)
}

func TestRemovedCgroupIsKnownForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, false)
		h.dockerContainer(idA, "db")
		r := h.resolver(Options{})
		defer r.Close()
		r.Mkdir(7, 0, "/docker/"+idA)
		r.Rmdir(7, 0, "/docker/"+idA)
		r.Rmdir(8, 0, "/docker/"+idA+"/child") // its mkdir was missed

		time.Sleep(keepTime - time.Second)
		want := &Place{Container: "db", ContainerID: idA}
		for _, id := range []uint64{7, 8} {
			if got, ok := r.Lookup(id, 0); !cmp.Equal(got, want) || !ok {
				t.Errorf("before: got %v, %v for %d", got, ok, id)
			}
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := r.Counts(); n.Cgroups != 1 || n.Containers != 0 {
			t.Errorf("after: %+v, want the root alone", n)
		}
	})
}

func TestNameThatIsWrittenLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, false)
		r := h.resolver(Options{})
		defer r.Close()
		r.Mkdir(7, 0, "/docker/"+idA)
		if got, ok := r.Lookup(7, 0); ok || got.Container != idA[:12] {
			t.Errorf("got %v, %v", got, ok)
		}
		if len(r.Problems()) != 1 || !strings.Contains(r.Problems()[0], idA[:12]) {
			t.Errorf("problems: %q", r.Problems())
		}
		h.dockerContainer(idA, "db")
		time.Sleep(retryTime)
		synctest.Wait()
		if got, ok := r.Lookup(7, 0); !ok || got.Container != "db" {
			t.Errorf("got %v, %v", got, ok)
		}
		if len(r.Problems()) != 0 {
			t.Errorf("problems: %q", r.Problems())
		}
	})
}

// A container that is renamed has its new name from then on, for filters as well.
func TestRenamedContainer(t *testing.T) {
	podman := func(h *host, name string) {
		h.write("var/lib/containers/storage/overlay-containers/containers.json", `[{"id":"`+idA+`","names":["`+name+`"]}]`)
	}
	for name, c := range map[string]struct {
		path string
		name func(h *host, name string)
	}{
		"docker": {"/docker/" + idA, func(h *host, name string) { h.dockerContainer(idA, name) }},
		"podman": {"/libpod_parent/libpod-" + idA, podman},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHost(t, false)
				c.name(h, "before")
				id := h.cgroup(c.path)
				r := h.resolver(Options{})
				defer r.Close()
				var verdicts []Verdict
				defer r.Watch(Filter{Container: "after"}, func(of uint64, v Verdict) {
					if of == id {
						verdicts = append(verdicts, v)
					}
				})()
				first, _ := r.Lookup(id, 0)
				was := *first
				c.name(h, "after!")
				c.name(h, "after")
				time.Sleep(2 * renameTime)
				synctest.Wait()
				second, ok := r.Lookup(id, 0)
				if was.Container != "before" || first.Container != "before" || second.Container != "after" || !ok {
					t.Errorf("before %+v, then %+v, %v", first, second, ok)
				}
				if !slices.Equal(verdicts, []Verdict{Unwanted, Wanted}) {
					t.Errorf("verdicts: %v", verdicts)
				}
				// What is removed keeps its name.
				if err := os.RemoveAll(filepath.Join(h.root, "var/lib")); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * renameTime)
				synctest.Wait()
				if p, ok := r.Lookup(id, 0); p.Container != "after" || !ok {
					t.Errorf("removed: %+v, %v", p, ok)
				}
			})
		})
	}
}

// Of what is outside of the part that can be seen processes tell, and one that is gone does not end the search.
func TestLookupInAPartOfATree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, false)
		h.dockerContainer(idA, "db")
		h.dockerContainer(idB, "own")
		h.write("proc/self/mountinfo", "35 30 0:29 /docker/"+idB+" "+h.tree+" rw - cgroup2 cgroup2 rw\n")
		h.write("proc/8/cgroup", "0::/../"+idA+"\n")
		h.write("proc/9/cgroup", "0::/../../user.slice\n")
		r := h.resolver(Options{})
		defer r.Close()
		if !r.Hierarchies()[0].Part {
			t.Fatalf("%+v", r.Hierarchies())
		}
		for id, pid := range map[uint64]int{1000: 8, 1001: 9} {
			if p, ok := r.Lookup(id, 7); ok {
				t.Errorf("of a process that is gone: %+v", p)
			}
			time.Sleep(2 * retryTime)
			synctest.Wait()
			p, ok := r.Lookup(id, pid)
			if !ok || (p == nil) != (pid == 9) || p != nil && p.Container != "db" {
				t.Errorf("process %d: %+v, %v", pid, p, ok)
			}
		}
	})
}

// A pod that a list lacks is asked for again at once; what its containers are called comes when kubelet knows.
func TestPodThatKubeletLearnsLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, false)
		r := h.resolver(Options{})
		defer r.Close()
		list, calls := newRoster(), 0
		r.remote = []source{{name: "port", find: cached(func(context.Context) (*roster, error) {
			calls++
			time.Sleep(time.Millisecond)
			now := newRoster()
			maps.Copy(now.pods, list.pods)
			maps.Copy(now.containers, list.containers)
			return now, nil
		})}}
		r.Mkdir(1000, 0, "/kubepods/pod1/"+idA)
		synctest.Wait()
		time.Sleep(730 * time.Millisecond) // the ladder would look again at 700 ms and at 1.5 s
		n := names{pod: "web-0", namespace: "demo", podUID: "1"}
		list.addPod(n)
		late := func(what string, since time.Time, complete func(*Place, bool) bool) {
			t.Helper()
			for {
				p, ok := r.Lookup(1000, 0)
				if complete(p, ok) {
					break
				}
				if time.Since(since) > time.Minute {
					t.Fatalf("%s: %+v", what, p)
				}
				time.Sleep(10 * time.Millisecond) // between events
			}
			if d := time.Since(since); d > 400*time.Millisecond {
				t.Errorf("%s: known after %v", what, d)
			}
		}
		late("the pod", time.Now(), func(p *Place, _ bool) bool { return p.Pod == "web-0" })
		time.Sleep(time.Second / 3)
		list.addContainer(n, "app", "containerd://"+idA)
		late("the container", time.Now(), func(p *Place, ok bool) bool { return ok && p.Container == "app" })
		if calls > 20 {
			t.Errorf("the list was asked for %d times", calls)
		}
	})
}

// Names that no event lacks are nobody's concern: the note counts what events came from.
func TestProblemsAreOfWhatEventsCameFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, false)
		h.cgroup("/docker/" + idA) // empty
		h.dockerContainer(strings.Repeat("c", 64), "db")
		named := h.cgroup("/docker/" + strings.Repeat("c", 64))
		id := h.cgroup("/docker/" + idB)
		r := h.resolver(Options{})
		defer r.Close()
		r.Lookup(named, 0)
		if got := r.Problems(); got != nil {
			t.Errorf("before: %q", got)
		}
		r.Lookup(id, 0)
		if got, want := r.Problems(), []string{"1 of 2 containers lack a name: " + idB[:12]}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, false)
		h.dockerContainer(idA, "db")
		root, host := h.cgroup("/"), h.cgroup("/docker")
		first := h.cgroup("/docker/" + idA)
		r := h.resolver(Options{})
		defer r.Close()

		var mu sync.Mutex
		var got []string
		stop := r.Watch(Filter{Container: "d?"}, func(id uint64, v Verdict) {
			mu.Lock()
			defer mu.Unlock()
			name, ok := map[uint64]string{first: "the first", host: "the host's", root: "the root"}[id]
			if !ok {
				name = fmt.Sprint(id)
			}
			got = append(got, name+[]string{" unknown", " wanted", " unwanted"}[v])
		})
		told := func(step string, want ...string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", step, diff)
			}
			got = nil
		}
		told("what is known", "the first wanted", "the host's unwanted", "the root unwanted")
		r.Mkdir(1000, 0, "/docker/"+idA+"/child")
		r.Mkdir(1001, 0, "/docker/"+idB)
		r.Mkdir(1002, 0, "/system.slice")
		told("a child of a known one", "1000 wanted", "1002 unwanted")
		h.dockerContainer(idB, "dc")
		time.Sleep(retryTime)
		told("a name that came later", "1001 wanted")
		r.Rmdir(1000, 0, "/docker/"+idA+"/child")
		time.Sleep(keepTime)
		told("a removed one", "1000 unknown")
		stop()
		r.Mkdir(1003, 0, "/docker/"+idA+"/other")
		told("after stop")
	})
}

func TestFloodOfCgroups(t *testing.T) {
	h := newHost(t, false)
	h.dockerContainer(idA, "db")
	r := h.resolver(Options{Wait: -1})
	for id := range uint64(maxCgroups + 5000) {
		r.Mkdir(1<<40+id, 0, "/system.slice/x.scope/"+fmt.Sprint(id))
		r.Rmdir(1<<40+id, 0, "")
	}
	r.Mkdir(7, 0, "/docker/"+idA)
	if n := r.Counts(); n.Cgroups > maxCgroups {
		t.Errorf("%+v", n)
	}
	if len(r.gone) > maxCgroups {
		t.Errorf("%d removed ones are kept", len(r.gone))
	}
	named := make(chan uint64, 1)
	defer r.Watch(Filter{Container: "db"}, func(id uint64, v Verdict) {
		if v == Wanted {
			named <- id
		}
	})()
	if id := await(t, named, "a container in the flood"); id != 7 {
		t.Errorf("got %d", id)
	}
}

// What runs in a container may make as many cgroups as it likes: forgetting them
// must not hold up those who look others up.
func TestContainerWithThousandsOfCgroups(t *testing.T) {
	h := newHost(t, false)
	h.dockerContainer(idA, "db")
	r := h.resolver(Options{Wait: -1})
	const n = maxCgroups - 100
	start := time.Now()
	for id := range uint64(n) {
		path := "/docker/" + idA + "/" + fmt.Sprint(id)
		r.Mkdir(1<<40+id, 0, path)
		r.Rmdir(1<<40+id, 0, path)
	}
	if c := r.Counts(); c.Containers != 1 || c.Cgroups < n {
		t.Fatalf("%+v", c)
	}
	told := time.Since(start)
	r.mu.Lock()
	for i := range r.gone {
		r.gone[i].at = time.Time{} // long ago
	}
	r.mu.Unlock()
	start = time.Now()
	r.sweep()
	// A tenth of the time; ten times as long if each is looked for among all.
	if took := time.Since(start); took > 2*told {
		t.Errorf("they were told within %v, and forgotten within %v", told, took)
	}
	if c := r.Counts(); c.Containers != 0 {
		t.Errorf("%+v", c)
	}
}

func TestConcurrentUse(t *testing.T) {
	h := newHost(t, false)
	h.dockerContainer(idA, "db")
	r := h.resolver(Options{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for id := range uint64(500) {
			r.Mkdir(1<<40+id, 0, "/docker/"+idA+"/"+fmt.Sprint(id))
		}
	})
	wg.Go(func() {
		for id := range uint64(500) {
			r.Rmdir(1<<40+id, 0, "/docker/"+idA+"/"+fmt.Sprint(id))
		}
	})
	wg.Go(func() {
		for range 50 {
			r.Watch(Filter{Container: "db"}, func(uint64, Verdict) {})()
			r.Problems()
			r.Counts()
		}
	})
	for id := range uint64(500) {
		r.Lookup(1<<40+id, os.Getpid())
	}
	wg.Wait()
	r.Close()
	if p, ok := r.Lookup(1<<40, 0); !ok || p.Container != "db" {
		t.Errorf("after Close: %v, %v", p, ok)
	}
	r.Lookup(1<<50, 0) // must return
}

func TestNewSaysWhatIsWrong(t *testing.T) {
	h := newHost(t, false)
	tests := map[string]struct {
		roots Roots
		conf  Kubelet
		want  string
	}{
		"no cgroups":        {Roots{FS: t.TempDir()}, Kubelet{}, "read mounts"},
		"no such tree":      {Roots{FS: h.root, Cgroup: h.root + "/no"}, Kubelet{}, ""},
		"no such token":     {Roots{FS: h.root}, Kubelet{TokenFile: h.root + "/no"}, "read kubelet token"},
		"key without cert":  {Roots{FS: h.root}, Kubelet{KeyFile: h.root + "/no"}, "go together"},
		"CA that is none":   {Roots{FS: h.root}, Kubelet{CAFile: filepath.Join(h.root, "proc/self/mountinfo")}, "no certificate in it"},
		"token in clear":    {Roots{FS: h.root}, Kubelet{URL: "http://127.0.0.1:1", TokenFile: filepath.Join(h.root, "proc/self/mountinfo")}, "https only"},
		"address of no use": {Roots{FS: h.root}, Kubelet{URL: "127.0.0.1:10250"}, "address"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r, err := New(tt.roots, Options{Kubelet: tt.conf})
			if err == nil {
				r.Close()
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %q, want it to say %q", err, tt.want)
			}
		})
	}
}

func TestLookupOfAKnownCgroupAllocatesNothing(t *testing.T) {
	h := newHost(t, false)
	h.dockerContainer(idA, "db")
	id := h.cgroup("/docker/" + idA)
	r := h.resolver(Options{})
	if n := testing.AllocsPerRun(1000, func() { r.Lookup(id, 1) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkLookup(b *testing.B) {
	h := newHost(b, false)
	h.dockerContainer(idA, "db")
	id := h.cgroup("/docker/" + idA)
	r := h.resolver(Options{})
	for i := range uint64(2000) {
		r.Mkdir(1<<40+i, 0, "/system.slice/"+fmt.Sprint(i))
	}
	b.ReportAllocs()
	for b.Loop() {
		r.Lookup(id, 1)
	}
}

// Both trees of a hybrid host number their directories in the same way.
func TestTreesOfAHybridHost(t *testing.T) {
	h := newHost(t, false)
	h.dockerContainer(idA, "db")
	h.dockerContainer(idB, "old")
	both := filepath.Join(h.root, "memory")
	h.write("proc/self/mountinfo", "35 30 0:29 / "+h.tree+" rw - cgroup2 cgroup2 rw\n"+
		"36 30 0:30 / "+both+" rw - cgroup cgroup rw,memory\n")
	h.write("proc/7/cgroup", "4:memory:/docker/"+idB+"/late\n0::/\n")
	v2 := h.cgroup("/docker/" + idA)
	h.tree, h.mark = both, V1
	v1 := h.cgroup("/docker/" + idB)
	r := h.resolver(Options{Wait: time.Hour})
	r.Mkdir(1000, 0, "/docker/"+idA+"/x")
	r.Mkdir(1000, 4, "/docker/"+idB+"/x")
	r.Mkdir(1001, 5, "/docker/"+idB+"/x") // another controller's
	r.Rmdir(1000, 4, "/docker/"+idB+"/x")
	late := h.cgroup("/docker/" + idB + "/late")
	for id, want := range map[uint64]string{v2: "db", v1: "old", 1000: "db", 1000 | V1: "old", late: "old"} {
		if p, ok := r.Lookup(id, 7); p == nil || !ok || p.Container != want {
			t.Errorf("%#x: got %v, %v, want %s", id, p, ok, want)
		}
	}
	if len(r.gone) != 1 || r.gone[0].id != 1000|V1 {
		t.Errorf("gone: %v", r.gone)
	}
}

// A source that fails slowly is asked rarely, and holds up no other.
func TestSourceThatFailsSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, false)
		r := h.resolver(Options{})
		defer r.Close()
		calls := 0
		r.remote = []source{
			{name: "slow", find: func(ctx context.Context, _ target) (names, error) {
				calls++
				<-ctx.Done()
				return names{}, ctx.Err()
			}},
			{name: "good", find: func(_ context.Context, t target) (names, error) {
				return names{container: "app", pod: "web-0", namespace: "demo"}, nil
			}},
		}
		for id := range uint64(100) {
			r.Mkdir(1<<40+id, 0, fmt.Sprintf("/kubepods/pod%d/%064x", id, id))
		}
		time.Sleep(keepTime)
		synctest.Wait()
		if n := r.Counts(); n.Named != 100 || calls > 2 {
			t.Errorf("%+v after %d calls", n, calls)
		}
	})
}

// A source that has nothing of one container is asked for the next at once.
func TestSourceThatLacksOneContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, false)
		r := h.resolver(Options{})
		defer r.Close()
		r.remote = []source{{name: "runtime", find: func(_ context.Context, t target) (names, error) {
			time.Sleep(10 * time.Millisecond)
			if t.id == idA {
				return names{}, fs.ErrNotExist
			}
			return names{container: "app", pod: "web-0", namespace: "demo"}, nil
		}}}
		r.Mkdir(1000, 0, "/kubepods/pod1/"+idA)
		r.Mkdir(1001, 0, "/kubepods/pod1/"+idB)
		time.Sleep(30 * time.Millisecond)
		synctest.Wait()
		if p, ok := r.Lookup(1001, 0); !ok || p.Container != "app" {
			t.Errorf("got %+v, %v", p, ok)
		}
	})
}

// Of a tree that is not mounted here only processes can tell.
func TestLookupInATreeThatCannotBeSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, false)
		h.dockerContainer(idA, "db")
		h.write("proc/7/cgroup", "4:memory:/docker/"+idA+"\n0::/\n")
		h.write("proc/8/cgroup", "4:memory:/user.slice\n0::/\n")
		r := h.resolver(Options{})
		defer r.Close()
		if p, ok := r.Lookup(1000|V1, 7); !ok || p == nil || p.Container != "db" {
			t.Errorf("in a container: %+v, %v", p, ok)
		}
		begin := time.Now()
		if p, ok := r.Lookup(1001|V1, 9); ok {
			t.Errorf("of a process that is gone: %+v", p)
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("waited %v for what nobody tells", took)
		}
		time.Sleep(retryTime)
		synctest.Wait()
		if p, ok := r.Lookup(1001|V1, 8); !ok || p != nil {
			t.Errorf("on the host: %+v, %v", p, ok)
		}
	})
}

// A node that is full: 250 pods of two containers each, with bundles as large as
// real ones. One operation is all that a start reads, up to the last name.
func BenchmarkStart(b *testing.B) {
	h := newHost(b, false)
	const pods, containers = 250, 2
	for i := range pods {
		podUID := fmt.Sprintf("%s%04d", uid[:len(uid)-4], i)
		for j := range containers {
			id := fmt.Sprintf("%s%03d%d", idA[:60], i, j)
			h.cgroup("/kubepods/burstable/pod" + podUID + "/" + id)
			h.write("run/containerd/io.containerd.runtime.v2.task/k8s.io/"+id+"/config.json", fmt.Sprintf(
				`{"ociVersion":"1.0.2","process":{"env":[%s"LAST="]},"annotations":{"io.kubernetes.cri.container-type":"container",
				"io.kubernetes.cri.container-name":"app%d","io.kubernetes.cri.sandbox-name":"web-%d",
				"io.kubernetes.cri.sandbox-namespace":"demo","io.kubernetes.cri.sandbox-uid":%q}}`,
				strings.Repeat(`"SOME_SERVICE_PORT_8080_TCP_ADDR=10.96.211.7",`, 250), j, i, podUID))
		}
		h.write("var/log/pods/demo_web-"+strconv.Itoa(i)+"_"+podUID+"/app0/0.log", "")
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var r *Resolver
	for b.Loop() {
		var err error
		if r, err = New(Roots{FS: h.root}, Options{Kubelet: closedPort}); err != nil {
			b.Fatal(err)
		}
		<-r.Scanned()
		if n := r.Counts(); n.Containers != pods*(containers+1) || n.Named != n.Containers {
			b.Fatalf("%+v", n)
		}
		r.Close()
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc), "heap-B")
	runtime.KeepAlive(r)
}
