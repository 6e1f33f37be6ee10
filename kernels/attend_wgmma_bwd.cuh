// attend_wgmma_bwd.cuh: the gradients of attention on Hopper, for D 64 and 128: the two passes of attention.cu, products by wgmma.
//
// Two teams of four warps, 64 rows or 64 keys each, whose own tiles stay in shared memory; the warp behind them fills STAGES stages with what
// the pass goes over. While one team turns scores into gradients of scores, the products of the other run.
#pragma once
#include "attend_wgmma.cuh"

// Dynamic shared memory: 1024 + 4·TILE_BYTES + STAGES·(STAGE_BYTES + 512).
template <int D> struct Layout {
	char *own;                            // the team's two tiles, later its sums: 64·D floats
	unsigned stages, full, empty, landed; // STAGES of two tiles; their barriers, and one for a last tile
	unsigned never;                       // see attend_wgmma: a store before a wait keeps what was computed there
	float *columns;                       // backward_kv: of the 64 columns in each stage, lse in base 2 and δ
};

// The block's layout, its barriers made; the caller lets all threads meet.
template <int D> __device__ __forceinline__ Layout<D> layout(int teams) {
	extern __shared__ __align__(1024) char dynamic[];
	__shared__ __align__(8) unsigned long long full[STAGES], empty[STAGES], landed;
	__shared__ unsigned never;
	char *aligned = dynamic + (-shared_address(dynamic) & 1023), *tiles = aligned + STAGES * STAGE_BYTES<D>;
	const Layout<D> at{tiles + threadIdx.x / 128 * 2 * TILE_BYTES<D>, shared_address(aligned), shared_address(full), shared_address(empty), shared_address(&landed), shared_address(&never), (float *)(tiles + 4 * TILE_BYTES<D>)};
	if (threadIdx.x == 0) {
		mbarrier_init(at.landed, 1);
		ring_init<STAGES>(at.full, at.empty, 4 * teams);
	}
	return at;
}

// s = a·bᵀ for 64 rows of tile a, and N rows of tile b from row b0, over the D columns; under way until warpgroup_wait
template <int D, int N> __device__ __forceinline__ void product_of(float s[N / 8][4], unsigned a, unsigned b, int b0) {
#pragma unroll
	for (int kk = 0; kk < D / 16; kk++) {
		const unsigned long long da = matrix_descriptor(a + kk / 4 * 8192) + kk % 4 * 2, db = matrix_descriptor(b + kk / 4 * 8192 + b0 * 128) + kk % 4 * 2;
		if (N == 64)
			wgmma_64x64(s[0], da, db, kk > 0);
		else
			wgmma_64x32(s[0], da, db, kk > 0);
	}
}

// below zero if a probability is, which never happens
template <int N> __device__ __forceinline__ int signs(const float s[N / 8][4]) {
	int x = 0;
#pragma unroll
	for (int n = 0; n < N / 8; n++)
#pragma unroll
		for (int e = 0; e < 4; e++) x |= __float_as_int(s[n][e]);
	return x;
}

template <int N> __device__ __forceinline__ void clear(float s[N][4]) {
#pragma unroll
	for (int i = 0; i < N; i++) s[i][0] = s[i][1] = s[i][2] = s[i][3] = 0.f;
}

// dq of 128 rows: a row is one query head of one token. Grid (⌈T·G/128⌉ + S, K).
template <int D> __device__ __forceinline__ void backward_q_wgmma(const Tensor &dq, const Tensor &dout, const Tensor &lse, const Tensor &delta, const Tensor &q, const TensorMap &k, const TensorMap &v, const Tensor &starts, int seqs, int group, float c, int add) {
	Rows r;
	if (!find_rows(r, starts, seqs, group, 128)) return;
	const int head = blockIdx.y, lane = threadIdx.x % 32, warp = threadIdx.x / 32, team = warp / 4, t = lane & 3;
	const int rows = r.tokens * group, row0 = r.tile * 128 + team * 64, teams = min(2, (rows - r.tile * 128 + 63) / 64);
	const Layout<D> at = layout<D>(teams);
	const unsigned tile_q = shared_address(at.own), tile_do = tile_q + TILE_BYTES<D>;
	if (team < teams) {
		load_rows<D, 64, 128>(tile_q, q, r, row0, head, group);
		load_rows<D, 64, 128>(tile_do, dout, r, row0, head, group);
		async_commit();
		async_wait<0>();
		async_proxy_fence();
	}
	__syncthreads();

	if (team == 2) {
		give_registers<24>();
		if (warp > 8) return;
		MappedKeys<D> keys{&k, &v, r.start, r.tokens, head, 0};
		const int tiles = (min((r.tile + 1) * 128, rows) - 1) / group / KEYS + 1;
		for (int j = 0; j < tiles; j++) {
			const int stage = j % STAGES;
			mbarrier_wait(at.empty + 8 * stage, (j / STAGES & 1) ^ 1); // the first round finds it empty
			keys.fill(at.stages + stage * STAGE_BYTES<D>, j, at.full + 8 * stage, at.landed);
		}
		return;
	}
	take_registers<240>();
	if (team >= teams) return;

	int last[2];
	float ln[2], dl[2]; // lse in base 2, δ
#pragma unroll
	for (int h = 0; h < 2; h++) {
		const int row = row0 + warp % 4 * 16 + (lane >> 2) + h * 8;
		const bool in = row < rows;
		const long token = r.start + (in ? row / group : 0), x = head * group + (in ? row % group : 0);
		last[h] = in ? row / group : -1;
		ln[h] = ((const float *)lse.p)[token * lse.ld + x] * LOG2E;
		dl[h] = ((const float *)delta.p)[token * delta.ld + x];
	}
	float acc[D / 8][4], s[8][4], dp[8][4];
	unsigned ds[4][4];
	clear<D / 8>(acc);
	settle<D / 2>(acc[0]); // else the zeros sink among the products, and ptxas serialises them
	int before = -1; // the stage whose product is under way
	const int tiles = (min(row0 + 64, rows) - 1) / group / KEYS + 1;
#pragma unroll 1
	for (int j = 0; j < tiles; j++) {
		const int stage = j % STAGES;
		const unsigned tile_k = at.stages + stage * STAGE_BYTES<D>;
		mbarrier_wait(at.full + 8 * stage, j / STAGES & 1);
		warpgroup_fence();
		product_of<D, 64>(s, tile_q, tile_k, 0);
		warpgroup_commit();
		product_of<D, 64>(dp, tile_do, tile_k + TILE_BYTES<D>, 0);
		warpgroup_commit();
		warpgroup_wait<1>(); // the scores, and before them the last tile's part of dq
		settle<32>(s[0]);
		if (before >= 0 && lane == 0) mbarrier_arrive(at.empty + 8 * before);
		before = stage;
#pragma unroll
		for (int n = 0; n < 8; n++)
#pragma unroll
			for (int e = 0; e < 4; e++) s[n][e] = j * KEYS + n * 8 + t * 2 + e % 2 <= last[e / 2] ? ex2(fmaf(s[n][e], c, -ln[e / 2])) : 0.f;
		if (signs<64>(s) < 0) store_shared1(at.never, 0);
		warpgroup_wait<0>();
		settle<32>(dp[0]);
#pragma unroll
		for (int n = 0; n < 8; n++)
#pragma unroll
			for (int e = 0; e < 4; e++) dp[n][e] = s[n][e] * (dp[n][e] - dl[e / 2]);
		pack<64>(ds, dp);
		warpgroup_fence();
		add_product<D, 64>(acc, ds, tile_k, 0);
		warpgroup_commit();
	}
	warpgroup_wait<0>();
	settle<D / 2>(acc[0]);
	auto meet = [&] { barrier_some(1 + team, 128); };
	meet(); // all have read the team's q and do
	add_rows<D>(dq, (float *)at.own, acc, c * LN2, [&](int i) {
		const int row = row0 + i;
		return row < rows ? (long)(r.start + row / group) * dq.ld + (head * group + row % group) * D : -1l;
	}, meet, !add);
}

// dk and dv of 128 keys, from the rows of one head of the group after the other, 64 tokens at a time. Grid (K·parts, ⌈T/128⌉ + S); group and
// parts as in backward_kv. Products are taken transposed, keys down and rows across, so that their fragments serve as left operands.
template <int D> __device__ __forceinline__ void backward_kv_wgmma(const Tensor &dk, const Tensor &dv, const TensorMap &dout, const Tensor &lse, const Tensor &delta, const TensorMap &q, const Tensor &k, const Tensor &v, const Tensor &starts, int seqs, int group, int parts, float c, int add) {
	Rows r;
	if (!find_keys(r, starts, seqs, 128)) return;
	const int head = blockIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32, team = warp / 4, t = lane & 3;
	const int key0 = r.tile * 128 + team * 64, teams = min(2, (r.tokens - r.tile * 128 + 63) / 64);
	const int first = r.tile * 2, tiles = (r.tokens + 63) / 64, steps = group * (tiles - first); // tiles of tokens that see the block's keys
	const Layout<D> at = layout<D>(teams);
	const unsigned tile_k = shared_address(at.own), tile_v = tile_k + TILE_BYTES<D>;
	if (team < teams) {
		PackedKeys<D>{k, v, r.start, r.tokens, head / parts}.template load<128>(tile_k, tile_v, key0);
		async_commit();
		async_wait<0>();
		async_proxy_fence();
	}
	__syncthreads();

	if (team == 2) {
		give_registers<24>();
		if (warp > 8) return;
		for (int step = 0; step < steps; step++) {
			const int stage = step % STAGES, turn = step / (tiles - first), g = head * group + turn, tile = first + step % (tiles - first);
			float ln[2], dl[2];
#pragma unroll
			for (int h = 0; h < 2; h++) {
				const long token = r.start + min(tile * 64 + lane + h * 32, r.tokens - 1);
				ln[h] = ((const float *)lse.p)[token * lse.ld + g] * LOG2E;
				dl[h] = ((const float *)delta.p)[token * delta.ld + g];
			}
			mbarrier_wait(at.empty + 8 * stage, (step / STAGES & 1) ^ 1); // the first round finds it empty
#pragma unroll
			for (int h = 0; h < 2; h++) {
				at.columns[stage * 128 + lane + h * 32] = ln[h];
				at.columns[stage * 128 + 64 + lane + h * 32] = dl[h];
			}
			MappedKeys<D>{&q, &dout, r.start, r.tokens, g, (unsigned)turn}.fill(at.stages + stage * STAGE_BYTES<D>, tile, at.full + 8 * stage, at.landed);
		}
		return;
	}
	take_registers<240>();
	if (team >= teams) return;

	constexpr int N = D == 128 ? 32 : 64; // D 128 takes the rows in two halves: scores of all 64 would not leave registers for the sums
	float ak[D / 8][4], av[D / 8][4], s[N / 8][4], dp[N / 8][4];
	unsigned p[N / 16][4], ds[N / 16][4];
	clear<D / 8>(ak);
	clear<D / 8>(av);
	int before = -1; // the stage whose products are under way
#pragma unroll 1
	for (int step = 0; step < steps; step++) {
		const int stage = step % STAGES, token0 = (first + step % (tiles - first)) * 64;
		const unsigned tile_q = at.stages + stage * STAGE_BYTES<D>, tile_do = tile_q + TILE_BYTES<D>;
		mbarrier_wait(at.full + 8 * stage, step / STAGES & 1);
		if (token0 < key0) { // tokens before the team's keys
			__syncwarp();    // no lane still asks for the stage that is given back
			if (lane == 0) mbarrier_arrive(at.empty + 8 * stage);
			continue;
		}
#pragma unroll
		for (int b0 = 0; b0 < 64; b0 += N) {
			warpgroup_fence();
			product_of<D, N>(s, tile_k, tile_q, b0);
			warpgroup_commit();
			product_of<D, N>(dp, tile_v, tile_do, b0);
			warpgroup_commit();
			warpgroup_wait<1>(); // the scores, and what was added to ak and av before them
			settle<N / 2>(s[0]);
			if (b0 == 0) {
				__syncwarp(); // all lanes have read that stage's columns
				if (before >= 0 && lane == 0) mbarrier_arrive(at.empty + 8 * before);
				before = stage;
			}
			const float *column = at.columns + stage * 128 + b0;
#pragma unroll
			for (int n = 0; n < N / 8; n++)
#pragma unroll
				for (int e = 0; e < 4; e++) {
					const int i = n * 8 + t * 2 + e % 2, token = token0 + b0 + i, key = key0 + warp % 4 * 16 + (lane >> 2) + e / 2 * 8;
					s[n][e] = token < r.tokens && key <= token ? ex2(fmaf(s[n][e], c, -column[i])) : 0.f;
				}
			pack<N>(p, s);
			warpgroup_fence();
			add_product<D, N>(av, p, tile_do, b0);
			warpgroup_commit();
			warpgroup_wait<1>(); // dp is there; av is under way
			settle<N / 2>(dp[0]);
#pragma unroll
			for (int n = 0; n < N / 8; n++)
#pragma unroll
				for (int e = 0; e < 4; e++) dp[n][e] = s[n][e] * (dp[n][e] - column[64 + n * 8 + t * 2 + e % 2]);
			pack<N>(ds, dp);
			warpgroup_fence();
			add_product<D, N>(ak, ds, tile_q, b0);
			warpgroup_commit();
		}
	}
	warpgroup_wait<0>();
	settle<D / 2>(ak[0]);
	settle<D / 2>(av[0]);
	auto meet = [&] { barrier_some(1 + team, 128); };
	auto row = [&](const Tensor &x) {
		return [=, &x](int i) { return key0 + i < r.tokens ? (long)(r.start + key0 + i) * x.ld + head * D : -1l; };
	};
	meet(); // all have read the team's k and v
	if (dk.p) add_rows<D>(dk, (float *)at.own, ak, c * LN2, row(dk), meet, parts > 1 || !(add & 1));
	meet(); // all have read the sums of dk
	if (dv.p) add_rows<D>(dv, (float *)at.own, av, 1.f, row(dv), meet, parts > 1 || !(add & 2));
}
