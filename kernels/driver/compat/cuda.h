/* gorgonia.org/cu v0.9.6 calls five functions of the CUDA driver API by their unversioned names with the signatures they had before
 * CUDA 13. This header stands first on its include path, includes the real one, and gives it those signatures back.
 *
 *   CGO_CFLAGS="-I<repository>/kernels/driver/compat -I<toolkit>/include"
 */
#ifndef RETOOL_COMPAT_CUDA_H
#define RETOOL_COMPAT_CUDA_H
#include_next <cuda.h>

#if CUDA_VERSION >= 13000
static inline CUmemLocation retool_location(CUdevice dev) {
	CUmemLocation at;
	at.type = dev == CU_DEVICE_CPU ? CU_MEM_LOCATION_TYPE_HOST : CU_MEM_LOCATION_TYPE_DEVICE;
	at.id = dev == CU_DEVICE_CPU ? 0 : dev;
	return at;
}

static inline CUresult retool_cuCtxCreate(CUcontext *ctx, unsigned int flags, CUdevice dev) {
	return cuCtxCreate_v4(ctx, 0, flags, dev);
}
#undef cuCtxCreate
#define cuCtxCreate retool_cuCtxCreate

static inline CUresult retool_cuMemAdvise(CUdeviceptr p, size_t n, CUmem_advise advice, CUdevice dev) {
	return cuMemAdvise_v2(p, n, advice, retool_location(dev));
}
#undef cuMemAdvise
#define cuMemAdvise retool_cuMemAdvise

static inline CUresult retool_cuMemPrefetchAsync(CUdeviceptr p, size_t n, CUdevice dev, CUstream s) {
	return cuMemPrefetchAsync_v2(p, n, retool_location(dev), 0, s);
}
#undef cuMemPrefetchAsync
#define cuMemPrefetchAsync retool_cuMemPrefetchAsync

static inline CUresult retool_cuGraphAddDependencies(CUgraph g, const CUgraphNode *from, const CUgraphNode *to, size_t n) {
	return cuGraphAddDependencies_v2(g, from, to, 0, n);
}
#undef cuGraphAddDependencies
#define cuGraphAddDependencies retool_cuGraphAddDependencies

static inline CUresult retool_cuGraphGetEdges(CUgraph g, CUgraphNode *from, CUgraphNode *to, size_t *n) {
	return cuGraphGetEdges_v2(g, from, to, 0, n);
}
#undef cuGraphGetEdges
#define cuGraphGetEdges retool_cuGraphGetEdges
#endif
#endif
