// draw.cuh: what the head's product, the log-sum-exp of a row of logits, and a draw from it have in common.
//
// A row is cut into units of 32 ids. A unit's statistics are its largest t = x/temperature and Σ exp(t − that): a lane adds eight
// neighbours ascending, four lanes meet in a butterfly. Units are merged in 256 chains, each ascending, then as a block adds up: one order,
// whether the units come from the product's sums or from logits in memory.
#pragma once
#include "common.cuh"

constexpr int UNIT = 32;

// The largest number, and the sum of exponentials below it.
struct Share {
	float top, sum;
	// the merged share of both
	__device__ __forceinline__ void take(float top_, float sum_) {
		const float m = fmaxf(top, top_), base = m == -INFINITY ? 0.f : m;
		sum = fmaf(sum_, exp_(top_ - base), sum * exp_(top - base));
		top = m;
	}
};

// The share of the unit that four neighbouring lanes hold, in all four; all lanes of the warp take part. NaN shows in the sum.
__device__ __forceinline__ Share unit_share(const float t[8]) {
	float m = t[0], sum = 0.f;
#pragma unroll
	for (int i = 1; i < 8; i++) m = fmaxf(m, t[i]);
	m = fmaxf(m, __shfl_xor_sync(FULL, m, 1));
	m = fmaxf(m, __shfl_xor_sync(FULL, m, 2));
	const float base = m == -INFINITY ? 0.f : m;
#pragma unroll
	for (int i = 0; i < 8; i++) sum += exp_(t[i] - base);
	sum += __shfl_xor_sync(FULL, sum, 1);
	sum += __shfl_xor_sync(FULL, sum, 2);
	return Share{m, sum};
}

// the chain, a thread of 256, that a unit belongs to
__device__ __forceinline__ int chain_of(int unit) { return unit % 64 * 4 + unit / 64 % 4; }
// and a chain's first unit; the others follow by 256
__device__ __forceinline__ int first_unit(int chain) { return chain / 4 + chain % 4 * 64; }

// ln of the sum over 256 chains, in every thread. part is 2·8 floats that no thread may still be reading.
__device__ __forceinline__ float row_lse(Share s, float (*part)[8]) {
	const float m = block_max<8>(s.top, part[0]), base = m == -INFINITY ? 0.f : m;
	return m + ln_(block_sum<8>(s.sum * exp_(s.top - base), part[1]));
}

__device__ __forceinline__ void philox(unsigned w[4], unsigned c0, unsigned c1, unsigned c2, unsigned c3, unsigned k0, unsigned k1) {
#pragma unroll
	for (int i = 0; i < 10; i++) {
		const unsigned h0 = __umulhi(0xD2511F53u, c0), l0 = 0xD2511F53u * c0, h1 = __umulhi(0xCD9E8D57u, c2), l1 = 0xCD9E8D57u * c2;
		c0 = h1 ^ c1 ^ k0, c1 = l1, c2 = h0 ^ c3 ^ k1, c3 = l0;
		k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
	}
	w[0] = c0, w[1] = c1, w[2] = c2, w[3] = c3;
}

// a uniform number of a word, i/2²⁴ for 1 ≤ i < 2²⁴
__device__ __forceinline__ float uniform_of(unsigned w) { return (float)max(w >> 8, 1u) * 0x1p-24f; }
// the score of a logit
__device__ __forceinline__ float score_of(float x, float scale, float u) { return fmaf(x, scale, -logf(-logf(u))); }
// the largest noise is 16.64
constexpr float MOST_NOISE = 16.7f;
// what is below it, by an approximate logarithm, cannot be above a score
__device__ __forceinline__ float below(float score) { return score - fmaf(fabsf(score), 0x1p-20f, 0x1p-12f); }

// What all ids of a row have in common.
struct Key {
	unsigned position, trajectory_low, trajectory_high, seed_low, seed_high;
	__device__ __forceinline__ void words(unsigned w[4], int group) const { philox(w, group, position, trajectory_low, trajectory_high, seed_low, seed_high); }
};
__device__ __forceinline__ Key key_at(const int *keys, int r, unsigned seed_low, unsigned seed_high) {
	return Key{(unsigned)keys[3 * r + 2], (unsigned)keys[3 * r], (unsigned)keys[3 * r + 1], seed_low, seed_high};
}

// An id and its score, or its logit.
struct Best {
	float score;
	int id;
	// whether it comes before another
	__device__ __forceinline__ bool before(float score_, int id_) const { return score > score_ || (score == score_ && id < id_); }
	__device__ __forceinline__ bool take(float score_, int id_) {
		if (before(score_, id_) || score_ != score_) return false;
		score = score_, id = id_;
		return true;
	}
};

// the best of a warp, in every lane
__device__ __forceinline__ Best warp_best(Best b) {
#pragma unroll
	for (int d = 16; d > 0; d >>= 1) b.take(__shfl_xor_sync(FULL, b.score, d), __shfl_xor_sync(FULL, b.id, d));
	return b;
}

// the best of a block, in every thread. part holds WARPS of them that no thread may still be reading.
template <int WARPS> __device__ __forceinline__ Best block_best(Best b, Best *part) {
	b = warp_best(b);
	if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = b;
	__syncthreads();
#pragma unroll
	for (int i = 0; i < WARPS; i++) b.take(part[i].score, part[i].id);
	return b;
}

// What the product of a head leaves of a unit: its share of the row, and the logit and id of its best score; id −1 where none may be drawn.
struct Unit {
	float top, sum, logit;
	int id;
};

// How a head's product draws.
struct Drawing {
	Unit *units; // (R, units of a row)
	const int *keys;
	unsigned seed_low, seed_high;
	float scale, draw; // 1/temperature of the log-sum-exp, and of the draw, or 0: the largest logit
	int open;          // ids below it can be drawn
};
