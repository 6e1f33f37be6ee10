// paged.cu: keys and values in pages: append, copy, and attention over them.
//
//   A page holds 64 tokens of all K key heads of one layer: for each head a tile of keys, then a tile of values, 64·D bf16 each, laid out
//   as attend.cuh lays a tile out in shared memory. slots (T) i32: page·64 + row, negative to store nothing.
//
//   q, o (T,H,D) bf16: the rows of a step. pages (S,N) i32, starts (S+1) i32, len (S) i32: the last row of sequence s is token len[s]−1.
//   Reference: paged_test.go, float64.
//
// Launch    attention: grid (⌈T·G/rows⌉ + S, K), rows 16 (a warp, for decode) or 64 (four, for prefill) a block. Where that would leave
//           multiprocessors idle, a block takes one chunk of 16 rows (paged_part, grid z = chunks), and paged_merge adds them up. A step that
//           was planned (paged_plan.go) has a list of work, longest first with heads inside: whole contexts, or chunks.
//           On sm_90a, if asked for, paged_*_wgmma of attend_wgmma.cuh: for a page one bulk copy into one of four stages (128 KB under way for
//           D 128). 64 rows and 160 threads a block, 81 or 161 KB for D 64 or 128 with the sums; or 128 rows, two teams at the same stages,
//           and 384 threads, 97 or 193 KB.
// Layout    a page holds what shared memory will: pieces XOR-swizzled by row, which is the 128-byte swizzle of wgmma.
// Contract  the functions of attend.cuh over the same tiles of 64 keys: equal to packed attention, bit for bit, split or not, whatever the
//           pages' numbers and whatever stands in them behind the last token.
// Floor     4·S·len·K·D bytes a layer. 128 sequences of 4096, K 4, D 128, 4.3 TB/s (H200): 0.25 ms.
// Predicted by the cost of paged_plan.go: with 128 rows a block 1.8 (D 128) or 1.2 (D 64) times the rows of prefill that blocks of 64 take in
//           the same time, which wait for the second-level cache; 1.5 or 1.0 times if copies were free.
// Reached   not measured: no hardware yet.
// Error     as attention.cu.
#include "attend.cuh"

// Where a block of attention works: a tile of rows of a sequence, a key head, a chunk where contexts are split. By a list (n,2) of a sequence,
// negative for none, and tile·2¹⁶ + chunk: grid n·heads. Without one: grid (tiles, heads, chunks).
__device__ __forceinline__ bool find_work(Rows &r, int &head, int &z, const int *work, int heads, const Tensor &starts, int seqs, int group, int rows_per_tile) {
	if (!work) {
		head = blockIdx.y, z = blockIdx.z;
		return find_rows(r, starts, seqs, group, rows_per_tile);
	}
	const int2 item = ((const int2 *)work)[blockIdx.x / heads];
	if (item.x < 0) return false;
	head = blockIdx.x % heads, z = item.y & 0xffff;
	r.seq = item.x, r.start = id_of(starts, r.seq), r.tokens = id_of(starts, r.seq + 1) - r.start, r.tile = item.y >> 16;
	return true;
}

#if !RETOOL_SM90

// a thread stores 8 numbers: grid ⌈T·K·D/8/256⌉
template <int D> __device__ __forceinline__ void append(char *base, long stride, Tensor k, Tensor v, Tensor slots, int tokens, int heads) {
	constexpr int PIECES = D / 8;
	const long i = (long)blockIdx.x * 256 + threadIdx.x;
	if (i >= (long)tokens * heads * PIECES) return;
	const int piece = (int)(i % PIECES), head = (int)(i / PIECES % heads), t = (int)(i / PIECES / heads), slot = id_of(slots, t);
	if (slot < 0) return;
	char *tile = base + slot / KEYS * stride + (long)head * 2 * TILE_BYTES<D>;
	const unsigned at = tile_at<D>(slot % KEYS, piece);
	float x[8];
	load8(x, k, (long)t * k.ld + head * D + piece * 8, 8);
	*(uint4 *)(tile + at) = make_uint4(pack_bf16(x[0], x[1]), pack_bf16(x[2], x[3]), pack_bf16(x[4], x[5]), pack_bf16(x[6], x[7]));
	load8(x, v, (long)t * v.ld + head * D + piece * 8, 8);
	*(uint4 *)(tile + TILE_BYTES<D> + at) = make_uint4(pack_bf16(x[0], x[1]), pack_bf16(x[2], x[3]), pack_bf16(x[4], x[5]), pack_bf16(x[6], x[7]));
}

template <int D, int WARPS, bool SPLIT>
__device__ __forceinline__ void paged(Tensor o, Parts parts, Tensor q, const char *base, long stride, Tensor pages, Tensor starts, Tensor len, int seqs, int group, int chunk, float c, const int *work, int heads) {
	Rows r;
	int head, z;
	if (!find_work(r, head, z, work, heads, starts, seqs, group, WARPS * 16)) return;
	const int n = id_of(len, r.seq);
	const PagedKeys<D> keys{base + (long)head * 2 * TILE_BYTES<D>, stride, (const int *)pages.p + (long)r.seq * pages.ld, n};
	attend<D, WARPS, SPLIT>(o, Tensor{0, 0, F32}, parts, q, r, keys, n - r.tokens, head, group, chunk, c, z);
}

// o of every row from the chunks that paged_part left: a warp a row, grid ⌈T·H/4⌉
template <int D> __device__ __forceinline__ void paged_merge(Tensor o, float *part, Tensor starts, Tensor len, int seqs, int tokens, int heads, int chunks, int chunk, float c) {
	const int i = blockIdx.x * 4 + threadIdx.x / 32, token = i / heads;
	if (token >= tokens) return;
	int low = 0, high = seqs - 1; // the last sequence that starts at or before the token
	while (low < high) {
		const int mid = (low + high + 1) / 2;
		if (id_of(starts, mid) <= token)
			low = mid;
		else
			high = mid - 1;
	}
	const int last = id_of(len, low) - id_of(starts, low + 1) + token; // the last key it sees
	if (token >= id_of(starts, low + 1)) return;                      // a row behind the last sequence
	attend_merge<D>(o, Parts{part, chunks, heads}, token, i % heads, last / KEYS / chunk + 1, c);
}

// page dst[i] ← page src[i]: grid (⌈stride/4096⌉, n), 16 bytes a thread
extern "C" __global__ void __launch_bounds__(256) copy_pages(char *base, long stride, Tensor dst, Tensor src) {
	const long at = ((long)blockIdx.x * 256 + threadIdx.x) * 16;
	if (at >= stride) return;
	*(uint4 *)(base + id_of(dst, blockIdx.y) * stride + at) = *(const uint4 *)(base + id_of(src, blockIdx.y) * stride + at);
}

#define PAGED_FWD(NAME, D, WARPS)                                                                                                                                                       \
	extern "C" __global__ void __launch_bounds__(WARPS * 32) NAME##_bf16_d##D(Tensor o, Tensor q, const char *base, long stride, Tensor pages, Tensor starts, Tensor len, int seqs, int group, int chunk, float c, const int *work, int heads) { \
		paged<D, WARPS, false>(o, Parts{}, q, base, stride, pages, starts, len, seqs, group, chunk, c, work, heads);                                                                                               \
	}
#define PAGED(D)                                                                                                                                                                        \
	extern "C" __global__ void __launch_bounds__(256) append_bf16_d##D(char *base, long stride, Tensor k, Tensor v, Tensor slots, int tokens, int heads) { append<D>(base, stride, k, v, slots, tokens, heads); } \
	PAGED_FWD(paged_fwd16, D, 1)                                                                                                                                                          \
	PAGED_FWD(paged_fwd64, D, 4)                                                                                                                                                          \
	extern "C" __global__ void __launch_bounds__(32) paged_part_bf16_d##D(float *part, Tensor q, const char *base, long stride, Tensor pages, Tensor starts, Tensor len, int seqs, int group, int chunks, int chunk, float c, const int *work, int heads) { \
		paged<D, 1, true>(q, Parts{part, chunks, heads * group}, q, base, stride, pages, starts, len, seqs, group, chunk, c, work, heads);                                                                \
	}                                                                                                                                                                                    \
	extern "C" __global__ void __launch_bounds__(128) paged_merge_bf16_d##D(Tensor o, float *part, Tensor starts, Tensor len, int seqs, int tokens, int heads, int chunks, int chunk, float c) { \
		paged_merge<D>(o, part, starts, len, seqs, tokens, heads, chunks, chunk, c);                                                                                                                \
	}

PAGED(16)
PAGED(32)
PAGED(64)
PAGED(128)

#else // Hopper

#include "attend_wgmma.cuh"

template <int D, int TEAMS, bool SPLIT>
__device__ __forceinline__ void paged(Tensor o, Parts parts, Tensor q, const char *base, long stride, Tensor pages, Tensor starts, Tensor len, int seqs, int group, int chunk, float c, const int *work, int heads) {
	Rows r;
	int head, z;
	if (!find_work(r, head, z, work, heads, starts, seqs, group, TEAMS * 64)) return;
	const int n = id_of(len, r.seq);
	const CopiedKeys<D> keys{base + (long)head * STAGE_BYTES<D>, stride, (const int *)pages.p + (long)r.seq * pages.ld, n};
	attend_wgmma<D, TEAMS, SPLIT>(o, Tensor{0, 0, F32}, parts, q, r, keys, n - r.tokens, head, group, chunk, c, z);
}

#define PAGED(D, ROWS, TEAMS, THREADS)                                                                                                                                                       \
	extern "C" __global__ void __launch_bounds__(THREADS, 1) paged_fwd##ROWS##_wgmma_d##D(Tensor o, Tensor q, const char *base, long stride, Tensor pages, Tensor starts, Tensor len, int seqs, int group, int chunk, float c, const int *work, int heads) { \
		paged<D, TEAMS, false>(o, Parts{}, q, base, stride, pages, starts, len, seqs, group, chunk, c, work, heads);                                                                                              \
	}                                                                                                                                                                                    \
	extern "C" __global__ void __launch_bounds__(THREADS, 1) paged_part##ROWS##_wgmma_d##D(float *part, Tensor q, const char *base, long stride, Tensor pages, Tensor starts, Tensor len, int seqs, int group, int chunks, int chunk, float c, const int *work, int heads) { \
		paged<D, TEAMS, true>(q, Parts{part, chunks, heads * group}, q, base, stride, pages, starts, len, seqs, group, chunk, c, work, heads);                                                           \
	}

PAGED(64, 64, 1, 160)
PAGED(64, 128, 2, 384)
PAGED(128, 64, 1, 160)
PAGED(128, 128, 2, 384)

#endif
