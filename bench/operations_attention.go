package bench

import "retool/kernels"

// attentionOps turn queries and keys, store them, and attend. Angles are of L positions, 4096 without L.
var attentionOps = []operation{
	{"rope", false, "T 9 H 3 K 1 D 64", // with bias, as Qwen2 has it: values are read and written too
		moves(func(d sizes) int { return d.x * 2 * d.T * (d.queries() + 2*d.keys()) }),
		func(b *workbench, d sizes) (kernels.Tensor, func()) {
			qkv, r := setRotation(b, d)
			r.Bias = b.random(qkv.Dim(1))
			return rotate(b, d, qkv.Cols(0, d.queries()+d.keys()), qkv, r)
		}},
	{"rope plain", false, "T 9 H 3 K 1 D 64",
		moves(func(d sizes) int { return d.x * 2 * d.T * (d.queries() + d.keys()) }),
		func(b *workbench, d sizes) (kernels.Tensor, func()) {
			qkv, r := setRotation(b, d)
			return rotate(b, d, qkv.Cols(0, d.queries()+d.keys()), qkv, r)
		}},
	{"rope norm", false, "T 9 H 3 K 1 D 64", // with norms over heads, as Qwen3 has it: turned heads go to memory of their own
		moves(func(d sizes) int { return d.x * 2 * d.T * (d.queries() + d.keys()) }),
		func(b *workbench, d sizes) (kernels.Tensor, func()) {
			qkv, r := setRotation(b, d)
			qk := b.output(d.T, d.queries()+d.keys())
			r.QNorm, r.KNorm = b.random(d.D), b.random(d.D)
			return rotate(b, d, qk, qkv, r)
		}},
	{"attention", true, "S 2 L 20 H 2 K 1 D 64",
		func(d sizes) (flop, bytes int) {
			return 4 * causalPairs(d) * d.queries(), d.x * d.S * d.L * (2*d.queries() + 2*d.keys())
		},
		func(b *workbench, d sizes) (kernels.Tensor, func()) {
			a := setAttention(b, d)
			return a.o, a.forward
		}},
	{"attention backward", true, "S 2 L 20 H 2 K 1 D 64",
		func(d sizes) (flop, bytes int) {
			return 10 * causalPairs(d) * d.queries(), d.x * d.S * d.L * (4*d.queries() + 4*d.keys())
		},
		func(b *workbench, d sizes) (kernels.Tensor, func()) {
			a := setAttention(b, d)
			b.once(a.forward)
			grad, do := b.output(d.S*d.L, d.queries()+2*d.keys()), b.random(d.S*d.L, d.queries())
			dq, dk, dv := d.cut(grad)
			q, k, v := d.cut(a.qkv)
			return grad, func() { b.dev.AttentionBackward(dq, dk, dv, do, a.o, a.lse, q, k, v, a.starts, d.heads()) }
		}},
	{"paged attention", true, "L 70 B 2 new 1 H 3 K 1 D 64; L 70 B 1 new 9 H 2 K 1 D 64",
		func(d sizes) (flop, bytes int) {
			pairs := d.New*d.L - d.New*(d.New-1)/2
			return 4 * d.B * d.queries() * pairs, d.x * d.B * (2*d.L*d.keys() + 2*d.New*d.queries())
		},
		setPagedAttention},
	{"append kv", false, "", // paged attention reads what it wrote; of consecutive tokens, or with L of the last of T sequences of as many
		moves(func(d sizes) int { return d.x * 4 * d.T * d.keys() }),
		func(b *workbench, d sizes) (kernels.Tensor, func()) {
			pages, slot := ceil(d.T, kernels.PageTokens), func(i int) int { return i }
			if d.L > 0 {
				per := ceil(d.L, kernels.PageTokens)
				pages, slot = d.T*per, func(i int) int { return i*per*kernels.PageTokens + d.L - 1 }
			}
			kv, k, v, slots := b.kv(pages, d.heads()), b.random(d.T, d.keys()), b.random(d.T, d.keys()), b.ints(d.T, slot)
			return k, func() { b.dev.AppendKV(kv, k, v, slots) }
		}},
}

func ceil(n, by int) int { return (n + by - 1) / by }

// causalPairs is how many pairs of a query and a key causal attention looks at.
func causalPairs(d sizes) int { return d.S * d.L * (d.L + 1) / 2 }

// cut is queries, keys and values of a product of all three.
func (d sizes) cut(x kernels.Tensor) (q, k, v kernels.Tensor) {
	Q, K := d.queries(), d.keys()
	return x.Cols(0, Q), x.Cols(Q, Q+K), x.Cols(Q+K, Q+2*K)
}

func setRotation(b *workbench, d sizes) (qkv kernels.Tensor, r kernels.Rotary) {
	positions := or(d.L, 4096)
	qkv = b.random(d.T, d.queries()+2*d.keys())
	pos := b.ints(d.T, func(i int) int { return i % positions })
	return qkv, kernels.Rotary{Eps: eps, Pos: pos, Table: b.filled(kernels.F32, positions, d.D)}
}

func rotate(b *workbench, d sizes, qk, qkv kernels.Tensor, r kernels.Rotary) (kernels.Tensor, func()) {
	return qk, func() { b.dev.RoPE(qk, absent, absent, qkv, r, d.heads()) }
}

// attended is S sequences of L tokens and attention over them.
type attended struct {
	qkv, o, lse, starts kernels.Tensor
	forward             func()
}

func setAttention(b *workbench, d sizes) attended {
	T := d.S * d.L
	a := attended{starts: b.ints(d.S+1, func(i int) int { return i * d.L })}
	a.qkv, a.o, a.lse = b.random(T, d.queries()+2*d.keys()), b.output(T, d.queries()), b.empty(kernels.F32, T, d.H)
	q, k, v := d.cut(a.qkv)
	a.forward = func() { b.dev.Attention(a.o, a.lse, q, k, v, a.starts, d.heads()) }
	return a
}

func setPagedAttention(b *workbench, d sizes) (kernels.Tensor, func()) {
	per := ceil(d.L, kernels.PageTokens)
	kv := b.kv(d.B*per, d.heads())
	// Pages of a sequence lie apart, as in a cache that has been in use.
	page := func(s, i int) int { return i*d.B + s }
	k, v := b.random(d.L, d.keys()), b.random(d.L, d.keys())
	for s := range d.B {
		slots := b.ints(d.L, func(i int) int { return page(s, i/kernels.PageTokens)*kernels.PageTokens + i%kernels.PageTokens })
		b.once(func() { b.dev.AppendKV(kv, k, v, slots) })
	}
	q, o := b.random(d.B*d.New, d.queries()), b.output(d.B*d.New, d.queries())
	table := kernels.PageTable{
		Pages:  b.ints(d.B*per, func(i int) int { return page(i/per, i%per) }, d.B, per),
		Starts: b.ints(d.B+1, func(i int) int { return i * d.New }),
		Len:    b.ints(d.B, func(int) int { return d.L }),
	}
	return o, func() { b.dev.PagedAttention(o, q, kv, table, d.heads()) }
}
