//go:build cuda

package driver

/*
#cgo LDFLAGS: -lcuda -ldl
#include <cuda.h>
#include <stdlib.h>
#include <string.h>

const char *retool_cuda_open(int *result); // lazy/lazy.c

#define RETOOL_PARAMS 64 // maxParams

typedef struct {
	CUfunction fn;
	unsigned int grid[3], block[3], cluster[3], shared, flags;
	unsigned int first, params; // of its parameters' places
} retool_launch;

// retool_launch_all issues n launches. Every parameter is passed by its address, pool + place, and the driver puts it where the kernel
// has it. The array of addresses is made here, on C's stack, because a Go pointer to a Go pointer may not cross. *at is the launch that
// failed.
static CUresult retool_launch_all(CUstream s, int n, const retool_launch *ls, char *pool, const unsigned int *places, int *at) {
	void *params[RETOOL_PARAMS];
	for (int i = 0; i < n; i++) {
		const retool_launch *l = &ls[i];
		for (unsigned int k = 0; k < l->params; k++) params[k] = pool + places[l->first + k];
		CUlaunchAttribute attr[2];
		CUlaunchConfig cfg;
		memset(attr, 0, sizeof attr);
		memset(&cfg, 0, sizeof cfg);
		cfg.gridDimX = l->grid[0], cfg.gridDimY = l->grid[1], cfg.gridDimZ = l->grid[2];
		cfg.blockDimX = l->block[0], cfg.blockDimY = l->block[1], cfg.blockDimZ = l->block[2];
		cfg.sharedMemBytes = l->shared;
		cfg.hStream = s;
		cfg.attrs = attr;
		if (l->cluster[0] != 0) {
			CUlaunchAttribute *a = &attr[cfg.numAttrs++];
			a->id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
			a->value.clusterDim.x = l->cluster[0], a->value.clusterDim.y = l->cluster[1], a->value.clusterDim.z = l->cluster[2];
		}
		if (l->flags & 1) {
			CUlaunchAttribute *a = &attr[cfg.numAttrs++];
			a->id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
			a->value.programmaticStreamSerializationAllowed = 1;
		}
		CUresult r = cuLaunchKernelEx(&cfg, l->fn, params, 0);
		if (r != CUDA_SUCCESS) {
			*at = i;
			return r;
		}
	}
	return CUDA_SUCCESS;
}

// Capture is thread-local, so that an allocation on another thread does not break it.
static CUresult retool_capture(CUstream s, int n, const retool_launch *ls, char *pool, const unsigned int *places, int *at,
                               CUgraphExec *out) {
	CUgraph g = 0;
	*at = n;
	CUresult r = cuStreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
	if (r != CUDA_SUCCESS) return r;
	CUresult launched = retool_launch_all(s, n, ls, pool, places, at);
	r = cuStreamEndCapture(s, &g);
	if (launched != CUDA_SUCCESS) r = launched;
	if (r == CUDA_SUCCESS) r = cuGraphInstantiateWithFlags(out, g, 0);
	if (g) cuGraphDestroy(g);
	return r;
}

// retool_load compiles PTX and leaves the compiler's words in log.
static CUresult retool_load(CUmodule *m, const char *ptx, char *log, unsigned int size) {
	CUjit_option opt[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
	void *val[] = {log, (void *)(size_t)size};
	log[0] = 0;
	return cuModuleLoadDataEx(m, ptx, 2, opt, val);
}

// The bytes of parameter i; CUDA_ERROR_INVALID_VALUE behind the last one. Drivers have it since CUDA 12.4, as have headers.
static CUresult retool_param(CUfunction f, size_t i, size_t *size) {
#if CUDA_VERSION >= 12040
	size_t offset;
	return cuFuncGetParamInfo(f, i, &offset, size);
#else
	return CUDA_ERROR_NOT_SUPPORTED;
#endif
}

static CUresult retool_shared(CUfunction f, int bytes) {
	return cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, bytes);
}

static CUresult retool_tensor_map(char out[128], int elem, int rank, unsigned long long base, const unsigned long long *dims,
                                  const unsigned long long *strides, const unsigned int *box, int swizzle) {
	CUtensorMap m;
	cuuint32_t step[5] = {1, 1, 1, 1, 1};
	cuuint64_t d[5], st[5];
	for (int i = 0; i < rank; i++) d[i] = dims[i];
	for (int i = 0; i + 1 < rank; i++) st[i] = strides[i];
	CUresult r = cuTensorMapEncodeTiled(&m, elem == 2 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT32, rank,
		(void *)(size_t)base, d, st, box, step, CU_TENSOR_MAP_INTERLEAVE_NONE, (CUtensorMapSwizzle)swizzle,
		CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
	memcpy(out, &m, 128);
	return r;
}
*/
import "C"

import (
	"fmt"
	"runtime"
	"sync"
	"unsafe"

	"gorgonia.org/cu"
)

// result is a failure of the CUDA driver, by its own name and words.
type result C.CUresult

func (r result) Error() string {
	var name, text *C.char
	C.cuGetErrorName(C.CUresult(r), &name)
	C.cuGetErrorString(C.CUresult(r), &text)
	if name == nil {
		return fmt.Sprintf("CUDA error %d", int(r))
	}
	return C.GoString(name) + ": " + C.GoString(text)
}

func check(r C.CUresult) error {
	if r == C.CUDA_SUCCESS {
		return nil
	}
	return result(r)
}

// The handles inside cu's structs, each a struct of one pointer: cu_test.go holds their sizes.
func functionHandle(f cu.Function) C.CUfunction { return *(*C.CUfunction)(unsafe.Pointer(&f)) }
func streamHandle(s cu.Stream) uintptr          { return *(*uintptr)(unsafe.Pointer(&s)) }
func streamOf(s uintptr) C.CUstream             { return *(*C.CUstream)(unsafe.Pointer(&s)) }

// oldest is the first driver that has every function called here: those of tensor maps and of launches with attributes.
const oldest = 12000

// library loads the CUDA driver of this machine, once, and returns its version: 13000 for CUDA 13.0.
var library = sync.OnceValues(func() (version int, err error) {
	var r C.int
	if why := C.retool_cuda_open(&r); why != nil {
		return 0, noGPU("there is no CUDA driver on this machine (" + C.GoString(why) + "): install NVIDIA's, or set device: cpu")
	}
	switch r {
	case C.CUDA_SUCCESS:
	case C.CUDA_ERROR_NO_DEVICE:
		return 0, noGPU("the CUDA driver finds no GPU: check nvidia-smi and CUDA_VISIBLE_DEVICES, or set device: cpu")
	default:
		return 0, fmt.Errorf("driver: the CUDA driver does not start: %w: check nvidia-smi, or set device: cpu", result(r))
	}
	var v C.int
	if err := check(C.cuDriverGetVersion(&v)); err != nil {
		return 0, wrap("version of the CUDA driver", err)
	}
	if v < oldest {
		return 0, fmt.Errorf("driver: the driver of this machine is for %s, the kernels need CUDA 12.0: install driver 525 or newer",
			versionName(int(v)))
	}
	return int(v), nil
})

func versionName(v int) string { return fmt.Sprintf("CUDA %d.%d", v/1000, v%1000/10) }

const unavailable = C.CUDA_ERROR_DEVICE_UNAVAILABLE

// retainPrimary is cu's RetainPrimaryCtx with an error that can be told from others.
func retainPrimary(d cu.Device, to *cu.CUContext) error {
	var ctx C.CUcontext
	err := check(C.cuDevicePrimaryCtxRetain(&ctx, C.CUdevice(d)))
	if err == nil {
		*to = *(*cu.CUContext)(unsafe.Pointer(&ctx))
	}
	return err
}

func pinnedAlloc(n int) ([]byte, error) {
	var p unsafe.Pointer
	if err := check(C.cuMemHostAlloc(&p, C.size_t(n), 0)); err != nil {
		return nil, err
	}
	return unsafe.Slice((*byte)(p), n), nil
}

func loadModule(ptx []byte) (cu.Module, error) {
	const logBytes = 4096
	text := C.CString(string(ptx)) // ends in 0, as the driver wants
	log := (*C.char)(C.malloc(logBytes))
	defer C.free(unsafe.Pointer(text))
	defer C.free(unsafe.Pointer(log))
	var m C.CUmodule
	switch r := C.retool_load(&m, text, log, logBytes); r {
	case C.CUDA_SUCCESS:
		return *(*cu.Module)(unsafe.Pointer(&m)), nil
	case C.CUDA_ERROR_UNSUPPORTED_PTX_VERSION:
		return cu.Module{}, fmt.Errorf("%w: this driver is too old for the PTX: install 525 or newer", result(r))
	default:
		return cu.Module{}, fmt.Errorf("%w: %s", result(r), C.GoString(log))
	}
}

func setShared(f C.CUfunction, bytes int) error { return check(C.retool_shared(f, C.int(bytes))) }

// paramSizes are the bytes of every parameter of a kernel, nil where the driver does not tell.
func paramSizes(f C.CUfunction) []int {
	sizes := []int{}
	for i := range maxParams {
		var n C.size_t
		switch r := C.retool_param(f, C.size_t(i), &n); r {
		case C.CUDA_SUCCESS:
			sizes = append(sizes, int(n))
		case C.CUDA_ERROR_INVALID_VALUE:
			return sizes
		default:
			return nil
		}
	}
	return nil
}

// launchRecords are launches laid out for C, in memory that is used again and again: a table of numbers, one pool of parameters, and where
// in it each of them stands. What a launch or a capture is given, the driver has copied when it returns.
type launchRecords struct {
	table  []C.retool_launch
	places []C.uint
	pool   []byte
}

// poolAlign is the alignment of the largest parameters, tensor maps, in the pool. The others have pieces of 8 bytes at most.
const poolAlign = 64

func (r *launchRecords) lay(ls []Launch) {
	r.table, r.places = r.table[:0], r.places[:0]
	at, total := 0, 0
	for i := range ls {
		total += len(ls[i].Params) + len(ls[i].Sizes)*poolAlign
	}
	if total += 2 * poolAlign; total > len(r.pool) { // never empty, nor is the table: their addresses cross
		r.pool = make([]byte, total+total/2)
	}
	base := int(uintptr(unsafe.Pointer(unsafe.SliceData(r.pool))) % poolAlign)
	for i := range ls {
		l := &ls[i]
		c := C.retool_launch{fn: functionHandle(l.Func.(*cuFunc).fn), shared: C.uint(l.Shared), flags: C.uint(l.Flags)}
		c.first, c.params = C.uint(len(r.places)), C.uint(len(l.Sizes))
		for d := range 3 {
			c.grid[d], c.block[d], c.cluster[d] = C.uint(l.Grid[d]), C.uint(l.Block[d]), C.uint(l.Cluster[d])
		}
		r.table = append(r.table, c)
		from := l.Params
		for _, n := range l.Sizes {
			align := 8
			if n >= poolAlign {
				align = poolAlign
			}
			at = (base+at+align-1)/align*align - base
			r.places = append(r.places, C.uint(at))
			copy(r.pool[at:], from[:n])
			at, from = at+n, from[n:]
		}
	}
	r.table, r.places = append(r.table, C.retool_launch{}), append(r.places, 0)
}

func (r *launchRecords) launch(s uintptr, ls []Launch) (int, error) {
	r.lay(ls)
	var at C.int
	pool := (*C.char)(unsafe.Pointer(unsafe.SliceData(r.pool)))
	err := check(C.retool_launch_all(streamOf(s), C.int(len(ls)), unsafe.SliceData(r.table), pool, unsafe.SliceData(r.places), &at))
	runtime.KeepAlive(ls)
	return int(at), err
}

func (r *launchRecords) capture(s uintptr, ls []Launch) (Graph, int, error) {
	r.lay(ls)
	var at C.int
	var exec C.CUgraphExec
	pool := (*C.char)(unsafe.Pointer(unsafe.SliceData(r.pool)))
	err := check(C.retool_capture(streamOf(s), C.int(len(ls)), unsafe.SliceData(r.table), pool, unsafe.SliceData(r.places), &at, &exec))
	runtime.KeepAlive(ls)
	return *(*Graph)(unsafe.Pointer(&exec)), int(at), err
}

func graphOf(g Graph) C.CUgraphExec { return *(*C.CUgraphExec)(unsafe.Pointer(&g)) }

func replay(g Graph, s uintptr) error { return check(C.cuGraphLaunch(graphOf(g), streamOf(s))) }
func freeGraph(g Graph) error         { return check(C.cuGraphExecDestroy(graphOf(g))) }

func tensorMap(t TensorMapSpec) (out [128]byte, err error) {
	var dims, strides [5]C.ulonglong
	var box [5]C.uint
	for i := range t.Dims {
		dims[i], box[i] = C.ulonglong(t.Dims[i]), C.uint(t.Box[i])
	}
	for i := range t.Strides {
		strides[i] = C.ulonglong(t.Strides[i])
	}
	r := C.retool_tensor_map((*C.char)(unsafe.Pointer(&out[0])), C.int(t.ElemBytes), C.int(len(t.Dims)), C.ulonglong(t.Base),
		&dims[0], &strides[0], &box[0], C.int(t.Swizzle))
	return out, wrap("encode a tensor map", check(r))
}
