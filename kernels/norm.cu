// norm.cu: RMSNorm with the residual addition before it, its gradients, and the sum of a matrix over its rows.
//
//   x += add, where there is one      y = w · x · rstd      rstd = 1/√(mean(x²) + eps)
//   dx += rstd · (g − x̂ · mean(g·x̂))      dw += Σ_rows dy · x̂      g = dy·w, x̂ = x·rstd
//
//   x, add, y, dx, dy: rows of n numbers; row r is head r%heads of token r/heads, at token·ld + head·n. w, dw (n). rstd (T, heads) f32.
//   Reference: norm_test.go, float64. Zhang 2019.
//
// Launch    n ≤ 1024: a warp a row, four rows a block of 128. Above: a block of 256 a row. Backward a warp or a block takes a slab of neighbouring
//           rows, and adds up dw as it goes; column_finish adds the slabs' sums. How many slabs depends on rows and n alone.
// Layout    eight neighbouring elements a thread, 16-byte loads. Forward a row waits in registers for its sum: 1024 numbers of a warp, 8192 of
//           a block; what is longer, and backward, is read again, from the first-level cache.
// Contract  the order of a row's sum depends on n alone: a thread's elements ascending, a butterfly, then the warps ascending. The sum with add
//           is rounded to x's type before it is normalised: the bits of the addition alone, followed by the norm alone.
// Floor     forward 4·T·n bytes in bf16, 8·T·n with add. T 16384, n 3584, 4.3 TB/s (H200): 55 µs, 109 µs. Backward 8·T·n bytes: 109 µs, and
//           4·n a slab of 16 rows to write and to read again: 12 %.
// Predicted dw by a pass of its own reads x and dy again, 4·T·n bytes: 57 norms of 7B, T 8192, 1.6 ms less.
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

// dx of rows [from, to), and to sums (n), where that is there, Σ dy·x̂ over them, rows ascending. A thread keeps the sums of its columns in
// registers, those past KEPT eights in sums itself.
template <int THREADS> __device__ __forceinline__ void rmsnorm_bwd(Tensor dx, Tensor dy, Tensor x, Tensor w, Tensor rstd, int from, int to, int heads, int n, int add, int lane, float *sums, float (*part)[8]) {
	constexpr int KEPT = THREADS == 32 ? 4 : 3; // all of 1024 numbers, 6144
	float held[KEPT][8] = {};
	for (int i = from; i < to; i++) {
		const Row r{i / heads, i % heads, n};
		const long at = r.of(x), dy_at = r.of(dy), dx_at = r.of(dx);
		const float s = ((const float *)rstd.p)[(long)r.token * rstd.ld + r.head];
		float mean = 0.f;
		if (dx.p) {
			float sum = 0.f, v[8], g[8], u[8];
			for (int c = lane * 8; c < n; c += THREADS * 8) {
				load8(v, x, at + c, n - c);
				load8(g, dy, dy_at + c, n - c);
				load8(u, w, c, n - c);
#pragma unroll
				for (int e = 0; e < 8; e++) sum = fmaf(g[e] * u[e], v[e] * s, sum);
			}
			mean = __fdiv_rn(row_sum<THREADS>(sum, part[i & 1]), (float)n); // two parts: some may still read the one of the row before
		}
		auto piece = [&](float total[8], int c) {
			float v[8], g[8], u[8];
			load8(v, x, at + c, n - c);
			load8(g, dy, dy_at + c, n - c);
#pragma unroll
			for (int e = 0; e < 8; e++) {
				v[e] = v[e] * s;
				total[e] = fmaf(g[e], v[e], total[e]);
			}
			if (!dx.p) return;
			load8(u, w, c, n - c);
#pragma unroll
			for (int e = 0; e < 8; e++) v[e] = s * fmaf(-v[e], mean, g[e] * u[e]);
			sum8(dx, dx_at + c, n - c, v, add);
		};
#pragma unroll
		for (int k = 0; k < KEPT; k++)
			if ((lane + k * THREADS) * 8 < n) piece(held[k], (lane + k * THREADS) * 8);
		for (int c = (lane + KEPT * THREADS) * 8; c < n; c += THREADS * 8) {
			float total[8] = {};
#pragma unroll
			for (int e = 0; e < 8; e++)
				if (sums && i > from && c + e < n) total[e] = sums[c + e];
			piece(total, c);
#pragma unroll
			for (int e = 0; e < 8; e++)
				if (sums && c + e < n) sums[c + e] = total[e];
		}
	}
	if (!sums) return;
#pragma unroll
	for (int k = 0; k < KEPT; k++)
#pragma unroll
		for (int e = 0; e < 8; e++)
			if ((lane + k * THREADS) * 8 + e < n) sums[(lane + k * THREADS) * 8 + e] = held[k][e];
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

// the first row of slab i, of so many that rows are cut into
__device__ __forceinline__ int slab_row(int rows, int slabs, int i) { return (int)((long)rows * i / slabs); }

extern "C" __global__ void __launch_bounds__(128, 3) rmsnorm_bwd_warp(Tensor dx, float *sums, Tensor dy, Tensor x, Tensor w, Tensor rstd, int rows, int slabs, int heads, int n, int add) {
	const int i = blockIdx.x * 4 + threadIdx.x / 32;
	if (i >= slabs) return;
	float none[2][8];
	rmsnorm_bwd<32>(dx, dy, x, w, rstd, slab_row(rows, slabs, i), slab_row(rows, slabs, i + 1), heads, n, add, threadIdx.x % 32, sums ? sums + (long)i * n : 0, none);
}

extern "C" __global__ void __launch_bounds__(256, 2) rmsnorm_bwd_block(Tensor dx, float *sums, Tensor dy, Tensor x, Tensor w, Tensor rstd, int rows, int slabs, int heads, int n, int add) {
	__shared__ float part[2][8];
	const int i = blockIdx.x;
	rmsnorm_bwd<256>(dx, dy, x, w, rstd, slab_row(rows, slabs, i), slab_row(rows, slabs, i + 1), heads, n, add, threadIdx.x, sums ? sums + (long)i * n : 0, part);
}

// part (slabs, n) = sums over slabs of x (rows, n): the gradient of a bias. grid (⌈n/32⌉, slabs), 256 threads: 32 columns times 8 threads that
// take every eighth row of the slab.
extern "C" __global__ void __launch_bounds__(256) column_sum(float *part, Tensor x, int rows, int n) {
	__shared__ float sums[8][32];
	const int c = blockIdx.x * 32 + threadIdx.x % 32, lane = threadIdx.x / 32, slabs = gridDim.y, slab = blockIdx.y;
	float sum = 0.f;
	if (c < n)
		for (int r = slab_row(rows, slabs, slab) + lane; r < slab_row(rows, slabs, slab + 1); r += 8) sum += load1(x, (long)r * x.ld + c);
	sums[lane][threadIdx.x % 32] = sum;
	__syncthreads();
	if (lane != 0 || c >= n) return;
#pragma unroll
	for (int i = 1; i < 8; i++) sum += sums[i][threadIdx.x];
	part[(long)slab * n + c] = sum;
}

// out (n) += Σ_slab part (slabs, n). grid ⌈n/8⌉, 256 threads: 8 columns times 32 threads that take every 32nd slab.
extern "C" __global__ void __launch_bounds__(256) column_finish(Tensor out, const float *part, int slabs, int n) {
	__shared__ float sums[32][8];
	const int c = blockIdx.x * 8 + threadIdx.x % 8, lane = threadIdx.x / 8;
	float sum = 0.f;
	if (c < n) {
#pragma unroll 8
		for (int i = lane; i < slabs; i += 32) sum += part[(long)i * n + c];
	}
	sums[lane][threadIdx.x % 8] = sum;
	__syncthreads();
	if (lane != 0 || c >= n) return;
	for (int i = 1; i < min(slabs, 32); i++) sum += sums[i][threadIdx.x];
	store1(out, c, load1(out, c) + sum);
}
