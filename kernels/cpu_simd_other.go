//go:build !amd64

package kernels

func variants() []*simd { return []*simd{goSIMD} }
func bestSIMD() *simd   { return goSIMD }

// relax lets a waiting core rest.
func relax() {}
