// logits.cu: the log-sum-exp of a row of logits, the log-probability of an id, the entropy, and the gradient of both; all but a set of
// ids put to −Inf, which counts as probability 0 in all of them.
//
//   lse = ln Σ_v exp(t_v)   t = x/temperature      logp = t_id − lse      entropy = −Σ p·ln p,  ln p = t − lse
//   ∂x_v = (dlogp·(1[v=id] − p_v) − dentropy·p_v·(ln p_v + entropy)) / temperature
//
//   logits (R,V) f32, lse, logp, entropy, dlogp, dentropy (R) f32, ids (R) i32. The gradient replaces the logits: as f32, or as bf16 in the
//   first half of each row, which is what products would round it to.
//   Reference: logits_test.go, float64.
//
// Launch    a block of 256 a row.
// Layout    a row as in memory, eight neighbouring numbers a thread, 16-byte loads.
// Contract  the log-sum-exp is that of units of 32 ids, merged in one order, which depends on V alone (draw.cuh): the head's product keeps
//           the same units where it draws. Entropy: a thread takes every 256th group of 8 numbers, ascending, then a block adds up.
// Floor     4·R·V bytes forward, 8·R·V backward, 6 as bf16 (4 more with entropy) and to keep a set. R 512, V 151936, 4.3 TB/s (H200): 72 µs, 145 µs.
//           In training the head's product could keep units, as where it draws: not 4 but 0.5 bytes a logit for the log-sum-exp, of 8192 rows of
//           152064 4.4 GB and 1.0 ms less. But an ex2 and some six operations a logit would stand behind the product, not under a read: 0.4-0.6 ms.
//           What is left is 0.1 % of a pass of 7B, 1 % of 0.5B, and it would have to know the temperature: it was left out.
// Reached   not measured: no hardware yet.
// Error     2e-6 of the largest |t| (ex2.approx, lg2.approx).
#include "draw.cuh"

// −Inf outside of ids[starts[r]…starts[r+1]−1], which ascend; a row without any stays
extern "C" __global__ void __launch_bounds__(256) keep(Tensor logits, const int *starts, const int *ids, int cols) {
	const int r = blockIdx.x, from = starts[r], to = starts[r + 1];
	const long row = (long)r * logits.ld;
	if (from >= to) return;
	float v[8];
	for (int c = threadIdx.x * 8; c < cols; c += 256 * 8) {
		int at = from, end = to; // the first of them that is at least c
		while (at < end) {
			const int mid = at + (end - at) / 2;
			if (ids[mid] < c)
				at = mid + 1;
			else
				end = mid;
		}
		load8(v, logits, row + c, cols - c);
#pragma unroll
		for (int i = 0; i < 8; i++)
			if (at < to && ids[at] == c + i)
				at++;
			else
				v[i] = -INFINITY;
		store8(logits, row + c, cols - c, v);
	}
}

extern "C" __global__ void __launch_bounds__(256) log_sum_exp(float *lse, Tensor logits, int cols, float scale) {
	__shared__ float part[2][8];
	const long row = (long)blockIdx.x * logits.ld;
	Share share{-INFINITY, 0.f};
	for (int from = 0; from < cols; from += 256 * 8) {
		const int c = from + threadIdx.x * 8, n = cols - c;
		float v[8];
		load8(v, logits, row + c, n);
#pragma unroll
		for (int i = 0; i < 8; i++) v[i] = i < n ? v[i] * scale : -INFINITY;
		const Share unit = unit_share(v);
		if (chain_of(c / UNIT) == threadIdx.x) share.take(unit.top, unit.sum);
	}
	const float l = row_lse(share, part);
	if (threadIdx.x == 0) lse[blockIdx.x] = l;
}

// p·ln p, summed over a thread's numbers
__device__ __forceinline__ float plogp(const Tensor &logits, long row, int cols, float scale, float lse) {
	float sum = 0.f, v[8];
	for (int c = threadIdx.x * 8; c < cols; c += 256 * 8) {
		load8(v, logits, row + c, cols - c);
#pragma unroll
		for (int i = 0; i < 8; i++) {
			const float lp = fmaf(v[i], scale, -lse), p = exp_(lp);
			if (i < cols - c && p > 0.f) sum = fmaf(p, lp, sum);
		}
	}
	return sum;
}

extern "C" __global__ void __launch_bounds__(256) log_prob(float *logp, float *entropy, Tensor logits, const float *lse, const int *ids, int cols, float scale) {
	__shared__ float part[8];
	const int r = blockIdx.x;
	const long row = (long)r * logits.ld;
	if (logp && threadIdx.x == 0) {
		const int id = ids[r];
		logp[r] = id >= 0 && id < cols ? ((const float *)logits.p)[row + id] * scale - lse[r] : __int_as_float(0x7fffffff);
	}
	if (!entropy) return;
	const float sum = block_sum<8>(plogp(logits, row, cols, scale, lse[r]), part);
	if (threadIdx.x == 0) entropy[r] = -sum;
}

extern "C" __global__ void __launch_bounds__(256) log_prob_bwd(Tensor dlogits, Tensor logits, const float *lse, const int *ids, const float *dlogp, const float *dentropy, int cols, float scale) {
	__shared__ float part[8];
	const int r = blockIdx.x, id = dlogp ? ids[r] : -1;
	const long row = (long)r * logits.ld;
	const float dl = dlogp ? dlogp[r] : 0.f, de = dentropy ? dentropy[r] : 0.f, l = lse[r];
	float entropy = 0.f, v[8];
	if (de != 0.f) entropy = -block_sum<8>(plogp(logits, row, cols, scale, l), part); // the same branch for the whole block
	for (int from = 0; from < cols; from += 256 * 8) {
		const int c = from + threadIdx.x * 8;
		load8(v, logits, row + c, cols - c);
#pragma unroll
		for (int i = 0; i < 8; i++) {
			const float lp = fmaf(v[i], scale, -l), p = exp_(lp);
			float d = dl * ((c + i == id ? 1.f : 0.f) - p);
			if (de != 0.f && p > 0.f) d = fmaf(-de * p, lp + entropy, d);
			v[i] = d * scale;
		}
		if (dlogits.type == BF16) __syncthreads(); // all have read what lies where this goes: logits up to here
		store8(dlogits, (long)r * dlogits.ld + c, cols - c, v);
	}
}
