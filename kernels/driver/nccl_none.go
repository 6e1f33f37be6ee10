//go:build !cuda

package driver

// NCCL is never opened here.
type NCCL struct{}

// OpenNCCL returns an ErrNoGPU.
func OpenNCCL(string) (*NCCL, error) {
	_, err := Count()
	return nil, err
}

// Version, UniqueID, Init and the methods of NCCLComm are those of a binary with CUDA.
func (*NCCL) Version() string              { panic("driver: NCCL without CUDA") }
func (*NCCL) UniqueID() ([128]byte, error) { panic("driver: NCCL without CUDA") }

func (*NCCL) Init(Driver, int, int, [128]byte, func() error) (*NCCLComm, error) {
	panic("driver: NCCL without CUDA")
}

// NCCLComm is never made here.
type NCCLComm struct{}

func (*NCCLComm) Start([]Transfer, func() error) error { panic("driver: NCCL without CUDA") }
func (*NCCLComm) Wait(func() error) error              { panic("driver: NCCL without CUDA") }
func (*NCCLComm) Close(bool)                           { panic("driver: NCCL without CUDA") }
