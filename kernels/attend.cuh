// attend.cuh: a tile of 64 keys against 16 rows of queries, and the ordered merge of chunks. Packed and paged attention, training,
// prefill and decode compute with these functions and no others, so their bits agree.
//
// A row is one query head of one token. The group of G = H/K query heads that share a key head is laid side by side: row r of a sequence's
// queries is token r/G, head r%G of the group. Nothing asks G to be a power of two.
#pragma once
#include "common.cuh"

constexpr int KEYS = 64; // keys in a tile: PageTokens of kernels/device.go

// Byte offset of 16-byte piece `piece` of row `row` in a tile of 64 rows of D bf16: panels of 64 columns, 128 bytes a row, pieces XORed
// with the row. It is also the layout of a KV page. Eight rows at one piece fall into different banks.
template <int D> __device__ __forceinline__ unsigned tile_at(int row, int piece) {
	if (D == 16) return row * 32 + ((piece ^ ((row >> 2) & 1)) << 4);
	if (D == 32) return row * 64 + ((piece ^ ((row >> 1) & 3)) << 4);
	return (piece >> 3) * (64 * 128) + row * 128 + (((piece & 7) ^ (row & 7)) << 4);
}
template <int D> constexpr int TILE_BYTES = 64 * D * 2;

// Where the rows of a block are. Blocks are numbered through all sequences; a block past the last tile finds none.
struct Rows {
	int seq, tile, start, tokens; // tokens of the sequence, the first is start
};

// Every warp finds it alone, 32 sequences at a time. The last tile of a sequence, the longest under a causal mask, comes first.
__device__ __forceinline__ bool find_rows(Rows &r, const Tensor &starts, int seqs, int group, int rows_per_tile) {
	const int lane = threadIdx.x % 32;
	int before = 0;
	for (int s0 = 0; s0 < seqs; s0 += 32) {
		const int s = s0 + lane;
		const int from = id_of(starts, min(s, seqs)), to = id_of(starts, min(s + 1, seqs));
		const int tiles = ((to - from) * group + rows_per_tile - 1) / rows_per_tile;
		int sum = tiles;
#pragma unroll
		for (int d = 1; d < 32; d <<= 1) {
			const int left = __shfl_up_sync(FULL, sum, d);
			if (lane >= d) sum += left;
		}
		const unsigned past = __ballot_sync(FULL, before + sum > (int)blockIdx.x);
		if (past) {
			const int at = __ffs(past) - 1;
			r.seq = s0 + at;
			r.start = __shfl_sync(FULL, from, at);
			r.tokens = __shfl_sync(FULL, to, at) - r.start;
			r.tile = before + __shfl_sync(FULL, sum, at) - 1 - (int)blockIdx.x;
			return true;
		}
		before += __shfl_sync(FULL, sum, 31);
	}
	return false;
}

// find_rows for tiles of keys, numbered by blockIdx.y. A tile of keys is as long as the tiles of rows that see it: the last tile of every
// sequence has level 1, the first of n has level n. Those of the highest level come first, whatever their sequence, and among them the first
// sequence's: what starts last is short, and multiprocessors end together.
__device__ __forceinline__ bool find_keys(Rows &r, const Tensor &starts, int seqs, int keys_per_tile) {
	const int lane = threadIdx.x % 32, block = blockIdx.y;
	auto tiles = [&](int s) { return s < seqs ? (id_of(starts, s + 1) - id_of(starts, s) + keys_per_tile - 1) / keys_per_tile : 0; };
	auto from_level = [&](int level) { // tiles of this level and above
		int n = 0;
		for (int s = lane; s < seqs; s += 32) n += max(0, tiles(s) - level + 1);
		return __reduce_add_sync(FULL, n);
	};
	int top = 0;
	for (int s = lane; s < seqs; s += 32) top = max(top, tiles(s));
	if (from_level(1) <= block) return false;
	int level = 1, over = __reduce_max_sync(FULL, top) + 1, above = 0; // the block's level is in [level, over); above: tiles from over on
	while (over - level > 1) {
		const int middle = (level + over) / 2, n = from_level(middle);
		if (n > block)
			level = middle;
		else
			over = middle, above = n;
	}
	for (int s0 = 0, rank = block - above;; s0 += 32) { // of the sequences that have a tile of this level
		const unsigned has = __ballot_sync(FULL, tiles(s0 + lane) >= level);
		if (rank >= __popc(has)) {
			rank -= __popc(has);
			continue;
		}
		const unsigned below = __popc(has & ((1u << lane) - 1));
		r.seq = s0 + __ffs(__ballot_sync(FULL, (has >> lane & 1) && below == rank)) - 1;
		r.start = id_of(starts, r.seq);
		r.tokens = id_of(starts, r.seq + 1) - r.start;
		r.tile = tiles(r.seq) - level;
		return true;
	}
}

// Loads rows [row0, row0+ROWS) of a sequence's queries (or of the gradient of its outputs) as a tile. Rows past the last are zero.
template <int D, int ROWS, int THREADS> __device__ __forceinline__ void load_rows(unsigned tile, const Tensor &q, const Rows &r, int row0, int head, int group) {
	constexpr int PIECES = D / 8;
	for (int i = threadIdx.x % THREADS; i < ROWS * PIECES; i += THREADS) {
		const int row = row0 + i / PIECES, piece = i % PIECES;
		const bool in = row < r.tokens * group;
		const long at = in ? (long)(r.start + row / group) * q.ld + (head * group + row % group) * D + piece * 8 : 0;
		async_copy16(tile + tile_at<D>(i / PIECES, piece), q.p + at * 2, in ? 16 : 0);
	}
}

// Stores a tile of ROWS rows of outputs, those that exist.
template <int D, int ROWS, int THREADS> __device__ __forceinline__ void store_rows(const Tensor &o, const char *tile, const Rows &r, int row0, int head, int group) {
	constexpr int PIECES = D / 8;
	for (int i = threadIdx.x % THREADS; i < ROWS * PIECES; i += THREADS) {
		const int row = row0 + i / PIECES, piece = i % PIECES;
		if (row < r.tokens * group) *(uint4 *)(o.p + ((long)(r.start + row / group) * o.ld + (head * group + row % group) * D + piece * 8) * 2) = *(const uint4 *)(tile + tile_at<D>(i / PIECES, piece));
	}
}

// Keys and values of one sequence and key head, side by side in memory.
template <int D> struct PackedKeys {
	Tensor k, v;
	int start, tokens, head;
	template <int THREADS, int ROWS = KEYS> __device__ __forceinline__ void load(unsigned tile_k, unsigned tile_v, int key0) const {
		constexpr int PIECES = D / 8;
		for (int i = threadIdx.x % THREADS; i < ROWS * PIECES; i += THREADS) {
			const int row = i / PIECES, piece = i % PIECES, t = key0 + row, n = t < tokens ? 16 : 0;
			const long at = head * D + piece * 8, token = n ? start + t : 0;
			async_copy16(tile_k + tile_at<D>(row, piece), k.p + (token * k.ld + at) * 2, n);
			async_copy16(tile_v + tile_at<D>(row, piece), v.p + (token * v.ld + at) * 2, n);
		}
	}
};

// Keys and values of one sequence and key head, in pages. A tile in memory is a tile in shared memory. Rows past the last token are zero
// whatever the page holds: 0·NaN would be NaN.
template <int D> struct PagedKeys {
	const char *base; // of this key head's tile in page 0
	long stride;      // bytes from page to page
	const int *pages;
	int tokens;
	template <int THREADS> __device__ __forceinline__ void load(unsigned tile_k, unsigned tile_v, int key0) const {
		const char *page = base + pages[key0 / KEYS] * stride;
		constexpr int PIECES = D / 8;
		for (int i = threadIdx.x; i < KEYS * PIECES; i += THREADS) {
			const int row = i / PIECES;
			const unsigned at = tile_at<D>(row, i % PIECES);
			const int n = key0 + row < tokens ? 16 : 0;
			async_copy16(tile_k + at, page + at, n);
			async_copy16(tile_v + at, page + TILE_BYTES<D> + at, n);
		}
	}
};

// Softmax in progress of the two rows, g and g+8, of which this thread holds columns 2t and 2t+1 (mod 8). m is in units of q·k; l is this
// thread's quarter of the sum until `complete`.
template <int D> struct State {
	float o[D / 8][4], m[2], l[2];
	__device__ __forceinline__ void clear() {
#pragma unroll
		for (int i = 0; i < D / 8; i++) o[i][0] = o[i][1] = o[i][2] = o[i][3] = 0.f;
		m[0] = m[1] = -INFINITY;
		l[0] = l[1] = 0.f;
	}
};

__device__ __forceinline__ float quad_sum(float v) { // (0+1) + (2+3)
	v += __shfl_xor_sync(FULL, v, 1);
	return v + __shfl_xor_sync(FULL, v, 2);
}
__device__ __forceinline__ float quad_max(float v) {
	v = fmaxf(v, __shfl_xor_sync(FULL, v, 1));
	return fmaxf(v, __shfl_xor_sync(FULL, v, 2));
}

// s = a·bᵀ for 16 rows of tile a from row a0 and N rows of tile b from row b0, over the D columns
template <int D, int N> __device__ __forceinline__ void product_nt(float s[N / 8][4], unsigned a, int a0, unsigned b, int b0) {
	const int lane = threadIdx.x % 32;
#pragma unroll
	for (int j = 0; j < N / 8; j++) s[j][0] = s[j][1] = s[j][2] = s[j][3] = 0.f;
#pragma unroll
	for (int kk = 0; kk < D / 16; kk++) {
		unsigned fa[4], fb[4];
		load_matrix4(fa, a + tile_at<D>(a0 + (lane & 15), kk * 2 + (lane >> 4)));
#pragma unroll
		for (int j = 0; j < N / 8; j += 2) {
			load_matrix4(fb, b + tile_at<D>(b0 + j * 8 + (lane & 7) + (lane >> 4 << 3), kk * 2 + (lane >> 3 & 1)));
			mma16816(s[j], fa, fb[0], fb[1]);
			mma16816(s[j + 1], fa, fb[2], fb[3]);
		}
	}
}

// o += bf16(p)·b for p of 16 rows and N columns, and N rows of tile b from row b0. The fragments of a product are those of its left operand.
template <int D, int N> __device__ __forceinline__ void product_nn(float o[D / 8][4], const float p[N / 8][4], unsigned b, int b0) {
	const int lane = threadIdx.x % 32;
#pragma unroll
	for (int kk = 0; kk < N / 16; kk++) {
		unsigned fb[4];
		const unsigned fa[4] = {pack_bf16(p[2 * kk][0], p[2 * kk][1]), pack_bf16(p[2 * kk][2], p[2 * kk][3]), pack_bf16(p[2 * kk + 1][0], p[2 * kk + 1][1]), pack_bf16(p[2 * kk + 1][2], p[2 * kk + 1][3])};
#pragma unroll
		for (int d = 0; d < D / 8; d += 2) {
			load_matrix4_transposed(fb, b + tile_at<D>(b0 + kk * 16 + (lane & 15), d + (lane >> 4)));
			mma16816(o[d], fa, fb[0], fb[1]);
			mma16816(o[d + 1], fa, fb[2], fb[3]);
		}
	}
}

// One tile of scores becomes probabilities: keys key0 … key0+63, of which a row sees those up to last[h]. The sums so far are to be multiplied
// by alpha[h]; a row that sees no key of the tile is left exactly as it was. c = log2(e)/√D.
__device__ __forceinline__ void softmax_tile(float m[2], float l[2], float alpha[2], float s[8][4], int key0, const int last[2], float c) {
	const int t = threadIdx.x % 4;
	if (key0 + KEYS - 1 > last[0] || key0 + KEYS - 1 > last[1]) {
#pragma unroll
		for (int h = 0; h < 2; h++)
#pragma unroll
			for (int j = 0; j < 8; j++)
#pragma unroll
				for (int e = 0; e < 2; e++)
					if (key0 + j * 8 + t * 2 + e > last[h]) s[j][h * 2 + e] = -INFINITY;
	}
#pragma unroll
	for (int h = 0; h < 2; h++) {
		float top = m[h];
#pragma unroll
		for (int j = 0; j < 8; j++) top = fmaxf(top, fmaxf(s[j][h * 2], s[j][h * 2 + 1]));
		top = quad_max(top);
		const float at = top == -INFINITY ? 0.f : top, shift = -(at * c);
		alpha[h] = ex2((m[h] - at) * c);
		float sum = l[h] * alpha[h];
#pragma unroll
		for (int j = 0; j < 8; j++)
#pragma unroll
			for (int e = 0; e < 2; e++) {
				const float p = ex2(fmaf(s[j][h * 2 + e], c, shift));
				s[j][h * 2 + e] = p;
				sum += p;
			}
		m[h] = top;
		l[h] = sum;
	}
}

// o ← o·alpha
template <int D> __device__ __forceinline__ void rescale(float o[D / 8][4], const float alpha[2]) {
#pragma unroll
	for (int d = 0; d < D / 8; d++)
#pragma unroll
		for (int e = 0; e < 4; e++) o[d][e] *= alpha[e / 2];
}

// one tile of keys
template <int D> __device__ __forceinline__ void attend_tile(State<D> &st, unsigned q, int q0, unsigned k, unsigned v, int key0, const int last[2], float c) {
	float s[8][4], alpha[2];
	product_nt<D, KEYS>(s, q, q0, k, 0);
	softmax_tile(st.m, st.l, alpha, s, key0, last, c);
	rescale<D>(st.o, alpha);
	product_nn<D, KEYS>(st.o, s, v, 0);
}

// m ← max(m, next); w[0] and w[1] are the weights of what was summed under the one and the other
__device__ __forceinline__ void merge_weights(float w[2], float &m, float next, float c) {
	const float top = fmaxf(m, next), at = top == -INFINITY ? 0.f : top;
	w[0] = ex2((m - at) * c), w[1] = ex2((next - at) * c);
	m = top;
}

// total ← total merged with the next chunk, whose l is complete. Starting from the empty state, a single chunk comes out unchanged.
template <int D> __device__ __forceinline__ void merge(State<D> &total, const State<D> &chunk, float c) {
#pragma unroll
	for (int h = 0; h < 2; h++) {
		float w[2];
		merge_weights(w, total.m[h], chunk.m[h], c);
		total.l[h] = fmaf(chunk.l[h], w[1], total.l[h] * w[0]);
#pragma unroll
		for (int d = 0; d < D / 8; d++)
#pragma unroll
			for (int e = h * 2; e < h * 2 + 2; e++) total.o[d][e] = fmaf(chunk.o[d][e], w[1], total.o[d][e] * w[0]);
	}
}

// Where the state of a chunk waits for its merge: for row (token·H + head) and chunk z, D sums, then m and l.
struct Parts {
	float *p;
	int chunks, heads;
	template <int D> __device__ __forceinline__ float *of(long token, int head, int z) const { return p + ((token * heads + head) * chunks + z) * (D + 2); }
};

// the state of a row, half h of the fragments, in chunk z; l is complete
template <int D> __device__ __forceinline__ void store_part(const Parts &parts, long token, int head, int z, const float o[D / 8][4], float m, float l, int h) {
	const int t = threadIdx.x % 4;
	float *p = parts.of<D>(token, head, z);
#pragma unroll
	for (int d = 0; d < D / 8; d++) *(float2 *)(p + d * 8 + t * 2) = make_float2(o[d][h * 2], o[d][h * 2 + 1]);
	if (t == 0) p[D] = m, p[D + 1] = l;
}

// The attention of a tile of 16·WARPS rows: keys in tiles, two stages of them; chunk tiles of keys at a time. first is the position of the
// sequence's first row among its keys: 0 in training, the tokens already in pages otherwise.
//
// Without SPLIT, chunks are merged as they come, and o and lse written. With it, the block takes chunk z alone and leaves its
// state in parts; attend_merge does the rest, with the same steps in the same order.
template <int D, int WARPS, bool SPLIT, class Keys>
__device__ __forceinline__ void attend(Tensor o, Tensor lse, Parts parts, const Tensor &q, const Rows &r, const Keys &keys, int first, int head, int group, int chunk, float c, int z = 0) {
	extern __shared__ __align__(128) char shared[];
	constexpr int THREADS = WARPS * 32, ROWS = WARPS * 16, STAGE = 2 * TILE_BYTES<D>;
	const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, row0 = r.tile * ROWS, rows = r.tokens * group;
	const unsigned stages = shared_address(shared), tile_q = stages + 2 * STAGE;
	int row[2], last[2];
#pragma unroll
	for (int h = 0; h < 2; h++) {
		row[h] = row0 + warp * 16 + (lane >> 2) + h * 8;
		last[h] = row[h] < rows ? first + row[h] / group : -1;
	}
	int from = 0, to = (first + (min(row0 + ROWS, rows) - 1) / group) / KEYS + 1;
	if (SPLIT) {
		from = z * chunk;
		to = min(to, from + chunk);
		if (from >= to) return;
	}

	load_rows<D, ROWS, THREADS>(tile_q, q, r, row0, head, group);
	keys.template load<THREADS>(stages, stages + TILE_BYTES<D>, from * KEYS);
	async_commit();
	State<D> total, part;
	if (!SPLIT) total.clear();
	part.clear();
	for (int j = from; j < to; j++) {
		const unsigned now = stages + (j - from) % 2 * STAGE, next = stages + (j - from + 1) % 2 * STAGE;
		if (j + 1 < to) keys.template load<THREADS>(next, next + TILE_BYTES<D>, (j + 1) * KEYS);
		async_commit();
		async_wait<1>();
		__syncthreads(); // the other threads' pieces of this stage
		attend_tile<D>(part, tile_q, warp * 16, now, now + TILE_BYTES<D>, j * KEYS, last, c);
		__syncthreads(); // all have read this stage: the next turn loads over it
		if (SPLIT ? j + 1 == to : (j + 1) % chunk == 0 || j + 1 == to) {
			part.l[0] = quad_sum(part.l[0]);
			part.l[1] = quad_sum(part.l[1]);
			if (!SPLIT) {
				merge<D>(total, part, c);
				part.clear();
			}
		}
	}
#pragma unroll
	for (int h = 0; h < 2; h++) {
		if (row[h] >= rows) continue;
		const long token = r.start + row[h] / group;
		const int at = head * group + row[h] % group;
		if (SPLIT) {
			store_part<D>(parts, token, at, z, part.o, part.m[h], part.l[h], h);
			continue;
		}
		const float scale = __frcp_rn(total.l[h]);
#pragma unroll
		for (int d = 0; d < D / 8; d++) store_shared1(tile_q + tile_at<D>(warp * 16 + (lane >> 2) + h * 8, d) + (lane & 3) * 4, pack_bf16(total.o[d][h * 2] * scale, total.o[d][h * 2 + 1] * scale));
		if (lse.p && (lane & 3) == 0) ((float *)lse.p)[token * lse.ld + at] = fmaf(total.m[h], c, lg2(total.l[h])) * LN2;
	}
	if (SPLIT) return;
	__syncwarp(); // the outputs stand where the warp's queries stood
	store_rows<D, 16, 32>(o, shared + 2 * STAGE + tile_at<D>(warp * 16, 0), r, row0 + warp * 16, head, group);
}

// o of one row from the states of its first n chunks: a warp, D/32 numbers a lane or one.
template <int D> __device__ __forceinline__ void attend_merge(Tensor o, Parts parts, long token, int head, int n, float c) {
	const int lane = threadIdx.x % 32;
	for (int d = lane * 2; d < D; d += 64) {
		float m = -INFINITY, l = 0.f, x = 0.f, y = 0.f;
		for (int z = 0; z < n; z++) {
			const float *p = parts.of<D>(token, head, z);
			float w[2];
			merge_weights(w, m, p[D], c);
			l = fmaf(p[D + 1], w[1], l * w[0]);
			x = fmaf(p[d], w[1], x * w[0]);
			y = fmaf(p[d + 1], w[1], y * w[0]);
		}
		const float scale = __frcp_rn(l);
		*(unsigned *)(o.p + (token * o.ld + head * D + d) * 2) = pack_bf16(x * scale, y * scale);
	}
}
