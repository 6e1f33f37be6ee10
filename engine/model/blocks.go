package model

import "retool/kernels"

// block is tokens [from, to) of a pass, which a layer's operations take one after the other. On a CPU they are so few that what one leaves
// is in the caches when the next reads it: a training pass of thousands of tokens would send all of it through memory. Attention takes, as
// soon as a block is projected, the sequences that end in it. Bits do not depend on blocks: a row knows no other, sums over tokens ascend,
// and those in blocks have blocks that divide these.
type block struct {
	from, to     int
	since, ended int            // tokens of the sequences that end in it; none: equal
	starts       kernels.Tensor // where these begin, counted from since, and their end
}

// cut divides t tokens of a pass over pages, which are attended together.
func (m *Model) cut(t int) {
	n := t
	if m.block > 0 {
		n = m.block
	}
	m.blocks = m.blocks[:0]
	for from := 0; from < t; from += n {
		m.blocks = append(m.blocks, block{from: from, to: min(from+n, t)})
	}
	m.blocks[len(m.blocks)-1].ended = t
}

// cutPacked is cut of a packed pass, whose sequences begin at starts and end in t, that also adds to the pass's integers.
func (m *Model) cutPacked(starts []int32) {
	m.cut(int(starts[len(starts)-1]))
	first := 0
	for i := range m.blocks {
		b, last := &m.blocks[i], first
		for last+1 < len(starts) && int(starts[last+1]) <= b.to {
			last++
		}
		b.since, b.ended = int(starts[first]), int(starts[last])
		if first < last {
			own, at := m.in.take(last - first + 1)
			for j := range own {
				own[j] = starts[first+j] - starts[first]
			}
			b.starts = m.in.view(at, len(own))
		}
		first = last
	}
}

// startsRoom is how many integers, in how many regions, cutPacked adds at most for t tokens of s sequences.
func (m *Model) startsRoom(t, s int) (n, regions int) {
	if regions = 1; m.block > 0 {
		regions = min((t+m.block-1)/m.block, s)
	}
	return s + regions, regions
}

// eachBlock calls before for each block, then attend if sequences end in it, and behind for each block as soon as all of its tokens are
// attended.
func (m *Model) eachBlock(before, attend, behind func(b *block)) {
	next := 0
	for i := range m.blocks {
		b := &m.blocks[i]
		before(b)
		if b.since < b.ended {
			attend(b)
		}
		for ; next < len(m.blocks) && m.blocks[next].to <= b.ended; next++ {
			behind(&m.blocks[next])
		}
	}
}

const (
	blockRows   = 256     // least tokens of a block, and what more are multiples of: a multiple of the blocks of every sum over tokens
	blockFloats = 3 << 17 // of a block's widest activation, gate and up
	blockBytes  = 8 << 20 // of a layer's weights, which every block reads again
)

// blockOf is how many tokens a block has; 0: all.
func blockOf(c *Config) int {
	if 4*c.Hidden*(3*c.FFN+2*(c.Heads+c.KVHeads)*c.HeadDim) > blockBytes {
		return 0
	}
	return max(blockFloats/(2*c.FFN)/blockRows, 1) * blockRows
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
