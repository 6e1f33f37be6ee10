package emu

import (
	"os"
	"path/filepath"
	"testing"
)

// Every instruction of every kernel that ships is understood.
func TestShippedKernelsLoad(t *testing.T) {
	files, err := filepath.Glob("../ptx/*.ptx")
	if err != nil || len(files) == 0 {
		t.Fatalf("no PTX: %v", err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		m, err := New(Options{Capability: 90}).Load(text)
		if err != nil {
			t.Errorf("%s: %v", filepath.Base(f), err)
			continue
		}
		for name := range m.(*loaded).mod.entries {
			if _, err := m.Func(name); err != nil {
				t.Errorf("%s: %v", filepath.Base(f), err)
			}
		}
	}
}
