package dist

import (
	"fmt"

	"retool/trainer/dist/mpi"
)

// overMPI is the fabric between hosts of a cluster that has MPI: tensors go through the memory of the hosts, as over TCP.
type overMPI struct {
	lib   *mpi.Library
	world *mpi.World
	moved int64 // bytes sent and received
}

// OverMPI makes tensors go by an MPI library: that of the launcher which started the ranks, or the file that is named. c is Join's; of one
// rank it stays as it is. The library is opened on every rank, or on none: all learn who cannot.
func OverMPI(c Comm, library string) (Comm, error) {
	n, ok := c.(*network)
	if !ok {
		return c, nil
	}
	f := &overMPI{}
	err := fmt.Errorf("dist.transport: mpi is for ranks that mpirun started, or srun --mpi=pmix or pmi2; these are of %s", n.id.Launcher)
	if n.id.MPI != "" {
		paths := mpi.Libraries(n.id.MPI)
		if library != "" {
			paths = []string{library}
		}
		f.lib, err = mpi.Load(paths)
	}
	if err := n.agree("MPI is opened", err); err != nil {
		return nil, err
	}
	joined := n.waitsForPeers("MPI joins")
	f.world, err = f.lib.Init(n.failed)
	joined()
	if err == nil && (f.world.Rank != n.rank || f.world.Size != n.size) {
		err = fmt.Errorf("%s says that this is rank %d of %d, %s that it is rank %d of %d: want the library of the mpirun that started the "+
			"ranks (dist.mpi)", f.lib.Version(), f.world.Rank, f.world.Size, n.id.Launcher, n.rank, n.size)
	}
	if err := n.agree("MPI has joined", err); err != nil {
		return nil, err
	}
	return Over(c, f), nil
}

// Start sends copies of what the device has.
func (f *overMPI) Start(list []Transfer, alive func() error) (wait func() error, err error) {
	out := make([]mpi.Transfer, len(list))
	for i, t := range list {
		out[i] = mpi.Transfer{Peer: t.Peer, Send: t.Send, Bytes: f.world.Buffer(t.T.Len() * t.T.DType().Size())}
		if t.Send {
			read(out[i].Bytes, t.T)
		}
		f.moved += int64(len(out[i].Bytes))
	}
	x := f.world.Start(out)
	return func() error {
		if err := x.Wait(alive); err != nil {
			return err
		}
		for i, t := range list {
			if !t.Send {
				upload(t.T, out[i].Bytes)
			}
			f.world.GiveBack(out[i].Bytes)
		}
		return nil
	}, nil
}

func (f *overMPI) Piece() int        { return 1 << 20 } // 4 MiB of float32
func (f *overMPI) Ahead() int        { return 2 }
func (f *overMPI) Close(failed bool) { f.world.Close(failed) }
func (f *overMPI) String() string    { return "MPI (" + f.lib.Version() + ")" }
