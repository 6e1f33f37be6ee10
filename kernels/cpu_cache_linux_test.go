package kernels

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// Trees of sysfs as a Zen 3 with eight processors at each of two caches, two processors of a virtual machine, and one without a third level
// have them.
func TestCacheOfThreads(t *testing.T) {
	tree := func(level3, mask string) string {
		dir := t.TempDir()
		for i, c := range [][4]string{
			{"1", "Data", "48K", "1"}, {"1", "Instruction", "32K", "1"}, {"2", "Unified", "1280K", "1"}, {"3", "Unified", level3, mask},
		} {
			if c[2] == "" {
				continue
			}
			at := filepath.Join(dir, "index"+strconv.Itoa(i))
			require.NoError(t, os.Mkdir(at, 0o755))
			for name, text := range map[string]string{"level": c[0], "type": c[1], "size": c[2], "shared_cpu_map": c[3]} {
				require.NoError(t, os.WriteFile(filepath.Join(at, name), []byte(text+"\n"), 0o644))
			}
		}
		return dir
	}
	zen, guest := tree("32768K", "00000000,000000ff"), tree("49152K", "3")
	for _, c := range []struct {
		dir                 string
		threads, cpus, want int
	}{
		{zen, 16, 16, 64 << 20},
		{zen, 8, 16, 32 << 20},
		{zen, 1, 16, 4 << 20},
		{zen, 64, 16, 64 << 20},
		{guest, 2, 2, 48 << 20},
		{guest, 1, 2, 24 << 20},
		{tree("", ""), 2, 2, 0},
		{tree("32M", "3"), 2, 2, 0}, // no form that sysfs has
		{t.TempDir(), 2, 2, 0},
	} {
		require.Equal(t, c.want, cacheUnder(c.dir, c.threads, c.cpus), "%+v", c)
	}
}
