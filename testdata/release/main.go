// Release is a front-end release with real parts, recorded and drawn: a build by esbuild
// with hashed names, an upload to an S3 store, the version registered in MariaDB, then a
// browser that asks a web service for the page, and loads what that page names from the
// store.
//
//	release -site DIR -store PROGRAM -out DIR TRACER
//
// It needs root, and what make install-demo-tools installs; the packages of -site are
// installed already. All traffic is on loopback. It is recorded by tracer all, and beside
// that by exec, conn and http. In the folder of -out it leaves the recordings, release.mmd,
// release.txt and, of the browser, page.html. It fails if an exchange, a connection or a
// program of those that there must be is missing, if anything was lost, or if the two
// recordings are drawn differently.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Where everything listens.
const (
	databasePort = "13306"
	storeAddress = "127.0.0.1:19000"
	servicePort  = "18080"
	version      = "1.4.2"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("release: ")
	var p parts
	flag.StringVar(&p.site, "site", "testdata/release/site", "folder with the front end and its packages")
	flag.StringVar(&p.store, "store", "", "the store's program")
	flag.StringVar(&p.out, "out", "", "folder for what comes of it")
	played := flag.Bool("play", false, "play the release itself, once a line comes on stdin")
	flag.Parse()
	if *played {
		if _, err := fmt.Scanln(); err != nil && err.Error() != "unexpected newline" {
			log.Fatal(err)
		}
		if err := p.play(); err != nil {
			log.Fatal(err)
		}
		return
	}
	if flag.NArg() != 1 || p.store == "" || p.out == "" {
		flag.Usage()
		os.Exit(2)
	}
	if err := p.demo(flag.Arg(0)); err != nil {
		log.Fatal(err)
	}
}

// demo records the release, checks what was recorded, and draws it.
func (p *parts) demo(tracer string) error {
	for _, dir := range []*string{&p.site, &p.store, &p.out} {
		var err error
		if *dir, err = filepath.Abs(*dir); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(p.out, 0o755); err != nil {
		return err
	}
	if err := p.prepareDatabase(); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	scenario := exec.Command(self, "-play", "-site", p.site, "-store", p.store, "-out", p.out)
	scenario.Stdout, scenario.Stderr = os.Stderr, os.Stderr
	begin, err := scenario.StdinPipe()
	if err != nil {
		return err
	}
	if err := scenario.Start(); err != nil {
		return err
	}
	defer begin.Close() // it ends, whatever happens here
	pid := fmt.Sprint(scenario.Process.Pid)
	whole := filepath.Join(p.out, "all.jsonl")
	one, err := trace(tracer, filepath.Join(p.out, "all.txt"), "all", "--json", "--pid", pid, "--write", whole)
	if err != nil {
		return err
	}
	defer one.stop()
	all := []*traced{one}
	var three []string
	for _, args := range [][]string{{"exec", "--exits", "--failed"}, {"conn"}, {"http"}} {
		t, err := trace(tracer, filepath.Join(p.out, args[0]+".jsonl"), append(args, "--json", "--pid", pid)...)
		if err != nil {
			return err
		}
		defer t.stop()
		all, three = append(all, t), append(three, t.path)
	}
	took := time.Now()
	fmt.Fprintln(begin)
	if err := scenario.Wait(); err != nil {
		return fmt.Errorf("the release: %w", err)
	}
	log.Printf("the release took %v", time.Since(took).Round(time.Millisecond))
	for _, t := range all {
		if err := t.stop(); err != nil {
			return err
		}
	}
	for _, files := range [][]string{{whole}, three} {
		if err := check(p.out, files); err != nil {
			return fmt.Errorf("recorded in %s: %w", strings.Join(files, ", "), err)
		}
	}
	picture, err := draw(tracer, whole)
	if err != nil {
		return err
	}
	again, err := draw(tracer, three...)
	if err != nil {
		return err
	}
	if a, b := shape(picture), shape(again); a != b {
		return fmt.Errorf("one recording is drawn as\n%s\nand three as\n%s", a, b)
	}
	text, err := draw(tracer, "--ascii", whole)
	if err != nil {
		return err
	}
	if all := fmt.Sprintf("%d of %d exchanges", len(exchanges), len(exchanges)); !strings.Contains(text, all) {
		return fmt.Errorf("the picture does not say that it has %s:\n%s", all, text)
	}
	fmt.Print(text)
	return errors.Join(os.WriteFile(filepath.Join(p.out, "release.mmd"), []byte(picture), 0o644), os.WriteFile(filepath.Join(p.out, "release.txt"), []byte(text), 0o644))
}

// draw returns what is drawn of recordings.
func draw(tracer string, args ...string) (string, error) {
	cmd := exec.Command(tracer, append([]string{"draw"}, args...)...)
	cmd.Env = append(os.Environ(), "COLUMNS=120")
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
	}
	return string(text), nil
}

// times are what two recordings of the same thing tell differently.
var times = regexp.MustCompile(`\d+(\.\d+)?(ns|#181;s|ms|s)\b|Note over .* UTC.*`)

// shape is a picture without times, and without the order that hangs on microseconds.
func shape(picture string) string {
	lines := strings.Split(times.ReplaceAllString(picture, "T"), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// traced is a tracer at work.
type traced struct {
	cmd  *exec.Cmd
	path string // of what it has to say
	over bool
}

// trace starts a tracer that writes all it has to say to a file, and waits until it is
// ready.
func trace(tracer, path string, args ...string) (*traced, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	t := &traced{cmd: exec.Command(tracer, args...), path: path}
	t.cmd.Stdout, t.cmd.Stderr = f, f
	if err := t.cmd.Start(); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		text, err := os.ReadFile(path)
		switch {
		case err != nil:
		case strings.Contains(string(text), `"event":"start"`):
			return t, nil
		case strings.Contains(string(text), "tracer: error"):
			err = fmt.Errorf("%s: %s", strings.Join(t.cmd.Args, " "), text)
		case time.Now().After(deadline):
			err = fmt.Errorf("%s did not become ready", strings.Join(t.cmd.Args, " "))
		}
		if err != nil {
			_ = t.cmd.Process.Kill()
			return nil, err
		}
	}
}

// stop ends a tracer and waits until all is written.
func (t *traced) stop() error {
	if t.over {
		return nil
	}
	t.over = true
	_ = t.cmd.Process.Signal(syscall.SIGTERM)
	if err := t.cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(t.cmd.Args, " "), err)
	}
	return nil
}
