// common.cuh: tensors as kernels see them, loads of eight elements, and reductions in one fixed order.
#pragma once
#include "ptx.cuh"

enum Type { F32 = 1, BF16 = 2, I32 = 3 }; // DType of kernels/tensor.go

// A matrix, rows ld elements apart. p is 0 where the tensor is absent. The type is an argument of the kernel, not of a template:
// the branch is the same for a whole launch, and one entry serves f32 and bf16.
struct Tensor {
	char *p;
	int ld, type;
};

constexpr float LOG2E = 1.44269504088896341f, LN2 = 0.693147180559945309f;

__device__ __forceinline__ float bf16_low(unsigned u) { return __uint_as_float(u << 16); }
__device__ __forceinline__ float bf16_high(unsigned u) { return __uint_as_float(u & 0xffff0000u); }
__device__ __forceinline__ float exp_(float x) { return ex2(x * LOG2E); }
__device__ __forceinline__ float ln_(float x) { return lg2(x) * LN2; }

__device__ __forceinline__ float load1(const Tensor &x, long at) {
	if (x.type == BF16) return bf16_low(((const unsigned short *)x.p)[at]);
	return ((const float *)x.p)[at];
}
__device__ __forceinline__ void store1(const Tensor &x, long at, float v) {
	if (x.type == BF16)
		((unsigned short *)x.p)[at] = (unsigned short)pack_bf16(v, 0.f);
	else
		((float *)x.p)[at] = v;
}
__device__ __forceinline__ int id_of(const Tensor &x, long at) { return ((const int *)x.p)[at]; }

// eight elements that lie in one uint4, of bf16, or in two
__device__ __forceinline__ void eight(float v[8], int type, const uint4 u[2]) {
	if (type == BF16) {
		v[0] = bf16_low(u[0].x), v[1] = bf16_high(u[0].x), v[2] = bf16_low(u[0].y), v[3] = bf16_high(u[0].y);
		v[4] = bf16_low(u[0].z), v[5] = bf16_high(u[0].z), v[6] = bf16_low(u[0].w), v[7] = bf16_high(u[0].w);
	} else {
		v[0] = __uint_as_float(u[0].x), v[1] = __uint_as_float(u[0].y), v[2] = __uint_as_float(u[0].z), v[3] = __uint_as_float(u[0].w);
		v[4] = __uint_as_float(u[1].x), v[5] = __uint_as_float(u[1].y), v[6] = __uint_as_float(u[1].z), v[7] = __uint_as_float(u[1].w);
	}
}

__device__ __forceinline__ void store_eight(char *p, int type, const float v[8]) {
	if (type == BF16)
		*(uint4 *)p = make_uint4(pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7]));
	else
		((float4 *)p)[0] = make_float4(v[0], v[1], v[2], v[3]), ((float4 *)p)[1] = make_float4(v[4], v[5], v[6], v[7]);
}

// v = elements at … at+7, of which the first n exist; the others are 0. 16-byte loads where the address allows them.
__device__ __forceinline__ void load8(float v[8], const Tensor &x, long at, int n) {
	if (x.type == BF16) {
		const unsigned short *p = (const unsigned short *)x.p + at;
		if (n >= 8 && ((size_t)p & 15) == 0) {
			const uint4 u = *(const uint4 *)p;
			eight(v, BF16, &u);
			return;
		}
#pragma unroll
		for (int i = 0; i < 8; i++) v[i] = i < n ? bf16_low(p[i]) : 0.f;
		return;
	}
	const float *p = (const float *)x.p + at;
	if (n >= 8 && ((size_t)p & 15) == 0) {
		const float4 a = ((const float4 *)p)[0], b = ((const float4 *)p)[1];
		v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w, v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
		return;
	}
#pragma unroll
	for (int i = 0; i < 8; i++) v[i] = i < n ? p[i] : 0.f;
}

__device__ __forceinline__ void store8(const Tensor &x, long at, int n, const float v[8]) {
	if (x.type == BF16) {
		unsigned short *p = (unsigned short *)x.p + at;
		if (n >= 8 && ((size_t)p & 15) == 0) {
			*(uint4 *)p = make_uint4(pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7]));
			return;
		}
#pragma unroll
		for (int i = 0; i < 8; i++)
			if (i < n) p[i] = (unsigned short)pack_bf16(v[i], 0.f);
		return;
	}
	float *p = (float *)x.p + at;
	if (n >= 8 && ((size_t)p & 15) == 0) {
		((float4 *)p)[0] = make_float4(v[0], v[1], v[2], v[3]), ((float4 *)p)[1] = make_float4(v[4], v[5], v[6], v[7]);
		return;
	}
#pragma unroll
	for (int i = 0; i < 8; i++)
		if (i < n) p[i] = v[i];
}

// v as x holds it
__device__ __forceinline__ float rounded(const Tensor &x, float v) { return x.type == BF16 ? bf16_low(pack_bf16(v, 0.f)) : v; }

// x[at…at+7] += v
__device__ __forceinline__ void add8(const Tensor &x, long at, int n, const float v[8]) {
	float y[8];
	load8(y, x, at, n);
#pragma unroll
	for (int i = 0; i < 8; i++) y[i] += v[i];
	store8(x, at, n, y);
}

// x[at…at+7] = v, or += v: the branch is the same for a whole launch
__device__ __forceinline__ void sum8(const Tensor &x, long at, int n, float v[8], int add) {
	if (add)
		add8(x, at, n, v);
	else
		store8(x, at, n, v);
}

constexpr unsigned FULL = 0xffffffffu;

// the sum over a warp, the same bits in every lane: a butterfly
__device__ __forceinline__ float warp_sum(float v) {
#pragma unroll
	for (int d = 16; d > 0; d >>= 1) v += __shfl_xor_sync(FULL, v, d);
	return v;
}
__device__ __forceinline__ float warp_max(float v) {
#pragma unroll
	for (int d = 16; d > 0; d >>= 1) v = fmaxf(v, __shfl_xor_sync(FULL, v, d));
	return v;
}

// The sum over a block of WARPS warps, in every thread: butterflies, then the warps' sums in ascending order. part holds WARPS floats
// that no thread may still be reading.
template <int WARPS> __device__ __forceinline__ float block_sum(float v, float *part) {
	v = warp_sum(v);
	if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = v;
	__syncthreads();
	v = part[0];
#pragma unroll
	for (int i = 1; i < WARPS; i++) v += part[i];
	return v;
}
template <int WARPS> __device__ __forceinline__ float block_max(float v, float *part) {
	v = warp_max(v);
	if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = v;
	__syncthreads();
	v = part[0];
#pragma unroll
	for (int i = 1; i < WARPS; i++) v = fmaxf(v, part[i]);
	return v;
}
