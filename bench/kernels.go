package bench

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"retool/kernels"
)

// A Model is the sizes of a transformer whose operations are measured.
type Model struct {
	Name                                                string
	Layers, Hidden, Heads, KVHeads, HeadDim, FFN, Vocab int
	Train                                               int // tokens of a training batch
}

// Models are the shapes of the figures: the demo's, a bigger one, and that of Qwen2.5-0.5B.
var Models = []Model{
	{"d128", 4, 128, 4, 4, 32, 384, 512, 4096},
	{"d256", 6, 256, 8, 8, 32, 768, 512, 4096},
	{"q05", 24, 896, 14, 2, 64, 4864, 151936, 512},
}

// KernelOptions selects what Kernels measures.
type KernelOptions struct {
	Models []string      // names; none: d128 and d256
	Ops    []string      // substrings of operations' names; none: all
	Decode []int         // batch sizes of a decode step; none: 1, 8, 32, 64
	Budget time.Duration // per row; 0: 30 ms
	Floor  *Floor        // none: calibrated first

	Report func(Row) error // of each row, when it has been measured; its error ends the measurement
}

// Kernels measures every operation of a device at the shapes of models, in training and in decode, each against its floor.
func Kernels(dev kernels.Device, o KernelOptions) ([]Row, error) {
	if o.Budget == 0 {
		o.Budget = 30 * time.Millisecond
	}
	if o.Floor == nil {
		f := Calibrate(dev)
		o.Floor = &f
	}
	k := &kernelBench{dev: dev, o: o}
	err := k.all()
	return k.rows, err
}

// CheckKernels refuses options by which Kernels would measure nothing.
func CheckKernels(o KernelOptions) error { return (&kernelBench{o: o}).all() }

// all goes over the operations.
func (k *kernelBench) all() error {
	if len(k.o.Models) == 0 {
		k.o.Models = []string{"d128", "d256"}
	}
	if len(k.o.Decode) == 0 {
		k.o.Decode = []int{1, 8, 32, 64}
	}
	for _, name := range k.o.Models {
		i := slices.IndexFunc(Models, func(m Model) bool { return m.Name == name })
		if i < 0 {
			return fmt.Errorf("bench: no model %q (known: d128, d256, q05)", name)
		}
		k.m = Models[i]
		k.training()
		for _, batch := range k.o.Decode {
			k.decode(batch)
		}
		k.update()
	}
	if k.err == nil && len(k.rows) == 0 {
		k.err = fmt.Errorf("bench: kernels: --ops %q matches no operation", strings.Join(k.o.Ops, ","))
	}
	return k.err
}

type kernelBench struct {
	dev  kernels.Device // nil: operations are counted, none is measured
	o    KernelOptions
	m    Model
	rows []Row
	err  error
}

// wanted reports whether an operation is to be measured.
func (k *kernelBench) wanted(op string) bool {
	return k.err == nil && (len(k.o.Ops) == 0 || slices.ContainsFunc(k.o.Ops, func(s string) bool { return strings.Contains(op, s) }))
}

// row measures an operation of the table under its own name.
func (k *kernelBench) row(op, shape string, d dims) { k.rowAs(op, op, shape, d) }

// rowAs measures an operation of the table. Where there are operations to speak of, the row is a rate of them, else of bytes.
func (k *kernelBench) rowAs(name, op, shape string, d dims) {
	if !k.wanted(name) {
		return
	}
	if k.dev == nil {
		k.rows = append(k.rows, Row{Op: name})
		return
	}
	c := caseOf("", op, d, kernels.F32)
	w, err := prepare(k.dev, kernels.F32, uniforms(), c)
	defer w.close()
	if err != nil {
		k.err = err
		return
	}
	// A product on one thread is compared with multiply-adds of the same moment, anything else with the floor.
	threads := k.dev.Info().Threads
	compute := threads == 1 && k.o.Floor.turns > 0 && c.FLOP/k.o.Floor.FLOPs > c.Bytes/k.o.Floor.Read
	var done float64
	var yardstick func()
	if compute {
		yardstick = func() { done = kernels.FMAs(k.dev, k.o.Floor.turns/8) }
	}
	seconds, relative := best(k.o.Budget, clock(threads), yardstick, func(n int) {
		if err := k.dev.Do(func() {
			for range n {
				w.run()
			}
		}); err != nil {
			k.err = err
		}
	})
	value, unit := c.Bytes/seconds/1e9, "GB/s"
	if c.FLOP > 0 {
		value, unit = c.FLOP/seconds/1e9, "GFLOP/s"
	}
	r := k.o.Floor.row(name, k.m.Name+" "+shape, value, unit, c.FLOP, c.Bytes, seconds)
	if compute {
		r.OfPeak, r.seconds = c.FLOP/done/relative, 0
	}
	k.rows = append(k.rows, r)
	if k.o.Report != nil && k.err == nil {
		k.err = k.o.Report(r)
	}
}

// matrices are the products of a block: their outputs and inner sizes.
func (k *kernelBench) matrices() (all [][2]int) {
	q, ffn := (k.m.Heads+2*k.m.KVHeads)*k.m.HeadDim, k.m.FFN
	all = append(all, [2]int{q, k.m.Hidden}, [2]int{k.m.Hidden, k.m.Heads * k.m.HeadDim}, [2]int{2 * ffn, k.m.Hidden}, [2]int{k.m.Hidden, ffn})
	if k.m.Vocab < 10000 {
		all = append(all, [2]int{k.m.Vocab, k.m.Hidden})
	}
	return all
}

func (k *kernelBench) training() {
	m, T := k.m, k.m.Train
	for _, w := range k.matrices() {
		shape, d := fmt.Sprintf("T %d N %d M %d", T, w[0], w[1]), dims{"T": T, "N": w[0], "M": w[1]}
		k.row("linear", shape, d)
		k.row("linear dx", shape, d)
		k.row("linear dw", shape, d)
	}
	shape, d := fmt.Sprintf("T %d C %d", T, m.Hidden), dims{"T": T, "C": m.Hidden, "N": 512}
	for _, op := range []string{"rmsnorm", "rmsnorm add", "rmsnorm backward", "add", "embed", "embed backward"} {
		k.row(op, shape, d)
	}
	heads := fmt.Sprintf("H %d K %d D %d", m.Heads, m.KVHeads, m.HeadDim)
	k.rowAs("rope", "rope plain", fmt.Sprintf("T %d %s", T, heads), dims{"T": T, "L": 512, "H": m.Heads, "K": m.KVHeads, "D": m.HeadDim})
	shape, d = fmt.Sprintf("T %d F %d", T, m.FFN), dims{"T": T, "F": m.FFN}
	k.row("swiglu", shape, d)
	k.row("swiglu backward", shape, d)
	for _, length := range []int{128, 512} {
		shape := fmt.Sprintf("T %d of %d %s", T, length, heads)
		d := dims{"S": T / length, "L": length, "H": m.Heads, "K": m.KVHeads, "D": m.HeadDim}
		k.row("attention", shape, d)
		k.row("attention backward", shape, d)
	}
	k.head(T, min(m.Vocab, 1<<22/T))
}

// head measures what sees the vocabulary.
func (k *kernelBench) head(R, V int) {
	shape, d := fmt.Sprintf("R %d V %d", R, V), dims{"R": R, "V": V}
	k.row("logsumexp", shape, d)
	k.row("logprob entropy", shape, d)
	k.row("sample", shape, d)
	k.row("restrict", shape, d)
	if R >= 128 {
		k.row("logprob kept", shape, d)
		k.row("logprob backward", shape, d)
		k.row("policy loss", shape, d)
	}
}

// decode measures one token for each of B sequences of 144 tokens.
func (k *kernelBench) decode(B int) {
	m := k.m
	for _, w := range k.matrices() {
		k.row("linear", fmt.Sprintf("T %d N %d M %d", B, w[0], w[1]), dims{"T": B, "N": w[0], "M": w[1]})
	}
	const length = 144
	shape := fmt.Sprintf("S %d of %d H %d K %d D %d", B, length, m.Heads, m.KVHeads, m.HeadDim)
	k.row("paged attention", shape, dims{"B": B, "L": length, "new": 1, "H": m.Heads, "K": m.KVHeads, "D": m.HeadDim})
	k.row("append kv", shape, dims{"T": B, "L": length, "H": m.Heads, "K": m.KVHeads, "D": m.HeadDim})
	k.row("rmsnorm", fmt.Sprintf("T %d C %d", B, m.Hidden), dims{"T": B, "C": m.Hidden})
	k.row("swiglu", fmt.Sprintf("T %d F %d", B, m.FFN), dims{"T": B, "F": m.FFN})
	k.head(B, m.Vocab)
}

// update measures what runs once per optimizer step.
func (k *kernelBench) update() {
	m := k.m
	n := m.Vocab * m.Hidden
	for _, w := range k.matrices()[:4] {
		n += m.Layers * w[0] * w[1]
	}
	n = min(n, 1<<24)
	k.row("adamw", fmt.Sprintf("n %d", n), dims{"n": n})
	k.row("sum of squares", fmt.Sprintf("n %d", n), dims{"n": n})
	k.row("sum tree", fmt.Sprintf("R 4 n %d", n/4), dims{"R": 4, "n": n / 4})
}
