//go:build !cuda

package driver

// Open returns an ErrNoGPU: this binary was built without CUDA.
func Open(ordinal int) (Driver, error) {
	return nil, noGPU("this program was built without CUDA: run `make gpu`, or set device: cpu")
}
