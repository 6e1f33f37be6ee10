// optim.cu: AdamW, and the sum of squares that clips its gradient.
//
//   d = g·scale   m ← β₁m + (1−β₁)d   v ← β₂v + (1−β₂)d²   w ← w·(1 − lr·decay) − lr·m̂/(√v̂ + ε)
//
//   Flat arrays of one length. master (f32) holds w in full where w is bf16. rate = lr/(1−β₁ᵗ), root = 1/(1−β₂ᵗ). Loshchilov 2019, alg. 2.
//   Reference: optim_test.go, float64.
//
// Launch    eight neighbouring numbers a thread, 256 threads a block. The sum: a block for each tile of 2¹⁶ numbers.
// Layout    flat arrays, 16-byte loads of bf16, two of them of f32.
// Contract  outside of it; the order of a tile's sum depends on its length alone.
// Floor     28 bytes a number with bf16 w, fp32 master, m, v and bf16 g; 30 with fp32 g. 0.5 B numbers at 4.3 TB/s (H200): 3.4 ms.
// Reached   not measured: no hardware yet.
// Error     3 roundings of fp32.
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(256) adamw(Tensor w, Tensor master, Tensor g, Tensor m, Tensor v, long n, float scale, float b1, float b1c, float b2, float b2c, float rate, float root, float eps, float keep) {
	const long at = ((long)blockIdx.x * 256 + threadIdx.x) * 8;
	if (at >= n) return;
	const int left = (int)min(n - at, 8l);
	float x[8], d[8], mm[8], vv[8];
	load8(x, master.p ? master : w, at, left);
	load8(d, g, at, left);
	load8(mm, m, at, left);
	load8(vv, v, at, left);
#pragma unroll
	for (int i = 0; i < 8; i++) {
		d[i] *= scale;
		mm[i] = fmaf(b1, mm[i], b1c * d[i]);
		vv[i] = fmaf(b2, vv[i], b2c * d[i] * d[i]);
		x[i] = fmaf(x[i], keep, -__fdiv_rn(rate * mm[i], __fsqrt_rn(vv[i] * root) + eps));
	}
	store8(m, at, left, mm);
	store8(v, at, left, vv);
	store8(w, at, left, x);
	if (master.p) store8(master, at, left, x);
}

// out[blockIdx.x] = Σ x² of a tile of 2¹⁶ numbers
extern "C" __global__ void __launch_bounds__(256) sum_squares(float *out, Tensor x, long n) {
	__shared__ float sums[8];
	float sum = 0.f, v[8];
	const long from = (long)blockIdx.x << 16, to = min(n, from + (1l << 16));
	for (long at = from + threadIdx.x * 8; at < to; at += 256 * 8) {
		load8(v, x, at, (int)min(to - at, 8l));
#pragma unroll
		for (int i = 0; i < 8; i++) sum = fmaf(v[i], v[i], sum);
	}
	sum = block_sum<8>(sum, sums);
	if (threadIdx.x == 0) out[blockIdx.x] = sum;
}
