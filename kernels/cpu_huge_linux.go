package kernels

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugePage is the size of a page that weights are better kept in: a gigabyte has half a million of the small ones, each a fault and an
// entry that the processor must look up.
const hugePage = 2 << 20

// adviseHuge asks for large memory in huge pages. It is advice: nothing depends on its success.
func adviseHuge(x []float32) {
	if len(x) < 2*hugePage/4 {
		return
	}
	at := uintptr(unsafe.Pointer(unsafe.SliceData(x)))
	skip := -at & (hugePage - 1)
	if n := (uintptr(4*len(x)) - skip) &^ (hugePage - 1); n > 0 {
		_ = unix.Madvise(unsafe.Slice((*byte)(unsafe.Pointer(&x[skip/4])), n), unix.MADV_HUGEPAGE)
	}
}
