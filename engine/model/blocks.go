package model

import (
	"iter"

	"retool/kernels"
)

// blocks divides t tokens into those that a layer's operations take one after the other. On a CPU they are so few that what one leaves is
// in the caches when the next reads it: a training pass of thousands of tokens would send all of it through memory. Bits do not depend on
// them: a row knows no other, sums over tokens ascend, and those in blocks have blocks that divide these.
func (m *Model) blocks(t int) iter.Seq2[int, int] {
	n := t
	if m.block > 0 {
		n = m.block
	}
	return func(yield func(from, to int) bool) {
		for from := 0; from < t; from += n {
			if !yield(from, min(from+n, t)) {
				return
			}
		}
	}
}

const (
	blockRows  = 256     // tokens of a block: a multiple of the blocks of every sum over tokens
	blockBytes = 8 << 20 // of a layer's weights, which every block reads again
)

// blockOf is how many tokens a block has; 0: all.
func blockOf(c *Config) int {
	if 4*c.Hidden*(3*c.FFN+2*(c.Heads+c.KVHeads)*c.HeadDim) > blockBytes {
		return 0
	}
	return blockRows
}

// part is rows [from, to) of x, if there is one.
func part(x kernels.Tensor, from, to int) kernels.Tensor {
	if x.Absent() {
		return x
	}
	return x.Rows(from, to)
}

// part is what belongs to tokens [from, to), in room unless that is all.
func (a *activations) part(from, to int, room *activations) *activations {
	if from == 0 && to == a.mid.Dim(0) {
		return a
	}
	*room = activations{
		attnNorm: part(a.attnNorm, from, to), attnRstd: part(a.attnRstd, from, to),
		qkv: part(a.qkv, from, to), qk: part(a.qk, from, to), qRstd: part(a.qRstd, from, to), kRstd: part(a.kRstd, from, to),
		o: part(a.o, from, to), lse: part(a.lse, from, to), mid: part(a.mid, from, to),
		mlpNorm: part(a.mlpNorm, from, to), mlpRstd: part(a.mlpRstd, from, to), gateUp: part(a.gateUp, from, to), act: part(a.act, from, to),
	}
	return room
}
