// optim.cu: AdamW, and the sum of squares that clips its gradient.
//
//   d = g·scale   m ← β₁m + (1−β₁)d   v ← β₂v + (1−β₂)d²   w ← w·(1 − lr·decay) − lr·m̂/(√v̂ + ε)
//
//   Flat arrays of one length. master (f32) holds w in full where w is bf16. rate = lr/(1−β₁ᵗ), root = 1/(1−β₂ᵗ). Loshchilov 2019, alg. 2.
//   Reference: optim_test.go, float64.
//
//   adamw_halves: w (bf16) and 16 more bits are the master, w rounded to nearest, ties away from zero, so that they are exactly all of it;
//   m and v are bf16, rounded by chance. The chance is a hash of seed, step and place (lowbias32): the same whatever part of all numbers a
//   launch has. split_master and join_master are the way there and back.
//
// Launch    eight neighbouring numbers a thread, 256 threads a block. The sum: a block for each tile of 2¹⁶ numbers.
// Layout    flat arrays, 16-byte loads of bf16, two of them of f32.
// Contract  outside of it; the order of a tile's sum depends on its length alone.
// Floor     28 bytes a number with bf16 w, fp32 master, m, v and bf16 g; 30 with fp32 g; halves 20. 0.5 B numbers at 4.3 TB/s (H200): 3.4 ms.
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

// x = eight 16-bit numbers at p, of which the first n exist; the others are 0
__device__ __forceinline__ void halves8(unsigned x[8], const unsigned short *p, int n) {
	if (n >= 8 && ((size_t)p & 15) == 0) {
		const uint4 u = *(const uint4 *)p;
		const unsigned y[4] = {u.x, u.y, u.z, u.w};
#pragma unroll
		for (int i = 0; i < 8; i++) x[i] = i % 2 ? y[i / 2] >> 16 : y[i / 2] & 0xffffu;
		return;
	}
#pragma unroll
	for (int i = 0; i < 8; i++) x[i] = i < n ? p[i] : 0u;
}
__device__ __forceinline__ void store_halves8(unsigned short *p, int n, const unsigned x[8]) {
	if (n >= 8 && ((size_t)p & 15) == 0) {
		*(uint4 *)p = make_uint4(x[0] | x[1] << 16, x[2] | x[3] << 16, x[4] | x[5] << 16, x[6] | x[7] << 16);
		return;
	}
#pragma unroll
	for (int i = 0; i < 8; i++)
		if (i < n) p[i] = (unsigned short)x[i];
}

__device__ __forceinline__ float join(unsigned w, unsigned low) { return __uint_as_float((w - (low >> 15)) << 16 | low); }
__device__ __forceinline__ void split(unsigned &w, unsigned &low, float x) {
	const unsigned b = __float_as_uint(x);
	low = b & 0xffffu;
	w = x != x ? b >> 16 | 0x40u : (b + 0x8000u) >> 16;
}
__device__ __forceinline__ unsigned mix(unsigned x) {
	x = (x ^ x >> 16) * 0x7feb352du;
	x = (x ^ x >> 15) * 0x846ca68bu;
	return x ^ x >> 16;
}
__device__ __forceinline__ unsigned round_by_chance(float x, unsigned chance) {
	const unsigned b = __float_as_uint(x);
	if ((b & 0x7f800000u) == 0x7f800000u) return pack_bf16(x, 0.f) & 0xffffu;
	return (b + (chance & 0xffffu)) >> 16;
}

extern "C" __global__ void __launch_bounds__(256) adamw_halves(unsigned short *w, unsigned short *low, Tensor g, unsigned short *m, unsigned short *v, long n, float scale, float b1, float b1c, float b2, float b2c, float rate, float root, float eps, float keep, unsigned key0, unsigned key1, long first) {
	const long at = ((long)blockIdx.x * 256 + threadIdx.x) * 8;
	if (at >= n) return;
	const int left = (int)min(n - at, 8l);
	float d[8];
	unsigned wx[8], lx[8], mx[8], vx[8];
	load8(d, g, at, left);
	halves8(wx, w + at, left);
	halves8(lx, low + at, left);
	halves8(mx, m + at, left);
	halves8(vx, v + at, left);
#pragma unroll
	for (int i = 0; i < 8; i++) {
		const unsigned long place = (unsigned long)(first + at + i);
		const unsigned chance = mix((unsigned)place ^ key0 ^ mix((unsigned)(place >> 32) ^ key1));
		d[i] *= scale;
		const float mm = fmaf(b1, bf16_low(mx[i]), b1c * d[i]), vv = fmaf(b2, bf16_low(vx[i]), b2c * d[i] * d[i]);
		split(wx[i], lx[i], fmaf(join(wx[i], lx[i]), keep, -__fdiv_rn(rate * mm, __fsqrt_rn(vv * root) + eps)));
		mx[i] = round_by_chance(mm, chance);
		vx[i] = round_by_chance(vv, chance >> 16);
	}
	store_halves8(w + at, left, wx);
	store_halves8(low + at, left, lx);
	store_halves8(m + at, left, mx);
	store_halves8(v + at, left, vx);
}

// low may be 0
extern "C" __global__ void __launch_bounds__(256) split_master(unsigned short *w, unsigned short *low, const float *x, long n) {
	const long at = ((long)blockIdx.x * 256 + threadIdx.x) * 8;
	if (at >= n) return;
	const int left = (int)min(n - at, 8l);
	float v[8];
	unsigned high[8], rest[8];
	load8(v, Tensor{(char *)x, 0, F32}, at, left);
#pragma unroll
	for (int i = 0; i < 8; i++) split(high[i], rest[i], v[i]);
	store_halves8(w + at, left, high);
	if (low) store_halves8(low + at, left, rest);
}

extern "C" __global__ void __launch_bounds__(256) join_master(float *x, const unsigned short *w, const unsigned short *low, long n) {
	const long at = ((long)blockIdx.x * 256 + threadIdx.x) * 8;
	if (at >= n) return;
	const int left = (int)min(n - at, 8l);
	unsigned high[8], rest[8];
	float v[8];
	halves8(high, w + at, left);
	halves8(rest, low + at, left);
#pragma unroll
	for (int i = 0; i < 8; i++) v[i] = join(high[i], rest[i]);
	store8(Tensor{(char *)x, 0, F32}, at, left, v);
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
