package bench

import (
	"slices"

	"retool/kernels"
)

// An operation is an entry of the table that every measurement and the smoke test take theirs from, on a GPU and on the CPU.
type operation struct {
	name   string
	hopper bool   // there are kernels for sm_90a
	smoke  string // shapes, divided by semicolons, that the emulator gets through in seconds: ragged ones
	// work is the least it can be done with: floating-point operations, and bytes from and to memory, each once.
	work func(d sizes) (flop, bytes int)
	// set makes its tensors: what it writes, and a call of it.
	set func(b *workbench, d sizes) (out kernels.Tensor, run func())
}

var operations = slices.Concat(productOps, rowOps, attentionOps, headOps, updateOps)

// operationOf finds an operation by its name.
func operationOf(name string) operation {
	i := slices.IndexFunc(operations, func(o operation) bool { return o.name == name })
	if i < 0 {
		panic("bench: no operation " + name)
	}
	return operations[i]
}

// sizes are the dimensions of a case; those it does not have are 0.
//
// T tokens, S sequences of L tokens each, B sequences of a decode step with L tokens in the cache and New ones each, N by M a weight,
// H query and K key heads of D, C hidden, F MLP width, R rows of V logits, P parameters.
type sizes struct {
	T, S, L, B, New, N, M, H, K, D, C, F, R, V, P int

	x int // bytes of an activation, and of a weight
}

const f32 = 4 // bytes

func sizesOf(d dims, dtype kernels.DType) sizes {
	return sizes{
		T: d["T"], S: d["S"], L: d["L"], B: d["B"], New: d["new"], N: d["N"], M: d["M"], H: d["H"], K: d["K"], D: d["D"],
		C: d["C"], F: d["F"], R: d["R"], V: d["V"], P: d["n"], x: dtype.Size(),
	}
}

// moves is the work of an operation that has no products to speak of.
func moves(of func(d sizes) int) func(d sizes) (int, int) {
	return func(d sizes) (int, int) { return 0, of(d) }
}

// heads is the geometry of attention, its chunks as models have them.
func (d sizes) heads() kernels.Heads {
	h := kernels.Heads{Q: d.H, KV: d.K, Dim: d.D, Chunk: 1024}
	if h.KV <= 2 {
		h.Chunk = 512
	}
	return h
}

// queries and keys are the widths of rows: of queries, and of keys or values.
func (d sizes) queries() int { return d.H * d.D }
func (d sizes) keys() int    { return d.K * d.D }

// or is n, or if there is none a number in its place.
func or(n, instead int) int {
	if n == 0 {
		return instead
	}
	return n
}
