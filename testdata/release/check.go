package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// row is what is looked at in a line of a recording.
type row struct {
	Event, Role, Comm, Exe, Method, Path, Reason, Error string
	PeerComm                                            string   `json:"peer_comm"`
	ConnID                                              string   `json:"conn_id"`
	DstPort                                             int      `json:"dst_port"`
	DstAddr                                             string   `json:"dst_addr"`
	Status                                              int      `json:"status"`
	Args                                                []string `json:"args"`
	Seen, Shown, Lost                                   int
	Filtered                                            map[string]int
}

// hashes are those in names of files that were built.
var hashes = regexp.MustCompile(`-[A-Z0-9]{8}\.`)

// exchanges are all that there are, sorted: who asked which port for what.
var exchanges = []string{
	"18080 GET / 200",
	"18080 GET /api/version 200",
	"19000 GET /assets/1.4.2/manifest.json 200",
	"19000 GET /assets/app-HASH.css 200",
	"19000 GET /assets/app-HASH.js 200",
	"19000 PUT /assets/ 200",
	"19000 PUT /assets/1.4.2/manifest.json 200",
	"19000 PUT /assets/app-HASH.css 200",
	"19000 PUT /assets/app-HASH.js 200",
}

// programs are how often each must have started.
var programs = map[string]int{"mariadbd": 1, "store": 1, "node": 2, "esbuild": 1}

// databaseConnections are those of the release, of the page and of the version.
const databaseConnections = 3

// check holds what was recorded against what must have happened, and the page against
// what it must show.
func check(out string, files []string) error {
	var problems []error
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	var seen []string
	started := map[string]int{}
	ends := map[string]map[string]int{} // of each connection: events by kind and role
	database := map[string]bool{}
	var used []string
	accounts := 0
	for _, file := range files {
		rows, err := read(file)
		if err != nil {
			return err
		}
		for _, r := range rows {
			switch r.Event {
			case "http":
				path := hashes.ReplaceAllString(r.Path, "-HASH.")
				path, _, _ = strings.Cut(path, "?")
				seen = append(seen, fmt.Sprintf("%d %s %s %d", r.DstPort, r.Method, path, r.Status))
				used = append(used, r.ConnID)
				if r.Role != "both" {
					wrong("%s %s was seen at one end only: %s", r.Method, r.Path, r.Role)
				}
			case "http_stuck", "connect_failed", "connect_stuck":
				wrong("%s of %s to %s:%d: %s", r.Event, r.Comm, r.DstAddr, r.DstPort, r.Error)
			case "exec":
				started[filepath.Base(r.Exe)]++
			case "connect", "accept", "close":
				if ends[r.ConnID] == nil {
					ends[r.ConnID] = map[string]int{}
				}
				ends[r.ConnID][r.Event+" "+r.Role]++
				if fmt.Sprint(r.DstPort) == databasePort {
					database[r.ConnID] = true
				}
				if r.DstAddr != "127.0.0.1" {
					wrong("%s connected to %s", r.Comm, r.DstAddr)
				}
			case "end":
				accounts++
				filtered := 0
				for _, n := range r.Filtered {
					filtered += n
				}
				if r.Lost != 0 || r.Seen != r.Shown+filtered {
					wrong("%s: %d seen, %d shown, %d filtered, %d lost", file, r.Seen, r.Shown, filtered, r.Lost)
				}
			}
		}
	}
	slices.Sort(seen)
	if !slices.Equal(seen, exchanges) {
		wrong("the exchanges are\n\t%s\nand should be\n\t%s", strings.Join(seen, "\n\t"), strings.Join(exchanges, "\n\t"))
	}
	for name, n := range programs {
		if started[name] != n {
			wrong("%s was started %d times, and should be %d times", name, started[name], n)
		}
	}
	if started["chromium"] == 0 {
		wrong("no browser was started")
	}
	if len(database) != databaseConnections {
		wrong("there are %d connections to the database, and should be %d", len(database), databaseConnections)
	}
	for id, of := range ends {
		for _, want := range []string{"connect client", "accept server", "close client", "close server"} {
			if of[want] != 1 {
				wrong("connection %s has %d events %q, and should have one", id, of[want], want)
			}
		}
	}
	for _, id := range used {
		if id == "" || ends[id] == nil {
			wrong("the connection %q of an exchange was not seen", id)
		}
	}
	if accounts == 0 {
		wrong("there is no account")
	}
	page, err := os.ReadFile(filepath.Join(out, "page.html"))
	if err != nil {
		return err
	}
	for _, want := range []string{"<title>Shop, version " + version + "</title>", `data-active="` + version + `"`, `data-built="` + version + `"`} {
		if !strings.Contains(string(page), want) {
			wrong("the page lacks %s:\n%s", want, page)
		}
	}
	return errors.Join(problems...)
}

// read returns the lines of a recording.
func read(file string) (rows []row, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var r row
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("%s: %w: %s", file, err, lines.Bytes())
		}
		rows = append(rows, r)
	}
	return rows, lines.Err()
}
