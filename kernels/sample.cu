// sample.cu: one id for each row of logits, drawn with a key.
//
//   id = argmax_v (x_v/temperature + g_v)      g_v = −ln(−ln u_v)      u_v = max(w_v >> 8, 1)/2²⁴
//
//   w_v is word v mod 4 of Philox4x32-10 with key = seed and counter (v/4, position, trajectory low, trajectory high): Salmon 2011. Gumbel's
//   maximum is distributed as softmax. temperature 0: the largest logit. The lower id wins a tie.
//   top-k, top-p and min-p keep the most probable ids, lower ids first among equals: k of them, as many as it takes for their
//   probabilities to add up to p, those of a share of the largest. To draw, nothing is sorted and no cut is searched for: the best of all
//   ids is drawn; it is kept if those before it in that order number below k and add up to below p; else no id from it on is kept, and the
//   best of those before it is drawn, and so on. A draw falls on an id with its probability, so that half of what is left over goes in
//   each round. sample_restrict does search for the cut, by the same sums: the sets are the same.
//
//   logits (R,V) f32, lse (R) f32, keys (R,3) i32: trajectory low, high, position. ids (R) i32. parts (R, splits): score and id.
//   Reference: sample_test.go, float64.
//
// Launch    sample_part: grid (splits, R), a block of 256 the best of one part of a row. sample_pick: a block of 512 a row: the best of its parts;
//           then, if asked, whether it is kept, and the rounds. sample_restrict: a block of 512 a row.
//           draw_pick: a block of 256 a row, of what the head's product kept (linear.cu): a unit of 32 ids a thread, whose best score is computed
//           again from its logit. It gives the log-probability too.
// Layout    a row as in memory; a thread takes four neighbouring ids, which share a Philox block: 16-byte loads.
// Contract  a draw depends on (seed, trajectory, position, id) and the row's logits alone: not on splits, for a maximum has no order. An
//           id that cannot win goes without its logarithms (−ln u ≥ 1 − u), by a bound that leaves room for all rounding.
// Floor     4·R·V bytes. R 256, V 151936, 4.3 TB/s (H200): 36 µs; and 10 rounds of Philox for 4 ids. A round of top-k or top-p reads a row twice
//           from the second-level cache, a halving of sample_restrict once, about 25 times.
// Reached   not measured: no hardware yet.
// Error     scores within 1e-6 of their size; logf, not the approximation, because u near 1 needs a relative bound.
#include "draw.cuh"

// four neighbouring logits, of which the first n exist
__device__ __forceinline__ void load4(float v[4], const float *x, int n) {
	if (n >= 4 && ((size_t)x & 15) == 0) {
		const float4 u = *(const float4 *)x;
		v[0] = u.x, v[1] = u.y, v[2] = u.z, v[3] = u.w;
		return;
	}
#pragma unroll
	for (int i = 0; i < 4; i++) v[i] = i < n ? x[i] : -INFINITY;
}

// A row to draw from.
struct Draw {
	const float *x;
	float scale; // 1/temperature, or 0
	Key key;
};
__device__ __forceinline__ Draw draw_of(const Tensor &logits, const int *keys, int r, unsigned seed_low, unsigned seed_high, float scale) {
	return Draw{(const float *)logits.p + (long)r * logits.ld, scale, scale > 0.f ? key_at(keys, r, seed_low, seed_high) : Key{}};
}

// The best score among ids from, … to−1 whose logits come before `end`: THREADS threads, the best of a thread. from is a multiple of 4.
template <int THREADS> __device__ __forceinline__ Best best_score(const Draw &d, int from, int to, Best end) {
	Best best{-INFINITY, to};
	float beat = -INFINITY; // what the warp has: a score that is less, by more than rounding, cannot win
	for (int base = from; base < to; base += THREADS * 4) {
		const int v0 = base + threadIdx.x * 4;
		float x[4];
		bool open[4], any = false, found = false;
		load4(x, d.x + v0, to - v0);
#pragma unroll
		for (int i = 0; i < 4; i++) {
			open[i] = v0 + i < to && Best{x[i], v0 + i}.before(end.score, end.id);
			if (d.scale > 0.f) open[i] = open[i] && !(fmaf(x[i], d.scale, MOST_NOISE) < beat);
			any |= open[i];
		}
		if (any && d.scale == 0.f) {
#pragma unroll
			for (int i = 0; i < 4; i++)
				if (open[i]) best.take(x[i], v0 + i);
		} else if (any) {
			unsigned w[4];
			d.key.words(w, v0 / 4);
#pragma unroll
			for (int i = 0; i < 4; i++) {
				const float u = uniform_of(w[i]), wait = 1.f - u;
				if (!open[i] || wait > exp_(fmaf(x[i], d.scale, -beat))) continue;
				best.take(score_of(x[i], d.scale, u), v0 + i);
				found = true;
			}
		}
		if (__any_sync(FULL, found)) {
			beat = below(warp_max(best.score));
		}
	}
	return best;
}

extern "C" __global__ void __launch_bounds__(256) sample_part(Best *parts, Tensor logits, const int *keys, int n, unsigned seed_low, unsigned seed_high, float scale) {
	__shared__ Best best[8];
	const int r = blockIdx.y, splits = gridDim.x, part = (n + 4 * splits - 1) / (4 * splits) * 4;
	const Draw d = draw_of(logits, keys, r, seed_low, seed_high, scale);
	const int from = min(n, (int)blockIdx.x * part), to = min(n, from + part);
	const Best b = block_best<8>(best_score<256>(d, from, to, Best{-INFINITY, n}), best);
	if (threadIdx.x == 0) parts[(long)r * splits + blockIdx.x] = b;
}

// The id that a row's units name, and its log-probability.
extern "C" __global__ void __launch_bounds__(256) draw_pick(int *ids, float *logp, const Unit *units, int width, const int *keys, int n, unsigned seed_low, unsigned seed_high, float scale, float draw) {
	__shared__ float part[2][8];
	__shared__ Best bests[8];
	const int r = blockIdx.x;
	const Key key = draw > 0.f ? key_at(keys, r, seed_low, seed_high) : Key{};
	Share share{-INFINITY, 0.f};
	Best best{-INFINITY, n};
	float logit = 0.f;
	for (int u = first_unit(threadIdx.x); u < width; u += 256) {
		const float4 v = ((const float4 *)units)[(long)r * width + u];
		const int id = __float_as_int(v.w);
		share.take(v.x, v.y);
		if (id < 0) continue;
		float score = v.z;
		if (draw > 0.f) {
			unsigned w[4];
			key.words(w, id / 4);
			score = score_of(v.z, draw, uniform_of(id & 2 ? (id & 1 ? w[3] : w[2]) : (id & 1 ? w[1] : w[0])));
		}
		if (best.take(score, id)) logit = v.z;
	}
	const float lse = row_lse(share, part);
	const int id = block_best<8>(best, bests).id;
	if (id == n ? threadIdx.x == 0 : best.id == id) { // a row of NaN has no best
		ids[r] = min(id, n - 1);
		logp[r] = id == n ? __int_as_float(0x7fffffff) : logit * scale - lse;
	}
}

// What is kept of a row: an id whose predecessors number below top_k and have probabilities that add up to less than top_p, and whose own
// logit is no more than −floor below the largest.
struct Kept {
	const float *x;
	int n;
	float scale, lse, top_p, least;
	int top_k;
	float sum, count; // of the predecessors looked at last
	// whether those before `end` leave room for one more. Every sum has one order: with more of them it is not smaller. part is 2·16 floats.
	__device__ __forceinline__ bool room(Best end, float (*part)[16]) {
		sum = count = 0.f;
		for (int v0 = threadIdx.x * 4; v0 < n; v0 += 512 * 4) {
			float v[4];
			load4(v, x + v0, n - v0);
#pragma unroll
			for (int i = 0; i < 4; i++)
				if (v0 + i < n && Best{v[i], v0 + i}.before(end.score, end.id)) {
					if (top_p < 1.f) sum += exp_(fmaf(v[i], scale, -lse));
					count += 1.f;
				}
		}
		sum = block_sum<16>(sum, part[0]);
		count = block_sum<16>(count, part[1]);
		return !(top_p < 1.f && sum >= top_p) && !(top_k > 0 && count >= (float)top_k);
	}
};

// the largest logit of a row, in every thread of 512
__device__ __forceinline__ float row_top(const float *x, int n, float *part) {
	float top = -INFINITY;
	for (int v = threadIdx.x; v < n; v += 512) top = fmaxf(top, x[v]);
	return block_max<16>(top, part);
}

__device__ __forceinline__ Kept kept_of(const Tensor &logits, int r, const float *lse, int n, float scale, float top_p, int top_k, float floor, float *part) {
	const float *x = (const float *)logits.p + (long)r * logits.ld;
	return Kept{x, n, scale, lse ? lse[r] : 0.f, top_p, floor > -INFINITY ? row_top(x, n, part) + floor : -INFINITY, top_k, 0.f, 0.f};
}

extern "C" __global__ void __launch_bounds__(512) sample_pick(int *ids, const Best *parts, int splits, Tensor logits, const float *lse, const int *keys, int n, unsigned seed_low, unsigned seed_high, float scale, float top_p, int top_k, float floor) {
	__shared__ float part[2][16], tops[16];
	__shared__ Best best[16];
	const int r = blockIdx.x;
	const Draw d = draw_of(logits, keys, r, seed_low, seed_high, scale);
	Best b{-INFINITY, n};
	for (int i = threadIdx.x % 32; i < splits; i += 32) b.take(parts[(long)r * splits + i].score, parts[(long)r * splits + i].id);
	int id = warp_best(b).id;
	if (scale > 0.f && (top_p < 1.f || top_k > 0 || floor > -INFINITY)) {
		Kept k = kept_of(logits, r, lse, n, scale, top_p, top_k, floor, tops);
		while (id < n) {
			const Best end{d.x[id], id};
			if (k.room(end, part) && end.score >= k.least) break; // room first: its barriers stand between two rounds
			id = block_best<16>(best_score<512>(d, 0, n, end), best).id;
		}
	}
	if (threadIdx.x == 0) ids[r] = min(id, n - 1); // a row of NaN has no best
}

// logits in an order of unsigned numbers; both zeros are one, NaN comes first
__device__ __forceinline__ unsigned key_of(float x) {
	if (x != x) return 0;
	const unsigned u = __float_as_uint(x + 0.f);
	return u & 0x80000000u ? ~u : u | 0x80000000u;
}
__device__ __forceinline__ float of_key(unsigned k) { return __uint_as_float(k & 0x80000000u ? k & 0x7fffffffu : ~k); }

// The last place in a row's order that is kept is searched for by halving the keys, then the ids that share one.
extern "C" __global__ void __launch_bounds__(512) sample_restrict(Tensor logits, int *kept, const float *lse, int cols, int n, float scale, float top_p, int top_k, float floor) {
	__shared__ float part[2][16], tops[16];
	const int r = blockIdx.x;
	Kept k = kept_of(logits, r, lse, n, scale, top_p, top_k, floor, tops);
	Best end{k.least, n}; // what comes before it is kept
	if (!k.room(end, part)) {
		// Before `above` there is room for one more, before `end` there is not; the ids between them have keys low+1 … high.
		unsigned low = key_of(k.least) - 1, high = 0xff800000u;
		float above = 0.f, below = k.count;
		while (below - above > 1.f && high > low + 1) {
			const unsigned mid = low + (high - low) / 2;
			const Best at{of_key(mid), 0};
			if (k.room(at, part))
				high = mid, above = k.count;
			else
				low = mid, below = k.count, end = at;
		}
		if (below - above > 1.f) { // equals
			int from = 0, to = n;
			while (to > from + 1) {
				const int mid = from + (to - from) / 2;
				if (k.room(Best{of_key(high), mid}, part))
					from = mid;
				else
					to = mid;
			}
			end = Best{of_key(high), to};
		}
	}
	float *x = (float *)logits.p + (long)r * logits.ld; // the sums' barriers stand behind every read of it
	for (int v = threadIdx.x; v < (cols + 31) / 32 * 32; v += 512) {
		const float own = v < n ? x[v] : 0.f;
		const bool in = v < n && Best{own, v}.before(end.score, end.id);
		const unsigned word = __ballot_sync(FULL, in);
		if (threadIdx.x % 32 == 0) kept[(long)r * ((cols + 31) / 32) + v / 32] = word;
		if (!in && v < cols) x[v] = -INFINITY;
	}
}
