//go:build !linux

package kernels

import "runtime"

// yieldCore lets another goroutine have the core; Go offers no more here.
func yieldCore() { runtime.Gosched() }
