// sumtree.cu: the sum of rows, over one binary tree.
//
//   y = ((x₀ + x₁) + (x₂ + x₃)) + ((x₄ + x₅) + (x₆ + x₇))      of R rows: each sum beside the next until one is left
//
//   y (n), x (R,n), f32, rows ld numbers apart, R to 64. y may be a row of x.
//   Reference: sumtree_test.go, float64, and the tree itself in float32.
//
// Launch    eight neighbouring columns a thread, 256 threads a block.
// Layout    rows as in memory, 16-byte loads where addresses allow them. ld is 64 bits: a row may be a model's gradient.
// Contract  outside of it; a fixed order of additions for each R, whatever the columns.
// Floor     4·(R+1)·n bytes. R 8, 0.5 B numbers at 4.3 TB/s (H200): 4.2 ms.
// Reached   not measured: no hardware yet.
// Error     log₂R roundings of fp32.
#include "common.cuh"

constexpr int LEVELS = 7; // of a tree of 64 rows, and the row that is read

extern "C" __global__ void __launch_bounds__(256) sum_tree(char *y, char *x, int rows, long ld, long n) {
	const long at = ((long)blockIdx.x * 256 + threadIdx.x) * 8;
	if (at >= n) return;
	const int left = (int)min(n - at, 8l);
	const Tensor in = {x, 0, F32}, out = {y, 0, F32};
	float waiting[LEVELS][8], v[8]; // waiting[k]: the sum of 2ᵏ rows that has no partner yet
	for (int r = 0; r < rows; r++) {
		load8(v, in, r * ld + at, left);
		bool climbs = true;
#pragma unroll
		for (int k = 0; k < LEVELS; k++) {
			const bool joins = r >> k & 1;
#pragma unroll
			for (int i = 0; i < 8; i++) {
				if (climbs && joins) v[i] = waiting[k][i] + v[i];
				if (climbs && !joins) waiting[k][i] = v[i];
			}
			climbs = climbs && joins;
		}
	}
	bool some = false;
#pragma unroll
	for (int k = 0; k < LEVELS; k++) { // sums without a partner, the last rows' first
		const bool waits = rows >> k & 1;
#pragma unroll
		for (int i = 0; i < 8; i++)
			if (waits) v[i] = some ? waiting[k][i] + v[i] : waiting[k][i];
		some = some || waits;
	}
	store8(out, at, left, v);
}
