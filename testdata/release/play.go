package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// parts is where the parts are.
type parts struct{ site, store, out string }

// chromium is the browser itself: /usr/bin/chromium is a script, which starts more.
const chromium = "/usr/lib/chromium/chromium"

// mariadb is its server with what it always needs here.
func (p *parts) mariadb() []string {
	dir := filepath.Join(p.out, "database")
	return []string{
		"mariadbd", "--no-defaults", "--user=root", "--datadir=" + dir, "--socket=" + filepath.Join(dir, "socket"), "--pid-file=" + filepath.Join(dir, "pid"),
		"--bind-address=127.0.0.1", "--port=" + databasePort, "--skip-name-resolve", "--init-file=" + filepath.Join(p.out, "init.sql"),
	}
}

// prepareDatabase makes an empty database.
func (p *parts) prepareDatabase() error {
	dir := filepath.Join(p.out, "database")
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if out, err := exec.Command("mariadb-install-db", "--no-defaults", "--user=root", "--auth-root-authentication-method=normal", "--skip-test-db", "--datadir="+dir).CombinedOutput(); err != nil {
		return fmt.Errorf("mariadb-install-db: %w\n%s", err, out)
	}
	return os.WriteFile(filepath.Join(p.out, "init.sql"), []byte(`CREATE DATABASE shop;
CREATE TABLE shop.versions (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(32), manifest VARCHAR(255));
CREATE USER shop@127.0.0.1 IDENTIFIED BY 'shop';
GRANT ALL ON shop.* TO shop@127.0.0.1;
`), 0o644)
}

// A running is a program that was started.
type running struct{ cmd *exec.Cmd }

// serve starts a server and waits until it says that it is ready, on stdout or stderr.
func serve(dir, ready string, args ...string) (*running, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = dir
	said, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var all strings.Builder
	for lines := bufio.NewScanner(said); lines.Scan(); {
		fmt.Fprintln(&all, lines.Text())
		if strings.Contains(lines.Text(), ready) {
			go io.Copy(io.Discard, said) // until it ends
			return &running{cmd}, nil
		}
	}
	_ = cmd.Wait()
	return nil, fmt.Errorf("%s did not become ready:\n%s", args[0], all.String())
}

// stop ends it and waits for it.
func (r *running) stop() {
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	_ = r.cmd.Wait()
}

// play starts the servers, releases, and has the browser show the page.
func (p *parts) play() error {
	store := "http://" + storeAddress
	database, err := serve("", "ready for connections", p.mariadb()...)
	if err != nil {
		return err
	}
	defer database.stop()
	objects, err := serve("", "ready", p.store, storeAddress)
	if err != nil {
		return err
	}
	defer objects.stop()
	service, err := serve(p.site, "ready", "node", "service.mjs", servicePort, store, databasePort)
	if err != nil {
		return err
	}
	defer service.stop()

	release := exec.Command("node", "release.mjs", version, store, databasePort)
	release.Dir = p.site
	if out, err := release.CombinedOutput(); err != nil {
		return fmt.Errorf("release.mjs: %w\n%s", err, out)
	}

	profile, err := os.MkdirTemp("", "release-browser-") // an older one has the files already
	if err != nil {
		return err
	}
	defer os.RemoveAll(profile)
	browser := exec.Command(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update",
		"--disable-sync", "--disable-default-apps", "--disable-breakpad", "--no-first-run", "--no-default-browser-check", "--no-pings", "--dns-prefetch-disable",
		"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--user-data-dir="+profile, "--virtual-time-budget=20000", "--dump-dom", "http://127.0.0.1:"+servicePort+"/")
	browser.Env = append(os.Environ(), "HOME="+profile)
	page, err := browser.Output()
	if err != nil {
		return fmt.Errorf("chromium: %w", err)
	}
	return os.WriteFile(filepath.Join(p.out, "page.html"), page, 0o644)
}
