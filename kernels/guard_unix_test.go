//go:build unix

package kernels

import (
	"os"
	"syscall"
	"testing"
	"unsafe"
)

// guarded is n numbers, or a few more to fill pages, between two pages that nobody may touch: a load or a store beside them ends the
// process.
func guarded(t testing.TB, n int) []float32 {
	page := os.Getpagesize()
	if 4*n%page != 0 {
		n = (4*n + page - 1) / page * page / 4
	}
	m, err := syscall.Mmap(-1, 0, 4*n+2*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Munmap(m) })
	for _, guard := range [][]byte{m[:page], m[page+4*n:]} {
		if err := syscall.Mprotect(guard, syscall.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(&m[page])), n)
}
