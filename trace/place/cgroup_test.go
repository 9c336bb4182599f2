package place

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestIdentify(t *testing.T) {
	const (
		static = "8861b678fbb73941a3bdac3815715770"
		under  = "0b5d1f8e_3c5a_4a57_9a55_6f0c3a3c1e11"
	)
	tests := map[string]struct{ path, uid, id, runtime string }{
		"cgroupfs, best effort":                  {"/kubepods/besteffort/pod" + uid + "/" + idA, uid, idA, ""},
		"cgroupfs, guaranteed has no class":      {"/kubepods/pod" + uid + "/" + idA, uid, idA, ""},
		"cgroupfs, static pod":                   {"/kubepods/burstable/pod" + static + "/" + idA, static, idA, ""},
		"systemd":                                {"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + under + ".slice/cri-containerd-" + idA + ".scope", uid, idA, "containerd"},
		"systemd, guaranteed":                    {"/kubepods.slice/kubepods-pod" + under + ".slice/cri-containerd-" + idA + ".scope", uid, idA, "containerd"},
		"systemd, static pod":                    {"/kubepods.slice/kubepods-pod" + static + ".slice/cri-containerd-" + idA + ".scope", static, idA, "containerd"},
		"drivers differ":                         {"/kubepods-besteffort-pod" + under + ".slice:cri-containerd:" + idA, uid, idA, "containerd"},
		"drivers differ, below a service":        {"/system.slice/containerd.service/kubepods-burstable-pod" + under + ".slice:cri-containerd:" + idA, uid, idA, "containerd"},
		"CRI-O":                                  {"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + under + ".slice/crio-" + idA + ".scope", uid, idA, "crio"},
		"CRI-O with crun":                        {"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + under + ".slice/crio-" + idA + ".scope/container", uid, idA, "crio"},
		"CRI-O's sandbox without scope":          {"/kubepods.slice/kubepods-pod" + under + ".slice/crio-" + idA, uid, idA, "crio"},
		"CRI-O, drivers differ":                  {"/kubepods-burstable-pod" + under + ".slice:crio:" + idA, uid, idA, "crio"},
		"CRI-O's conmon is no container":         {"/kubepods.slice/kubepods-pod" + under + ".slice/crio-conmon-" + idA + ".scope", uid, "", ""},
		"cri-dockerd":                            {"/kubepods.slice/kubepods-pod" + under + ".slice/docker-" + idA + ".scope", uid, idA, "docker"},
		"a pod's own level":                      {"/kubepods/burstable/pod" + uid, uid, "", ""},
		"a pod's own slice":                      {"/kubepods.slice/kubepods-pod" + under + ".slice", uid, "", ""},
		"a class":                                {"/kubepods.slice/kubepods-burstable.slice", "", "", ""},
		"systemd in a pod":                       {"/kubepods/pod" + uid + "/" + idA + "/system.slice/nginx.service", uid, idA, ""},
		"docker in a pod is the pod's":           {"/kubepods/pod" + uid + "/" + idA + "/docker/" + idB, uid, idA, ""},
		"kubelet in docker is the pod's":         {"/docker/" + idB + "/kubelet/kubepods/besteffort/pod" + uid + "/" + idA, uid, idA, ""},
		"kind, systemd":                          {"/system.slice/docker-" + idB + ".scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod" + under + ".slice/cri-containerd-" + idA + ".scope", uid, idA, "containerd"},
		"minikube's node itself":                 {"/docker/" + idA + "/system.slice/kubelet.service", "", idA, "docker"},
		"k3s":                                    {"/k3s/kubepods/besteffort/pod" + uid + "/" + idA, uid, idA, ""},
		"cgroup namespace":                       {"/../../pod" + uid + "/" + idA, "", idA, ""},
		"cgroup namespace, whole path":           {"/../../../kubepods/besteffort/pod" + uid + "/" + idA, uid, idA, ""},
		"cgroup namespace, own pod":              {"/../" + idA, "", idA, ""},
		"docker, cgroupfs":                       {"/docker/" + idA, "", idA, "docker"},
		"docker, systemd":                        {"/system.slice/docker-" + idA + ".scope", "", idA, "docker"},
		"docker, rootless":                       {"/user.slice/user-1000.slice/user@1000.service/user.slice/docker-" + idA + ".scope", "", idA, "docker"},
		"docker in docker is the outer":          {"/docker/" + idA + "/docker/" + idB, "", idA, "docker"},
		"podman":                                 {"/machine.slice/libpod-" + idA + ".scope", "", idA, "podman"},
		"podman with crun":                       {"/machine.slice/libpod-" + idA + ".scope/container", "", idA, "podman"},
		"podman, cgroupfs":                       {"/libpod_parent/libpod-" + idA, "", idA, "podman"},
		"podman, cgroupfs, in its pod":           {"/libpod_parent/" + idB + "/libpod-" + idA, "", idA, "podman"},
		"podman, systemd, in its pod":            {"/machine.slice/machine-libpod_pod_" + idB + ".slice/libpod-" + idA + ".scope", "", idA, "podman"},
		"podman, split":                          {"/system.slice/web.service/libpod-payload-" + idA, "", idA, "podman"},
		"podman, rootless":                       {"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + idA + ".scope/container", "", idA, "podman"},
		"podman's conmon":                        {"/machine.slice/libpod-conmon-" + idA + ".scope", "", "", ""},
		"podman's conmon, cgroupfs":              {"/libpod_parent/conmon", "", "", ""},
		"nerdctl":                                {"/system.slice/nerdctl-" + idA + ".scope", "", idA, "containerd"},
		"containerd's ctr":                       {"/default/" + idA, "", idA, ""},
		"ECS with docker":                        {"/ecs/0123456789abcdef0123456789abcdef/" + idA, "", idA, ""},
		"ECS on Fargate":                         {"/ecs/0123456789abcdef0123456789abcdef/0123456789abcdef0123456789abcdef-2795307613", "", "0123456789abcdef0123456789abcdef-2795307613", ""},
		"ECS on Fargate, the task itself":        {"/ecs/0123456789abcdef0123456789abcdef", "", "", ""},
		"no ECS":                                 {"/agent/0123456789abcdef0123456789abcdef-2795307613", "", "", ""},
		"nomad's exec driver":                    {"/nomad.slice/share.slice/1f8ad2d6-8a05-4f2f-a6a5-3a1f8a4a2b0e.web.scope", "", "", ""},
		"nomad's docker driver":                  {"/nomad.slice/docker-" + idA + ".scope", "", idA, "docker"},
		"lxc":                                    {"/lxc.payload.web/system.slice/ssh.service", "", "", ""},
		"docker in lxc":                          {"/lxc.payload.web/docker/" + idA, "", idA, "docker"},
		"systemd-nspawn":                         {"/machine.slice/systemd-nspawn@web.service/payload", "", "", ""},
		"a step of docker build":                 {"/docker/buildkit/j1x2wzkqcbk2l7d3y5n8o0v4m", "", "j1x2wzkqcbk2l7d3y5n8o0v4m", "buildkit"},
		"a step of docker build, systemd":        {"/system.slice/docker-j1x2wzkqcbk2l7d3y5n8o0v4m.scope", "", "j1x2wzkqcbk2l7d3y5n8o0v4m", "buildkit"},
		"a step of docker build, drivers differ": {"/system.slice:docker:j1x2wzkqcbk2l7d3y5n8o0v4m", "", "j1x2wzkqcbk2l7d3y5n8o0v4m", "buildkit"},
		"buildkitd in docker is the outer":       {"/docker/" + idA + "/buildkit/j1x2wzkqcbk2l7d3y5n8o0v4m", "", idA, "docker"},
		"25 letters":                             {"/system.slice/accountsdaemonservicename", "", "", ""},
		"25 letters of a user":                   {"/user.slice/j1x2wzkqcbk2l7d3y5n8o0v4m.scope", "", "", ""},
		"32 digits":                              {"/agent/0123456789abcdef0123456789abcdef", "", "", ""},
		"65 digits":                              {"/docker/" + idA + "0", "", "", ""},
		"capitals":                               {"/docker/" + strings.ToUpper(idA), "", "", ""},
		"a pod without kubepods":                 {"/pod" + uid + "/x", "", "", ""},
		"a service":                              {"/system.slice/docker.service", "", "", ""},
		"root":                                   {"/", "", "", ""},
		"nothing":                                {"", "", "", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			want := target{podUID: tt.uid, id: tt.id, runtime: tt.runtime}
			if diff := cmp.Diff(want, identify(tt.path), cmp.AllowUnexported(target{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseCgroup(t *testing.T) {
	tests := map[string]struct {
		text string
		want []string
	}{
		"cgroup2 comes first":             {"4:memory:/b\n1:name=systemd:/c\n0::/a\n", []string{"/a", "/b", "/c"}},
		"of cgroup2's root there is none": {"4:memory:/b\n0::/\n", []string{"/b"}},
		"each once":                       {"4:memory:/b\n2:cpu,cpuacct:/b\n0::/b\n", []string{"/b"}},
		"a removed one":                   {"0::/a (deleted)\n", []string{"/a"}},
		"colons":                          {"0::/a.slice:cri:b\n", []string{"/a.slice:cri:b"}},
		"no end of line":                  {"0::/a", []string{"/a"}},
		"what is no such file":            {"\n:\n::\n0:\nx\n0::a\n", nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, ParseCgroup([]byte(tt.text))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestFindHierarchies(t *testing.T) {
	const (
		v1     = "35 31 0:32 / ROOT/sys/fs/cgroup/memory rw,relatime shared:9 master:1 - cgroup cgroup rw,memory\n"
		cpu    = "32 31 0:29 / ROOT/sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
		hybrid = "41 31 0:38 / ROOT/sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
		part   = "42 31 0:38 /docker/x ROOT/mnt/part rw,relatime - cgroup2 cgroup2 rw\n"
		whole  = "42 31 0:38 /../../.. ROOT/mnt/part rw,relatime - cgroup2 cgroup2 rw\n"
		odd    = `43 31 0:38 / ROOT/mnt/a\040b rw,relatime - cgroup2 none rw` + "\n"
		under  = "44 31 0:38 / ROOT/covered/unified rw,relatime - cgroup2 cgroup2 rw\n" // another mount is over it
		under1 = "45 31 0:32 / ROOT/covered/memory rw,relatime - cgroup cgroup rw,memory\n"
	)
	v2 := Hierarchy{Dir: "/sys/fs/cgroup/unified"}
	memory := Hierarchy{Dir: "/sys/fs/cgroup/memory", ID: 4, V1: true}
	tests := map[string]struct {
		mounts string
		want   []Hierarchy
		err    string
	}{
		"both of a hybrid host":           {cpu + v1 + hybrid, []Hierarchy{v2, memory}, ""},
		"memory where it is alone":        {cpu + v1, []Hierarchy{memory}, ""},
		"cgroup2 where it is alone":       {cpu + hybrid, []Hierarchy{v2}, ""},
		"the whole before a part":         {part + hybrid + part, []Hierarchy{v2}, ""},
		"a part where there is none":      {v1 + part, []Hierarchy{{Dir: "/mnt/part", Part: true}, memory}, ""},
		"from a cgroup namespace":         {whole, []Hierarchy{{Dir: "/mnt/part"}}, ""},
		"a space in the name":             {odd, []Hierarchy{{Dir: "/mnt/a b"}}, ""},
		"of two that which is in sight":   {under + hybrid + under1 + v1, []Hierarchy{v2, memory}, ""},
		"a part, as the whole is covered": {under + part, []Hierarchy{{Dir: "/mnt/part", Part: true}}, ""},
		"v1 is covered":                   {hybrid + under1, []Hierarchy{v2}, "read the v1 memory controller's cgroup tree: stat /covered/memory: no such file or directory"},
		"cgroup2 is covered":              {under + v1, []Hierarchy{memory}, "read cgroup2's cgroup tree: stat /covered/unified: no such file or directory"},
		"all are covered":                 {under, nil, "read cgroup2's cgroup tree: stat /covered/unified: no such file or directory"},
		"no controller for memory":        {cpu, nil, "find cgroup mount: neither cgroup2 nor the v1 memory controller is mounted"},
		"what is no such file":            {"a b - c\n- -\n", nil, "find cgroup mount: neither cgroup2 nor the v1 memory controller is mounted"},
		"nothing is mounted anywhere":     {"", nil, "find cgroup mount: neither cgroup2 nor the v1 memory controller is mounted"},
	}
	find := func(h *host, mounts string) (found []Hierarchy, text string) {
		t.Helper()
		for _, dir := range []string{"memory", "cpu", "unified"} {
			h.cgroup(dir)
		}
		h.write("mnt/part/x", "")
		h.write("mnt/a b/x", "")
		h.write("proc/self/mountinfo", strings.ReplaceAll(mounts, "ROOT", h.root))
		found, err := FindHierarchies(Roots{FS: h.root})
		for i := range found {
			found[i].Dir = strings.TrimPrefix(found[i].Dir, h.root)
		}
		if err != nil {
			text = strings.ReplaceAll(err.Error(), h.root, "")
		}
		return found, text
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := find(newHost(t, false), tt.mounts)
			if diff := cmp.Diff(tt.want, got); diff != "" || err != tt.err {
				t.Errorf("error %q, want %q (-want +got):\n%s", err, tt.err, diff)
			}
		})
	}
	t.Run("without a number for v1", func(t *testing.T) {
		h := newHost(t, false)
		h.write("proc/self/cgroup", "0::/\n")
		if got, err := find(h, v1+hybrid); err != "" || !cmp.Equal(got, []Hierarchy{v2}) {
			t.Errorf("beside cgroup2: %v, %v", got, err)
		}
		if got, err := find(h, v1); err == "" || len(got) > 0 {
			t.Errorf("alone: %v", got)
		}
	})
	t.Run("named by the user", func(t *testing.T) {
		h := newHost(t, false)
		roots := Roots{FS: h.root, Cgroup: h.tree}
		if got, err := FindHierarchies(roots); err != nil || !cmp.Equal(got, []Hierarchy{{Dir: h.tree, ID: 4, V1: true}}) {
			t.Errorf("v1: %v, %v", got, err)
		}
		if err := os.WriteFile(filepath.Join(h.tree, "cgroup.controllers"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := FindHierarchies(roots); err != nil || !cmp.Equal(got, []Hierarchy{{Dir: h.tree}}) {
			t.Errorf("cgroup2: %v, %v", got, err)
		}
	})
}

// A container's id is 64 hex digits, or of the two kinds that are another length,
// that stand in the path.
func FuzzIdentify(f *testing.F) {
	for _, c := range allRecorded(f) {
		for _, p := range c.places {
			f.Add(p.path)
		}
	}
	f.Add("/../../pod" + uid + "/libpod-conmon-" + idA + ".scope")
	f.Add("/libpod_parent/" + idA + "/" + idB)
	hex := regexp.MustCompile(`^(?:[0-9a-f]{64}|[0-9a-z]{25}|[0-9a-f]{32}-[0-9]+)$`)
	f.Fuzz(func(t *testing.T, path string) {
		got := identify(path)
		uid, id, runtime := got.podUID, got.id, got.runtime
		if id != "" && (!hex.MatchString(id) || !strings.Contains(path, id)) {
			t.Errorf("id %q of %q", id, path)
		}
		if id == "" && runtime != "" {
			t.Errorf("runtime %q without a container in %q", runtime, path)
		}
		if uid != "" && !strings.Contains(strings.ReplaceAll(path, "_", "-"), strings.ReplaceAll(uid, "_", "-")) {
			t.Errorf("uid %q of %q", uid, path)
		}
		if strings.Contains(uid, "/") {
			t.Errorf("uid %q", uid)
		}
	})
}

// Every path stands in the text, begins with a slash, and comes once.
func FuzzParseCgroup(f *testing.F) {
	for _, c := range allRecorded(f) {
		for block := range strings.SplitSeq(c.read(f, "proc_cgroup.txt"), "# ") {
			f.Add([]byte(block))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		seen := map[string]bool{}
		for _, p := range ParseCgroup(text) {
			if !strings.Contains(string(text), ":"+p) || !strings.HasPrefix(p, "/") || p == "/" || seen[p] {
				t.Errorf("path %q of %q", p, text)
			}
			seen[p] = true
			identify(p)
		}
	})
}

// A mount point is a folder, and that of a line of that kind of file system.
func FuzzCgroupMounts(f *testing.F) {
	f.Add("35 31 0:32 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n43 31 0:38 / /mnt/a\\040b rw - cgroup2 none rw\n")
	f.Add("1 2 3 /part /x\\0 - cgroup2 a b\n\\777 - - cgroup x memory")
	f.Fuzz(func(t *testing.T, mountinfo string) {
		for _, m := range cgroupMounts(mountinfo) {
			kind := map[bool]string{false: "cgroup2", true: "cgroup"}[m.v1]
			found := false
			for line := range strings.Lines(mountinfo) {
				head, tail, _ := strings.Cut(line, " - ")
				f, t := strings.Fields(head), strings.Fields(tail)
				found = found || len(f) > 4 && len(t) > 0 && t[0] == kind && unescape(f[4]) == m.dir
			}
			if !found {
				t.Errorf("%q is no mount of %s in %q", m.dir, kind, mountinfo)
			}
		}
	})
}

func TestPathFromUnit(t *testing.T) {
	for path, want := range map[string]string{
		"/system.slice/nginx.service":                                     "nginx.service",
		"/system.slice/nginx.service/workers/3":                           "nginx.service/workers/3",
		"/user.slice/user-1000.slice/session-3.scope":                     "session-3.scope",
		"/user.slice/user-1000.slice/user@1000.service/app.slice/a.scope": "a.scope",
		"/user.slice/user-1000.slice/user@1000.service/app.slice":         "user@1000.service/app.slice",
		"/system.slice/system-getty.slice/getty@tty1.service":             "getty@tty1.service",
		"/system.slice":                          "system.slice",
		"/a.slice/a-b.slice/plain":               "a-b.slice/plain",
		"/init.scope":                            "init.scope",
		"/":                                      "/",
		"":                                       "",
		"/docker/" + idA:                         "/docker/" + idA,
		"/kubepods/pod" + uid + "/" + idA:        "/kubepods/pod" + uid + "/" + idA,
		"/odd/.service/.scope/x":                 "/odd/.service/.scope/x",
		"/system.slice/docker-" + idA + ".scope": "docker-" + idA + ".scope",
	} {
		if got := fromUnit(path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}
