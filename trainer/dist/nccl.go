package dist

import (
	"math"

	k "retool/kernels"
	"retool/kernels/driver"
)

// overNCCL is the fabric between GPUs.
type overNCCL struct {
	dev  *k.GPU
	lib  *driver.NCCL
	comm *driver.NCCLComm
}

// OverNCCL makes tensors of GPUs go by NVIDIA's library: libnccl.so.2, or the file that is named. c is Join's; of one rank it stays as
// it is. The library is opened on every rank, or on none: all learn who cannot.
func OverNCCL(c Comm, dev *k.GPU, library string) (Comm, error) {
	n, ok := c.(*network)
	if !ok {
		return c, nil
	}
	f := &overNCCL{dev: dev}
	var id [128]byte
	var err error
	if f.lib, err = driver.OpenNCCL(library); err == nil && n.rank == 0 {
		id, err = f.lib.UniqueID()
	}
	if err := n.agree("NCCL is opened", err); err != nil {
		return nil, err
	}
	all, err := n.Gather("NCCL's id", id[:])
	if err != nil {
		return nil, err
	}
	copy(id[:], all[0])
	joined := n.waitsForPeers("NCCL joins")
	err = dev.Raw(func(d driver.Driver) (err error) {
		f.comm, err = f.lib.Init(d, n.size, n.rank, id, n.failed)
		return err
	})
	joined()
	if err := n.agree("NCCL has joined", err); err != nil {
		return nil, err
	}
	return Over(c, f), nil
}

// Start queues an exchange behind what the device has been given so far, on a stream of its own: what is given to the device after runs
// beside it.
func (f *overNCCL) Start(list []Transfer, alive func() error) (wait func() error, err error) {
	err = f.dev.Raw(func(driver.Driver) error {
		raw := make([]driver.Transfer, len(list))
		for i, t := range list {
			raw[i] = driver.Transfer{Peer: t.Peer, Send: t.Send, At: driver.Ptr(f.dev.Address(t.T)), Bytes: t.T.Len() * t.T.DType().Size()}
		}
		return f.comm.Start(raw, alive)
	})
	return func() error {
		return f.dev.Raw(func(driver.Driver) error { return f.comm.Wait(alive) })
	}, err
}

func (f *overNCCL) Piece() int        { return 1 << 23 } // 32 MiB of float32
func (f *overNCCL) Ahead() int        { return math.MaxInt }
func (f *overNCCL) Close(failed bool) { f.comm.Close(failed) }
func (f *overNCCL) String() string    { return "NCCL " + f.lib.Version() }
