//go:build linux

package interp

import (
	"runtime"
	"strings"
	"testing"
)

// No bytes from a session make the parser panic, allocate much, or accept what it did not ask for.
func FuzzFrame(f *testing.F) {
	for _, s := range []string{`{"t":"done","id":1,"ok":true,"exc":"","exit":-1,"tb":0}`, `{"t":"ready"}`, `{"t":"done"} {}`, `[[[[`,
		`{"t":"done","id":1e99}`, "\x00\xff", `{"t":"rolled","id":1,"st":9}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > maxFrame {
			b = b[:maxFrame]
		}
		var m0, m1 runtime.MemStats
		runtime.ReadMemStats(&m0)
		fr, err := parseFrame(b)
		runtime.ReadMemStats(&m1)
		if n := m1.TotalAlloc - m0.TotalAlloc; n > 1<<20 {
			t.Errorf("%d bytes allocated for a frame of %d", n, len(b))
		}
		if err == nil && (fr.TB < 0 || fr.Exit > 255 || len(fr.Exc) > 100 || strings.ContainsAny(fr.Exc, "<>|\n")) {
			t.Errorf("accepted %+v", fr)
		}
	})
}
