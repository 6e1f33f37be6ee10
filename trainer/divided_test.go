package trainer

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"retool/engine/model"
	k "retool/kernels"
	"retool/kernels/driver"
	"retool/kernels/emu"
	"retool/trainer/dist"
)

func divide(c *Config) { c.Dist.Shard = "all" }

// With weights and gradients divided too, 1, 2 and 4 ranks end in the same bits; so does a run that each of them made a part of. Where
// a slice has one pass and no norm is clipped they are those of dist.shard optimizer, and with other slices they are others.
func TestDividedModelsGiveTheSameBits(t *testing.T) {
	for _, name := range []string{"sft", "ppo, shared critic", "ppo, own critic", "grpo", "gspo"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			way := ways[name]
			var want map[string]string
			for _, ranks := range []int{1, 2, 4} {
				dir := t.TempDir()
				s, heard, err := together(t, dir, ranks, 0, way, divide)
				require.NoError(t, err)
				require.Empty(t, heard.notes)
				got := outcome(t, dir, s)
				if want == nil {
					want = got
				}
				same(t, want, got, fmt.Sprintf("%d ranks", ranks))
			}

			other := t.TempDir()
			s, _, err := together(t, other, 2, 0, way, divide, func(c *Config) { c.Dist.Slices = 2 })
			require.NoError(t, err)
			require.False(t, want["/model.safetensors"] == outcome(t, other, s)["/model.safetensors"], "with other slices")

			parts := t.TempDir()
			for i, ranks := range []int{4, 2, 1, 4} {
				stop := 2
				if i == 3 {
					stop = 0
				}
				s, _, err = together(t, parts, ranks, stop, way, divide, func(c *Config) { c.Checkpoint.Every = 1 })
				if stop > 0 && (s == nil || err != nil) {
					require.ErrorIs(t, err, context.Canceled)
				}
			}
			require.NoError(t, err)
			same(t, want, outcome(t, parts, s), "4, 2, 1 and 4 ranks")
		})
	}
}

// One pass a slice and no clipping: the sums are those of the whole gradients. A checkpoint of one mode is the other's too, and a run that
// goes on with it says so.
func TestDividedSumsAreThoseOfWholeGradients(t *testing.T) {
	once := func(c *Config) { c.RL.Tokens, c.SFT.Tokens, c.SFT.Clip, c.RL.Clip = 256, 256, 0, 0 }
	same2 := func(shard string) map[string]string {
		dir := t.TempDir()
		s, _, err := together(t, dir, 2, 0, ways["ppo, own critic"], once, func(c *Config) { c.Dist.Shard = shard })
		require.NoError(t, err)
		got := outcome(t, dir, s)
		delete(got, "metrics") // norms are added by units
		return got
	}
	same(t, same2("optimizer"), same2("all"), "divided")

	dir := t.TempDir()
	way := func(c *Config) { ways["sft"](c); once(c); c.Checkpoint.Every = 1 }
	_, _, err := together(t, dir, 2, 3, way)
	require.ErrorIs(t, err, context.Canceled)
	_, heard, err := together(t, dir, 2, 0, way, divide)
	require.NoError(t, err)
	require.Contains(t, fmt.Sprint(heard.notes), "ran with dist.shard optimizer and goes on with all: from here on its bits differ")
}

// On a GPU weights are bf16; their float32 numbers may be the host's. Over a fabric the bits are those over TCP, and each layer's weights
// are on their way while the device computes what is before it.
func TestDividedModelsOfGPUs(t *testing.T) {
	half := func(c *model.Config) {
		c.Layers, c.Hidden, c.Heads, c.KVHeads, c.HeadDim, c.FFN = 2, 64, 1, 1, 64, 256
	}
	defer func() { joined = dist.Local }()
	var want map[string]string
	for _, c := range []struct {
		ranks   int
		offload string
		fabric  bool
	}{{1, "none", false}, {2, "none", true}, {2, "optimizer", false}} {
		logs := make([]*order, c.ranks)
		for r := range logs {
			logs[r] = &order{}
		}
		opened := 0
		device := func() k.Device {
			g, err := k.NewGPU(&watched{emu.New(emu.Options{Capability: 80, Queued: true}), logs[opened]})
			require.NoError(t, err)
			opened++
			return g
		}
		joined = dist.Local
		if c.fabric {
			joined = func(n int) []dist.Comm { return woven(n, logs) }
		}
		dir := t.TempDir()
		s, _, err := togetherOn(t, device, model.Options{DType: k.BF16}, half, dir, c.ranks, 0, ways["ppo, own critic"], func(cfg *Config) {
			cfg.Dist.Slices, cfg.SFT.Steps, cfg.RL.Steps, cfg.RL.Prompts, cfg.RL.Minibatch, cfg.Eval.Problems = 2, 1, 1, 4, 4, 0
			cfg.Critic.Warmup, cfg.Dist.Offload, cfg.Dist.Shard = 0, c.offload, "all"
			cfg.SFT.Batch, cfg.SFT.Tokens, cfg.RL.Tokens = 4, 64, 64
		})
		require.NoError(t, err)
		got := outcome(t, dir, s)
		if want == nil {
			want = got
		}
		same(t, want, got, fmt.Sprintf("%d ranks, offload %s, fabric %v", c.ranks, c.offload, c.fabric))
		if c.fabric {
			logs[0].hides(t, "unit 1", "unit 2") // rank 1 has rounds without a pass, and so without kernels
		}
	}
}

// order is what happened on a rank, in order: gatherings of units' weights for a pass, begun, given to the fabric and waited for; kernels
// given to the device and waited for.
type order struct {
	mu     sync.Mutex
	events []string
}

func (o *order) add(event string) {
	o.mu.Lock()
	o.events = append(o.events, event)
	o.mu.Unlock()
}

// hides requires that every gathering of units is with the fabric before kernels are given to the device, and that those are waited for
// before it is.
func (o *order) hides(t *testing.T, units ...string) {
	t.Helper()
	for _, unit := range units {
		gatherings := 0
		for i, e := range o.events {
			if e != "gather "+unit {
				continue
			}
			gatherings++
			during := o.events[i+1 : i+slices.Index(o.events[i:], "wait "+unit)]
			begun := slices.Index(during, "exchange")
			require.GreaterOrEqual(t, begun, 0, "%s: waited for before it has begun: %v", unit, during)
			launch := slices.Index(during[begun:], "launch")
			require.GreaterOrEqual(t, launch, 0, "%s: no kernels beside it: %v", unit, during)
			require.Contains(t, during[begun+launch:], "synchronise", unit)
		}
		require.Positive(t, gatherings, unit)
	}
}

// watched is a driver that says what it is given.
type watched struct {
	driver.Driver
	log *order
}

func (w *watched) Launch(s driver.Stream, ls []driver.Launch) error {
	w.log.add("launch")
	return w.Driver.Launch(s, ls)
}

func (w *watched) Wait(s driver.Stream) error {
	w.log.add("synchronise")
	return w.Driver.Wait(s)
}

// wires is a fabric within this process: a channel from each rank to each.
type wires struct {
	rank int
	to   [][]chan any
	log  *order
}

// woven is ranks whose tensors go over wires.
func woven(n int, logs []*order) []dist.Comm {
	to := make([][]chan any, n)
	for r := range to {
		for range n {
			to[r] = append(to[r], make(chan any, 64))
		}
	}
	comms := dist.Local(n)
	for r := range comms {
		comms[r] = &said{dist.Over(comms[r], &wires{r, to, logs[r]}), logs[r]}
	}
	return comms
}

func (w *wires) Start(list []dist.Transfer, alive func() error) (func() error, error) {
	w.log.add("exchange")
	for _, t := range list {
		if t.Send {
			var x any = make([]float32, t.T.Len())
			if t.T.DType() == k.BF16 {
				x = make([]uint16, t.T.Len())
			}
			t.T.Device().Download(x, t.T)
			w.to[w.rank][t.Peer] <- x
		}
	}
	return func() error {
		for _, t := range list {
			if !t.Send {
				t.T.Device().Upload(t.T, <-w.to[t.Peer][w.rank])
			}
		}
		return nil
	}, nil
}

func (w *wires) Piece() int     { return 1 << 14 }
func (w *wires) Ahead() int     { return 8 }
func (w *wires) Close(bool)     {}
func (w *wires) String() string { return "wires" }

// said is ranks that say which unit's weights they gather for a pass: into memory that the unit has to itself.
type said struct {
	dist.Comm
	log *order
}

func (s *said) AllGather(what string, whole, part k.Tensor, p dist.Parts) dist.Pending {
	_, unit, _ := strings.Cut(what, ": ")
	if k.SameMemory(whole, part) {
		return s.Comm.AllGather(what, whole, part, p)
	}
	s.log.add("gather " + unit)
	return &heard{s.Comm.AllGather(what, whole, part, p), func() { s.log.add("wait " + unit) }}
}

type heard struct {
	dist.Pending
	waited func()
}

func (h *heard) Wait() error {
	h.waited()
	return h.Pending.Wait()
}
