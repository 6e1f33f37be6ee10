// attend_wgmma.cuh: attend of attend.cuh on Hopper, for D 64 and 128: the same steps in the same order, products by wgmma, keys and values
// brought by the copy engine.
//
// Teams of four warps take 64 rows each; the warp behind them fills the stages, a tile of keys and one of values in each. A team multiplies the
// scores of the next tile while it turns those of this one into probabilities. Queries stay in registers, as do probabilities: both are left
// operands. Finished chunks add up in shared memory, where each thread has a place of its own.
#pragma once
#include "attend.cuh"

constexpr int STAGES = 4;
template <int D> constexpr int STAGE_BYTES = 2 * TILE_BYTES<D>;

// PackedKeys by tensor maps of (T,heads·D), boxes of 64 tokens and 64 columns.
template <int D> struct MappedKeys {
	static constexpr bool LANDS = true; // fill takes a second barrier
	const TensorMap *k, *v;
	int start, tokens, head;
	unsigned turn; // how often `landed` has been used

	__device__ __forceinline__ void begin(int, int) {}
	// fill is called by the whole producing warp: tile j into the stage at `to`, whose barrier is bar. landed is a barrier of its own.
	__device__ __forceinline__ void fill(unsigned to, int j, unsigned bar, unsigned landed) {
		const int lane = threadIdx.x % 32, left = tokens - j * KEYS;
		const unsigned count = left < KEYS ? landed : bar;
		// All lanes know that the stage is empty, and have stored what stands beside it: lane 0 speaks for them, and must not get ahead, or one
		// that still asks would miss a phase.
		__syncwarp();
		if (lane == 0) {
			mbarrier_arrive_expect(count, STAGE_BYTES<D>);
#pragma unroll
			for (int p = 0; p < D / 64; p++) {
				tensor_copy2(to + p * 8192, *k, head * D + p * 64, start + j * KEYS, count);
				tensor_copy2(to + TILE_BYTES<D> + p * 8192, *v, head * D + p * 64, start + j * KEYS, count);
			}
		}
		if (left >= KEYS) return;
		// Behind the last token stand those of the next sequence: 0·NaN would be NaN. The last tile is the only one to use `landed`.
		mbarrier_wait(landed, turn & 1);
		zero_rows(to, left);
		zero_rows(to + TILE_BYTES<D>, left);
		async_proxy_fence();
		__syncwarp();
		if (lane == 0) mbarrier_arrive(bar);
	}
	// rows from … 63 of a tile become zero
	static __device__ __forceinline__ void zero_rows(unsigned tile, int from) {
		for (int i = from * (D / 8) + threadIdx.x % 32; i < KEYS * (D / 8); i += 32) store_shared4(tile + tile_at<D>(i / (D / 8), i % (D / 8)), make_uint4(0, 0, 0, 0));
	}
};

// PagedKeys: a tile of keys and one of values lie side by side in a page, as they will in the stage.
template <int D> struct CopiedKeys {
	static constexpr bool LANDS = false;
	const char *base;
	long stride;
	const int *pages;
	int tokens, from, to, page; // page: of tile from + 32·n + lane

	__device__ __forceinline__ void begin(int first, int last) { from = first, to = last; }
	__device__ __forceinline__ void fill(unsigned at, int j, unsigned bar, unsigned) {
		const int lane = threadIdx.x % 32, rows = min(tokens - j * KEYS, KEYS), turn = (j - from) % 32;
		if (turn == 0) page = pages[min(j + lane, to - 1)];
		const char *src = base + __shfl_sync(FULL, page, turn) * stride;
		if (rows < KEYS) { // what the page holds behind the last token stays where it is
			MappedKeys<D>::zero_rows(at, rows);
			MappedKeys<D>::zero_rows(at + TILE_BYTES<D>, rows);
			async_proxy_fence();
			__syncwarp();
		}
		if (lane != 0) return;
		mbarrier_arrive_expect(bar, STAGE_BYTES<D> / KEYS * rows);
		if (rows == KEYS) {
			bulk_copy(at, src, STAGE_BYTES<D>, bar);
			return;
		}
#pragma unroll
		for (int p = 0; p < 2 * D / 64; p++) bulk_copy(at + p * 8192, src + p * 8192, rows * 128, bar);
	}
};

// s = q·kᵀ for the team's 64 rows and 64 keys; under way until warpgroup_wait
template <int D> __device__ __forceinline__ void scores(float s[8][4], const unsigned q[D / 16][4], unsigned k) {
#pragma unroll
	for (int kk = 0; kk < D / 16; kk++) wgmma_row_64x64<0>(s[0], q[kk], matrix_descriptor(k + kk / 4 * 8192) + kk % 4 * 2, kk > 0);
}

// o += p·b for p of N columns, and N rows of tile b from row b0; under way until warpgroup_wait
template <int D, int N> __device__ __forceinline__ void add_product(float o[D / 8][4], const unsigned p[N / 16][4], unsigned b, int b0) {
#pragma unroll
	for (int kk = 0; kk < N / 16; kk++) {
		const unsigned long long d = transposed_descriptor<8192>(b) + (b0 / 16 + kk) * 128;
		if (D == 64)
			wgmma_row_64x64<1>(o[0], p[kk], d, 1);
		else
			wgmma_row_64x128<1>(o[0], p[kk], d, 1);
	}
}

// p = bf16(s), a left operand of N columns
template <int N> __device__ __forceinline__ void pack(unsigned p[N / 16][4], const float s[N / 8][4]) {
#pragma unroll
	for (int kk = 0; kk < N / 16; kk++)
#pragma unroll
		for (int i = 0; i < 4; i++) p[kk][i] = pack_bf16(s[2 * kk + i / 2][i % 2 * 2], s[2 * kk + i / 2][i % 2 * 2 + 1]);
}

// As attend, with TEAMS·64 rows a block. One team: 160 threads. Two: 384, because three warps on a quarter of a multiprocessor leave each
// thread 168 registers, and a warpgroup of producers, three of whose warps only give theirs up, lets the teams have 240. Dynamic shared memory: 1024 + STAGES·STAGE_BYTES + TEAMS·256·D.
template <int D, int TEAMS, bool SPLIT, class Keys>
__device__ __forceinline__ void attend_wgmma(Tensor o, Tensor lse, Parts parts, const Tensor &q, const Rows &r, Keys keys, int first, int head, int group, int chunk, float c, int z = 0) {
	extern __shared__ __align__(1024) char dynamic[];
	__shared__ __align__(8) unsigned long long full_bars[STAGES], empty_bars[STAGES], landed_bar;
	__shared__ unsigned never;
	const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, team = warp / 4, row0 = r.tile * TEAMS * 64 + team * 64, rows = r.tokens * group;
	const int teams = min(TEAMS, (rows - r.tile * TEAMS * 64 + 63) / 64); // that have a row
	char *aligned = dynamic + (-shared_address(dynamic) & 1023), *own = aligned + STAGES * STAGE_BYTES<D> + team * 256 * D;
	const unsigned stages = shared_address(aligned), full = shared_address(full_bars), empty = shared_address(empty_bars);
	int from = 0, to = (first + (min((r.tile + 1) * TEAMS * 64, rows) - 1) / group) / KEYS + 1;
	if (SPLIT) {
		from = z * chunk;
		to = min(to, from + chunk);
		if (from >= to) return;
	}
	if (threadIdx.x == 0) {
		if (Keys::LANDS) mbarrier_init(shared_address(&landed_bar), 1);
		ring_init<STAGES>(full, empty, 4 * teams);
	}
	if (team < teams) {
		load_rows<D, 64, 128>(shared_address(own), q, r, row0, head, group);
		async_commit();
		async_wait<0>();
	}
	__syncthreads();

	if (warp >= TEAMS * 4) {
		if (TEAMS > 1) give_registers<24>();
		if (warp > TEAMS * 4) return;
		keys.begin(from, to);
		for (int j = from; j < to; j++) {
			const int stage = (j - from) % STAGES;
			mbarrier_wait(empty + 8 * stage, ((j - from) / STAGES & 1) ^ 1); // the first round finds it empty
			keys.fill(stages + stage * STAGE_BYTES<D>, j, full + 8 * stage, shared_address(&landed_bar));
		}
		return;
	}
	if (TEAMS > 1) take_registers<240>();
	if (team >= teams) return;

	unsigned fq[D / 16][4], p[4][4];
#pragma unroll
	for (int kk = 0; kk < D / 16; kk++) load_matrix4(fq[kk], shared_address(own) + tile_at<D>(warp % 4 * 16 + (lane & 15), kk * 2 + (lane >> 4)));
	if (!SPLIT) barrier_some(1 + team, 128); // all have read the team's queries: finished chunks and outputs take their place
	int row[2], last[2];
#pragma unroll
	for (int h = 0; h < 2; h++) {
		row[h] = row0 + warp % 4 * 16 + (lane >> 2) + h * 8;
		last[h] = row[h] < rows ? first + row[h] / group : -1;
	}
	// Rows of the team see no key from here on. It is at most a tile less than the block's.
	const int end = min(to, (first + (min(row0 + 64, rows) - 1) / group) / KEYS + 1);
	if (SPLIT && TEAMS > 1 && end <= from) return; // the chunk has one tile, which the other team sees

	float s[8][4], out[D / 8][4], m[2], l[2], alpha[2], total_m[2], total_l[2]; // total: of the chunks before this one; their sums are in own
	float4 *total = (float4 *)own + threadIdx.x % 128;
	bool merged = false;
#pragma unroll
	for (int h = 0; h < 2; h++) m[h] = total_m[h] = -INFINITY, l[h] = total_l[h] = 0.f;
#pragma unroll
	for (int d = 0; d < D / 8; d++) out[d][0] = out[d][1] = out[d][2] = out[d][3] = 0.f;

	// chunk (cm, cl, out), complete, joins the total, and out becomes the sums of both
	auto join = [&](const float cm[2], const float cl[2]) {
		float w[2][2];
#pragma unroll
		for (int h = 0; h < 2; h++) {
			merge_weights(w[h], total_m[h], cm[h], c);
			total_l[h] = fmaf(quad_sum(cl[h]), w[h][1], total_l[h] * w[h][0]);
		}
		if (!merged) return; // a first chunk comes out of the merge as it is
#pragma unroll
		for (int d = 0; d < D / 8; d++) {
			const float4 t = total[d * 128];
			out[d][0] = fmaf(out[d][0], w[0][1], t.x * w[0][0]), out[d][1] = fmaf(out[d][1], w[0][1], t.y * w[0][0]);
			out[d][2] = fmaf(out[d][2], w[1][1], t.z * w[1][0]), out[d][3] = fmaf(out[d][3], w[1][1], t.w * w[1][0]);
		}
	};

	mbarrier_wait(full, 0);
	warpgroup_fence();
	scores<D>(s, fq, stages);
	warpgroup_commit();
	warpgroup_wait<0>();
	settle<32>(s[0]);
	softmax_tile(m, l, alpha, s, from * KEYS, last, c);
	pack<64>(p, s);
	int left = chunk; // tiles to the end of the chunk
#pragma unroll 1
	for (int j = from; j + 1 < end; j++) {
		const int now = (j - from) % STAGES, next = (j + 1 - from) % STAGES;
		mbarrier_wait(full + 8 * next, (j + 1 - from) / STAGES & 1);
		warpgroup_fence();
		scores<D>(s, fq, stages + next * STAGE_BYTES<D>);
		warpgroup_commit();
		add_product<D, 64>(out, p, stages + now * STAGE_BYTES<D> + TILE_BYTES<D>, 0);
		warpgroup_commit();
		warpgroup_wait<1>(); // the scores are there
		settle<32>(s[0]);
		const bool turn = !SPLIT && --left == 0; // tile j+1 begins a chunk
		const float cm[2] = {m[0], m[1]}, cl[2] = {l[0], l[1]};
		if (turn) m[0] = m[1] = -INFINITY, l[0] = l[1] = 0.f;
		softmax_tile(m, l, alpha, s, (j + 1) * KEYS, last, c);
		// Never: these are sums of exponentials. But ptxas does not know, and may not move the wait above a store: the exponentials stay under
		// the product.
		if (l[0] + l[1] < 0.f) store_shared1(shared_address(&never), 0);
		warpgroup_wait<0>();
		settle<D / 2>(out[0]);
		if (lane == 0) mbarrier_arrive(empty + 8 * now);
		if (turn) {
			join(cm, cl);
#pragma unroll
			for (int d = 0; d < D / 8; d++) {
				total[d * 128] = make_float4(out[d][0], out[d][1], out[d][2], out[d][3]);
				out[d][0] = out[d][1] = out[d][2] = out[d][3] = 0.f;
			}
			merged = true;
			left = chunk;
		} else
			rescale<D>(out, alpha);
		pack<64>(p, s);
	}
	warpgroup_fence();
	add_product<D, 64>(out, p, stages + (end - 1 - from) % STAGES * STAGE_BYTES<D> + TILE_BYTES<D>, 0);
	warpgroup_commit();
	warpgroup_wait<0>();
	settle<D / 2>(out[0]);

	if (SPLIT) {
#pragma unroll
		for (int h = 0; h < 2; h++) {
			const float sum = quad_sum(l[h]);
			if (row[h] < rows) store_part<D>(parts, r.start + row[h] / group, head * group + row[h] % group, z, out, m[h], sum, h);
		}
		return;
	}
	join(m, l);
	barrier_some(1 + team, 128); // all have read their totals
#pragma unroll
	for (int h = 0; h < 2; h++) {
		const float scale = __frcp_rn(total_l[h]);
		const int i = warp % 4 * 16 + (lane >> 2) + h * 8;
#pragma unroll
		for (int d = 0; d < D / 8; d++) store_shared1(shared_address(own) + tile_at<D>(i, d) + (lane & 3) * 4, pack_bf16(out[d][h * 2] * scale, out[d][h * 2 + 1] * scale));
		if (lse.p && row[h] < rows && (lane & 3) == 0) ((float *)lse.p)[(r.start + row[h] / group) * (long)lse.ld + head * group + row[h] % group] = fmaf(total_m[h], c, lg2(total_l[h])) * LN2;
	}
	barrier_some(1 + team, 128);
	store_rows<D, 64, 128>(o, own, r, row0, head, group);
}
