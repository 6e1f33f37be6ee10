// attention.cu: causal attention over packed sequences, and its gradients.
//
//   o = softmax(q·kᵀ/√D, causal in each sequence)·v      lse = ln Σ exp(q·kᵀ/√D)
//   dv += pᵀ·do     dk += dsᵀ·q/√D     dq += ds·k/√D     p = exp(q·kᵀ/√D − lse)   ds = p∘(do·vᵀ − δ)   δ = Σ_d do∘o
//
//   q, o, do (T,H,D)  k, v (T,K,D) bf16; dq, dk, dv of either type; lse, δ (T,H) f32; starts (S+1) i32.
//   Reference: attention_test.go, float64. After Dao 2023 (FlashAttention-2), algorithms 1 and 2.
//
// Launch    grid (⌈T·G/64⌉ + S, K), 128 threads: 4 warps of 16 rows, 64 keys per turn; a row is one head of one token, the G heads of a
//           group side by side. A block finds its sequence itself, so the grid needs no lengths. 10, 20, 40, 80 KB of shared memory for
//           D 16, 32, 64, 128: q and two stages of k and v. Backward: one pass over the rows for each tile of keys (dk, dv), one over the keys
//           for each tile of rows (dq): seven products instead of five, but no sum crosses blocks. What a pass goes over has two stages: 12,
//           24, 49, 65 KB. dk, dv: grid (K, ⌈T/64⌉ + S), the longest blocks first (find_keys); with one or two key heads, which give too few
//           blocks, (H, ⌈T/64⌉ + S), a block for each query head, and attention_sum_parts adds up what they leave.
//           Forward on sm_90a, if asked for, attention_fwd_wgmma of attend_wgmma.cuh: grid (⌈T·G/128⌉ + S, K), 384 threads: two teams of
//           64 rows with 240 registers a thread, and a warp that feeds four stages of keys and values through the copy engine; 97, 193 KB
//           for D 64, 128. Backward attention_bwd_q_wgmma and attention_bwd_kv_wgmma of attend_wgmma_bwd.cuh: the same two passes, built
//           alike, over 128 rows or keys a block; 99, 195 KB. dk, dv: grid (K or H, ⌈T/128⌉ + S).
// Layout    attend.cuh: 16-byte pieces XOR-swizzled by row; ldmatrix without bank conflicts.
// Contract  the state restarts every `chunk` tiles of keys and merges in ascending order (attend.cuh). Backward: rows ascending;
//           attention_bwd_kv_wgmma takes one head of a group after the other, attention_sum_parts as well.
// Floor     2·len²·H·D flop, 2·len·(2H+2K)·D bytes. At len 4096, H 28, K 4, D 128, with ceilings measured on an H200:
//           120 Gflop / 790 Tflop/s = 0.15 ms; 67 MB / 4.3 TB/s = 0.016 ms: compute bound. Backward 2.5 times that.
// Predicted 8 to 15 % less time on sm_90a than with the waits above the exponentials, where ptxas had put them: all 34 (backward 32) of a
//           thread and tile now stand under a product in SASS. dk, dv on 132 multiprocessors, a block on each: the last one ends 1.01 times
//           as late as if all worked to the end for 28 heads on 4 and one sequence of 8192 (1.66 with the shortest first), 1.03 for four of
//           2048 (1.63); for 14 on 2, in blocks of a query head, 1.10 (2.02). TestGPUBackwardBlocksEndTogether.
// Reached   not measured: no hardware yet.
// Error     |Δo| ≤ 2e-2·max|o| against the reference; gradients 3e-2 of their largest.
#include "attend.cuh"

// where column col of row row lies among sums of D columns: neighbouring rows fall into different banks
template <int D> __device__ __forceinline__ int sum_at(int row, int col) { return row * D + (col ^ ((D == 16 ? row >> 1 & 1 : row & 3) << 3)); }

// x += 64 rows of sums of four warps, scaled. They go through shared memory (64·D floats, free for all), so that a thread adds eight
// neighbours. from(i) is where row i begins in x, negative for none; the four warps meet at meet(). If x is fresh, nothing is added to.
template <int D, class From, class Meet> __device__ __forceinline__ void add_rows(const Tensor &x, float *sums, const float acc[D / 8][4], float scale, From from, Meet meet, bool fresh = false) {
	const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
#pragma unroll
	for (int d = 0; d < D / 8; d++)
#pragma unroll
		for (int h = 0; h < 2; h++) {
			const int row = warp * 16 + (lane >> 2) + h * 8, col = d * 8 + (lane & 3) * 2;
			store_shared2(shared_address(sums + sum_at<D>(row, col)), acc[d][h * 2] * scale, acc[d][h * 2 + 1] * scale);
		}
	meet();
#pragma unroll 1
	for (int i = threadIdx.x % 128; i < 64 * D / 8; i += 128) {
		const int row = i / (D / 8), col = i % (D / 8) * 8;
		const long at = from(row);
		if (at < 0) continue;
		const float4 *p = (const float4 *)(sums + sum_at<D>(row, col));
		const int flip = i >> 2 & 1; // four neighbours take the other half first: eight in a row would meet in banks
		const float4 a = p[flip], b = p[flip ^ 1], lo = flip ? b : a, hi = flip ? a : b;
		const float v[8] = {lo.x, lo.y, lo.z, lo.w, hi.x, hi.y, hi.z, hi.w};
		if (fresh)
			store8(x, at + col, 8, v);
		else
			add8(x, at + col, 8, v);
	}
}

#if !RETOOL_SM90

template <int D> __device__ __forceinline__ void forward(Tensor o, Tensor lse, Tensor q, Tensor k, Tensor v, Tensor starts, int seqs, int group, int chunk, float c) {
	Rows r;
	if (!find_rows(r, starts, seqs, group, 64)) return;
	const PackedKeys<D> keys{k, v, r.start, r.tokens, (int)blockIdx.y};
	attend<D, 4, false>(o, lse, Parts{}, q, r, keys, 0, blockIdx.y, group, chunk, c);
}

// delta[t,h] = Σ_d do·o: a warp each
extern "C" __global__ void __launch_bounds__(128) attention_delta(Tensor delta, Tensor dout, Tensor o, int rows, int heads, int dim) {
	const int i = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
	if (i >= rows) return;
	const long t = i / heads, h = i % heads;
	float sum = 0.f;
	for (int d = lane; d < dim; d += 32) sum = fmaf(load1(dout, t * dout.ld + h * dim + d), load1(o, t * o.ld + h * dim + d), sum);
	sum = warp_sum(sum);
	if (lane == 0) ((float *)delta.p)[t * delta.ld + h] = sum;
}

// dk (+)= Σ of the parts of its groups, in ascending order, and dv likewise; (T,K,D) and (T,K,parts,D). Eight neighbours a thread; grid (…, 2).
extern "C" __global__ void __launch_bounds__(256) attention_sum_parts(Tensor dk, Tensor dv, Tensor of_dk, Tensor of_dv, int tokens, int heads, int dim, int parts, int add) {
	const Tensor x = {blockIdx.y ? dv.p : dk.p, blockIdx.y ? dv.ld : dk.ld, blockIdx.y ? dv.type : dk.type}; // by reference it would lie in local memory
	const Tensor of = {blockIdx.y ? of_dv.p : of_dk.p, of_dk.ld, F32};
	const int width = heads * dim / 8, i = blockIdx.x * 256 + threadIdx.x;
	if (!x.p || i >= tokens * width) return;
	const int token = i / width, col = i % width * 8;
	float v[8], sum[8];
	for (int p = 0; p < parts; p++) {
		load8(v, of, (long)token * of.ld + (col / dim * parts + p) * dim + col % dim, 8);
#pragma unroll
		for (int e = 0; e < 8; e++) sum[e] = p ? sum[e] + v[e] : v[e];
	}
	sum8(x, (long)token * x.ld + col, 8, sum, add & (blockIdx.y ? 2 : 1));
}

// What a backward pass goes over, N rows of two tensors at a time, in two stages: two tiles each for rows of up to 64 numbers; halves of one
// pair of tiles for 128, where 64 rows of scores would leave too few registers, and four more tiles too few blocks.
template <int D> struct Stage {
	static constexpr int N = D == 128 ? 32 : 64, TILES = D == 128 ? 2 : 4;
	unsigned tile; // of the first tensor; that of the second follows
	int b0;        // the stage's first row in them
	__device__ __forceinline__ Stage(unsigned tiles, int i) : tile(D == 128 ? tiles : tiles + i % 2 * 2 * TILE_BYTES<D>), b0(D == 128 ? i % 2 * N : 0) {}
	__device__ __forceinline__ unsigned at() const { return tile + b0 * 128; } // for D 64 and 128; else b0 is 0
};

// dq of 64 rows
template <int D> __device__ __forceinline__ void backward_q(Tensor dq, Tensor dout, Tensor lse, Tensor delta, Tensor q, Tensor k, Tensor v, Tensor starts, int seqs, int group, float c, int add) {
	extern __shared__ __align__(128) char shared[];
	Rows r;
	if (!find_rows(r, starts, seqs, group, 64)) return;
	const int head = blockIdx.y, lane = threadIdx.x % 32, warp = threadIdx.x / 32, t = lane & 3, row0 = r.tile * 64, rows = r.tokens * group;
	constexpr int N = Stage<D>::N;
	const unsigned tile_q = shared_address(shared), tile_do = tile_q + TILE_BYTES<D>, stages = tile_do + TILE_BYTES<D>;
	const PackedKeys<D> keys{k, v, r.start, r.tokens, head};
	auto load = [&](int j) {
		const unsigned to = Stage<D>(stages, j).at();
		keys.template load<128, N>(to, to + TILE_BYTES<D>, j * N);
		async_commit();
	};
	load_rows<D, 64, 128>(tile_q, q, r, row0, head, group);
	load_rows<D, 64, 128>(tile_do, dout, r, row0, head, group);
	load(0);

	int last[2];
	float ln[2], dl[2]; // lse in base 2, δ
#pragma unroll
	for (int h = 0; h < 2; h++) {
		const int row = row0 + warp * 16 + (lane >> 2) + h * 8;
		const bool in = row < rows;
		const long token = r.start + (in ? row / group : 0), at = head * group + (in ? row % group : 0);
		last[h] = in ? row / group : -1;
		ln[h] = ((const float *)lse.p)[token * lse.ld + at] * LOG2E;
		dl[h] = ((const float *)delta.p)[token * delta.ld + at];
	}
	float acc[D / 8][4];
#pragma unroll
	for (int d = 0; d < D / 8; d++) acc[d][0] = acc[d][1] = acc[d][2] = acc[d][3] = 0.f;
	const int steps = (min(row0 + 64, rows) - 1) / group / N + 1;
	for (int j = 0; j < steps; j++) {
		async_wait<0>();
		__syncthreads(); // keys j·N … are there, and all have read those before them
		if (j + 1 < steps) load(j + 1);
		const Stage<D> stage(stages, j);
		float s[N / 8][4], dp[N / 8][4];
		product_nt<D, N>(s, tile_q, warp * 16, stage.tile, stage.b0);
		product_nt<D, N>(dp, tile_do, warp * 16, stage.tile + TILE_BYTES<D>, stage.b0);
#pragma unroll
		for (int n = 0; n < N / 8; n++)
#pragma unroll
			for (int e = 0; e < 4; e++) {
				const int h = e / 2, key = j * N + n * 8 + t * 2 + e % 2;
				s[n][e] = key <= last[h] ? ex2(fmaf(s[n][e], c, -ln[h])) * (dp[n][e] - dl[h]) : 0.f;
			}
		product_nn<D, N>(acc, s, stage.tile, stage.b0);
	}
	__syncthreads(); // all have read q and do
	add_rows<D>(dq, (float *)shared, acc, c * LN2, [&](int i) {
		const int row = row0 + i;
		return row < rows ? (long)(r.start + row / group) * dq.ld + (head * group + row % group) * D : -1l;
	}, [] { __syncthreads(); }, !add);
}

// dk and dv of 64 keys, of group query heads: of all that share the key head, or one part of them. Then the part's sums are stored, for
// attention_sum_parts. Products are taken transposed, keys down and rows across, so that their fragments serve as left operands.
template <int D> __device__ __forceinline__ void backward_kv(Tensor dk, Tensor dv, Tensor dout, Tensor lse, Tensor delta, Tensor q, Tensor k, Tensor v, Tensor starts, int seqs, int group, int parts, float c, int add) {
	extern __shared__ __align__(128) char shared[];
	Rows r;
	if (!find_keys(r, starts, seqs, KEYS)) return;
	const int head = blockIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32, t = lane & 3, key0 = r.tile * KEYS, rows = r.tokens * group;
	constexpr int N = Stage<D>::N;
	const unsigned tile_k = shared_address(shared), tile_v = tile_k + TILE_BYTES<D>, stages = tile_v + TILE_BYTES<D>;
	float *of_rows = (float *)(shared + (2 + Stage<D>::TILES) * TILE_BYTES<D>); // of the rows in each stage: lse in base 2, δ
	const PackedKeys<D> keys{k, v, r.start, r.tokens, head / parts};
	float ln = 0.f, dl = 0.f; // of this thread's row of the next stage, on their way to of_rows
	auto load = [&](int row0) {
		const unsigned to = Stage<D>(stages, row0 / N).at();
		load_rows<D, N, 128>(to, q, r, row0, head, group);
		load_rows<D, N, 128>(to + TILE_BYTES<D>, dout, r, row0, head, group);
		async_commit();
		const int row = row0 + threadIdx.x;
		if (threadIdx.x >= N || row >= rows) return;
		const long token = r.start + row / group, at = head * group + row % group;
		ln = ((const float *)lse.p)[token * lse.ld + at] * LOG2E;
		dl = ((const float *)delta.p)[token * delta.ld + at];
	};
	auto keep = [&](int row0) {
		float *to = of_rows + row0 / N % 2 * 2 * N;
		if (threadIdx.x < N) to[threadIdx.x] = ln, to[N + threadIdx.x] = dl;
	};
	const int first = key0 * group / N * N;
	keys.template load<128>(tile_k, tile_v, key0);
	load(first);
	keep(first);
	float ak[D / 8][4], av[D / 8][4];
#pragma unroll
	for (int d = 0; d < D / 8; d++)
#pragma unroll
		for (int e = 0; e < 4; e++) ak[d][e] = av[d][e] = 0.f;
	for (int row0 = first; row0 < rows; row0 += N) {
		async_wait<0>();
		__syncthreads(); // these rows are there, and all have read those before them
		const bool more = row0 + N < rows;
		if (more) load(row0 + N);
		const Stage<D> stage(stages, row0 / N);
		const float *row_ln = of_rows + row0 / N % 2 * 2 * N, *row_dl = row_ln + N;
		float s[N / 8][4], dp[N / 8][4];
		product_nt<D, N>(s, tile_k, warp * 16, stage.tile, stage.b0);
		product_nt<D, N>(dp, tile_v, warp * 16, stage.tile + TILE_BYTES<D>, stage.b0);
#pragma unroll
		for (int n = 0; n < N / 8; n++)
#pragma unroll
			for (int e = 0; e < 4; e++) {
				const int i = n * 8 + t * 2 + e % 2, row = row0 + i, key = key0 + warp * 16 + (lane >> 2) + e / 2 * 8;
				const float p = row < rows && key * group <= row ? ex2(fmaf(s[n][e], c, -row_ln[i])) : 0.f;
				s[n][e] = p;
				dp[n][e] = p * (dp[n][e] - row_dl[i]);
			}
		product_nn<D, N>(av, s, stage.tile + TILE_BYTES<D>, stage.b0);
		product_nn<D, N>(ak, dp, stage.tile, stage.b0);
		if (more) keep(row0 + N);
	}
	__syncthreads(); // all have read k and v
	auto at = [&](const Tensor &x) {
		return [=, &x](int i) { return key0 + i < r.tokens ? (long)(r.start + key0 + i) * x.ld + head * D : -1l; };
	};
	auto meet = [] { __syncthreads(); };
	if (dk.p) add_rows<D>(dk, (float *)shared, ak, c * LN2, at(dk), meet, parts > 1 || !(add & 1));
	meet(); // all have read the sums of dk
	if (dv.p) add_rows<D>(dv, (float *)shared, av, 1.f, at(dv), meet, parts > 1 || !(add & 2));
}

#define ATTENTION(D)                                                                                                                                                                   \
	extern "C" __global__ void __launch_bounds__(128) attention_fwd_bf16_d##D(Tensor o, Tensor lse, Tensor q, Tensor k, Tensor v, Tensor starts, int seqs, int group, int chunk, float c) { \
		forward<D>(o, lse, q, k, v, starts, seqs, group, chunk, c);                                                                                                                            \
	}                                                                                                                                                                                    \
	extern "C" __global__ void __launch_bounds__(128) attention_bwd_q_bf16_d##D(Tensor dq, Tensor dout, Tensor lse, Tensor delta, Tensor q, Tensor k, Tensor v, Tensor starts, int seqs, int group, float c, int add) { \
		backward_q<D>(dq, dout, lse, delta, q, k, v, starts, seqs, group, c, add);                                                                                                                  \
	}                                                                                                                                                                                    \
	extern "C" __global__ void __launch_bounds__(128, 2) attention_bwd_kv_bf16_d##D(Tensor dk, Tensor dv, Tensor dout, Tensor lse, Tensor delta, Tensor q, Tensor k, Tensor v, Tensor starts, int seqs, int group, int parts, float c, int add) { \
		backward_kv<D>(dk, dv, dout, lse, delta, q, k, v, starts, seqs, group, parts, c, add);                                                                                                             \
	}

ATTENTION(16)
ATTENTION(32)
ATTENTION(64)
ATTENTION(128)

#else // Hopper

#include "attend_wgmma.cuh"
#include "attend_wgmma_bwd.cuh"

#define ATTENTION(D)                                                                                                                                                                   \
	extern "C" __global__ void __launch_bounds__(384, 1) attention_fwd_wgmma_d##D(Tensor o, Tensor lse, Tensor q, const __grid_constant__ TensorMap k, const __grid_constant__ TensorMap v, Tensor starts, int seqs, int group, int chunk, float c) { \
		Rows r;                                                                                                                                                                              \
		if (!find_rows(r, starts, seqs, group, 128)) return;                                                                                                                                 \
		const MappedKeys<D> keys{&k, &v, r.start, r.tokens, (int)blockIdx.y, 0};                                                                                                               \
		attend_wgmma<D, 2, false>(o, lse, Parts{}, q, r, keys, 0, blockIdx.y, group, chunk, c);                                                                                              \
	}                                                                                                                                                                                    \
	extern "C" __global__ void __launch_bounds__(384, 1) attention_bwd_q_wgmma_d##D(Tensor dq, Tensor dout, Tensor lse, Tensor delta, Tensor q, const __grid_constant__ TensorMap k, const __grid_constant__ TensorMap v, Tensor starts, int seqs, int group, float c, int add) { \
		backward_q_wgmma<D>(dq, dout, lse, delta, q, k, v, starts, seqs, group, c, add);                                                                                                            \
	}                                                                                                                                                                                    \
	extern "C" __global__ void __launch_bounds__(384, 1) attention_bwd_kv_wgmma_d##D(Tensor dk, Tensor dv, const __grid_constant__ TensorMap dout, Tensor lse, Tensor delta, const __grid_constant__ TensorMap q, Tensor k, Tensor v, Tensor starts, int seqs, int group, int parts, float c, int add) { \
		backward_kv_wgmma<D>(dk, dv, dout, lse, delta, q, k, v, starts, seqs, group, parts, c, add);                                                                                                       \
	}

ATTENTION(64)
ATTENTION(128)

#endif
