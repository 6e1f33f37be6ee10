package driver

import "errors"

// ErrNoGPU is what Open's error is where there is no GPU to open: no driver, no device, or a build without CUDA. The error itself says
// which, and what to do.
var ErrNoGPU = errors.New("driver: no GPU")

// noGPU is an ErrNoGPU with its reason.
type noGPU string

func (e noGPU) Error() string        { return "driver: " + string(e) }
func (e noGPU) Is(target error) bool { return target == ErrNoGPU }
