package circles

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// write makes a module of these files.
func write(t *testing.T, files map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module example\n\ngo 1.26\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestFind(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  []Circle
	}{
		{
			"files that build on one another are no circle",
			map[string]string{
				"a.go": "package p\n\nimport \"strings\"\n\nfunc A() string { return strings.ToUpper(b()) }\n",
				"b.go": "package p\n\nimport \"strings\"\n\nfunc b() string { return strings.ToLower(c) }\n",
				"c.go": "package p\n\nconst c = \"\"\n",
			},
			nil,
		},
		{
			"two files that call one another",
			map[string]string{
				"a.go": "package p\n\nfunc A() { b() }\n\nvar X, Y int\n",
				"b.go": "package p\n\nfunc b() { X, Y = 1, 2 }\n",
			},
			[]Circle{{Steps: []Step{{"a.go", "b.go", []string{"b"}}, {"b.go", "a.go", []string{"X", "Y"}}}, Group: []string{"a.go", "b.go"}}},
		},
		{
			"a method that stands in another file than its type, and is called there",
			map[string]string{
				"a.go": "package p\n\ntype T struct{}\n\nfunc A(t *T) { t.method() }\n",
				"b.go": "package p\n\nfunc (t *T) method() {}\n",
			},
			[]Circle{{Steps: []Step{{"a.go", "b.go", []string{"T.method"}}, {"b.go", "a.go", []string{"T"}}}, Group: []string{"a.go", "b.go"}}},
		},
		{
			"a field of a type that came by way of another package",
			map[string]string{
				"a.go": "package p\n\nimport \"slices\"\n\ntype T struct{ n int }\n\nfunc A(list []T) int { return B(list) + slices.Max([]int{1}) }\n",
				"b.go": "package p\n\nimport \"slices\"\n\nfunc B(list []T) (sum int) {\n\tfor v := range slices.Values(list) {\n\t\tsum += v.n\n\t}\n\treturn sum\n}\n",
			},
			[]Circle{{Steps: []Step{{"a.go", "b.go", []string{"B"}}, {"b.go", "a.go", []string{"T", "n"}}}, Group: []string{"a.go", "b.go"}}},
		},
		{
			"the shortest of several circles",
			map[string]string{
				"a.go": "package p\n\nfunc a() { b() }\n",
				"b.go": "package p\n\nfunc b() { c() }\n",
				"c.go": "package p\n\nfunc c() { a(); d() }\n",
				"d.go": "package p\n\nfunc d() { c() }\n",
			},
			[]Circle{{Steps: []Step{{"c.go", "d.go", []string{"d"}}, {"d.go", "c.go", []string{"c"}}}, Group: []string{"a.go", "b.go", "c.go", "d.go"}}},
		},
		{
			"test files do not count",
			map[string]string{
				"a.go":      "package p\n\nfunc A() {}\n",
				"b_test.go": "package p\n\nfunc b() { A() }\n",
			},
			nil,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Find(write(t, c.files))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCircleIsNamed(t *testing.T) {
	c := Circle{
		Steps: []Step{{"a.go", "b.go", []string{"T.method", "x"}}, {"b.go", "a.go", []string{"T"}}},
		Group: []string{"a.go", "b.go", "c.go"},
	}
	want := "  a.go uses T.method, x of b.go\n  b.go uses T of a.go\n  in other circles with them: a.go, b.go, c.go\n"
	if diff := cmp.Diff(want, c.String()); diff != "" {
		t.Error(diff)
	}
}

func TestPackageThatCannotBeReadIsAnError(t *testing.T) {
	if _, err := Find(write(t, map[string]string{"a.go": "package p\n\nfunc A() { missing() }\n"})); err == nil {
		t.Error("no error")
	}
}

// The package keeps what it asks of others.
func TestNoCircles(t *testing.T) { Check(t, ".") }
