//go:build !unix

package kernels

import "testing"

// guarded is n numbers; where pages cannot be protected, nothing watches what lies beside them.
func guarded(_ testing.TB, n int) []float32 { return make([]float32, n) }
