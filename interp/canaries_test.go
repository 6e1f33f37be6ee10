//go:build linux

package interp

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// What a killed self-test left goes with the next one, and nothing else does.
func TestOldCanariesAreSwept(t *testing.T) {
	tmp, elsewhere := t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", tmp)
	old := time.Now().Add(-2 * canaryAge)
	lay := func(name string, at time.Time) string {
		dir := filepath.Join(tmp, name)
		if err := os.Mkdir(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(dir, at, at); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	stale := lay(canaryPrefix+"1", old)
	kept := []string{lay(canaryPrefix+"2", time.Now()), lay("other-3", old), filepath.Join(tmp, canaryPrefix+"4")}
	if err := os.Symlink(elsewhere, kept[2]); err != nil {
		t.Fatal(err)
	}
	c, err := layCanaries()
	if err != nil {
		t.Fatal(err)
	}
	kept = append(kept, c.dir, elsewhere)
	if _, err := os.Lstat(stale); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", stale, err)
	}
	for _, dir := range kept {
		if _, err := os.Lstat(dir); err != nil {
			t.Errorf("%s is gone: %v", dir, err)
		}
	}
	c.remove()
}
