// planted.cu: small kernels with one bug each; bug 0 is none. planted_test.go says what the emulator must report.
//
// norm: a block of 128 walks rows of x (rows, n), n ≤ 256, and writes y = x/√Σx². tile: a block of 64 writes 50 rows of its own.
// turns: warps hand values on through shared memory. Of Hopper, copies: two bulk copies with a use of their target in between. product:
// c (64,N) = a·b by wgmma, from shared memory that Go has laid out.
#include "../../ptx.cuh"

#if !RETOOL_SM90

constexpr unsigned FULL = 0xffffffffu;

template <int BUG> __device__ __forceinline__ void norm(float *y, const float *x, int rows, int n) {
	__shared__ float row[256], part[8];
	const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
	for (int r = blockIdx.x; r < rows; r += gridDim.x) {
		const float *in = x + r * n;
		float sum = 0.f;
		for (int c = threadIdx.x; c < n + (BUG == 1); c += 128) { // bug 1: one past the end
			const float v = in[c];
			if (c < n) row[BUG == 5 ? c + 200 : c] = v; // bug 5: past the array
			sum += v * v;
		}
		for (int d = 16; d > 0; d /= 2) {
			if (BUG == 6 && lane >= 16) continue; // bug 6: half a warp, full mask
			sum += __shfl_xor_sync(FULL, sum, d);
		}
		if (lane == 0) part[warp] = sum;
		if (BUG == 2) {
			if (threadIdx.x < 96) __syncthreads(); // bug 2: not all come here
		} else if (BUG != 3) {
			__syncthreads();
		}
		float total = 0.f;
		for (int w = 0; w < (BUG == 4 ? 5 : 4); w++) total += part[w]; // bug 4: nobody wrote the fifth
		for (int c = threadIdx.x; c < n; c += 128) y[r * n + c] = row[BUG == 5 ? c + 200 : c] * rsqrtf(total);
		if (BUG != 3) __syncthreads(); // bug 3: part is overwritten while others read it, and read before it is written
	}
}

// rows 50·block … of out belong to the block; a tile has 64
template <int BUG> __device__ __forceinline__ void tile(float *out) {
	const int r = blockIdx.x * 50 + threadIdx.x;
	if (BUG == 10 || threadIdx.x < 50) out[r] = (float)(blockIdx.x * 1000 + threadIdx.x); // bug 10: no bound
}

template <int BUG> __device__ __forceinline__ void turns(int *out) {
	__shared__ int box[128];
	const int t = threadIdx.x;
	box[t] = t;
	if (BUG == 14)
		__syncwarp(); // bug 14: the reader is in another warp
	else
		__syncthreads();
	out[t] = box[(t + 32) % 128];
	__syncthreads();
	box[t] = 2 * t;
	__syncwarp();
	out[128 + t] = box[t ^ 1];
}

template <int BUG> __device__ __forceinline__ void neighbours(int *out) {
	__shared__ int box[128];
	const int t = threadIdx.x;
	box[t] = t;
	if (BUG != 16) __syncwarp(); // bug 16: lanes of a warp do not run in step
	out[t] = box[t ^ 1];
}

// the sum of all blocks' numbers
template <int BUG> __device__ __forceinline__ void count(int *out) {
	if (BUG == 17)
		*out = *out + 1; // bug 17: every block, and no atomic
	else
		atomicAdd(out, 1);
}

// 16 bytes a thread through shared memory
template <int BUG> __device__ __forceinline__ void stage(float4 *out, const float4 *in, int n) {
	__shared__ float4 box[128];
	const int t = threadIdx.x;
	asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"((unsigned)__cvta_generic_to_shared(&box[t])), "l"(in + t), "r"(BUG == 19 || t < n ? 16 : 0)); // bug 19: the source ends before
	asm volatile("cp.async.commit_group;");
	if (BUG != 7) asm volatile("cp.async.wait_group 0;" ::: "memory"); // bug 7
	if (BUG != 8) __syncthreads();                                     // bug 8
	out[t] = box[127 - t];
}

// bug 18: an address between two elements
__device__ __forceinline__ void crooked(float *out, const char *in) { out[threadIdx.x] = *(const float *)(in + 4 * threadIdx.x + 2); }

#define ENTRY(NAME, BUG, PARAMS, ARGS) \
	extern "C" __global__ void NAME##_##BUG PARAMS { NAME<BUG> ARGS; }
#define NORM(BUG) ENTRY(norm, BUG, (float *y, const float *x, int rows, int n), (y, x, rows, n))
#define STAGE(BUG) ENTRY(stage, BUG, (float4 * out, const float4 *in, int n), (out, in, n))

NORM(0)
NORM(1)
NORM(2)
NORM(3)
NORM(4)
NORM(5)
NORM(6)
ENTRY(tile, 0, (float *out), (out))
ENTRY(tile, 10, (float *out), (out))
ENTRY(turns, 0, (int *out), (out))
ENTRY(turns, 14, (int *out), (out))
ENTRY(neighbours, 0, (int *out), (out))
ENTRY(neighbours, 16, (int *out), (out))
ENTRY(count, 0, (int *out), (out))
ENTRY(count, 17, (int *out), (out))
STAGE(0)
STAGE(7)
STAGE(8)
STAGE(19)
extern "C" __global__ void crooked_18(float *out, const char *in) { crooked(out, in); }

#else // Hopper

// 64 threads: in to box, doubled in place; then in again, to out
template <int BUG> __device__ __forceinline__ void copies(int *out, const int *in) {
	__shared__ __align__(128) int box[256];
	__shared__ __align__(8) unsigned long long bar;
	const unsigned at = shared_address(box), b = shared_address(&bar);
	const int t = threadIdx.x;
	if (t == 0) {
		mbarrier_init(b, 1);
		mbarrier_init_fence();
	}
	__syncthreads();
	if (BUG == 22 && t == 1) *(volatile unsigned long long *)&bar = 0; // bug 22: a barrier is no variable
	if (t == 0) {
		mbarrier_arrive_expect(b, 1024);
		bulk_copy(at, in, BUG == 21 ? 1020 : 1024, b); // bug 21: not a multiple of 16
	}
	if (BUG != 24) mbarrier_wait(b, 0); // bug 24
	for (int i = t; i < 256; i += 64) box[i] *= 2;
	if (BUG != 20) async_proxy_fence(); // bug 20
	__syncthreads();
	for (int i = t; i < 256; i += 64) out[i] = box[i];
	__syncthreads();
	if (t == 0) {
		mbarrier_arrive_expect(b, 1024);
		bulk_copy(at, in, 1024, b);
	}
	mbarrier_wait(b, 1);
	for (int i = t; i < 256; i += 64) out[256 + i] = box[i];
}

// 128 threads. FORM 0: a and b as they lie in memory of rows of k; 1: a from registers; 2: a from registers, b with k down its rows, N 128.
template <int FORM, int BUG> __device__ __forceinline__ void product(float *c, const uint4 *image) {
	extern __shared__ __align__(1024) char box[];
	const int t = threadIdx.x, lane = t % 32, warp = t / 32;
	for (int i = t; i < 32768 / 16; i += 128) ((uint4 *)box)[i] = image[i];
	if (BUG != 23) async_proxy_fence(); // bug 23
	__syncthreads();
	const unsigned a = shared_address(box), b = a + 8192;
	float d[64];
#pragma unroll
	for (int i = 0; i < 64; i++) d[i] = 0.f;
	unsigned fa[4][4];
#pragma unroll
	for (int kk = 0; kk < 4; kk++) load_matrix4(fa[kk], a + (warp * 16 + (lane & 15)) * 128 + ((kk * 2 + (lane >> 4) ^ lane & 7) << 4));
	warpgroup_fence();
#pragma unroll
	for (int kk = 0; kk < 4; kk++) {
		if (FORM == 0) wgmma_64x128<0, 0>(d, matrix_descriptor(a) + 2 * kk, matrix_descriptor(b) + 2 * kk);
		if (FORM == 1) wgmma_row_64x64<0>(d, fa[kk], matrix_descriptor(b) + 2 * kk, kk > 0);
		if (FORM == 2) wgmma_row_64x128<1>(d, fa[kk], transposed_descriptor<8192>(b) + 128 * kk, 1);
	}
	warpgroup_commit();
	if (BUG != 25) warpgroup_wait<0>(); // bug 25: sums are used while they are made
	settle<64>(d);
#pragma unroll
	for (int i = 0; i < 64; i++) c[(warp * 16 + (lane >> 2) + i / 2 % 2 * 8) * 128 + i / 4 * 8 + (lane & 3) * 2 + i % 2] = d[i];
	warpgroup_wait<0>();
}

#define COPIES(BUG) \
	extern "C" __global__ void copies_##BUG(int *out, const int *in) { copies<BUG>(out, in); }
#define PRODUCT(FORM, BUG) \
	extern "C" __global__ void product_##FORM##_##BUG(float *c, const uint4 *image) { product<FORM, BUG>(c, image); }

COPIES(0)
COPIES(20)
COPIES(21)
COPIES(22)
COPIES(24)
PRODUCT(0, 0)
PRODUCT(1, 0)
PRODUCT(2, 0)
PRODUCT(2, 23)
PRODUCT(0, 25)

#endif
