package place_test

import (
	"bufio"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"tracer/testdata/kit"
)

func TestKernelContainerFlags(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	app, side := kit.NewContainer(t, "web-0", "app", true), kit.NewContainer(t, "web-0", "side", true)
	db := kit.NewContainer(t, "db-0", "app", true)
	for name, c := range map[string]struct {
		flags []string
		want  string // whose rows
	}{
		"a pod":                  {[]string{"--pod", "web-0"}, "app later side"},
		"pods":                   {[]string{"--pod", "w?b-*"}, "app later side"},
		"a container":            {[]string{"--container", "side"}, "side"},
		"the beginning of an id": {[]string{"--container", db.ID}, "db"},
		"a container of a pod":   {[]string{"--container", "app", "--pod", "web-*", "--namespace", "demo"}, "app later"},
		"another namespace":      {[]string{"--namespace", "dem"}, ""},
		"a namespace":            {[]string{"--namespace", "d*o"}, "app db later side"},
	} {
		t.Run(name, func(t *testing.T) {
			r := kit.Start(t, append([]string{"exec", "--pid", strconv.Itoa(os.Getpid())}, c.flags...)...)
			later := kit.NewContainer(t, "web-0", "app", true)
			all := map[string]*kit.Container{"app": app, "side": side, "db": db, "later": later}
			for i, name := range []string{"app", "side", "db", "later"} {
				all[name].Sleep(t, "0.00"+strconv.Itoa(i+1))
			}
			if a := r.Stop(); a["lost"] != 0.0 {
				t.Errorf("account: %v", a)
			}
			var got []string
			for _, e := range r.Events {
				if e["comm"] != "sleep" || e["namespace"] != "demo" || e["event"] != "exec" {
					t.Errorf("shows %v", e)
				}
				for name, c := range all {
					if e["container_id"] == c.ID && e["pod_uid"] == c.PodUID {
						got = append(got, name)
					}
				}
			}
			slices.Sort(got)
			if want := strings.Fields(c.want); len(r.Events) != len(got) || !slices.Equal(got, want) && len(want)+len(got) > 0 {
				t.Errorf("rows of %v, want %v", got, want)
			}
		})
	}
}

// The table says by itself that there are pods.
func TestKernelPodColumnAppears(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	c := kit.NewContainer(t, "web-0", "app", true)
	cmd := kit.Command(t, "exec", "--pid", strconv.Itoa(os.Getpid()), "--count", "3")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	kit.Launch(t, cmd)
	if _, err := bufio.NewReader(stderr).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("/bin/sleep", "0.001").Run(); err != nil {
		t.Fatal(err)
	}
	c.Sleep(t, "0.002")
	all, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, line := range strings.Split(strings.TrimSpace(string(all)), "\n") {
		// Not the time, the two processes and the parent; the shell's line is long.
		f := strings.Fields(line)
		got = append(got, strings.Join(slices.Concat(f[3:4], f[5:min(7, len(f))]), " "))
	}
	if diff := cmp.Diff([]string{"USER COMMAND", "root /bin/sleep 0.001", "root /bin/sh -c", "USER POD COMMAND", "root web-0 /bin/sleep"}, got); diff != "" {
		t.Errorf("%s: %s", all, diff)
	}
}

// A container may be called like a flag, and Tab knows what is here.
func TestKernelNamesOfContainers(t *testing.T) {
	kit.Needs(t, kit.EveryKernel)
	odd := kit.NewContainer(t, "web-0", "--json", true)
	evil := kit.NewContainer(t, "web-1", "x;reboot", true)
	r := kit.Start(t, "exec", "--pid", strconv.Itoa(os.Getpid()), "--container", "--json")
	evil.Sleep(t, "0.001")
	odd.Sleep(t, "0.002")
	e := r.Until(func(kit.Event) bool { return true })
	if e["container"] != "--json" || e["container_id"] != odd.ID {
		t.Errorf("%v", e)
	}
	if a := r.Stop(); a["shown"] != 1.0 {
		t.Errorf("%v", a)
	}
	for flag, want := range map[string]string{"--pod": "\nweb-1\n", "--container": "--json\n", "--namespace": "demo\n"} {
		out, err := kit.Command(t, "__complete", "exec", flag, "").Output()
		if err != nil || !strings.Contains("\n"+string(out), want) || strings.Contains(string(out), "reboot") {
			t.Errorf("%s: %v: %s", flag, err, out)
		}
	}
}

// The kubelet is asked where files and sockets give no name, with the token,
// and if its certificate is right.
func TestKernelKubeletIsAskedWithTheToken(t *testing.T) {
	kit.Needs(t, kit.ThisKernelOnly)
	c := kit.NewContainer(t, "web-0", "app", false)
	// A network of this thread's own: the kubelet's port may be in use.
	runtime.LockOSThread() // for ever: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	if err := loopbackUp(); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:10250")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	asked := map[string]int{}
	kubelet := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		token := req.Header.Get("Authorization")
		mu.Lock()
		asked[req.Method+" "+req.URL.Path+" "+token]++
		mu.Unlock()
		if token != "Bearer secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(w, `{"items":[{"metadata":{"name":"web-0","namespace":"demo","uid":%q},
			"status":{"containerStatuses":[{"name":"app","containerID":"containerd://%s"}]}}]}`, c.PodUID, c.ID)
	}))
	kubelet.Config.ErrorLog = log.New(io.Discard, "", 0) // of refused handshakes
	kubelet.Listener.Close()
	kubelet.Listener = listener
	kubelet.StartTLS()
	defer kubelet.Close()
	dir := t.TempDir()
	for file, text := range map[string][]byte{
		"token": []byte("secret\n"), "wrong": []byte("guess"),
		"ca": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: kubelet.Certificate().Raw}),
	} {
		if err := os.WriteFile(filepath.Join(dir, file), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	r := kit.Start(t, "exec", "--kubelet-token", dir+"/token", "--kubelet-ca", dir+"/ca", "--pid", strconv.Itoa(os.Getpid()))
	started := time.Now()
	deadline := started.Add(20 * time.Second)
	for named := false; !named; {
		if time.Now().After(deadline) {
			t.Fatalf("the kubelet's name does not come; it was asked %v", asked)
		}
		c.Sleep(t, "0.001")
		e := r.Until(func(e kit.Event) bool { return e["comm"] == "sleep" })
		if e["container_id"] != c.ID || e["pod_uid"] != c.PodUID {
			t.Fatalf("%v", e)
		}
		named = e["pod"] == "web-0"
		if named && (e["container"] != "app" || e["namespace"] != "demo") {
			t.Errorf("%v", e)
		}
	}
	r.Stop()
	mu.Lock()
	// It is asked again for what a list lacks, ten times a second at most.
	most := 1 + int(time.Since(started)/(100*time.Millisecond))
	if n := asked["GET /pods Bearer secret"]; n < 1 || n > most || len(asked) > 1 {
		t.Errorf("it was shown %v, want the token, up to %d times", asked, most)
	}
	clear(asked)
	mu.Unlock()

	// A wrong token is refused, and a certificate of somebody else's does not
	// get to see one. tracer says both.
	refused := kit.Start(t, "exec", "--kubelet-token", dir+"/wrong", "--kubelet-ca", dir+"/ca", "--pid", strconv.Itoa(os.Getpid()))
	stranger := kit.Start(t, "exec", "--kubelet-token", dir+"/token", "--pid", strconv.Itoa(os.Getpid()))
	other := kit.Start(t, "exec", "--kubelet-token", dir+"/token", "--kubelet-ca", dir+"/ca", "--kubelet-name", "node7", "--pid", strconv.Itoa(os.Getpid()))
	c.Sleep(t, "0.001")
	for want, r := range map[string]*kit.Tracer{
		"its certificate is for none of node7":                     other,
		"401 Unauthorized: it wants a token or client certificate": refused,
		"certificate signed by unknown authority":                  stranger,
	} {
		r.Note(func(note kit.Event) bool {
			text, _ := note["message"].(string)
			return strings.Contains(text, want)
		})
		r.Stop()
	}
	mu.Lock()
	defer mu.Unlock()
	if len(asked) != 1 || asked["GET /pods Bearer guess"] == 0 {
		t.Errorf("it was shown %v", asked)
	}
	// A node that is called otherwise is named by a flag.
	clear(asked)
	mu.Unlock()
	r = kit.Start(t, "exec", "--kubelet-token", dir+"/token", "--kubelet-ca", dir+"/ca", "--kubelet-name", "example.com", "--pid", strconv.Itoa(os.Getpid()))
	for named := false; !named; {
		c.Sleep(t, "0.001")
		named = r.Until(func(e kit.Event) bool { return e["comm"] == "sleep" })["pod"] == "web-0"
	}
	r.Stop()
	mu.Lock()
}

// loopbackUp gives this thread's network its loopback.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}
