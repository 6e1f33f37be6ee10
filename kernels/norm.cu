// norm.cu: RMSNorm with the residual addition before it, its gradients, and the sum of a matrix over its rows.
//
//   x += add, where there is one      y = w · x · rstd      rstd = 1/√(mean(x²) + eps)
//   dx += rstd · (g − x̂ · mean(g·x̂))      dw += Σ_rows dy · x̂      g = dy·w, x̂ = x·rstd
//
//   x, add, y, dx, dy: rows of n numbers; row r is head r%heads of token r/heads, at token·ld + head·n. w, dw (n). rstd (T, heads) f32.
//   Reference: norm_test.go, float64. Zhang 2019.
//
// Launch    n ≤ 1024: a warp a row, four rows a block of 128. Above: a block of 256 a row.
// Layout    eight neighbouring elements a thread, 16-byte loads. Forward a row waits in registers for its sum: 1024 numbers of a warp, 8192 of
//           a block; what is longer, and backward, is read again, from the first-level cache.
// Contract  the order of a row's sum depends on n alone: a thread's elements ascending, a butterfly, then the warps ascending. The sum with add
//           is rounded to x's type before it is normalised: the bits of the addition alone, followed by the norm alone.
// Floor     forward 4·T·n bytes in bf16, 8·T·n with add. T 16384, n 3584, 4.3 TB/s (H200): 55 µs, 109 µs. Backward 8·T·n bytes: 109 µs.
// Reached   not measured: no hardware yet.
// Error     y within 2⁻⁸ relative in bf16, 1e-6 in f32.
#include "common.cuh"

struct Row { // one row of a (tokens, heads, n) tensor
	int token, head, n;
	__device__ long of(const Tensor &x) const { return (long)token * x.ld + (long)head * n; }
};

template <int THREADS> __device__ __forceinline__ float row_sum(float v, float *part) {
	if (THREADS == 32) return warp_sum(v);
	return block_sum<THREADS / 32>(v, part);
}

constexpr int HELD = 4; // eights of a row that a thread holds

template <int THREADS> __device__ __forceinline__ void rmsnorm(Tensor y, Tensor rstd, Tensor x, Tensor add, Tensor w, Row r, int lane, float eps, float *part) {
	const long at = r.of(x);
	float sum = 0.f, held[HELD][8];
	auto take = [&](float v[8], int c) {
		load8(v, x, at + c, r.n - c);
		if (add.p) {
			float u[8];
			load8(u, add, r.of(add) + c, r.n - c);
#pragma unroll
			for (int i = 0; i < 8; i++) v[i] = rounded(x, v[i] + u[i]);
			store8(x, at + c, r.n - c, v);
		}
#pragma unroll
		for (int i = 0; i < 8; i++) sum = fmaf(v[i], v[i], sum);
	};
	const int mine = lane * 8, rest = mine + HELD * THREADS * 8;
#pragma unroll
	for (int k = 0; k < HELD; k++)
		if (mine + k * THREADS * 8 < r.n) take(held[k], mine + k * THREADS * 8);
	for (int c = rest; c < r.n; c += THREADS * 8) {
		float v[8];
		take(v, c);
	}
	sum = row_sum<THREADS>(sum, part);
	const float s = rsqrt_(__fdiv_rn(sum, (float)r.n) + eps);
	if (rstd.p && lane == 0) ((float *)rstd.p)[(long)r.token * rstd.ld + r.head] = s;
	auto give = [&](float v[8], int c) {
		float g[8];
		load8(g, w, c, r.n - c);
#pragma unroll
		for (int i = 0; i < 8; i++) v[i] = v[i] * s * g[i];
		store8(y, r.of(y) + c, r.n - c, v);
	};
#pragma unroll
	for (int k = 0; k < HELD; k++)
		if (mine + k * THREADS * 8 < r.n) give(held[k], mine + k * THREADS * 8);
	for (int c = rest; c < r.n; c += THREADS * 8) {
		float v[8];
		load8(v, x, at + c, r.n - c);
		give(v, c);
	}
}

template <int THREADS> __device__ __forceinline__ void rmsnorm_bwd(Tensor dx, Tensor dy, Tensor x, Tensor w, Tensor rstd, Row r, int lane, float *part) {
	const long at = r.of(x), from = r.of(dy);
	const float s = ((const float *)rstd.p)[(long)r.token * rstd.ld + r.head];
	float sum = 0.f, v[8], g[8], u[8];
	for (int c = lane * 8; c < r.n; c += THREADS * 8) {
		load8(v, x, at + c, r.n - c);
		load8(g, dy, from + c, r.n - c);
		load8(u, w, c, r.n - c);
#pragma unroll
		for (int i = 0; i < 8; i++) sum = fmaf(g[i] * u[i], v[i] * s, sum);
	}
	const float mean = __fdiv_rn(row_sum<THREADS>(sum, part), (float)r.n);
	for (int c = lane * 8; c < r.n; c += THREADS * 8) {
		load8(v, x, at + c, r.n - c);
		load8(g, dy, from + c, r.n - c);
		load8(u, w, c, r.n - c);
#pragma unroll
		for (int i = 0; i < 8; i++) v[i] = s * fmaf(-(v[i] * s), mean, g[i] * u[i]);
		add8(dx, r.of(dx) + c, r.n - c, v);
	}
}

extern "C" __global__ void __launch_bounds__(128) rmsnorm_fwd_warp(Tensor y, Tensor rstd, Tensor x, Tensor add, Tensor w, int rows, int heads, int n, float eps) {
	const int r = blockIdx.x * 4 + threadIdx.x / 32;
	if (r >= rows) return;
	rmsnorm<32>(y, rstd, x, add, w, Row{r / heads, r % heads, n}, threadIdx.x % 32, eps, 0);
}

extern "C" __global__ void __launch_bounds__(256) rmsnorm_fwd_block(Tensor y, Tensor rstd, Tensor x, Tensor add, Tensor w, int rows, int heads, int n, float eps) {
	__shared__ float part[8];
	const int r = blockIdx.x;
	rmsnorm<256>(y, rstd, x, add, w, Row{r / heads, r % heads, n}, threadIdx.x, eps, part);
}

extern "C" __global__ void __launch_bounds__(128) rmsnorm_bwd_warp(Tensor dx, Tensor dy, Tensor x, Tensor w, Tensor rstd, int rows, int heads, int n) {
	const int r = blockIdx.x * 4 + threadIdx.x / 32;
	if (r >= rows) return;
	rmsnorm_bwd<32>(dx, dy, x, w, rstd, Row{r / heads, r % heads, n}, threadIdx.x % 32, 0);
}

extern "C" __global__ void __launch_bounds__(256) rmsnorm_bwd_block(Tensor dx, Tensor dy, Tensor x, Tensor w, Tensor rstd, int rows, int heads, int n) {
	__shared__ float part[8];
	const int r = blockIdx.x;
	rmsnorm_bwd<256>(dx, dy, x, w, rstd, Row{r / heads, r % heads, n}, threadIdx.x, part);
}

// Sums over rows take two steps. column_part: grid (⌈n/32⌉, slabs), 256 threads: 32 columns times 8 threads that take every eighth row
// of the slab. Slab i is rows [i·rows/slabs, (i+1)·rows/slabs). column_finish adds the slabs to out, ascending. The number of slabs depends
// on the number of rows alone.
template <class Value> __device__ __forceinline__ void column_part(float *part, int rows, int n, Value value) {
	__shared__ float sums[8][32];
	const int c = blockIdx.x * 32 + threadIdx.x % 32, lane = threadIdx.x / 32, slabs = gridDim.y, slab = blockIdx.y;
	const int from = (int)((long)rows * slab / slabs), to = (int)((long)rows * (slab + 1) / slabs);
	float sum = 0.f;
	if (c < n)
		for (int r = from + lane; r < to; r += 8) sum = value(r, c, sum);
	sums[lane][threadIdx.x % 32] = sum;
	__syncthreads();
	if (lane != 0 || c >= n) return;
#pragma unroll
	for (int i = 1; i < 8; i++) sum += sums[i][threadIdx.x];
	part[(long)slab * n + c] = sum;
}

// part (slabs, n) = sums over slabs of dy·x̂
extern "C" __global__ void __launch_bounds__(256) rmsnorm_bwd_weight(float *part, Tensor dy, Tensor x, Tensor rstd, int rows, int heads, int n) {
	column_part(part, rows, n, [=](int r, int c, float sum) {
		const Row row{r / heads, r % heads, n};
		const float s = ((const float *)rstd.p)[(long)row.token * rstd.ld + row.head];
		return fmaf(load1(dy, row.of(dy) + c), load1(x, row.of(x) + c) * s, sum);
	});
}

// part (slabs, n) = sums over slabs of x (rows, n): the gradient of a bias
extern "C" __global__ void __launch_bounds__(256) column_sum(float *part, Tensor x, int rows, int n) {
	column_part(part, rows, n, [=](int r, int c, float sum) { return sum + load1(x, (long)r * x.ld + c); });
}

// out (n) += Σ_slab part (slabs, n)
extern "C" __global__ void __launch_bounds__(256) column_finish(Tensor out, const float *part, int slabs, int n) {
	const int c = blockIdx.x * 256 + threadIdx.x;
	if (c >= n) return;
	float sum = 0.f;
	for (int i = 0; i < slabs; i++) sum += part[(long)i * n + c];
	store1(out, c, load1(out, c) + sum);
}
