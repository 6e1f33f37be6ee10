package driver

// Transfer is a piece of device memory that goes to, or comes from, the GPU of another rank.
type Transfer struct {
	Peer  int
	Send  bool
	At    Ptr
	Bytes int
}

// NCCLLibrary is the name under which the loader is asked for NVIDIA's library.
const NCCLLibrary = "libnccl.so.2"
