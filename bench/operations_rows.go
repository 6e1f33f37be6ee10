package bench

import "retool/kernels"

const eps = 1e-6

var productOps = []operation{
	{"linear", true, "T 33 N 40 M 72",
		func(d sizes) (flop, bytes int) { return 2 * d.T * d.N * d.M, d.x * (d.T*d.N + d.T*d.M + d.N*d.M) },
		func(b *workbench, d sizes) (kernels.Tensor, func()) {
			y, x, w := b.output(d.T, d.N), b.random(d.T, d.M), b.random(d.N, d.M)
			return y, func() { b.dev.Linear(y, x, w, absent) }
		}},
	{"linear dx", true, "T 17 N 40 M 24", // dx is read and written
		func(d sizes) (flop, bytes int) { return 2 * d.T * d.N * d.M, d.x * (d.T*d.N + 2*d.T*d.M + d.N*d.M) },
		func(b *workbench, d sizes) (kernels.Tensor, func()) {
			dx, dy, w := b.output(d.T, d.M), b.random(d.T, d.N), b.random(d.N, d.M)
			return dx, func() { b.dev.LinearBackward(dx, absent, absent, dy, absent, w) }
		}},
	{"linear dw", true, "T 17 N 40 M 24", // dw is float32, read and written
		func(d sizes) (flop, bytes int) { return 2 * d.T * d.N * d.M, d.x*(d.T*d.N+d.T*d.M) + 2*f32*d.N*d.M },
		func(b *workbench, d sizes) (kernels.Tensor, func()) {
			dw, dy, x := b.empty(kernels.F32, d.N, d.M), b.random(d.T, d.N), b.random(d.T, d.M)
			return dw, func() { b.dev.LinearBackward(absent, dw, absent, dy, x, absent) }
		}},
}

// rowOps see a token by itself. Embeddings are of a table of N rows, 8·T without one.
var rowOps = []operation{
	{"rmsnorm", false, "T 9 C 72",
		moves(func(d sizes) int { return d.x * 2 * d.T * d.C }),
		func(b *workbench, d sizes) (kernels.Tensor, func()) {
			y, r, x, w := b.output(d.T, d.C), b.empty(kernels.F32, d.T), b.random(d.T, d.C), b.random(d.C)
			return y, func() { b.dev.RMSNorm(y, r, x, absent, w, eps) }
		}},
	{"rmsnorm add", false, "T 9 C 72",
		moves(func(d sizes) int { return d.x * 4 * d.T * d.C }),
		func(b *workbench, d sizes) (kernels.Tensor, func()) {
			y, r, x := b.output(d.T, d.C), b.empty(kernels.F32, d.T), b.random(d.T, d.C)
			by, w := b.random(d.T, d.C), b.random(d.C)
			return y, func() { b.dev.RMSNorm(y, r, x, by, w, eps) }
		}},
	{"rmsnorm backward", false, "T 9 C 72", // dx is the residual stream's float32 gradient, read and written
		moves(func(d sizes) int { return 2*d.x*d.T*d.C + 2*f32*d.T*d.C }),
		func(b *workbench, d sizes) (kernels.Tensor, func()) {
			dx, dw, dy := b.empty(kernels.F32, d.T, d.C), b.empty(kernels.F32, d.C), b.random(d.T, d.C)
			y, r, x, w := b.output(d.T, d.C), b.empty(kernels.F32, d.T), b.random(d.T, d.C), b.random(d.C)
			b.once(func() { b.dev.RMSNorm(y, r, x, absent, w, eps) })
			return dx, func() { b.dev.RMSNormBackward(dx, dw, dy, x, w, r) }
		}},
	{"add", false, "T 9 C 72",
		moves(func(d sizes) int { return d.x * 3 * d.T * d.C }),
		func(b *workbench, d sizes) (kernels.Tensor, func()) {
			y, x := b.random(d.T, d.C), b.random(d.T, d.C)
			return y, func() { b.dev.Add(y, x) }
		}},
	{"embed", false, "T 9 C 72",
		moves(func(d sizes) int { return d.x * 2 * d.T * d.C }),
		func(b *workbench, d sizes) (kernels.Tensor, func()) {
			rows := or(d.N, 8*d.T)
			y, table, ids := b.output(d.T, d.C), b.random(rows, d.C), b.ints(d.T, func(i int) int { return i * 7 % rows })
			return y, func() { b.dev.Embed(y, table, ids) }
		}},
	{"embed backward", false, "T 9 C 72", // rows of the table's float32 gradient are read and written
		moves(func(d sizes) int { return d.x*d.T*d.C + 2*f32*d.T*d.C }),
		func(b *workbench, d sizes) (kernels.Tensor, func()) {
			rows := or(d.N, 8*d.T)
			dtable, dy := b.empty(kernels.F32, rows, d.C), b.random(d.T, d.C)
			ids := b.ints(d.T, func(i int) int { return i * 7 % rows })
			return dtable, func() { b.dev.EmbedBackward(dtable, dy, ids) }
		}},
	{"swiglu", false, "T 9 F 72",
		moves(func(d sizes) int { return d.x * 3 * d.T * d.F }),
		func(b *workbench, d sizes) (kernels.Tensor, func()) {
			y, gu := b.output(d.T, d.F), b.random(d.T, 2*d.F)
			return y, func() { b.dev.SwiGLU(y, gu.Cols(0, d.F), gu.Cols(d.F, 2*d.F)) }
		}},
	{"swiglu backward", false, "T 9 F 72", // adds to dgate and dup
		moves(func(d sizes) int { return d.x * 7 * d.T * d.F }),
		func(b *workbench, d sizes) (kernels.Tensor, func()) {
			grad, dy, gu := b.output(d.T, 2*d.F), b.random(d.T, d.F), b.random(d.T, 2*d.F)
			return grad, func() {
				b.dev.SwiGLUBackward(grad.Cols(0, d.F), grad.Cols(d.F, 2*d.F), dy, gu.Cols(0, d.F), gu.Cols(d.F, 2*d.F))
			}
		}},
}
