// ptx.cuh: every PTX instruction that C++ has no word for, once, as a function named for what it does.
//
// Shared addresses are 32-bit (shared_address). g = lane/4 and t = lane%4 are the coordinates of a matrix fragment.
#pragma once

// approximations allowed by the numerics contract; all else is IEEE
__device__ __forceinline__ float ex2(float x) {
	float y;
	asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
	return y;
}
__device__ __forceinline__ float lg2(float x) {
	float y;
	asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
	return y;
}
__device__ __forceinline__ float rsqrt_(float x) {
	float y;
	asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
	return y;
}

// two floats as bf16, rounded to nearest even; lo has the lower address
__device__ __forceinline__ unsigned pack_bf16(float lo, float hi) {
	unsigned d;
	asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(d) : "f"(hi), "f"(lo));
	return d;
}

__device__ __forceinline__ unsigned shared_address(const void *p) { return (unsigned)__cvta_generic_to_shared(p); }

// two floats in one access: nvcc splits some stores of a float2 in two, which then meet in banks
__device__ __forceinline__ void store_shared2(unsigned dst, float x, float y) {
	asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(dst), "f"(x), "f"(y) : "memory");
}

// 16 bytes from global to shared memory in the background; the first n are read, the rest is zero
__device__ __forceinline__ void async_copy16(unsigned dst, const void *src, int n) {
	asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(dst), "l"(src), "r"(n) : "memory");
}
__device__ __forceinline__ void async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// until at most N groups of this thread are under way
template <int N> __device__ __forceinline__ void async_wait() {
	asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

// four 8x8 matrices of 16-bit elements; lane 8i+r holds the address of row r of matrix i. r[i] gets row g, elements 2t and 2t+1.
__device__ __forceinline__ void load_matrix4(unsigned r[4], unsigned row) {
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
	             : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
	             : "r"(row)
	             : "memory");
}
// the same, each matrix transposed: r[i] gets rows 2t and 2t+1 of column g
__device__ __forceinline__ void load_matrix4_transposed(unsigned r[4], unsigned row) {
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
	             : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
	             : "r"(row)
	             : "memory");
}

// d += a·b for a 16x16 and b 16x8 of bf16. d holds (g,2t) (g,2t+1) (g+8,2t) (g+8,2t+1).
__device__ __forceinline__ void mma16816(float d[4], const unsigned a[4], unsigned b0, unsigned b1) {
	asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
	             : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
	             : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
