//go:build !linux || !cgo

package bench

import "errors"

func openCounters() (counters, error) {
	return nil, errors.New("no GPU counters: NVML is read on Linux, by a program that was built with cgo: " +
		"build with CGO_ENABLED=1 and a C compiler")
}
