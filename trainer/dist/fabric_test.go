package dist

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	k "retool/kernels"
	"retool/kernels/driver"
	"retool/kernels/emu"
)

// wires are a fabric within one process: a channel from each rank to each.
type wires struct {
	to    [][]chan []byte
	rank  int
	fail  error
	piece int
	under int // exchanges under way
	most  int // at once, so far
}

func (w *wires) Start(list []Transfer, alive func() error) (wait func() error, err error) {
	if w.fail != nil {
		return nil, w.fail
	}
	w.under++
	w.most = max(w.most, w.under)
	for _, t := range list {
		if t.Send {
			w.to[w.rank][t.Peer] <- download(t.T, anew)
		}
	}
	return func() error {
		for _, t := range list {
			if t.Send {
				continue
			}
			for arrived := false; !arrived; {
				select {
				case b := <-w.to[t.Peer][w.rank]:
					upload(t.T, b)
					arrived = true
				case <-time.After(5 * time.Millisecond):
					if err := alive(); err != nil {
						return err
					}
				}
			}
		}
		w.under--
		return nil
	}, nil
}

func (w *wires) Piece() int     { return w.piece }
func (w *wires) Ahead() int     { return 2 }
func (w *wires) Close(bool)     {}
func (w *wires) String() string { return "wires" }

func wired(n, piece int) []*wires {
	to := make([][]chan []byte, n)
	for r := range to {
		to[r] = make([]chan []byte, n)
		for p := range to[r] {
			to[r][p] = make(chan []byte, 8)
		}
	}
	ws := make([]*wires, n)
	for r := range ws {
		ws[r] = &wires{to: to, rank: r, piece: piece}
	}
	return ws
}

// Over a fabric of devices sums and parts have the bits that they have over TCP, in one piece or several, on the CPU and on an emulated
// GPU.
func TestFabricGivesTheSameBits(t *testing.T) {
	for _, n := range []int{2, 3} {
		comms, errs := joinAll(t, n, nil)
		require.NoError(t, errors.Join(errs...))
		ws := wired(n, Tile/2+1000)
		for r := range comms {
			comms[r] = Over(comms[r], ws[r])
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
		for r, w := range ws { // a part of two tiles is four pieces
			require.Equal(t, 2, w.most, "rank %d of %d: exchanges under way at once", r, n)
			require.Zero(t, w.under)
		}
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
		ws := wired(2, Tile)
		ws[1].fail = c.fail
		ws[0].fail = c.fail
		for r := range comms {
			comms[r] = Over(comms[r], ws[r])
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

// Ranks that wait for one another in the fabric, where nothing moves, are ended by the watchdog, with a name.
func TestStallInAFabricEndsTheRun(t *testing.T) {
	limits := Limits{Beat: 10 * time.Millisecond, Silence: time.Hour, Stall: 50 * time.Millisecond, Timeout: 200 * time.Millisecond}
	comms, errs := joinAll(t, 2, func(_ *ID, o *Options) { o.Limits = limits })
	require.NoError(t, errors.Join(errs...))
	a, b := wired(2, Tile), wired(2, Tile) // two fabrics: what goes into one never comes out of the other
	comms[0], comms[1] = Over(comms[0], a[0]), Over(comms[1], b[1])
	eachRank(comms, func(c Comm) {
		dev := k.NewCPU(1)
		defer dev.Close()
		p := Divide(2*Tile, 2)
		whole := dev.Alloc(k.F32, p.Len())
		own := p[c.Rank()]
		err := c.AllGather("weights", whole, whole.Rows(own.From, own.To), p).Wait()
		if err == nil || !strings.Contains(err.Error(), "has made no progress for 200ms") || !strings.Contains(err.Error(), `in "weights"`) {
			t.Errorf("rank %d: %v", c.Rank(), err)
		}
	})
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
