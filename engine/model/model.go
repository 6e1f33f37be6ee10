package model

import (
	"fmt"
	"slices"
	"sync/atomic"

	"retool/kernels"
)

// Options are what a use of a model decides, as opposed to Config, which the weights decide.
type Options struct {
	MaxTokens int           // packed tokens of the largest pass: Train, Score or Step
	HeadRows  int           // rows of the head computed at a time; 0: see headRows
	Positions int           // longest sequence; 0: Config.MaxPositions
	Train     bool          // have gradients, and keep activations for the backward
	DType     kernels.DType // of weights and activations: BF16, or F32 (also 0). Gradients of weights, logits and sums are float32 in any case
	Sharded   bool          // of a BF16 model that trains: no master copy; its float32 numbers lie in G when they are read, copied or saved
	Halves    bool          // of the same: its numbers are W and 16 bits more, W rounded by kernels.Split; Sharded besides
	Recompute bool          // keep only each layer's input, run its forward again in the backward: less memory, a third more work, equal bits

	Lends  bool   // of a model that trains: give back what only learning needs while the policy generates, and pages while it learns
	Beside *Model // have activations where it has them: the two never work at the same time; it is closed after this one

	Division Division // of a model that trains: divide the weights among ranks; Sharded says nothing then
	HostCopy bool     // of a divided BF16 model: keep the float32 numbers in the host's memory

	LoRA LoRA   // learn an adapter, and leave the weights as they are
	Base *Model // take its weights, without its adapter and not a copy of them; it is closed after this one

	Progress func(done, all int64) // when set, called while Load and ReadWeights read: parameters that are in place, of all
}

// Model is a decoder on one device. It is not safe for concurrent use: engine and trainer take turns.
type Model struct {
	Config  Config
	Options Options
	W       *Weights // parameters, of type Options.DType: what every pass reads
	Master  *Weights // the same in float32, which AdamW updates and rounds into W; nil unless a BF16 model trains all, or if it is sharded
	Adapter *Weights // what Options.LoRA adds, float32 whatever W is, so it needs no master copy; nil without
	G       *Weights // gradients, float32, to which Train adds, unless they were forgotten; nil without Options.Train
	div     *divided // what a rank has of a divided model: W and G are then views of a few units' memory

	dev      kernels.Device
	id       int64          // of this model in this process
	replays  bool           // the device's Repeat saves work
	narrow   bool           // gradients of logits are BF16
	block    int            // tokens of a block; 0: all
	blocks   []block        // of the pass
	table    kernels.Tensor // (positions, D): cosines and sines
	work     *workspace     // that b's tensors are regions of
	b        buffers
	low      *lowScratch  // nil without an adapter
	filled   int          // times that W was given weights
	baseHash baseHash     // of W without what is learnt
	kv       []kernels.KV // one per layer while a cache is open and has its memory
	pages    int          // pages of it
	caches   int          // times that it was given memory
	forgot   bool         // what G holds is of no account
	fresh    bool         // the pass at work writes it
	in       ints         // integers of the current pass, and their views:
	ids      kernels.Tensor
	pos      kernels.Tensor
	rows     kernels.Tensor
	paged    pagedPass
	step     stepState
}

// made counts models: devices know the steps of one from those of another by its number.
var made atomic.Int64

// New makes a model with weights of zero: Init, ReadWeights or CopyFrom give them values.
func New(dev kernels.Device, cfg Config, opt Options) (*Model, error) {
	cfg.KVChunk = cfg.kvChunk()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if dims := dev.Info().HeadDims; dims != nil && !slices.Contains(dims, cfg.HeadDim) {
		return nil, fmt.Errorf("model: heads are of %d numbers, attention on %s takes heads of %v", cfg.HeadDim, dev.Info().Name, dims)
	}
	if opt.MaxTokens < 1 {
		return nil, fmt.Errorf("model: MaxTokens is %d, must be at least 1", opt.MaxTokens)
	}
	if opt.Positions == 0 {
		opt.Positions = cfg.MaxPositions
	}
	if opt.Positions < 0 || opt.HeadRows < 0 {
		return nil, fmt.Errorf("model: Positions %d and HeadRows %d must not be negative", opt.Positions, opt.HeadRows)
	}
	if opt.Recompute && !opt.Train {
		return nil, fmt.Errorf("model: Recompute without Train: there is no backward to recompute for")
	}
	if opt.DType == 0 {
		opt.DType = kernels.F32
	}
	if !opt.Train {
		opt.Division = nil
	}
	opt.LoRA = opt.LoRA.spelt()
	opt.Halves = opt.Halves && opt.Train && opt.DType == kernels.BF16 && opt.Division == nil && opt.LoRA.Rank == 0
	opt.Sharded = opt.Halves || opt.Sharded && opt.Train && opt.DType == kernels.BF16 && opt.Division == nil && opt.LoRA.Rank == 0
	if opt.DType != kernels.F32 && opt.DType != kernels.BF16 {
		return nil, fmt.Errorf("model: weights of %v: must be f32 or bf16", opt.DType)
	}
	cfg.DType = opt.DType
	if opt.HeadRows == 0 {
		opt.HeadRows = headRows(dev, cfg.Vocab, cfg.Hidden, opt.DType)
	}
	opt.HeadRows = min(opt.HeadRows, opt.MaxTokens)
	switch {
	case opt.LoRA.Rank > 0 && opt.Division != nil:
		return nil, fmt.Errorf("model: lora: an adapter's base is not divided among ranks")
	case opt.LoRA.Rank < 0:
		return nil, fmt.Errorf("model: lora: rank is %d, must not be negative", opt.LoRA.Rank)
	case opt.Base != nil && (opt.Train && opt.LoRA.Rank == 0 || opt.DType != opt.Base.Options.DType):
		return nil, fmt.Errorf("model: weights that are shared can be read as they are, and not be trained")
	}

	m := &Model{Config: cfg, Options: opt, dev: dev, id: made.Add(1), replays: dev.Info().Replays}
	m.in.dev = dev
	if dev.Info().Name == "cpu" {
		m.block = blockOf(&m.Config)
	} else {
		m.narrow = opt.DType == kernels.BF16
	}
	switch {
	case opt.Division != nil:
		m.div = newDivided(m)
	case opt.Base == nil:
		m.W = newWeights(dev, &m.Config, opt.DType, LoRA{})
	default:
		m.W = opt.Base.base(&m.Config)
	}
	if opt.LoRA.Rank > 0 {
		if err := opt.LoRA.check(m.W); err != nil {
			if opt.Base == nil {
				dev.Free(m.W.All)
			}
			return nil, err
		}
		m.Adapter = newWeights(dev, &m.Config, kernels.F32, opt.LoRA)
		m.W.adopt(m.Adapter)
		m.low = newLowScratch(dev, &m.Config, opt)
	}
	switch {
	case m.div != nil:
	case opt.Train:
		m.G = newWeights(dev, &m.Config, kernels.F32, opt.LoRA)
		if opt.DType == kernels.BF16 && !opt.Sharded && m.Adapter == nil {
			m.Master = newWeights(dev, &m.Config, kernels.F32, LoRA{})
		}
	case opt.Base == nil:
		m.W.arrange(dev)
	}
	m.table = dev.Alloc(kernels.F32, opt.Positions, cfg.HeadDim)
	dev.Upload(m.table, ropeTable(cfg, opt.Positions))

	m.allocate()
	m.step.init(m)
	return m, nil
}

// headRows is how many rows of the head are computed at a time, if nobody says: of 64 MB of logits, 64 to 512; of a BF16 model of 512 MB,
// to 1024, for each piece adds to the whole gradient of the head, which is far from a GPU's processors. There they fill whole tiles of
// products, and of a BF16 model, which needs no other copy of their gradient, at most 768 MB are as many as it takes the least time for.
func headRows(dev kernels.Device, vocab, hidden int, dtype kernels.DType) int {
	const tile = 128
	rows := min(max(16<<20/vocab, 64), 512)
	if dtype == kernels.BF16 {
		rows = min(max(128<<20/vocab, 64), 1024)
	}
	if dev.Info().Name == "cpu" {
		return rows
	}
	rows = (rows + tile - 1) / tile * tile
	if g, ok := dev.(interface {
		HeadRows(vocab, hidden, most int) int
	}); ok && dtype == kernels.BF16 {
		return g.HeadRows(vocab, hidden, max(192<<20/vocab, rows))
	}
	return rows
}

// Device is where the model lives.
func (m *Model) Device() kernels.Device { return m.dev }

// Close gives the memory back. The model is not usable afterwards.
func (m *Model) Close() {
	m.CloseKV()
	m.in.close()
	m.step.close(m.dev)
	m.leave()
	m.dev.Free(m.table)
	m.low.close(m.dev)
	if m.div != nil {
		m.div.close()
		*m = Model{}
		return
	}
	if m.Options.Base == nil {
		m.dev.Free(m.W.All)
	}
	for _, w := range []*Weights{m.G, m.Master, m.Adapter} {
		if w != nil {
			m.dev.Free(w.All)
		}
	}
	*m = Model{}
}

// activations are what one layer computes for T tokens, and its backward needs.
type activations struct {
	attnNorm, attnRstd kernels.Tensor // (T,C), (T): the normalised input
	qkv                kernels.Tensor // (T,(H+2K)·D); queries and keys rotated in place unless they are normalised first
	qk                 kernels.Tensor // (T,(H+K)·D): queries and keys normalised and rotated; absent without QK-norm
	qRstd, kRstd       kernels.Tensor // (T,H), (T,K); absent without QK-norm
	o, lse             kernels.Tensor // (T,H·D), (T,H): attention
	mid                kernels.Tensor // (T,C): the residual stream between attention and MLP
	mlpNorm, mlpRstd   kernels.Tensor // (T,C), (T)
	gateUp             kernels.Tensor // (T,2F)
	act                kernels.Tensor // (T,F): silu(gate)·up
}

// buffers are the activations and scratch of a pass, regions of one allocation, each as long as the largest pass.
type buffers struct {
	x    []kernels.Tensor // (T,C): the input of every layer and the output of the last; one buffer, reused, without Train
	acts []activations    // one per layer, or one that all layers share
	cut  []activations    // acts, cut to the tokens of the pass

	// Of the head, for HeadRows rows.
	rows, rowsNorm, rowsRstd kernels.Tensor // (R,C), (R,C), (R)
	logits, values           kernels.Tensor // (R,V), (R,1)
	lse                      kernels.Tensor // (R): of Step

	// Gradients of the backward.
	dx, dnorm        kernels.Tensor // (T,C)
	dqkv, dqk        kernels.Tensor
	do               kernels.Tensor // (T,H·D)
	dgateUp, dact    kernels.Tensor
	drows, drowsNorm kernels.Tensor // (R,C)
}

// place takes the activations and their gradients from the first of two arenas; from the second, what is float32 whatever the model is:
// logits, values, log-probabilities, what norms and attention keep of a row, and the gradient of the residual stream, which adds up over
// layers. On a CPU the stream itself is exact too: it is where rounding adds up, a tenth of what a layer keeps, and to round it costs time
// there. What only learning needs is taken from the arenas of only.
func (b *buffers) place(kept, only *[2]arena, c Config, opt Options, cpu bool) {
	in := 0 // the arena of the stream
	if cpu {
		in = 1
	}
	a, exact, stream := &kept[0], &kept[1], &kept[in]
	t, q, kv := opt.MaxTokens, c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	xs, sets := 1, 1
	if opt.Train {
		xs = c.Layers + 1
		if !opt.Recompute {
			sets = c.Layers
		}
	}
	b.x = make([]kernels.Tensor, xs)
	for i := range b.x {
		if i == 1 {
			stream = &only[in]
		}
		b.x[i] = stream.take(t, c.Hidden)
	}
	stream = &kept[in]
	b.acts, b.cut = make([]activations, sets), make([]activations, sets)
	for i := range b.acts {
		s := &b.acts[i]
		if i == 1 {
			a, stream = &only[0], &only[in]
		}
		s.attnNorm, s.qkv = a.take(t, c.Hidden), a.take(t, q+2*kv)
		if c.QKNorm {
			s.qk = a.take(t, q+kv)
		}
		s.o, s.mid, s.mlpNorm = a.take(t, q), stream.take(t, c.Hidden), a.take(t, c.Hidden)
		s.gateUp, s.act = a.take(t, 2*c.FFN), a.take(t, c.FFN)
		if opt.Train {
			e := &only[1]
			s.attnRstd, s.mlpRstd, s.lse = e.take(t), e.take(t), e.take(t, c.Heads)
			if c.QKNorm {
				s.qRstd, s.kRstd = e.take(t, c.Heads), e.take(t, c.KVHeads)
			}
		}
	}
	a, stream = &kept[0], &kept[in]
	r := opt.HeadRows
	b.rows, b.rowsNorm, b.rowsRstd = stream.take(r, c.Hidden), a.take(r, c.Hidden), exact.take(r)
	if c.LMHead {
		b.logits = exact.take(r, c.Vocab)
		b.lse = exact.take(r)
	}
	if c.ValueHead {
		b.values = exact.take(r, 1)
	}
	if opt.Train {
		a, exact = &only[0], &only[1]
		b.dx, b.dnorm = exact.take(t, c.Hidden), a.take(t, c.Hidden)
		b.dqkv, b.do = a.take(t, q+2*kv), a.take(t, q)
		if c.QKNorm {
			b.dqk = a.take(t, q+kv)
		}
		b.dgateUp, b.dact = a.take(t, 2*c.FFN), a.take(t, c.FFN)
		b.drows, b.drowsNorm = a.take(r, c.Hidden), a.take(r, c.Hidden)
	}
}

// cutTo makes b.cut the activations of the first t tokens. Without keep, the first layer's serve all layers, and what only a
// backward reads is absent.
func (b *buffers) cutTo(t int, keep bool) {
	for i := range b.acts {
		c := &b.cut[i]
		if whole := b.acts[i].part(0, t, c); whole != c {
			*c = *whole
		}
		if !keep {
			c.attnRstd, c.mlpRstd, c.lse, c.qRstd, c.kRstd = kernels.Tensor{}, kernels.Tensor{}, kernels.Tensor{}, kernels.Tensor{}, kernels.Tensor{}
			return
		}
	}
}
