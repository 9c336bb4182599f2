package render

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestEachColumnNamesKeysThatExist(t *testing.T) {
	files, err := filepath.Glob("../trace/event/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	var source strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(file, "_test.go") {
			source.Write(text)
		}
	}
	for name, keys := range columnKeys {
		for key := range strings.SplitSeq(keys, ", ") {
			if key != "" && !strings.Contains(source.String(), `"`+key+`"`) {
				t.Errorf("column %s: no event has the key %q", name, key)
			}
		}
	}
	for name, view := range Views {
		command, _, _ := strings.Cut(strings.ReplaceAll(name, "-", " "), " ")
		for _, c := range view.Columns {
			_, own := columnKeys[command+" "+c.Name]
			if _, shared := columnKeys[c.Name]; !own && !shared {
				t.Errorf("%s: the column %s has no row in columnKeys", name, c.Name)
			}
		}
		if len(ColumnKeys(command)) < len(view.Columns) {
			t.Errorf("%s: columns are missing in the help", name)
		}
	}
}
