//go:build !cuda

package driver

import "errors"

// ErrNoGPU is returned by Open where there is no GPU to open.
var ErrNoGPU = errors.New("driver: built without -tags cuda: run `make gpu`, or set device: cpu")

// Open returns ErrNoGPU: this binary was built without CUDA.
func Open(ordinal int) (Driver, error) { return nil, ErrNoGPU }
