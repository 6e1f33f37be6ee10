// cluster.cuh: instructions by which the blocks of a cluster reach each other, once, as functions named for what they do.
#pragma once
#include "ptx.cuh"

#if RETOOL_SM90

// tensor_copy2 to the same place of those blocks of the cluster whose bits of mask are set; its bytes count at the bar of each
__device__ __forceinline__ void tensor_copy2_to(unsigned dst, const TensorMap &map, int x, int y, unsigned bar, unsigned short mask) {
	asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(dst), "l"(&map), "r"(x), "r"(y), "r"(bar), "h"(mask) : "memory");
}

// which block of its cluster this is
__device__ __forceinline__ unsigned cluster_rank() {
	unsigned r;
	asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(r));
	return r;
}
// where a shared address of this block lies in the block of a rank
__device__ __forceinline__ unsigned in_block(unsigned at, unsigned rank) {
	unsigned r;
	asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(r) : "r"(at), "r"(rank));
	return r;
}
// arrives at a barrier of another block, whose address in_block gives
__device__ __forceinline__ void mbarrier_arrive_there(unsigned bar) { asm volatile("mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%0];" ::"r"(bar) : "memory"); }
// mbarrier_wait for arrivals from other blocks too
__device__ __forceinline__ void mbarrier_wait_cluster(unsigned bar, unsigned parity) {
	unsigned done;
	do
		asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}" : "=r"(done) : "r"(bar), "r"(parity) : "memory");
	while (!done);
}
// All threads of the cluster that have not ended meet. Shared memory of another block is there from the first such meeting on, and until that
// block ends.
__device__ __forceinline__ void cluster_sync() {
	asm volatile("barrier.cluster.arrive.release;" ::: "memory");
	asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
}

#endif
