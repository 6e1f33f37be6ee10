// embed.cu: rows of a table, and the gradient of the table.
//
//   y[t] = table[ids[t]]      dtable[ids[t]] += dy[t], t ascending
//
//   y, dy (T,C)  table, dtable (N,C)  ids (T) i32. An id outside [0, N) gives a row of NaN and no gradient.
//   Reference: embed_test.go, float64.
//
// Launch    a block of 128 a token.
// Layout    rows as in memory, eight neighbouring columns a thread, 16-byte loads.
// Contract  y is a copy, exact in either type. Backward: the first token of an id adds all tokens of that id in ascending order, in
//           fp32, and rounds once; the others end. No atomics, no sorting.
// Floor     4·T·C bytes in bf16. T 16384, C 3584, 4.3 TB/s (H200): 55 µs. Backward reads ids T times from the second-level cache.
// Reached   not measured: no hardware yet.
// Error     none forward; one rounding backward.
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(128) embed_fwd(Tensor y, Tensor table, Tensor ids, int n, int cols) {
	const int t = blockIdx.x, id = id_of(ids, t);
	float v[8];
	for (int c = threadIdx.x * 8; c < cols; c += 128 * 8) {
		if (id >= 0 && id < n)
			load8(v, table, (long)id * table.ld + c, cols - c);
		else
#pragma unroll
			for (int i = 0; i < 8; i++) v[i] = __int_as_float(0x7fffffff);
		store8(y, (long)t * y.ld + c, cols - c, v);
	}
}

extern "C" __global__ void __launch_bounds__(128) embed_bwd(Tensor dtable, Tensor dy, Tensor ids, int tokens, int n, int cols) {
	__shared__ unsigned same[4];
	const int t = blockIdx.x, id = id_of(ids, t), lane = threadIdx.x % 32, warp = threadIdx.x / 32;
	if (id < 0 || id >= n) return;
	int earlier = 0;
	for (int i = threadIdx.x; i < t; i += 128) earlier |= id_of(ids, i) == id;
	if (__syncthreads_or(earlier)) return;
	// Columns in rounds of 128·8, so that a thread keeps its sums in registers.
	for (int c0 = 0; c0 < cols; c0 += 128 * 8) {
		const int c = c0 + threadIdx.x * 8;
		float sum[8], v[8];
		if (c < cols) load8(sum, dtable, (long)id * dtable.ld + c, cols - c);
		for (int base = t / 128 * 128; base < tokens; base += 128) {
			const int i = base + threadIdx.x;
			const unsigned hits = __ballot_sync(FULL, i >= t && i < tokens && id_of(ids, min(i, tokens - 1)) == id);
			if (lane == 0) same[warp] = hits;
			__syncthreads();
			if (c < cols)
				for (int w = 0; w < 4; w++)
					for (unsigned m = same[w]; m; m &= m - 1) {
						load8(v, dy, (long)(base + w * 32 + __ffs(m) - 1) * dy.ld + c, cols - c);
#pragma unroll
						for (int k = 0; k < 8; k++) sum[k] += v[k];
					}
			__syncthreads(); // same is written again
		}
		if (c < cols) store8(dtable, (long)id * dtable.ld + c, cols - c, sum);
	}
}
