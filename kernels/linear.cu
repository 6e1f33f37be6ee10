// linear.cu: y = x·wᵀ + b and its two backward products.
//
//   nt  c = a·bᵀ     forward: a = x (T,M), b = w (N,M), c = y (T,N)
//   nn  c += a·b     a = dy (T,N), b = w (N,M), c = dx (T,M)
//   tn  c += aᵀ·b    a = dy (T,N), b = x (T,M), c = dw (N,M)
//
//   draw: nt of a head, of whose c nothing is kept but a draw from each row and its log-sum-exp, in units of 32 columns (draw.cuh)
//
//   nn and tn write where there is nothing to add to (add 0): the bits of adding to zeros.
//
//   a, b of f32 or bf16, both taken as bf16; c of either, computed in fp32. linear_f32 is the same three in fp32 throughout, for a and
//   b of f32: strides say which. Reference: linear_test.go, float64.
//
// Launch    128x128x32 tiles, 4 warps of 64x64, 4 stages of cp.async, 64 KB shared. nt64: 64x64x64, 4 warps of 32x32, 4 stages, 64 KB, where
//           the large tiles would leave multiprocessors idle; nt16: 16x32x64, 2 warps, 8 stages, 48 KB, for few rows, where all that counts
//           is how many bytes of b are under way. Blocks walk down 8 tiles of rows before they move to the next tile of columns, so that b
//           stays in the second-level cache.
//           On sm_90a, if asked for, all three by wgmma: 128x256x64 tiles, two warpgroups of m64n256k16 with 240 registers a thread and one
//           that feeds four stages through the copy engine, one block a multiprocessor that walks the tiles, 225 KB shared; 128x128 (6
//           stages), 64x128 (8), and for nt 64x64 and 64x32 (12), where a stated cost (gpu_tiles.go) says that they end sooner. *_pair_wgmma and
//           *_square_wgmma: clusters of two or four blocks, tiles side by side, what they have in common brought once, by multicast.
//           draw: the three portable tiles, and 128x256 alone and in pairs. A lane has eight neighbours of a row; in a block that takes several
//           tiles of a row, those that cannot beat what it has drawn go without random numbers.
// Layout    a tile is as in memory, its 16-byte pieces XOR-swizzled by row: ldmatrix, plain or transposed, without bank conflicts; 128-byte
//           swizzle of the copy engine for wgmma, which takes a factor stored with k down its rows as panels of 64 columns.
// Contract  an output is one chain acc = mma16(acc, a[k0…k0+15], b[k0…k0+15]) over ascending k0 in fp32, plus b, rounded once. Tile shape,
//           clusters and the number of rows do not change its bits: nt, nt64 and nt16 agree. wgmma is a class of its own, and that its four widths
//           agree with one another is for hardware to show (the tests of rows among others do).
// Floor     2·M·N·K flop. 4096³ at 790 Tflop/s (H200): 0.17 ms; mma.sync is expected to reach about 400.
// Predicted by that cost, products of a decode step of 7B: 256 rows 7.2 ms (12.0 by the largest tiles that give each multiprocessor one), 128
//           rows 5.0 (6.9), 32 rows 3.5 (4.0). TestGPUTilesAreChosenByCost. With pairs 6.5, 4.1, 3.5, with squares 5.1, 4.1, 3.5; products of a
//           training pass of 8192 tokens 522 -> 401 ms, if the second-level cache gives 8 TB/s and 128 of 132 multiprocessors are in clusters of
//           four at once, which is assumed. TestGPUBytesOfAPass.
// Predicted of draw, for R rows of V ids: 16·R·V/32 bytes written and read once, in place of 4·R·V written and read twice: 156 MB three times at
//           R 256, V 152064, 0.11 ms of 4.3 TB/s. Ten rounds of Philox for 4 ids, unless they are passed over, and for each id an ex2 and a lg2,
//           behind the product: at most some 0.05 ms. A step of one row has three launches less.
// Reached   not measured: no hardware yet.
// Error     |Δc| ≤ 2⁻⁸·|c| + K·2⁻²³·Σ|a·b| in bf16.
#include "cluster.cuh"
#include "draw.cuh"

// Tile number i: 8 tiles of rows come before the next tile of columns.
template <int BM, int BN> __device__ __forceinline__ void tile_number(int &m0, int &n0, int i, int m, int n) {
	const int tiles_m = (m + BM - 1) / BM, tiles_n = (n + BN - 1) / BN;
	const int group = i / (8 * tiles_n), first = group * 8, height = min(tiles_m - first, 8), within = i % (8 * tiles_n);
	m0 = (first + within % height) * BM, n0 = within / height * BN;
}

// where a sum stands in shared memory: columns are XORed with the row, so that neighbouring rows fall into different banks
template <int BN> __device__ __forceinline__ int sum_at(int row, int col) { return row * BN + (col ^ ((row & 3) << 3)); }

// A thread's eight neighbours of a row of sums. Every other four neighbours take the other half first: eight in a row would meet in banks.
template <int BN> __device__ __forceinline__ void take_sums(float v[8], const float *sums, int r, int col, int flip) {
	const float4 *from = (const float4 *)(sums + sum_at<BN>(r, col));
	const float4 x = from[flip], y = from[flip ^ 1], lo = flip ? y : x, hi = flip ? x : y;
	v[0] = lo.x, v[1] = lo.y, v[2] = lo.z, v[3] = lo.w, v[4] = hi.x, v[5] = hi.y, v[6] = hi.z, v[7] = hi.w;
}

// c (+)= sums + bias: a thread's eight neighbours, every DOWN rows. What c holds is asked for MOST eights
// at a time, before any of them is needed.
template <int BM, int BN, int THREADS, int MOST> __device__ __forceinline__ void store_sums(const Tensor &c, const Tensor &bias, const float *sums, int m0, int n0, int m, int n, int add) {
	constexpr int ACROSS = BN / 8, DOWN = THREADS / ACROSS, TURNS = BM / DOWN, BATCH = TURNS < MOST ? TURNS : MOST;
	static_assert(THREADS % ACROSS == 0 && BM % (DOWN * BATCH) == 0, "a thread keeps to its columns, and batches are whole");
	const int i = threadIdx.x % THREADS, r0 = i / ACROSS, col = i % ACROSS * 8, left = n - n0 - col;
	if (left <= 0) return;
	float b[8];
	if (bias.p) load8(b, bias, n0 + col, left);
	auto take = [&](float v[8], int r) {
		take_sums<BN>(v, sums, r, col, i >> 2 & 1);
		if (bias.p) {
#pragma unroll
			for (int e = 0; e < 8; e++) v[e] += b[e];
		}
	};
	const int size = c.type == BF16 ? 2 : 4;
	if (left < 8 || ((size_t)c.p & 15) != 0 || (c.ld * size & 15) != 0) {
#pragma unroll 1
		for (int r = r0; r < BM && m0 + r < m; r += DOWN) {
			float v[8];
			take(v, r);
			sum8(c, (long)(m0 + r) * c.ld + n0 + col, left, v, add);
		}
		return;
	}
	char *at = c.p + ((long)(m0 + r0) * c.ld + n0 + col) * size;
	const long down = (long)DOWN * c.ld * size;
#pragma unroll 1
	for (int r = r0; r < BM; r += DOWN * BATCH, at += BATCH * down) {
		uint4 old[BATCH][2];
#pragma unroll
		for (int k = 0; k < BATCH; k++) {
			const bool here = add && m0 + r + k * DOWN < m;
			load16_if(old[k][0], at + k * down, here);
			load16_if(old[k][1], at + k * down + 16, here && c.type == F32);
		}
#pragma unroll
		for (int k = 0; k < BATCH; k++) {
			if (m0 + r + k * DOWN >= m) return;
			float v[8], u[8];
			take(v, r + k * DOWN);
			if (add) {
				eight(u, c.type, old[k]);
#pragma unroll
				for (int e = 0; e < 8; e++) v[e] = u[e] + v[e];
			}
			store_eight(at + k * down, c.type, v);
		}
	}
}

// The best score of a thread's eight logits, ids from id0 on; a score below `beat` may be missed. Uniforms give a bound of each score by one
// approximate logarithm, since −ln u ≥ 1 − u; scores are taken from the largest bound down, as long as one may be above the best.
__device__ __forceinline__ Best best_of8(const Drawing &d, const Key &key, const float v[8], int id0, float beat, float &logit) {
	Best best{-INFINITY, -1};
	float most[8], u[8];
#pragma unroll
	for (int g = 0; g < 2; g++) {
		bool any = false;
#pragma unroll
		for (int e = g * 4; e < g * 4 + 4; e++) {
			most[e] = id0 + e < d.open && !(fmaf(v[e], d.draw, MOST_NOISE) < beat) ? 0.f : -INFINITY;
			u[e] = 0.5f;
			any |= most[e] == 0.f;
		}
		if (!any) continue;
		unsigned w[4];
		key.words(w, id0 / 4 + g);
#pragma unroll
		for (int e = 0; e < 4; e++) {
			u[g * 4 + e] = uniform_of(w[e]);
			if (most[g * 4 + e] == 0.f) most[g * 4 + e] = fmaf(v[g * 4 + e], d.draw, -ln_(1.f - u[g * 4 + e]));
		}
	}
#pragma unroll 1
	for (;;) {
		float bound = -INFINITY, x = 0.f, noise = 0.5f;
		int at = -1;
#pragma unroll
		for (int e = 0; e < 8; e++)
			if (most[e] > bound) bound = most[e], x = v[e], noise = u[e], at = e;
		if (at < 0 || bound < beat) return best;
#pragma unroll
		for (int e = 0; e < 8; e++)
			if (at == e) most[e] = -INFINITY;
		if (best.take(score_of(x, d.draw, noise), id0 + at)) {
			logit = x;
			beat = fmaxf(beat, below(best.score));
		}
	}
}

// The units of a tile's rows: eight neighbours a thread, four threads a unit. bests, if there are any, holds a score for each row that its best
// will not be below, from the tiles of the row that came before.
template <int BM, int BN, int THREADS> __device__ __forceinline__ void draw_sums(const Drawing &d, const float *sums, float *bests, int m0, int n0, int m, int n) {
	constexpr int ACROSS = BN / 8, DOWN = THREADS / ACROSS;
	const int i = threadIdx.x % THREADS, col = i % ACROSS * 8, id0 = n0 + col;
#pragma unroll 1
	for (int r = i / ACROSS; r < BM; r += DOWN) {
		const int row = m0 + r;
		const bool here = row < m && id0 < n;
		float v[8], t[8];
		take_sums<BN>(v, sums, r, col, i >> 2 & 1);
#pragma unroll
		for (int e = 0; e < 8; e++) t[e] = id0 + e < n ? v[e] * d.scale : -INFINITY;
		const Share share = unit_share(t);
		Best best{-INFINITY, -1};
		float logit = 0.f;
		if (here && d.draw == 0.f) {
#pragma unroll
			for (int e = 0; e < 8; e++)
				if (id0 + e < d.open && best.take(v[e], id0 + e)) logit = v[e];
		} else if (here)
			best = best_of8(d, key_at(d.keys, row, d.seed_low, d.seed_high), v, id0, bests ? bests[r] : -INFINITY, logit);
#pragma unroll
		for (int s = 1; s < 4; s *= 2) {
			const float score = __shfl_xor_sync(FULL, best.score, s), x = __shfl_xor_sync(FULL, logit, s);
			const int id = __shfl_xor_sync(FULL, best.id, s);
			if (best.take(score, id)) logit = x;
		}
		if (here && i % 4 == 0)
			((float4 *)d.units)[(long)row * ((n + UNIT - 1) / UNIT) + id0 / UNIT] = make_float4(share.top, share.sum, logit, __int_as_float(best.id));
		if (bests) {
			const float score = below(fmaxf(best.score, __shfl_xor_sync(FULL, best.score, 4)));
			__syncwarp(); // all have read it, and these sums
			if (i % ACROSS == 0 && score > bests[r]) bests[r] = score;
		}
	}
}

// What becomes of a tile's sums: they are stored, or drawn from.
struct Store {
	static constexpr bool DRAWS = false;
	const Tensor &c, &bias;
	int add;
	template <int BM, int BN, int THREADS, int MOST> __device__ __forceinline__ void take(const float *sums, float *, int m0, int n0, int m, int n) const {
		store_sums<BM, BN, THREADS, MOST>(c, bias, sums, m0, n0, m, n, add);
	}
};
struct DrawFrom {
	static constexpr bool DRAWS = true;
	const Drawing &d;
	template <int BM, int BN, int THREADS, int> __device__ __forceinline__ void take(const float *sums, float *bests, int m0, int n0, int m, int n) const {
		draw_sums<BM, BN, THREADS>(d, sums, bests, m0, n0, m, n);
	}
};

#if !RETOOL_SM90

// byte offset of 16-byte piece `piece` of row `row`, in a tile with rows of COLS bf16
template <int COLS> __device__ __forceinline__ unsigned tile_at(int row, int piece) {
	if (COLS == 32) return row * 64 + ((piece ^ ((row >> 1) & 3)) << 4);
	return row * (COLS * 2) + ((piece ^ (row & 7)) << 4);
}

// Brings rows [row0, row0+ROWS) x columns [col0, col0+COLS) of x to shared memory; what lies outside rows x cols is zero.
template <int ROWS, int COLS, int THREADS> __device__ __forceinline__ void load_tile(char *tile, const Tensor &x, int row0, int col0, int rows, int cols) {
	constexpr int PIECES = COLS / 8;
	const unsigned to = shared_address(tile);
	if (x.type == BF16 && (x.ld & 7) == 0 && ((size_t)x.p & 15) == 0) {
#pragma unroll
		for (int i0 = 0; i0 < ROWS * PIECES; i0 += THREADS) {
			const int i = i0 + threadIdx.x, r = i / PIECES, piece = i % PIECES, row = row0 + r, col = col0 + piece * 8;
			const int n = row < rows ? max(min(cols - col, 8), 0) : 0;
			async_copy16(to + tile_at<COLS>(r, piece), x.p + (n > 0 ? (long)row * x.ld + col : 0) * 2, n * 2);
		}
		return;
	}
	for (int i = threadIdx.x; i < ROWS * PIECES; i += THREADS) {
		const int r = i / PIECES, piece = i % PIECES, row = row0 + r, col = col0 + piece * 8;
		const int n = row < rows ? max(min(cols - col, 8), 0) : 0;
		float v[8];
		load8(v, x, n > 0 ? (long)row * x.ld + col : 0, n);
		*(uint4 *)(tile + tile_at<COLS>(r, piece)) = make_uint4(pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7]));
	}
}

// BM by BN by BK tiles, warps of WM by WN. TA: a is stored (k, m), rows of BM. TB: b is stored (k, n), rows of BN. Else k is the inner dimension.
template <int BM, int BN, int BK, int STAGES, int WM, int WN, bool TA, bool TB, class End> __device__ __forceinline__ void gemm(const End &end, Tensor a, Tensor b, int m, int n, int k) {
	extern __shared__ __align__(128) char shared[];
	constexpr int THREADS = (BM / WM) * (BN / WN) * 32, BYTES_A = BM * BK * 2, BYTES = BYTES_A + BN * BK * 2;
	constexpr int TILES_M = WM / 16, TILES_N = WN / 8;
	const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warp_m = warp / (BN / WN) * WM, warp_n = warp % (BN / WN) * WN;

	int m0, n0;
	tile_number<BM, BN>(m0, n0, blockIdx.x, m, n);

	auto load = [&](int step) {
		char *stage = shared + step % STAGES * BYTES;
		if (TA)
			load_tile<BK, BM, THREADS>(stage, a, step * BK, m0, k, m);
		else
			load_tile<BM, BK, THREADS>(stage, a, m0, step * BK, m, k);
		if (TB)
			load_tile<BK, BN, THREADS>(stage + BYTES_A, b, step * BK, n0, k, n);
		else
			load_tile<BN, BK, THREADS>(stage + BYTES_A, b, n0, step * BK, n, k);
	};

	float acc[TILES_M][TILES_N][4];
#pragma unroll
	for (int i = 0; i < TILES_M; i++)
#pragma unroll
		for (int j = 0; j < TILES_N; j++)
#pragma unroll
			for (int e = 0; e < 4; e++) acc[i][j][e] = 0.f;

	const int steps = (k + BK - 1) / BK;
	for (int s = 0; s < STAGES - 1; s++) {
		if (s < steps) load(s);
		async_commit();
	}
	for (int s = 0; s < steps; s++) {
		async_wait<STAGES - 2>();
		// All threads' pieces of stage s have landed, and all have finished with stage s−1, which the next load overwrites.
		__syncthreads();
		if (s + STAGES - 1 < steps) load(s + STAGES - 1);
		async_commit();
		const unsigned tile_a = shared_address(shared + s % STAGES * BYTES), tile_b = tile_a + BYTES_A;
#pragma unroll
		for (int kk = 0; kk < BK / 16; kk++) {
			unsigned fa[TILES_M][4], fb[4];
#pragma unroll
			for (int i = 0; i < TILES_M; i++) {
				const int row = warp_m + i * 16;
				if (TA)
					load_matrix4_transposed(fa[i], tile_a + tile_at<BM>(kk * 16 + (lane & 7) + (lane >> 4 << 3), row / 8 + (lane >> 3 & 1)));
				else
					load_matrix4(fa[i], tile_a + tile_at<BK>(row + (lane & 15), kk * 2 + (lane >> 4)));
			}
#pragma unroll
			for (int j = 0; j < TILES_N; j += 2) {
				const int col = warp_n + j * 8;
				if (TB)
					load_matrix4_transposed(fb, tile_b + tile_at<BN>(kk * 16 + (lane & 15), col / 8 + (lane >> 4)));
				else
					load_matrix4(fb, tile_b + tile_at<BK>(col + (lane & 7) + (lane >> 4 << 3), kk * 2 + (lane >> 3 & 1)));
#pragma unroll
				for (int i = 0; i < TILES_M; i++) {
					mma16816(acc[i][j], fa[i], fb[0], fb[1]);
					mma16816(acc[i][j + 1], fa[i], fb[2], fb[3]);
				}
			}
		}
	}

	// The sums go through shared memory, so that a thread stores eight neighbours.
	float *sums = (float *)shared;
	async_wait<0>();
	__syncthreads(); // all have read the last stages
#pragma unroll
	for (int i = 0; i < TILES_M; i++)
#pragma unroll
		for (int j = 0; j < TILES_N; j++)
#pragma unroll
			for (int h = 0; h < 2; h++) {
				const int row = warp_m + i * 16 + (lane >> 2) + h * 8, col = warp_n + j * 8 + (lane & 3) * 2;
				store_shared2(shared_address(sums + sum_at<BN>(row, col)), acc[i][j][h * 2], acc[i][j][h * 2 + 1]);
			}
	__syncthreads();
	end.template take<BM, BN, THREADS, 4>(sums, nullptr, m0, n0, m, n);
}

extern "C" __global__ void __launch_bounds__(128) linear_nt(Tensor c, Tensor a, Tensor b, Tensor bias, int m, int n, int k, int add) {
	gemm<128, 128, 32, 4, 64, 64, false, false>(Store{c, bias, add}, a, b, m, n, k);
}
extern "C" __global__ void __launch_bounds__(128) linear_nt64(Tensor c, Tensor a, Tensor b, Tensor bias, int m, int n, int k, int add) {
	gemm<64, 64, 64, 4, 32, 32, false, false>(Store{c, bias, add}, a, b, m, n, k);
}
extern "C" __global__ void __launch_bounds__(64) linear_nt16(Tensor c, Tensor a, Tensor b, Tensor bias, int m, int n, int k, int add) {
	gemm<16, 32, 64, 8, 16, 16, false, false>(Store{c, bias, add}, a, b, m, n, k);
}
extern "C" __global__ void __launch_bounds__(128) linear_nn(Tensor c, Tensor a, Tensor b, Tensor bias, int m, int n, int k, int add) {
	gemm<128, 128, 32, 4, 64, 64, false, true>(Store{c, bias, add}, a, b, m, n, k);
}
extern "C" __global__ void __launch_bounds__(128) linear_tn(Tensor c, Tensor a, Tensor b, Tensor bias, int m, int n, int k, int add) {
	gemm<128, 128, 32, 4, 64, 64, true, true>(Store{c, bias, add}, a, b, m, n, k);
}

extern "C" __global__ void __launch_bounds__(128) linear_draw(Drawing d, Tensor a, Tensor b, int m, int n, int k) {
	gemm<128, 128, 32, 4, 64, 64, false, false>(DrawFrom{d}, a, b, m, n, k);
}
extern "C" __global__ void __launch_bounds__(128) linear_draw64(Drawing d, Tensor a, Tensor b, int m, int n, int k) {
	gemm<64, 64, 64, 4, 32, 32, false, false>(DrawFrom{d}, a, b, m, n, k);
}
extern "C" __global__ void __launch_bounds__(64) linear_draw16(Drawing d, Tensor a, Tensor b, int m, int n, int k) {
	gemm<16, 32, 64, 8, 16, 16, false, false>(DrawFrom{d}, a, b, m, n, k);
}

// c[i,j] (+)= Σ_k a[i·am + k·ak] · b[j·bn + k·bk] + bias[j], one chain of fmaf over ascending k. 64x64x16 tiles, 256 threads of 4x4.
extern "C" __global__ void __launch_bounds__(256) linear_f32(Tensor c, const float *a, long am, long ak, const float *b, long bn, long bk, Tensor bias, int m, int n, int k, int add) {
	__shared__ float ta[16][65], tb[16][65]; // 65: the transposing store hits different banks
	const int m0 = blockIdx.y * 64, n0 = blockIdx.x * 64, ty = threadIdx.x / 16, tx = threadIdx.x % 16;
	float acc[4][4] = {};
	for (int k0 = 0; k0 < k; k0 += 16) {
#pragma unroll
		for (int i = 0; i < 4; i++) {
			const int e = threadIdx.x + i * 256;
			// neighbouring threads read neighbouring addresses, whichever dimension is the inner one
			const int ka = ak == 1 ? e % 16 : e / 64, ra = ak == 1 ? e / 16 : e % 64;
			const int kb = bk == 1 ? e % 16 : e / 64, rb = bk == 1 ? e / 16 : e % 64;
			ta[ka][ra] = k0 + ka < k && m0 + ra < m ? a[(m0 + ra) * am + (k0 + ka) * ak] : 0.f;
			tb[kb][rb] = k0 + kb < k && n0 + rb < n ? b[(n0 + rb) * bn + (k0 + kb) * bk] : 0.f;
		}
		__syncthreads();
#pragma unroll
		for (int kk = 0; kk < 16; kk++)
#pragma unroll
			for (int i = 0; i < 4; i++)
#pragma unroll
				for (int j = 0; j < 4; j++) acc[i][j] = fmaf(ta[kk][ty + i * 16], tb[kk][tx + j * 16], acc[i][j]);
		__syncthreads();
	}
#pragma unroll
	for (int i = 0; i < 4; i++)
#pragma unroll
		for (int j = 0; j < 4; j++) {
			const int row = m0 + ty + i * 16, col = n0 + tx + j * 16;
			if (row >= m || col >= n) continue;
			const long at = (long)row * c.ld + col;
			float v = acc[i][j];
			if (bias.p) v += load1(bias, col);
			if (add) v += load1(c, at);
			store1(c, at, v);
		}
}

#else // Hopper

// ROWS rows of a factor from row0, and 64 of k, to a stage: rows of 128 bytes, or panels of 64 columns where k runs down the rows.
template <int ROWS, bool T> __device__ __forceinline__ void copy_tile(unsigned to, const TensorMap &x, int row0, int k0, unsigned bar) {
#pragma unroll
	for (int p = 0; p < (T ? ROWS / 64 : 1); p++) tensor_copy2(to + p * 8192, x, T ? row0 + p * 64 : k0, T ? k0 : row0, bar);
}

// A half of such a tile, the first or the second, to the two blocks of the mask, which have it in common.
template <int ROWS, bool T> __device__ __forceinline__ void copy_half(unsigned to, const TensorMap &x, int row0, int k0, unsigned half, unsigned bar, unsigned mask) {
	constexpr int PANELS = T ? ROWS / 128 : 1;
#pragma unroll
	for (int i = 0; i < PANELS; i++) {
		const int p = half * PANELS + i; // a panel, or a half of the rows
		tensor_copy2_to(to + p * (T ? 8192 : ROWS * 64), x, T ? row0 + p * 64 : k0, T ? k0 : row0 + p * (ROWS / 2), bar, mask);
	}
}

// Blocks take every gridDim.x-th tile of TEAMS·64 by BN. Teams of four warps multiply 64 rows each, on STAGES stages of 64 columns of k that the
// warp behind them has the copy engine fill, tile after tile: those of the next one come in while the sums of this one are stored.
// full[s]: its bytes are there; empty[s]: all warps have read it. TA, TB: as above.
// BLOCKS: a cluster, which takes tiles side by side at the same time. Two: one above the other if side is 0, and b is theirs in common, else
// one beside the other, and a is. Each brings half of that to both. empty[s] waits for the warps of both: what stands there is overwritten in
// both. Four: a square, ranks 0 and 1 above 2 and 3, of which those of a row have a in common, those of a column b.
template <int TEAMS, int BN, int STAGES, bool TA, bool TB, int BLOCKS, class End> __device__ __forceinline__ void gemm(const End &end, const TensorMap &a, const TensorMap &b, int m, int n, int k, int side) {
	extern __shared__ __align__(1024) char dynamic[];
	__shared__ __align__(8) unsigned long long full_bars[STAGES], empty_bars[STAGES];
	constexpr int BM = TEAMS * 64, BYTES_A = BM * 128, BYTES = BYTES_A + BN * 128, COLS = BN < 64 ? BN : 64; // columns of sums in shared memory at a time
	char *shared = dynamic + (-shared_address(dynamic) & 1023); // swizzled tiles begin on 1024 bytes
	const unsigned stages = shared_address(shared), full = shared_address(full_bars), empty = shared_address(empty_bars), rank = BLOCKS > 1 ? cluster_rank() : 0;
	const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, team = warp / 4, steps = (k + 63) / 64;
	const bool down = BLOCKS == 4 || (BLOCKS == 2 && side == 0), across = BLOCKS == 4 || (BLOCKS == 2 && side != 0); // where the cluster has two tiles
	const int high = down ? 2 * BM : BM, wide = across ? 2 * BN : BN; // what it takes at a time
	const int tiles = (m + high - 1) / high * ((n + wide - 1) / wide), first = blockIdx.x / BLOCKS, next = gridDim.x / BLOCKS;
	if (threadIdx.x == 0) ring_init<STAGES>(full, empty, (BLOCKS == 4 ? 3 : BLOCKS) * TEAMS * 4);
	if (BLOCKS > 1)
		cluster_sync(); // the other blocks' barriers are there
	else
		__syncthreads();

	int stage = 0, phase = 0, m0, n0;
	auto advance = [&]() {
		if (++stage == STAGES) stage = 0, phase ^= 1;
	};
	auto tile = [&](int i) {
		if (BLOCKS == 1)
			tile_number<BM, BN>(m0, n0, i, m, n);
		else if (BLOCKS == 4) {
			tile_number<2 * BM, 2 * BN>(m0, n0, i, m, n);
			m0 += rank / 2 * BM, n0 += rank % 2 * BN;
		} else if (side == 0) {
			tile_number<2 * BM, BN>(m0, n0, i, m, n);
			m0 += rank * BM;
		} else {
			tile_number<BM, 2 * BN>(m0, n0, i, m, n);
			n0 += rank * BN;
		}
	};
	if (team == TEAMS) {
		if (TEAMS > 1) give_registers<24>();
		if (warp > TEAMS * 4 || lane != 0) return;
		for (int i = first; i < tiles; i += next) {
			tile(i);
			for (int s = 0; s < steps; s++, advance()) {
				const unsigned to = stages + stage * BYTES, bar = full + 8 * stage;
				if (BLOCKS > 1)
					mbarrier_wait_cluster(empty + 8 * stage, phase ^ 1);
				else
					mbarrier_wait(empty + 8 * stage, phase ^ 1); // the first round finds it empty
				mbarrier_arrive_expect(bar, BYTES);
				if (across)
					copy_half<BM, TA>(to, a, m0, s * 64, rank % 2, bar, BLOCKS == 4 ? 3 << (rank & 2) : 3);
				else
					copy_tile<BM, TA>(to, a, m0, s * 64, bar);
				if (down)
					copy_half<BN, TB>(to + BYTES_A, b, n0, s * 64, BLOCKS == 4 ? rank / 2 : rank, bar, BLOCKS == 4 ? 5 << rank % 2 : 3);
				else
					copy_tile<BN, TB>(to + BYTES_A, b, n0, s * 64, bar);
			}
		}
		return;
	}
	auto release = [&](int stage) {
		if (lane != 0) return;
		mbarrier_arrive(empty + 8 * stage);
		if (BLOCKS > 1) mbarrier_arrive_there(in_block(empty + 8 * stage, rank ^ 1));
		if (BLOCKS == 4) mbarrier_arrive_there(in_block(empty + 8 * stage, rank ^ 2));
	};

	if (TEAMS > 1) take_registers<240>();
	float *sums = (float *)(shared + STAGES * BYTES) + warp * 16 * COLS; // the warp's own
	float *bests = nullptr;
	if constexpr (End::DRAWS) {
		__shared__ float scores[BM];
		bests = scores + warp * 16;
	}
	int rows = -1; // whose the scores are
	for (int i = first; i < tiles; i += next) {
		tile(i);
		if (End::DRAWS && rows != m0) {
			rows = m0;
			if (lane < 16) bests[lane] = -INFINITY; // read behind the barrier after the first sums
		}
		float acc[BN / 2];
#pragma unroll
		for (int e = 0; e < BN / 2; e++) acc[e] = 0.f;
		int before = 0;
#pragma unroll 1
		for (int s = 0; s < steps; s++) {
			mbarrier_wait(full + 8 * stage, phase);
			const unsigned at_a = stages + stage * BYTES + team * 8192, at_b = stages + stage * BYTES + BYTES_A;
			const unsigned long long da = TA ? transposed_descriptor<8192>(at_a) : matrix_descriptor(at_a), db = TB ? transposed_descriptor<8192>(at_b) : matrix_descriptor(at_b);
			warpgroup_fence();
#pragma unroll
			for (int kk = 0; kk < 4; kk++) {
				const unsigned long long fa = da + (TA ? 128 : 2) * kk, fb = db + (TB ? 128 : 2) * kk;
				if (BN == 256) wgmma_64x256<TA, TB>(acc, fa, fb);
				if (BN == 128) wgmma_64x128<TA, TB>(acc, fa, fb);
				if (BN == 64) wgmma_64x64(acc, fa, fb, 1);
				if (BN == 32) wgmma_64x32(acc, fa, fb, 1);
			}
			warpgroup_commit();
			warpgroup_wait<1>(); // the products of the stage before are done
			if (s > 0) release(before);
			before = stage;
			advance();
		}
		warpgroup_wait<0>();
		settle<BN / 2>(acc);
		release(before);

		// The sums go through the warp's shared memory, so that a lane stores eight neighbours.
#pragma unroll
		for (int col0 = 0; col0 < BN; col0 += COLS) {
#pragma unroll
			for (int e = 0; e < COLS / 2; e += 2) {
				const int row = (lane >> 2) + e / 2 % 2 * 8, col = e / 4 * 8 + (lane & 3) * 2;
				store_shared2(shared_address(sums + sum_at<COLS>(row, col)), acc[col0 / 2 + e], acc[col0 / 2 + e + 1]);
			}
			__syncwarp();
			end.template take<16, COLS, 32, BN == 256 ? 2 : 4>(sums, bests, m0 + warp * 16, n0 + col0, m, n);
			if (!End::DRAWS) __syncwarp(); // all have read them
		}
	}
	if (BLOCKS > 1) cluster_sync(); // no warp of another block will arrive here any more
}

#define HOPPER_BLOCK(TEAMS) __launch_bounds__(TEAMS * 128 + (TEAMS > 1 ? 128 : 32), 1)
#define WGMMA(NAME, TEAMS, BN, STAGES, TA, TB)                                                                                                                          \
	extern "C" __global__ void HOPPER_BLOCK(TEAMS) NAME(Tensor c, const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b, Tensor bias, int m, int n, int k, int add) { \
		gemm<TEAMS, BN, STAGES, TA, TB, 1>(Store{c, bias, add}, a, b, m, n, k, 0);                                                                                                  \
	}
#define WGMMA_PAIR(NAME, TEAMS, BN, STAGES, TA, TB)                                                                                                                     \
	extern "C" __global__ void __cluster_dims__(2, 1, 1) HOPPER_BLOCK(TEAMS) NAME(Tensor c, const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b, Tensor bias, int m, int n, int k, int add, int side) { \
		gemm<TEAMS, BN, STAGES, TA, TB, 2>(Store{c, bias, add}, a, b, m, n, k, side);                                                                                               \
	}
#define WGMMA_SQUARE(NAME, TEAMS, BN, STAGES, TA, TB)                                                                                                                   \
	extern "C" __global__ void __cluster_dims__(4, 1, 1) HOPPER_BLOCK(TEAMS) NAME(Tensor c, const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b, Tensor bias, int m, int n, int k, int add) { \
		gemm<TEAMS, BN, STAGES, TA, TB, 4>(Store{c, bias, add}, a, b, m, n, k, 0);                                                                                                      \
	}
WGMMA(linear_nt_wgmma, 2, 256, 4, false, false)
WGMMA(linear_nt128x128_wgmma, 2, 128, 6, false, false)
WGMMA(linear_nt64_wgmma, 1, 128, 8, false, false)
WGMMA(linear_nt64x64_wgmma, 1, 64, 12, false, false)
WGMMA(linear_nt32_wgmma, 1, 32, 12, false, false)
WGMMA(linear_nn_wgmma, 2, 256, 4, false, true)
WGMMA(linear_nn128x128_wgmma, 2, 128, 6, false, true)
WGMMA(linear_nn64_wgmma, 1, 128, 8, false, true)
WGMMA(linear_tn_wgmma, 2, 256, 4, true, true)
WGMMA(linear_tn128x128_wgmma, 2, 128, 6, true, true)
WGMMA(linear_tn64_wgmma, 1, 128, 8, true, true)
WGMMA_PAIR(linear_nt_pair_wgmma, 2, 256, 4, false, false)
WGMMA_PAIR(linear_nt128x128_pair_wgmma, 2, 128, 6, false, false)
WGMMA_PAIR(linear_nt64_pair_wgmma, 1, 128, 8, false, false)
WGMMA_PAIR(linear_nn_pair_wgmma, 2, 256, 4, false, true)
WGMMA_PAIR(linear_tn_pair_wgmma, 2, 256, 4, true, true)
WGMMA_SQUARE(linear_nt128x128_square_wgmma, 2, 128, 6, false, false)
WGMMA_SQUARE(linear_nt64_square_wgmma, 1, 128, 8, false, false)

extern "C" __global__ void HOPPER_BLOCK(2) linear_draw_wgmma(Drawing d, const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b, int m, int n, int k) {
	gemm<2, 256, 4, false, false, 1>(DrawFrom{d}, a, b, m, n, k, 0);
}
extern "C" __global__ void __cluster_dims__(2, 1, 1) HOPPER_BLOCK(2) linear_draw_pair_wgmma(Drawing d, const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b, int m, int n, int k, int side) {
	gemm<2, 256, 4, false, false, 2>(DrawFrom{d}, a, b, m, n, k, side);
}

#endif
