// Package circles tells whether the files of a package depend on one another in
// circles. Files that do can only be read, moved or tested together.
package circles

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Check fails t for each circle of files in the package in dir, and names the
// identifiers that close it. Test files do not count. It needs the go command.
func Check(t testing.TB, dir string) {
	t.Helper()
	found, err := Find(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range found {
		t.Errorf("files of %s depend on one another in a circle:\n%s", dir, c)
	}
}

// A Circle is the shortest circle in a group of files of which each depends on
// all others.
type Circle struct {
	Steps []Step
	Group []string // all files of the group, sorted
}

// A Step is one file's dependency on another.
type Step struct {
	From, To string   // names of files
	Uses     []string // what From uses and To declares, sorted; methods and fields with their type
}

func (c Circle) String() string {
	var b strings.Builder
	for _, s := range c.Steps {
		fmt.Fprintf(&b, "  %s uses %s of %s\n", s.From, strings.Join(s.Uses, ", "), s.To)
	}
	if len(c.Group) > len(c.Steps) {
		fmt.Fprintf(&b, "  in other circles with them: %s\n", strings.Join(c.Group, ", "))
	}
	return b.String()
}

// Find returns one circle for each group of files that depend on one another.
func Find(dir string) ([]Circle, error) {
	uses, err := load(dir)
	if err != nil {
		return nil, err
	}
	var found []Circle
	for _, group := range groups(uses) {
		c := Circle{Group: group}
		loop := shortest(uses, group)
		for i, from := range loop {
			to := loop[(i+1)%len(loop)]
			c.Steps = append(c.Steps, Step{from, to, slices.Sorted(maps.Keys(uses[from][to]))})
		}
		found = append(found, c)
	}
	return found, nil
}

// dependencies maps a file to the files that it depends on, and those to the
// identifiers that it uses of them.
type dependencies map[string]map[string]map[string]bool

// listed is what the go command tells of a package.
type listed struct {
	Dir        string
	ImportPath string
	Export     string   // file with what it exports, compiled
	GoFiles    []string // without tests, for this system
	DepOnly    bool     // listed only because another package imports it
}

// load type-checks the package in dir and collects which file uses what of which
// other file.
func load(dir string) (dependencies, error) {
	cmd := exec.Command("go", "list", "-export", "-deps", "-json=Dir,ImportPath,Export,GoFiles,DepOnly", ".")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		if exit := new(exec.ExitError); errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(exit.Stderr))
		}
		return nil, fmt.Errorf("list the package in %s: %w", dir, err)
	}
	var self listed
	exports := map[string]string{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("list the package in %s: %w", dir, err)
		}
		exports[p.ImportPath] = p.Export
		if !p.DepOnly {
			self = p
		}
	}
	set := token.NewFileSet()
	var files []*ast.File
	for _, name := range self.GoFiles {
		f, err := parser.ParseFile(set, filepath.Join(self.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	config := types.Config{Importer: importer.ForCompiler(set, "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(exports[path])
	})}
	pkg, err := config.Check(self.ImportPath, set, files, info)
	if err != nil {
		return nil, fmt.Errorf("type-check %s: %w", self.ImportPath, err)
	}
	fileOf := func(pos token.Pos) string { return filepath.Base(set.Position(pos).Filename) }
	uses := dependencies{}
	for id, object := range info.Uses {
		if object.Pkg() != pkg {
			continue
		}
		if _, ok := object.(*types.PkgName); ok {
			continue // the name of an import
		}
		from, to := fileOf(id.Pos()), fileOf(object.Pos())
		if from == to {
			continue
		}
		if uses[from] == nil {
			uses[from] = map[string]map[string]bool{}
		}
		if uses[from][to] == nil {
			uses[from][to] = map[string]bool{}
		}
		uses[from][to][nameOf(object)] = true
	}
	return uses, nil
}

// nameOf is an identifier as it is written, a method with its type.
func nameOf(object types.Object) string {
	f, ok := object.(*types.Func)
	if !ok {
		return object.Name()
	}
	receiver := f.Signature().Recv()
	if receiver == nil {
		return object.Name()
	}
	t := receiver.Type()
	if p, ok := t.(*types.Pointer); ok {
		t = p.Elem()
	}
	if n, ok := t.(*types.Named); ok {
		return n.Obj().Name() + "." + object.Name()
	}
	return object.Name()
}

// groups are the strongly connected components of more than one file, by
// Tarjan's algorithm.
func groups(uses dependencies) (found [][]string) {
	index, low := map[string]int{}, map[string]int{}
	var stack []string
	var visit func(string)
	visit = func(file string) {
		index[file] = len(index) + 1
		low[file] = index[file]
		stack = append(stack, file)
		for _, next := range slices.Sorted(maps.Keys(uses[file])) {
			if index[next] == 0 {
				visit(next)
				low[file] = min(low[file], low[next])
			} else if slices.Contains(stack, next) {
				low[file] = min(low[file], index[next])
			}
		}
		if low[file] < index[file] {
			return
		}
		start := slices.Index(stack, file)
		group := slices.Clone(stack[start:])
		stack = stack[:start]
		if len(group) > 1 {
			slices.Sort(group)
			found = append(found, group)
		}
	}
	for _, file := range slices.Sorted(maps.Keys(uses)) {
		if index[file] == 0 {
			visit(file)
		}
	}
	slices.SortFunc(found, func(a, b []string) int { return cmp.Compare(a[0], b[0]) })
	return found
}

// shortest is the shortest circle through files of a group.
func shortest(uses dependencies, group []string) (loop []string) {
	for _, start := range group {
		before := map[string]string{}
		for queue := []string{start}; len(queue) > 0; queue = queue[1:] {
			file := queue[0]
			if uses[file][start] != nil {
				path := []string{file}
				for file != start {
					file = before[file]
					path = append(path, file)
				}
				slices.Reverse(path)
				if loop == nil || len(path) < len(loop) {
					loop = path
				}
				break
			}
			for _, next := range slices.Sorted(maps.Keys(uses[file])) {
				if _, seen := before[next]; !seen && next != start && slices.Contains(group, next) {
					before[next] = file
					queue = append(queue, next)
				}
			}
		}
	}
	return loop
}
