// sample.cu: one id for each row of logits, drawn with a key.
//
//   id = argmax_v (x_v/temperature + g_v)      g_v = −ln(−ln u_v)      u_v = max(w_v >> 8, 1)/2²⁴
//
//   w_v is word v mod 4 of Philox4x32-10 with key = seed and counter (v/4, position, trajectory low, trajectory high): Salmon 2011. Gumbel's
//   maximum is distributed as softmax. temperature 0: the largest logit. The lower id wins a tie.
//   top-k and top-p keep the most probable ids, lower ids first among equals: k of them, and as many as it takes for their
//   probabilities to add up to p. The cut is found by bisection over the bits of the logit, then over the ids of that logit: no sorting.
//
//   logits (R,V) f32, lse (R) f32, keys (R,3) i32: trajectory low, high, position. ids (R) i32.
//   Reference: sample_test.go, float64.
//
// Launch    a block of 256 a row.
// Layout    a row as in memory; four neighbouring ids share a Philox block.
// Contract  a draw depends on (seed, trajectory, position, id) and the row's logits alone.
// Floor     4·R·V bytes. R 256, V 151936, 4.3 TB/s (H200): 36 µs. With top-k or top-p up to 50 passes over a row in the second-level cache.
// Reached   not measured: no hardware yet.
// Error     scores within 1e-6 of their size; logf, not the approximation, because u near 1 needs a relative bound.
#include "common.cuh"

__device__ __forceinline__ void philox(unsigned w[4], unsigned c0, unsigned c1, unsigned c2, unsigned c3, unsigned k0, unsigned k1) {
#pragma unroll
	for (int i = 0; i < 10; i++) {
		const unsigned h0 = __umulhi(0xD2511F53u, c0), l0 = 0xD2511F53u * c0, h1 = __umulhi(0xCD9E8D57u, c2), l1 = 0xCD9E8D57u * c2;
		c0 = h1 ^ c1 ^ k0, c1 = l1, c2 = h0 ^ c3 ^ k1, c3 = l0;
		k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
	}
	w[0] = c0, w[1] = c1, w[2] = c2, w[3] = c3;
}

// a number that orders as the float does; −0 and +0 are one
__device__ __forceinline__ unsigned ordered(float x) {
	const unsigned u = x == 0.f ? 0u : __float_as_uint(x);
	return u & 0x80000000u ? ~u : u | 0x80000000u;
}

// better says whether (a, i) comes before (b, j)
__device__ __forceinline__ bool better(float a, int i, float b, int j) { return a > b || (a == b && i < j); }

// total over the block, in every thread; two areas in turn, so that one barrier suffices
struct Totals {
	float (*part)[8];
	int turn;
	__device__ __forceinline__ float operator()(float v) {
		turn ^= 1;
		return block_sum<8>(v, part[turn]);
	}
};

extern "C" __global__ void __launch_bounds__(256) sample(int *ids, Tensor logits, const float *lse, const int *keys, int n, unsigned seed_low, unsigned seed_high, float scale, float top_p, int top_k) {
	__shared__ float part[2][8], best_of[8];
	__shared__ int id_of_best[8];
	const int r = blockIdx.x;
	const float *x = (const float *)logits.p + (long)r * logits.ld;

	// Kept: logits above the cut, and of those at it the ids up to last.
	unsigned cut = 0;
	int last = n;
	if (scale > 0.f && (top_p < 1.f || (top_k > 0 && top_k < n))) {
		Totals total{part, 0};
		const float l = lse ? lse[r] : 0.f;
		auto enough = [&](float sum, float count) { return (top_p < 1.f && sum >= top_p) || (top_k > 0 && count >= (float)top_k); };
		auto above = [&](unsigned bound, float &sum, float &count) { // over ids with a logit of at least bound
			float s = 0.f, c = 0.f;
			for (int v = threadIdx.x; v < n; v += 256)
				if (ordered(x[v]) >= bound) s += top_p < 1.f ? exp_(fmaf(x[v], scale, -l)) : 0.f, c += 1.f;
			sum = total(s);
			count = total(c);
		};
		float sum, count;
		for (int bit = 31; bit >= 0; bit--) {
			const unsigned bound = cut | 1u << bit;
			above(bound, sum, count);
			if (enough(sum, count)) cut = bound;
		}
		// How many of those at the cut belong to it, then up to which id.
		sum = count = 0.f;
		if (cut != 0xffffffffu) above(cut + 1, sum, count);
		float at = 0.f;
		for (int v = threadIdx.x; v < n; v += 256)
			if (ordered(x[v]) == cut) at = fmaxf(at, exp_(fmaf(x[v], scale, -l)));
		at = block_max<8>(at, part[total.turn ^= 1]);
		float want = 0.f;
		while (!enough(sum, count) && want < (float)n) sum += at, count += 1.f, want += 1.f;
		int low = 0, high = n - 1; // the least id such that `want` ids at the cut are at most it
		while (low < high) {
			const int mid = (low + high) / 2;
			float c = 0.f;
			for (int v = threadIdx.x; v <= mid; v += 256) c += ordered(x[v]) == cut ? 1.f : 0.f;
			if (total(c) >= want)
				high = mid;
			else
				low = mid + 1;
		}
		last = low;
		if (want == 0.f) last = -1;
	}

	float best = -INFINITY;
	int id = n;
	for (int v0 = threadIdx.x * 4; v0 < n; v0 += 256 * 4) {
		unsigned w[4];
		if (scale > 0.f) philox(w, v0 / 4, keys[3 * r + 2], keys[3 * r], keys[3 * r + 1], seed_low, seed_high);
#pragma unroll
		for (int i = 0; i < 4; i++) {
			const int v = v0 + i;
			if (v >= n) continue;
			float score = x[v];
			if (scale > 0.f) {
				const unsigned key = ordered(score);
				if (key < cut || (key == cut && v > last)) continue;
				const float u = (float)max(w[i] >> 8, 1u) * 0x1p-24f;
				score = fmaf(score, scale, -logf(-logf(u)));
			}
			if (better(score, v, best, id)) best = score, id = v;
		}
	}
#pragma unroll
	for (int d = 16; d > 0; d >>= 1) {
		const float b = __shfl_xor_sync(FULL, best, d);
		const int i = __shfl_xor_sync(FULL, id, d);
		if (better(b, i, best, id)) best = b, id = i;
	}
	if (threadIdx.x % 32 == 0) best_of[threadIdx.x / 32] = best, id_of_best[threadIdx.x / 32] = id;
	__syncthreads();
	if (threadIdx.x != 0) return;
	for (int i = 1; i < 8; i++)
		if (better(best_of[i], id_of_best[i], best, id)) best = best_of[i], id = id_of_best[i];
	ids[r] = min(id, n - 1); // a row of NaN has no best
}
