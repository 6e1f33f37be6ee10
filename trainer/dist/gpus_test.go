package dist

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	k "retool/kernels"
	"retool/kernels/driver"
	"retool/kernels/emu"
)

// wires are a fabric within one process: a channel from each rank to each.
type wires struct {
	to   [][]chan []byte
	rank int
	fail error
}

func (w *wires) exchange(list []transfer) error {
	if w.fail != nil {
		return w.fail
	}
	for _, t := range list {
		if t.send {
			w.to[w.rank][t.peer] <- download(t.t)
		}
	}
	for _, t := range list {
		if !t.send {
			upload(t.t, <-w.to[t.peer][w.rank])
		}
	}
	return nil
}

func (w *wires) close(bool)     {}
func (w *wires) String() string { return "wires" }

func wired(n int) []*wires {
	to := make([][]chan []byte, n)
	for r := range to {
		to[r] = make([]chan []byte, n)
		for p := range to[r] {
			to[r][p] = make(chan []byte, 8)
		}
	}
	ws := make([]*wires, n)
	for r := range ws {
		ws[r] = &wires{to: to, rank: r}
	}
	return ws
}

// Over a fabric of devices sums and parts have the bits that they have over TCP, in one piece or several, on the CPU and on an emulated
// GPU.
func TestFabricGivesTheSameBits(t *testing.T) {
	old := gpuPiece
	gpuPiece = Tile + 1000
	defer func() { gpuPiece = old }()
	for _, n := range []int{2, 3} {
		comms, errs := joinAll(t, n, nil)
		require.NoError(t, errors.Join(errs...))
		ws := wired(n)
		for r := range comms {
			comms[r] = &gpus{network: comms[r].(*network), fabric: ws[r]}
		}
		p := Divide(3*Tile+77, n)
		held, sums := make([][]float32, n), make([][]float32, n)
		for r := range held {
			draw := rand.New(rand.NewPCG(uint64(r), 3))
			held[r] = make([]float32, p.Len())
			for i := range held[r] {
				held[r][i] = float32(draw.NormFloat64())
			}
			sums[r] = slices.Clone(held[r])
		}
		want := treeSum(sums)
		eachRank(comms, func(c Comm) {
			var dev k.Device = k.NewCPU(1)
			if c.Rank() == 1 {
				g, err := k.NewGPU(emu.New(emu.Options{Capability: 80}))
				if err != nil {
					t.Error(err)
					return
				}
				dev = g
			}
			defer dev.Close()
			own := p[c.Rank()].Len()
			whole, part := dev.Alloc(k.F32, p.Len()), dev.Alloc(k.F32, own)
			dev.Upload(whole, held[c.Rank()])
			err := c.ReduceScatter("gradients", part, whole, p).Wait()
			if err == nil {
				err = c.AllGather("weights", whole, part, p).Wait()
			}
			if err != nil || !slices.Equal(fetch[float32](whole), want) {
				t.Errorf("rank %d of %d: %v, or other numbers", c.Rank(), n, err)
			}
		})
	}
}

// A fabric that fails ends the run on all ranks with its words; ranks that mean different tensors never reach it.
func TestFabricFailuresEndTheRun(t *testing.T) {
	for _, c := range []struct {
		fail error
		n    []int
		says string
	}{
		{errors.New("a link is down"), []int{Tile, Tile}, `"weights": a link is down`},
		{nil, []int{Tile, 3 * Tile}, `"weights": rank `},
	} {
		comms, errs := joinAll(t, 2, nil)
		require.NoError(t, errors.Join(errs...))
		ws := wired(2)
		ws[1].fail = c.fail
		ws[0].fail = c.fail
		for r := range comms {
			comms[r] = &gpus{network: comms[r].(*network), fabric: ws[r]}
		}
		eachRank(comms, func(comm Comm) {
			dev := k.NewCPU(1)
			defer dev.Close()
			p := Divide(c.n[comm.Rank()], 2)
			whole, part := dev.Alloc(k.F32, p.Len()), dev.Alloc(k.F32, max(1, p[comm.Rank()].Len())).Rows(0, p[comm.Rank()].Len())
			err := comm.AllGather("weights", whole, part, p).Wait()
			if err == nil {
				_, err = comm.Gather("after", nil)
			}
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("rank %d: %v", comm.Rank(), err)
			}
		})
	}
}

// Where no library is to be had, every rank says so, once.
func TestNoNCCLIsOneSentence(t *testing.T) {
	comms, errs := joinAll(t, 2, nil)
	require.NoError(t, errors.Join(errs...))
	eachRank(comms, func(c Comm) {
		g, err := k.NewGPU(emu.New(emu.Options{Capability: 80}))
		if err != nil {
			t.Error(err)
			return
		}
		defer g.Close()
		if _, err = OverNCCL(c, g, "/no/such/libnccl.so.2"); err == nil || !errors.Is(err, driver.ErrNoGPU) && !errorIs[*Ended](err) {
			t.Error(err)
		}
	})
}

func errorIs[T error](err error) bool { var t T; return errors.As(err, &t) }
