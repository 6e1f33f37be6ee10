// loss.cu: the losses of the policy-gradient family and of the value head, a number per row.
//
//   ratio = exp(logp − old), or exp(log_ratio)      gain = min(ratio·A, clip(ratio, low, high)·A), for A < 0 at least dual·A;
//                                                   constant: clip(ratio, low, high)·A·logp, the clipped ratio a constant
//   policy loss = −Σ weight·gain + kl·Σ weight·(q − 1 − ln q) + Σ stay·|logp − old| − Σ imitate·logp,  q = exp(ref − logp)
//                 estimator 1: ln of 1/q, 2: ½ ln² q in place of q − 1 − ln q
//   value loss  = ½ Σ weight·max((v − ret)², (clip(v, old ± c) − ret)²)
//
//   All (R) f32; stats (8) f32 in the order of kernels/device.go. Rows of weight 0, prompts and tool output, get a gradient of 0 and count
//   nowhere, whatever their other columns hold. log_ratio, stay, imitate may be absent. Papers: loss.go. Reference: loss_test.go, float64.
//
// Launch    at most 256 blocks of 256, as many as R needs: sums in fp64, a thread's rows ascending, then a tree. loss_finish adds the blocks.
// Layout    plain arrays, neighbouring threads at neighbouring rows.
// Contract  outside of it; deterministic: the order depends on R alone.
// Floor     24 bytes a row: launch-bound.
// Reached   not measured: no hardware yet.
// Error     1e-6 of the terms.
#include "common.cuh"

enum { LOSS, KL, CLIPPED, DUAL, WEIGHT, MAX_DIFF, REF, VARIANCE, STATS };

// sums[blockIdx.x] = the sums over the block; MAX_DIFF is a maximum.
__device__ __forceinline__ void block_stats(double *sums, const double s[STATS]) {
	__shared__ double part[STATS][256];
#pragma unroll
	for (int k = 0; k < STATS; k++) part[k][threadIdx.x] = s[k];
	for (int n = 128; n > 0; n /= 2) {
		__syncthreads();
		if (threadIdx.x < n)
#pragma unroll
			for (int k = 0; k < STATS; k++) {
				const double a = part[k][threadIdx.x], b = part[k][threadIdx.x + n];
				part[k][threadIdx.x] = k == MAX_DIFF ? fmax(a, b) : a + b;
			}
	}
	if (threadIdx.x == 0)
#pragma unroll
		for (int k = 0; k < STATS; k++) sums[blockIdx.x * STATS + k] = part[k][0];
}

// stats += the sums of the blocks: a warp for each, lanes take every 32nd block, then a butterfly
extern "C" __global__ void __launch_bounds__(STATS * 32) loss_finish(float *stats, const double *sums, int blocks) {
	const int k = threadIdx.x / 32, lane = threadIdx.x % 32;
	double v = 0.;
	for (int i = lane; i < blocks; i += 32) v = k == MAX_DIFF ? fmax(v, sums[i * STATS + k]) : v + sums[i * STATS + k];
#pragma unroll
	for (int d = 16; d > 0; d >>= 1) {
		const double o = __shfl_xor_sync(FULL, v, d);
		v = k == MAX_DIFF ? fmax(v, o) : v + o;
	}
	if (lane == 0) stats[k] = k == MAX_DIFF ? fmaxf(stats[k], (float)v) : stats[k] + (float)v;
}

extern "C" __global__ void __launch_bounds__(256) policy_loss(float *dlogp, double *sums, const float *logp, const float *weight, const float *old, const float *advantage, const float *ref, const float *log_ratio, const float *stay, const float *imitate, int rows, float low, float high, float dual, float kl, int constant, int estimator) {
	double s[STATS] = {};
	for (int r = blockIdx.x * 256 + threadIdx.x; r < rows; r += gridDim.x * 256) {
		const float w = weight[r];
		if (w == 0.f) {
			dlogp[r] = 0.f;
			continue;
		}
		const float lp = logp[r], a = advantage[r], diff = lp - old[r], own = exp_(diff);
		const float ratio = log_ratio ? exp_(log_ratio[r]) : own, near = fminf(fmaxf(ratio, low), high);
		float gain = ratio * a, grad = gain;
		if (constant) {
			if (near != ratio) s[CLIPPED] += w;
			grad = near * a, gain = grad * lp;
		} else {
			if (near * a < gain) gain = near * a, grad = 0.f, s[CLIPPED] += w;
			if (dual > 0.f && a < 0.f && gain < dual * a) gain = dual * a, grad = 0.f, s[DUAL] += w;
		}
		float loss = -w * gain, d = -w * grad;
		if (kl != 0.f) {
			const float away = ref[r] - lp;
			float term = -away, slope = 1.f; // estimator 1
			if (estimator == 2) term = 0.5f * (away * away), slope = -away;
			if (estimator == 0) {
				const float q = exp_(away);
				term = q - 1.f - away, slope = 1.f - q;
			}
			s[REF] += w * term;
			loss = fmaf(kl * w, term, loss);
			d = fmaf(kl * w, slope, d);
		}
		if (stay && diff != 0.f) {
			loss = fmaf(stay[r], fabsf(diff), loss);
			d += diff > 0.f ? stay[r] : -stay[r];
		}
		if (imitate) {
			loss = fmaf(-imitate[r], lp, loss);
			d -= imitate[r];
		}
		dlogp[r] = d;
		s[LOSS] += loss;
		s[KL] += w * (own - 1.f - diff);
		s[WEIGHT] += w;
		s[MAX_DIFF] = fmax(s[MAX_DIFF], (double)fabsf(diff));
	}
	block_stats(sums, s);
}

extern "C" __global__ void __launch_bounds__(256) value_loss(float *dvalue, double *sums, const float *value, const float *weight, const float *target, const float *old, int rows, float clip) {
	double s[STATS] = {};
	for (int r = blockIdx.x * 256 + threadIdx.x; r < rows; r += gridDim.x * 256) {
		const float w = weight[r];
		if (w == 0.f) {
			dvalue[r] = 0.f;
			continue;
		}
		const float v = value[r], err = v - target[r];
		float grad = err, square = err * err;
		s[VARIANCE] += w * square;
		if (clip != 0.f) {
			const float near = fminf(fmaxf(v, old[r] - clip), old[r] + clip) - target[r];
			if (near * near > square) square = near * near, grad = 0.f, s[CLIPPED] += w;
		}
		dvalue[r] = w * grad;
		s[LOSS] += 0.5f * (w * square);
		s[WEIGHT] += w;
	}
	block_stats(sums, s);
}
