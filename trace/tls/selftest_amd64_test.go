package tls

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The program that return probes are tried on must end well without them.
func TestTheChildOfTheSelfTestEndsWell(t *testing.T) {
	path := filepath.Join(t.TempDir(), "child")
	if err := os.WriteFile(path, childFile(), 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(path).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
