// rope.cu: rotation of pairs of numbers by the token's position, in place.
//
//   (a, b) → (a·cos − b·sin, b·cos + a·sin),   a = x[i], b = x[i + D/2], angle of pos[t] and i from a table
//
//   x (T, H, D)  pos (T) i32  table (positions, D) f32: D/2 cosines, then D/2 sines. sign −1 turns back: the gradient.
//   Reference: rope_test.go, float64. Su 2021.
//
// Launch    a thread a pair of eights where D/2 is a multiple of 8, else a pair of one: 256 threads a block.
// Layout    x as in memory, the two halves of a head D/2 apart.
// Contract  one table for training and rollout; products in fp32, rounded once.
// Floor     4·T·H·D bytes in bf16. T 16384, H 28, D 128, 4.3 TB/s (H200): 55 µs.
// Reached   not measured: no hardware yet.
// Error     one rounding.
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(256) rope(Tensor x, Tensor pos, Tensor table, int tokens, int heads, int dim, int width, float sign) {
	const int half = dim / 2, pieces = half / width;
	const long i = (long)blockIdx.x * 256 + threadIdx.x;
	if (i >= (long)tokens * heads * pieces) return;
	const int piece = (int)(i % pieces), head = (int)(i / pieces % heads), t = (int)(i / pieces / heads);
	const long a = (long)t * x.ld + (long)head * dim + piece * width, row = (long)id_of(pos, t) * table.ld + piece * width;
	float u[8], v[8], c[8], s[8];
	load8(u, x, a, width);
	load8(v, x, a + half, width);
	load8(c, table, row, width);
	load8(s, table, row + half, width);
#pragma unroll
	for (int k = 0; k < 8; k++) {
		const float sn = sign * s[k], p = u[k], q = v[k];
		u[k] = fmaf(p, c[k], -(q * sn));
		v[k] = fmaf(q, c[k], p * sn);
	}
	store8(x, a, width, u);
	store8(x, a + half, width, v);
}
