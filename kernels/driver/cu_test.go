//go:build cuda

package driver

import (
	"testing"
	"unsafe"

	"gorgonia.org/cu"
)

// shim.go reads the handle out of cu's structs by a cast.
func TestHandlesAreOnePointer(t *testing.T) {
	const word = unsafe.Sizeof(uintptr(0))
	if unsafe.Sizeof(cu.Function{}) != word || unsafe.Sizeof(cu.Stream{}) != word || unsafe.Sizeof(cu.Module{}) != word {
		t.Fatal("gorgonia.org/cu's Function, Stream or Module is no longer a single handle")
	}
}
