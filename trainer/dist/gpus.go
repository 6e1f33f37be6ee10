package dist

import (
	"fmt"

	k "retool/kernels"
	"retool/kernels/driver"
)

// fabric moves device memory between the devices of the ranks.
type fabric interface {
	// exchange does all transfers at once, and is over when it returns. The matching ones of the other ranks are in theirs.
	exchange(list []transfer) error
	close(failed bool)
	String() string
}

// transfer is a piece that goes to a rank, or comes from it.
type transfer struct {
	peer int
	send bool
	t    k.Tensor
}

// gpus is a network whose tensors go over a fabric. Each collective begins with a round of bytes: there ranks in different calls meet, and
// ranks that are gone are noticed, before anything is queued that cannot be called back.
type gpus struct {
	*network
	fabric fabric
}

// OverNCCL makes tensors of GPUs go by NVIDIA's library: libnccl.so.2, or the file that is named. c is Join's; of one rank it stays as
// it is.
func OverNCCL(c Comm, dev *k.GPU, library string) (Comm, error) {
	n, ok := c.(*network)
	if !ok {
		return c, nil
	}
	f, err := newNCCL(n, dev, library)
	if err != nil {
		return nil, err
	}
	return &gpus{network: n, fabric: f}, nil
}

// Transport says what moves tensors.
func Transport(c Comm) string {
	switch c := c.(type) {
	case *gpus:
		return c.fabric.String()
	case *network:
		return "TCP"
	}
	return "memory"
}

// Close gives the fabric up first: it needs the others alive.
func (g *gpus) Close() error {
	g.fabric.close(g.failed() != nil)
	return g.network.Close()
}

// gpuPiece is how many numbers go to one rank in one exchange: 32 MiB of float32. Tests lower it.
var gpuPiece = 1 << 23

// ReduceScatter receives everybody's piece of this rank's part into rows, and adds them in the tree.
func (g *gpus) ReduceScatter(what string, part, whole k.Tensor, p Parts) Pending {
	if err := g.checkSum(what, whole, part, p); err != nil {
		return done{err}
	}
	longest := longest(p)
	if longest == 0 {
		return done{}
	}
	own := Range{0, p[g.rank].Len()}
	dev := whole.Device()
	rows := dev.Alloc(k.F32, g.size*min(longest, gpuPiece))
	defer dev.Free(rows)
	return done{g.pieces(what, longest, func(from int) error {
		mine := cut(own, from)
		x := rows
		if mine.Len() > 0 {
			x = rows.Reshape(g.size, mine.Len())
		}
		var list []transfer
		for r := range g.size {
			if r == g.rank {
				continue
			}
			if theirs := cut(p[r], from); theirs.Len() > 0 {
				list = append(list, transfer{r, true, view(whole, theirs)})
			}
			if mine.Len() > 0 {
				list = append(list, transfer{r, false, x.Rows(r, r+1)})
			}
		}
		if err := g.fabric.exchange(list); err != nil || mine.Len() == 0 {
			return err
		}
		return dev.Do(func() {
			dev.Copy(x.Rows(g.rank, g.rank+1).Reshape(mine.Len()), view(whole, cut(p[g.rank], from)))
			dev.SumTree(view(part, mine), x)
		})
	})}
}

// AllGather sends this rank's part to everybody, and receives theirs where they belong.
func (g *gpus) AllGather(what string, whole, part k.Tensor, p Parts) Pending {
	if err := g.checkGather(what, whole, part, p); err != nil {
		return done{err}
	}
	own := Range{0, p[g.rank].Len()}
	if own.Len() > 0 {
		if err := copyPart(view(whole, p[g.rank]), part); err != nil {
			return done{g.fault("%q: %v", what, err)}
		}
	}
	return done{g.pieces(what, longest(p), func(from int) error {
		var list []transfer
		for r := range g.size {
			if r == g.rank {
				continue
			}
			if mine := cut(own, from); mine.Len() > 0 {
				list = append(list, transfer{r, true, view(part, mine)})
			}
			if theirs := cut(p[r], from); theirs.Len() > 0 {
				list = append(list, transfer{r, false, view(whole, theirs)})
			}
		}
		return g.fabric.exchange(list)
	})}
}

// pieces does the exchanges of a collective, after a round of bytes that all ranks are in it.
func (g *gpus) pieces(what string, longest int, do func(from int) error) (err error) {
	all, err := g.Gather(what, fmt.Append(nil, longest))
	if err != nil {
		return err
	}
	for r, b := range all {
		if string(b) != string(all[g.rank]) {
			return g.fault("%q: rank %d has parts of up to %s numbers, this one of %d", what, r, b, longest)
		}
	}
	defer func() {
		if r := recover(); r != nil { // what a device could not do
			err = g.fault("%q: %v", what, r)
		}
	}()
	for from := 0; from < longest; from += gpuPiece {
		if err := do(from); err != nil {
			if ended := g.failed(); ended != nil {
				return ended
			}
			return g.fault("%q: %v", what, err)
		}
	}
	return nil
}

// longest is the length of the longest part.
func longest(p Parts) (n int) {
	for _, r := range p {
		n = max(n, r.Len())
	}
	return n
}

// cut is the piece of a range that begins so far into it.
func cut(r Range, from int) Range {
	at := min(r.From+from, r.To)
	return Range{at, min(at+gpuPiece, r.To)}
}

// overNCCL is the fabric between GPUs.
type overNCCL struct {
	n    *network
	dev  *k.GPU
	lib  *driver.NCCL
	comm *driver.NCCLComm
}

// newNCCL opens the library on every rank, or on none: all learn who cannot.
func newNCCL(n *network, dev *k.GPU, library string) (fabric, error) {
	f := &overNCCL{n: n, dev: dev}
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
	err = dev.Raw(func(d driver.Driver) (err error) {
		f.comm, err = f.lib.Init(d, n.size, n.rank, id, n.failed)
		return err
	})
	if err := n.agree("NCCL has joined", err); err != nil {
		return nil, err
	}
	return f, nil
}

// agree ends the run where one rank could not do something.
func (n *network) agree(what string, mine error) error {
	if mine != nil {
		if ended := n.failed(); ended != nil {
			return ended
		}
		return n.fault("%v", mine)
	}
	_, err := n.Gather(what, nil)
	return err
}

func (f *overNCCL) exchange(list []transfer) error {
	return f.dev.Raw(func(driver.Driver) error {
		raw := make([]driver.Transfer, len(list))
		for i, t := range list {
			raw[i] = driver.Transfer{Peer: t.peer, Send: t.send, At: driver.Ptr(f.dev.Address(t.t)), Bytes: t.t.Len() * t.t.DType().Size()}
		}
		return f.comm.Exchange(raw, f.n.failed)
	})
}

func (f *overNCCL) close(failed bool) { f.comm.Close(failed) }

func (f *overNCCL) String() string { return "NCCL " + f.lib.Version() }
