package ptx

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// A .cu or .cuh that changed after its PTX was made is found without nvcc.
func TestPTXMatchesSources(t *testing.T) {
	m := Read()
	if len(m.Families) == 0 {
		t.Fatal("the manifest is empty")
	}
	for name, f := range m.Families {
		text, err := Text(name)
		if err != nil {
			t.Error(err)
			continue
		}
		if sum(text) != f.PTX {
			t.Errorf("%s.ptx is not the file that gen.go wrote: run `make kernels`", name)
		}
		for src, want := range f.Sources {
			b, err := os.ReadFile(filepath.Join("..", src))
			if err != nil {
				t.Errorf("%s was made from %s: %v", name, src, err)
			} else if sum(b) != want {
				t.Errorf("%s changed after %s.ptx was made from it: run `make kernels`", src, name)
			}
		}
	}
	sources, _ := filepath.Glob("../*.cu")
	for _, src := range sources {
		family := strings.TrimSuffix(filepath.Base(src), ".cu") + ".sm80"
		if _, ok := m.Families[family]; !ok {
			t.Errorf("%s has no %s.ptx: run `make kernels`", src, family)
		}
	}
	made, _ := filepath.Glob("*.ptx")
	for _, p := range made {
		if _, ok := m.Families[strings.TrimSuffix(p, ".ptx")]; !ok {
			t.Errorf("%s is not in the manifest: run `make kernels`", p)
		}
	}
}

// Without a rounding, ptxas may fuse a multiplication and a sum in one kernel and not in another, and their bits differ.
var unrounded = regexp.MustCompile(`(?m)^\s*(@!?%p\d+ )?(add|sub|mul|mad)(\.ftz)?(\.sat)?\.f32\s.*$`)

func TestFloatsAreRoundedWhereTheTextSays(t *testing.T) {
	if !unrounded.MatchString("\tmul.f32 %f1, %f2, %f3;") || unrounded.MatchString("\tmul.rn.f32 %f1, %f2, %f3;") {
		t.Fatal("the test does not see an unrounded product")
	}
	each(t, func(t *testing.T, name, text string) {
		if m := unrounded.FindString(text); m != "" {
			t.Errorf("%s.ptx: %q: built without -fmad=false?", name, strings.TrimSpace(m))
		}
	})
}

func TestPTXNamesNoPlace(t *testing.T) {
	path := regexp.MustCompile(`"/[^"]*"|_INTERNAL_[0-9a-f]*[1-9a-f][0-9a-f]*_`)
	each(t, func(t *testing.T, name, text string) {
		if m := path.FindString(text); m != "" {
			t.Errorf("%s.ptx: %s", name, m)
		}
	})
}

func each(t *testing.T, f func(t *testing.T, name, text string)) {
	for name := range Read().Families {
		b, err := Text(name)
		if err != nil {
			t.Fatal(err)
		}
		f(t, name, string(b))
	}
}

func TestNothingSpills(t *testing.T) {
	for name, f := range Read().Families {
		for entry, e := range f.Entries {
			if e.Spills != 0 || e.Stack != 0 {
				t.Errorf("%s: %s keeps %d bytes on its stack and spills %d", name, entry, e.Stack, e.Spills)
			}
			// 64 K registers serve a multiprocessor: more than 255·256 cannot start.
			if e.Registers*e.Threads > 64<<10 {
				t.Errorf("%s: %s: %d registers for %d threads do not fit", name, entry, e.Registers, e.Threads)
			}
		}
	}
}

// Portable PTX loads on drivers of the CUDA 11 generation, Hopper's on those of 12.
func TestVersionIsTheLowest(t *testing.T) {
	for name, f := range Read().Families {
		text, err := Text(name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), fmt.Sprintf("\n.version %s\n", f.Version)) {
			t.Errorf("%s.ptx does not say .version %s", name, f.Version)
		}
		if strings.HasSuffix(name, ".sm80") && f.Version > "7.4" {
			t.Errorf("%s.ptx needs PTX %s: drivers before CUDA 11.4 cannot load it", name, f.Version)
		}
		if f.Version > "8.0" {
			t.Errorf("%s.ptx needs PTX %s: drivers before CUDA 12.0 cannot load it", name, f.Version)
		}
	}
}
