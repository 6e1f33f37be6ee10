// rope.cu: from the product of queries, keys and values to what attention reads: bias, RMSNorm over heads, rotation by the token's position.
//
//   x = qkv + bias        values: nothing else
//   x = norm · x/√(mean(x²)+eps) over a head of queries or keys, where the model has that
//   (a, b) → (a·cos − b·sin, b·cos + a·sin),   a = x[i], b = x[i + D/2], angle of pos[t] and i from a table
//
//   qkv (T,(Q+2K)·D)  qk (T,(Q+K)·D), other memory or qkv's own  bias ((Q+2K)·D)  q_norm, k_norm (D)  q_rstd (T,Q), k_rstd (T,K) f32
//   pos (T) i32  table (positions, D) f32: D/2 cosines, then D/2 sines.
//   Reference: rope_test.go, float64. Su 2021.
//
// Launch    256 threads a block; a head has a group of 1 to 32 neighbouring lanes, for D/2 in pieces of eight, or of one where eight do not
//           divide it. Without bias the values have no groups.
// Layout    x as in memory, a lane's two pieces D/2 apart. With a norm a head's sum comes first, then its numbers a second time, from the
//           first-level cache.
// Contract  one table for training and rollout; all in fp32, rounded once. With a norm its input and its output are rounded too: what stands in
//           qkv then is what the norm's backward reads. The order of a head's sum depends on D alone.
// Floor     4·T·(Q+K)·D bytes in bf16, 4·T·(Q+2K)·D with bias. T 16384, Q 28, K 4, D 128, 4.3 TB/s (H200): 62, 70 µs.
// Reached   not measured: no hardware yet.
// Error     2⁻⁸ relative of the head's largest number in bf16, 1e-6 in f32.
#include "common.cuh"

// (u, v) turned by the angle of cosine c and sine s
__device__ __forceinline__ void turn(float &u, float &v, float c, float s) {
	const float a = u, b = v;
	u = fmaf(a, c, -(b * s));
	v = fmaf(b, c, a * s);
}

extern "C" __global__ void __launch_bounds__(256, 2) rope_fwd(Tensor qk, Tensor q_rstd, Tensor k_rstd, Tensor qkv, Tensor bias, Tensor q_norm, Tensor k_norm, Tensor pos, Tensor table,
                                                           int tokens, int queries, int keys, int heads, int dim, int lanes, int width, float eps) {
	const long i = ((long)blockIdx.x * 256 + threadIdx.x) / lanes;
	if (i >= (long)tokens * heads) return;
	const int head = (int)(i % heads), t = (int)(i / heads), lane = threadIdx.x & (lanes - 1), half = dim / 2;
	const long from = (long)t * qkv.ld + (long)head * dim, to = (long)t * qk.ld + (long)head * dim;
	const bool turned = head < queries + keys, query = head < queries;
	auto take = [&](float u[8], float v[8], int c) {
		load8(u, qkv, from + c, width);
		load8(v, qkv, from + half + c, width);
		if (!bias.p) return;
		float a[8], b[8];
		load8(a, bias, (long)head * dim + c, width);
		load8(b, bias, (long)head * dim + half + c, width);
#pragma unroll
		for (int k = 0; k < 8; k++) u[k] += a[k], v[k] += b[k];
	};
	auto give = [&](const Tensor &x, long at, int c, const float u[8], const float v[8]) {
		store8(x, at + c, width, u);
		store8(x, at + half + c, width, v);
	};

	const Tensor norm = query ? q_norm : k_norm;
	const bool normed = turned && norm.p;
	float s = 0.f, u[8], v[8], a[8], b[8];
	if (normed) {
		float sum = 0.f;
		for (int c = lane * width; c < half; c += lanes * width) {
			take(u, v, c);
#pragma unroll
			for (int k = 0; k < 8; k++) u[k] = rounded(qkv, u[k]), v[k] = rounded(qkv, v[k]), sum = fmaf(u[k], u[k], sum), sum = fmaf(v[k], v[k], sum);
		}
		const unsigned members = (FULL >> (32 - lanes)) << (threadIdx.x % 32 - lane); // the head's group
		for (int d = lanes / 2; d > 0; d /= 2) sum += __shfl_xor_sync(members, sum, d);
		s = rsqrt_(__fdiv_rn(sum, (float)dim) + eps);
		const Tensor rstd = query ? q_rstd : k_rstd;
		if (rstd.p && lane == 0) ((float *)rstd.p)[(long)t * rstd.ld + (query ? head : head - queries)] = s;
	}
	for (int c = lane * width; c < half; c += lanes * width) {
		take(u, v, c);
		if (bias.p && (!turned || qk.p != qkv.p)) give(qkv, from, c, u, v);
		if (!turned) continue;
		if (normed) {
			load8(a, norm, c, width);
			load8(b, norm, half + c, width);
#pragma unroll
			for (int k = 0; k < 8; k++) u[k] = rounded(qk, rounded(qkv, u[k]) * s * a[k]), v[k] = rounded(qk, rounded(qkv, v[k]) * s * b[k]);
		}
		const long row = (long)id_of(pos, t) * table.ld + c;
		load8(a, table, row, width);
		load8(b, table, row + half, width);
#pragma unroll
		for (int k = 0; k < 8; k++) turn(u[k], v[k], a[k], b[k]);
		give(qk, to, c, u, v);
	}
}

// The gradient dx (T, heads, D) of turned heads, turned back in place: a thread a pair of pieces.
extern "C" __global__ void __launch_bounds__(256) rope_bwd(Tensor dx, Tensor pos, Tensor table, int tokens, int heads, int dim, int width) {
	const int half = dim / 2, pieces = half / width;
	const long i = (long)blockIdx.x * 256 + threadIdx.x;
	if (i >= (long)tokens * heads * pieces) return;
	const int piece = (int)(i % pieces), head = (int)(i / pieces % heads), t = (int)(i / pieces / heads);
	const long a = (long)t * dx.ld + (long)head * dim + piece * width, row = (long)id_of(pos, t) * table.ld + piece * width;
	float u[8], v[8], c[8], s[8];
	load8(u, dx, a, width);
	load8(v, dx, a + half, width);
	load8(c, table, row, width);
	load8(s, table, row + half, width);
#pragma unroll
	for (int k = 0; k < 8; k++) turn(u[k], v[k], c[k], -s[k]);
	store8(dx, a, width, u);
	store8(dx, a + half, width, v);
}
