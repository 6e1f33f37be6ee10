//go:build !cuda

package driver

// Open returns an ErrNoGPU: this binary was built without CUDA.
func Open(ordinal int) (Driver, error) {
	_, err := Count()
	return nil, err
}

// Count returns an ErrNoGPU too.
func Count() (int, error) {
	return 0, noGPU("this program was built without CUDA: run `make gpu`, or set device: cpu")
}

// Address returns it as well.
func Address(ordinal int) (string, error) {
	_, err := Count()
	return "", err
}
