package model

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"retool/kernels"
	"retool/kernels/driver"
	"retool/kernels/emu"
)

// What one pass of a model of four layers asks of a driver. A launch is some microseconds of the host's time, a wait some ten: a change
// of these figures is a decision, not an accident.
func TestPassesAskTheDriverFor(t *testing.T) {
	e := emu.New(emu.Options{Capability: 80, NoCheck: true, Queued: true})
	dev, err := kernels.NewGPU(e)
	require.NoError(t, err)
	defer dev.Close()
	m, err := New(dev, Config{
		Arch: Qwen2, Layers: 4, Hidden: 64, Heads: 4, KVHeads: 2, HeadDim: 16, FFN: 96, Vocab: 128, QKVBias: true, LMHead: true,
		MaxPositions: 256, RMSEps: 1e-6, RopeTheta: 10000, KVChunk: 64,
	}, Options{MaxTokens: 400, Train: true, DType: kernels.BF16})
	require.NoError(t, err)
	defer m.Close()
	randomize(m, 3)
	require.NoError(t, m.OpenKV(10))
	const sequences, prompt = 5, 70
	var feeds []Feed
	for i := range sequences {
		f := Feed{Pages: []int32{int32(2 * i), int32(2*i + 1)}, Key: int64(i), Draw: true}
		for j := range prompt {
			f.IDs = append(f.IDs, int32((7*i+3*j)%128))
		}
		feeds = append(feeds, f)
	}
	sampling := kernels.Sampling{Seed: 1, Temperature: 1, TopP: 1}
	step := func() emu.Counters {
		e.Reset()
		next, _, err := m.Step(feeds, sampling)
		require.NoError(t, err)
		for i := range feeds {
			feeds[i].Pos += len(feeds[i].IDs)
			feeds[i].IDs = []int32{next[i]}
		}
		return e.Counters()
	}
	type asked struct{ Launches, Replays, CopiesIn, CopiesOut, Waits, Hops int }
	hops := dev.Hops()
	of := func(c emu.Counters) asked {
		was := hops
		hops = dev.Hops()
		return asked{c.Launches, c.Replays, c.CopiesIn, c.CopiesOut, c.Waits, int(hops - was)}
	}
	step()     // the prompts
	of(step()) // records
	// All launches in a graph: 10 a layer, 6 around them. Only the copy out is waited for, and the others go with it to the driver's thread.
	require.Equal(t, asked{Launches: 46, Replays: 1, CopiesIn: 1, CopiesOut: 1, Waits: 1, Hops: 1}, of(step()), "a decode step")

	in := Inputs{Starts: []int32{0}}
	for i := range sequences {
		for j := range prompt {
			in.IDs = append(in.IDs, int32((5*i+j)%128))
			in.Rows = append(in.Rows, int32(len(in.IDs)-1))
		}
		in.Starts = append(in.Starts, int32(len(in.IDs)))
	}
	n := len(in.Rows)
	s, dlogp := NewScorer(dev, n), dev.Alloc(kernels.F32, n)
	s.Load(make([]int32, n))
	loss := func(h Head) {
		s.Score(h, 1)
		s.Backward(h, dlogp, kernels.Tensor{}, 1)
	}
	require.NoError(t, m.Train(in, loss)) // loads kernels
	s.Load(make([]int32, n))
	e.Reset()
	hops = dev.Hops()
	require.NoError(t, m.Train(in, loss))
	require.Equal(t, asked{Launches: 139, CopiesIn: 2, Waits: 1, Hops: 2}, of(e.Counters()), "a training pass: launches, and a wait")
}

// counting is a GPU that computes nothing, with the kernels of Hopper, and what it was asked for.
func counting(t testing.TB) (*kernels.GPU, *driver.Counter) {
	c := driver.NewCounter(1 << 40)
	dev, err := kernels.NewGPU(c)
	require.NoError(t, err)
	t.Cleanup(func() { dev.Close() })
	require.NoError(t, dev.Hopper())
	return dev, c
}

// A decode step whose shape was seen before allocates nothing, of the GPU's memory, of page-locked memory or of Go's: it is a replay, one
// copy each way, a wait, and one hop to the driver's thread.
func TestSteadyStepsAllocateNothing(t *testing.T) {
	dev, c := counting(t)
	m, err := New(dev, Config{
		Arch: Qwen2, Layers: 3, Hidden: 128, Heads: 4, KVHeads: 2, HeadDim: 64, FFN: 192, Vocab: 512, QKVBias: true, LMHead: true,
		MaxPositions: 256, RMSEps: 1e-6, RopeTheta: 10000, KVChunk: 64,
	}, Options{MaxTokens: 64, DType: kernels.BF16})
	require.NoError(t, err)
	defer m.Close()
	require.NoError(t, m.OpenKV(22))
	var feeds []Feed
	for i := range int32(7) {
		feeds = append(feeds, Feed{IDs: []int32{i}, Pos: 128, Pages: []int32{3 * i, 3*i + 1, 3*i + 2}, Key: int64(i), Draw: true})
	}
	step := func() {
		if _, _, err := m.Step(feeds, kernels.Sampling{Seed: 1, Temperature: 1, TopP: 1}); err != nil {
			t.Error(err)
		}
		for i := range feeds {
			feeds[i].Pos++
		}
	}
	step()
	step()
	hops := dev.Hops()
	const steps = 40
	c.Calls = driver.Calls{}
	require.Zero(t, testing.AllocsPerRun(steps, step)) // which makes one more
	launches := c.Calls.Launches / (steps + 1)
	require.Greater(t, launches, 30)
	const n = steps + 1
	// A second wait a step: the upload asks whether the last copy from its buffer is done.
	require.Equal(t, driver.Calls{Launches: launches * n, Replays: n, CopiesIn: n, CopiesOut: n, Waits: 2 * n}, c.Calls)
	require.EqualValues(t, steps+1, dev.Hops()-hops)
}

// A training pass of a new length asks for tensor maps of its own, and makes no hop to the driver's thread for them.
func TestTensorMapsTakeNoHop(t *testing.T) {
	dev, c := counting(t)
	m, err := New(dev, Config{
		Arch: Qwen2, Layers: 3, Hidden: 128, Heads: 4, KVHeads: 2, HeadDim: 64, FFN: 192, Vocab: 512, QKVBias: true, LMHead: true,
		MaxPositions: 512, RMSEps: 1e-6, RopeTheta: 10000, KVChunk: 64,
	}, Options{MaxTokens: 400, Train: true, DType: kernels.BF16})
	require.NoError(t, err)
	defer m.Close()
	pass := func(tokens int) (maps int, hops int64) {
		c.Calls = driver.Calls{}
		before := dev.Hops()
		in := Inputs{IDs: make([]int32, tokens), Starts: []int32{0, int32(tokens)}, Rows: []int32{5}}
		require.NoError(t, m.Train(in, func(h Head) { dev.Zero(h.Logits) }))
		return c.Calls.Maps, dev.Hops() - before
	}
	pass(400)
	for _, tokens := range []int{399, 390, 301} {
		maps, hops := pass(tokens)
		require.Greater(t, maps, 20)
		require.EqualValues(t, 2, hops, "launches, and a wait")
		maps, hops = pass(tokens)
		require.Zero(t, maps)
		require.EqualValues(t, 2, hops)
	}
}

// On a GPU the head's pieces are whole tiles, of a BF16 model as many as take the least time by cost, of at most 768 MB of logits. On a CPU
// nothing changes.
func TestHeadsFillTiles(t *testing.T) {
	dev, _ := counting(t)
	cpu := kernels.NewCPU(1)
	defer cpu.Close()
	require.Equal(t, 882, headRows(cpu, 152064, 3584, kernels.BF16))
	for _, c := range []struct{ vocab, hidden, rows int }{
		{152064, 3584, 1024}, {151936, 896, 1280}, {151936, 1536, 768}, {152064, 5120, 768},
	} {
		require.Equal(t, c.rows, headRows(dev, c.vocab, c.hidden, kernels.BF16), "%+v", c)
	}
	rapid.Check(t, func(t *rapid.T) {
		vocab, hidden := rapid.IntRange(1, 1<<19).Draw(t, "vocabulary"), 8*rapid.IntRange(1, 1024).Draw(t, "hidden")
		rows := headRows(dev, vocab, hidden, kernels.BF16)
		require.Zero(t, rows%128)
		require.Less(t, rows*vocab*4, 768<<20+128*vocab*4)
		exact := headRows(dev, vocab, hidden, kernels.F32)
		require.Zero(t, exact%128)
		require.Less(t, exact-headRows(cpu, vocab, hidden, kernels.F32), 128)
	})
}

// What Qwen2.5's shapes ask of a driver in bf16, with the kernels of Hopper: a steady decode step over contexts of 1,024 tokens, and the
// second training pass of 8,192. -v prints the host's time beside it.
func TestRealShapesAskTheDriverFor(t *testing.T) {
	qwen := func(layers, hidden, heads, kv, dim, ffn, vocab int) Config {
		return Config{
			Arch: Qwen2, Layers: layers, Hidden: hidden, Heads: heads, KVHeads: kv, HeadDim: dim, FFN: ffn, Vocab: vocab, QKVBias: true,
			LMHead: true, MaxPositions: 32768, RMSEps: 1e-6, RopeTheta: 1e6, KVChunk: 64,
		}
	}
	shapes := map[string]Config{"0.5B": qwen(24, 896, 14, 2, 64, 4864, 151936), "7B": qwen(28, 3584, 28, 4, 128, 18944, 152064)}
	ask := func(t *testing.T, what string, dev *kernels.GPU, c *driver.Counter, once func()) driver.Calls {
		once()
		once()
		hops, start := dev.Hops(), time.Now()
		c.Calls = driver.Calls{}
		once()
		t.Logf("%-24s %+v, hops %d, host %v", what, c.Calls, dev.Hops()-hops, time.Since(start).Round(time.Microsecond))
		return c.Calls
	}
	// Ten launches a layer, with parts of a context (at most of few sequences) one more to join them, and six around the layers.
	for b, launches := range map[int]int{1: 11*28 + 6, 32: 10*28 + 6, 256: 10*28 + 6} {
		dev, c := counting(t)
		m, err := New(dev, shapes["7B"], Options{MaxTokens: 256, DType: kernels.BF16})
		require.NoError(t, err)
		const pages = 17
		require.NoError(t, m.OpenKV(pages*b))
		feeds := make([]Feed, b)
		for i := range feeds {
			feeds[i] = Feed{IDs: []int32{1}, Pos: 1024, Key: int64(i), Draw: true}
			for p := range int32(pages) {
				feeds[i].Pages = append(feeds[i].Pages, pages*int32(i)+p)
			}
		}
		got := ask(t, fmt.Sprintf("7B, a step of %d", b), dev, c, func() {
			_, _, err := m.Step(feeds, kernels.Sampling{Seed: 1, Temperature: 1, TopP: 1})
			require.NoError(t, err)
		})
		require.Equal(t, driver.Calls{Launches: launches, Replays: 1, CopiesIn: 1, CopiesOut: 1, Waits: 2}, got)
		m.Close()
	}
	for name, want := range map[string]driver.Calls{
		"0.5B": {Launches: 825, CopiesIn: 1, Waits: 2}, "7B": {Launches: 932, CopiesIn: 1, Waits: 2},
	} {
		dev, c := counting(t)
		const n = 8192
		m, err := New(dev, shapes[name], Options{MaxTokens: n, Train: true, DType: kernels.BF16})
		require.NoError(t, err)
		in := Inputs{Starts: []int32{0, n}, IDs: make([]int32, n), Rows: make([]int32, n)}
		for i := range in.Rows {
			in.Rows[i] = int32(i)
		}
		s, dlogp := NewScorer(dev, n), dev.Alloc(kernels.F32, n)
		s.Load(make([]int32, n))
		got := ask(t, name+", training of 8192", dev, c, func() {
			require.NoError(t, m.Train(in, func(h Head) {
				s.Score(h, 1)
				s.Backward(h, dlogp, kernels.Tensor{}, 1)
			}))
		})
		require.Equal(t, want, got)
		m.Close()
	}
}
