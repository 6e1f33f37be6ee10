//go:build cuda

package driver

/*
#include <cuda.h>
#include <dlfcn.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

// What is used of nccl.h, 2.18 and later. The struct of settings only grows, and carries its size: newer libraries take it as it is.
typedef struct { char internal[128]; } nccl_id;
typedef struct {
	size_t size;
	unsigned magic, version;
	int blocking, cgaClusterSize, minCTAs, maxCTAs;
	const char *netName;
	int splitShare;
} nccl_config;
enum { NCCL_SUCCESS = 0, NCCL_IN_PROGRESS = 7, NCCL_UINT8 = 1 };

typedef struct {
	int (*GetVersion)(int *);
	int (*GetUniqueId)(nccl_id *);
	int (*CommInitRankConfig)(void **, int, nccl_id, int, nccl_config *);
	int (*CommGetAsyncError)(void *, int *);
	int (*GroupStart)(void);
	int (*GroupEnd)(void);
	int (*Send)(const void *, size_t, int, int, void *, CUstream);
	int (*Recv)(void *, size_t, int, int, void *, CUstream);
	int (*CommAbort)(void *);
	int (*CommDestroy)(void *);
	const char *(*GetErrorString)(int);
	const char *(*GetLastError)(void *);
} nccl_lib;

static const char *nccl_names[] = {"ncclGetVersion", "ncclGetUniqueId", "ncclCommInitRankConfig", "ncclCommGetAsyncError", "ncclGroupStart",
	"ncclGroupEnd", "ncclSend", "ncclRecv", "ncclCommAbort", "ncclCommDestroy", "ncclGetErrorString", "ncclGetLastError"};

// nccl_open fills l, which is nothing but pointers, and returns the loader's words, or the first name that is missing.
static const char *nccl_open(const char *path, nccl_lib *l, int *missing) {
	void *so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!so) return dlerror();
	for (size_t i = 0; i < sizeof nccl_names / sizeof *nccl_names; i++) {
		if (!(((void **)l)[i] = dlsym(so, nccl_names[i]))) {
			*missing = 1;
			return nccl_names[i];
		}
	}
	return NULL;
}
static int nccl_version(nccl_lib *l, int *v) { return l->GetVersion(v); }
static int nccl_unique(nccl_lib *l, nccl_id *id) { return l->GetUniqueId(id); }
static int nccl_init(nccl_lib *l, void **c, int n, nccl_id id, int rank) {
	nccl_config cfg = {sizeof cfg, 0xcafebeef, 21800, 0, INT_MIN, INT_MIN, INT_MIN, NULL, INT_MIN};
	return l->CommInitRankConfig(c, n, id, rank, &cfg);
}
static int nccl_async(nccl_lib *l, void *c, int *r) { return l->CommGetAsyncError(c, r); }
typedef struct { int peer, send; unsigned long long at; size_t bytes; } nccl_op;
static int nccl_exchange(nccl_lib *l, void *c, int n, const nccl_op *o, CUstream s) {
	int r = l->GroupStart(), end;
	for (int i = 0; i < n && (r == NCCL_SUCCESS || r == NCCL_IN_PROGRESS); i++)
		r = o[i].send ? l->Send((void *)o[i].at, o[i].bytes, NCCL_UINT8, o[i].peer, c, s)
		                : l->Recv((void *)o[i].at, o[i].bytes, NCCL_UINT8, o[i].peer, c, s);
	end = l->GroupEnd();
	return r == NCCL_SUCCESS || r == NCCL_IN_PROGRESS ? end : r;
}
static int nccl_abort(nccl_lib *l, void *c) { return l->CommAbort(c); }
static int nccl_destroy(nccl_lib *l, void *c) { return l->CommDestroy(c); }
static const char *nccl_text(nccl_lib *l, int r) { return l->GetErrorString(r); }
static const char *nccl_last(nccl_lib *l, void *c) { return l->GetLastError(c); }
*/
import "C"

import (
	"fmt"
	"runtime"
	"time"
	"unsafe"

	"gorgonia.org/cu"
)

// NCCL is NVIDIA's library for memory that goes from GPU to GPU, loaded when it is asked for. Only bytes are copied with it: sums are
// kernels'.
type NCCL struct {
	lib     *C.nccl_lib
	version int
}

// OpenNCCL loads libnccl.so.2, or the file that is named.
func OpenNCCL(path string) (*NCCL, error) {
	if path == "" {
		path = NCCLLibrary
	}
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	n := &NCCL{lib: (*C.nccl_lib)(C.calloc(1, C.sizeof_nccl_lib))}
	var missing C.int
	if what := C.nccl_open(name, n.lib, &missing); what != nil {
		text := C.GoString(what)
		C.free(unsafe.Pointer(n.lib))
		if missing != 0 {
			return nil, fmt.Errorf("driver: %s has no %s: want NCCL 2.18 or newer", path, text)
		}
		return nil, fmt.Errorf("driver: no NCCL: %s: install libnccl2, or name the file (dist.nccl), such as that of pip's "+
			"nvidia-nccl", text)
	}
	var v C.int
	if r := C.nccl_version(n.lib, &v); r != C.NCCL_SUCCESS {
		return nil, n.failed("version", r, nil)
	}
	if n.version = int(v); n.version < 21800 {
		return nil, fmt.Errorf("driver: %s is NCCL %s: want 2.18 or newer", path, n.Version())
	}
	return n, nil
}

// Version is the library's, such as 2.29.5.
func (n *NCCL) Version() string {
	return fmt.Sprintf("%d.%d.%d", n.version/10000, n.version/100%100, n.version%100)
}

func (n *NCCL) failed(what string, r C.int, comm unsafe.Pointer) error {
	return fmt.Errorf("driver: NCCL %s: %s: %s (result %d, %s)", n.Version(), what, C.GoString(C.nccl_text(n.lib, r)), int(r),
		C.GoString(C.nccl_last(n.lib, comm)))
}

// UniqueID names a new group of ranks. One rank makes it, all call Init with it.
func (n *NCCL) UniqueID() ([128]byte, error) {
	var id C.nccl_id
	if r := C.nccl_unique(n.lib, &id); r != C.NCCL_SUCCESS {
		return [128]byte{}, n.failed("unique id", r, nil)
	}
	return *(*[128]byte)(unsafe.Pointer(&id)), nil
}

// NCCLComm is one rank of a group.
type NCCLComm struct {
	nccl   *NCCL
	comm   unsafe.Pointer
	gpu    *gpu // nil: memory of the host, of a library that takes it
	stream Stream
	before Event // what was issued to stream 0 before an exchange
	event  Event // the exchanges started so far
}

// Init joins a group, without blocking: while it is under way alive is asked, and its error ends it. It is called on d's thread.
func (n *NCCL) Init(d Driver, size, rank int, id [128]byte, alive func() error) (*NCCLComm, error) {
	c := &NCCLComm{nccl: n}
	if g, ok := d.(*gpu); ok {
		c.gpu = g
		var err error
		if c.stream, err = g.NewStream(); err != nil {
			return nil, err
		}
		if c.before, err = g.NewEvent(); err != nil {
			return nil, err
		}
		if c.event, err = g.NewEvent(); err != nil {
			return nil, err
		}
	}
	r := C.nccl_init(n.lib, &c.comm, C.int(size), *(*C.nccl_id)(unsafe.Pointer(&id)), C.int(rank))
	if r != C.NCCL_SUCCESS && r != C.NCCL_IN_PROGRESS {
		return nil, n.failed(fmt.Sprintf("rank %d of %d joins", rank, size), r, nil)
	}
	if err := c.settle("join", alive, nil); err != nil {
		c.Close(true)
		return nil, err
	}
	return c, nil
}

// settle waits until what was begun is done, on the GPU too if done says so. It polls: a blocking wait could not be given up.
func (c *NCCLComm) settle(what string, alive func() error, done func() (bool, error)) error {
	for pause := 20 * time.Microsecond; ; pause = min(2*pause, 5*time.Millisecond) {
		var r C.int
		if got := C.nccl_async(c.nccl.lib, c.comm, &r); got != C.NCCL_SUCCESS {
			r = got
		}
		switch r {
		case C.NCCL_SUCCESS:
			if done == nil {
				return nil
			}
			if ok, err := done(); ok || err != nil {
				return err
			}
		case C.NCCL_IN_PROGRESS:
		default:
			return c.nccl.failed(what, r, c.comm)
		}
		if err := alive(); err != nil {
			return err
		}
		time.Sleep(pause)
	}
}

// Start begins to send and receive all of a list at once, behind what was issued to stream 0, and beside what is issued after. It is called
// on the driver's thread. While it waits for the library alive is asked, and its error ends it: then the group is of no more use.
func (c *NCCLComm) Start(list []Transfer, alive func() error) error {
	ops := make([]C.nccl_op, len(list))
	for i, t := range list {
		ops[i] = C.nccl_op{peer: C.int(t.Peer), at: C.ulonglong(t.At), bytes: C.size_t(t.Bytes)}
		if t.Send {
			ops[i].send = 1
		}
	}
	if len(ops) == 0 {
		return nil
	}
	var stream C.CUstream
	if c.gpu != nil {
		if err := c.gpu.Record(c.before, 0); err != nil {
			return err
		}
		if err := c.gpu.WaitEvent(c.stream, c.before); err != nil {
			return err
		}
		s := c.gpu.stream(c.stream)
		stream = *(*C.CUstream)(unsafe.Pointer(&s))
	} else if err := c.settle("exchange", alive, nil); err != nil { // the one before, which nothing else orders
		return err
	}
	r := C.nccl_exchange(c.nccl.lib, c.comm, C.int(len(ops)), &ops[0], stream)
	if r != C.NCCL_SUCCESS && r != C.NCCL_IN_PROGRESS {
		return c.nccl.failed("exchange", r, c.comm)
	}
	if c.gpu == nil {
		return nil
	}
	if err := c.settle("exchange", alive, nil); err != nil { // the library has queued it
		return err
	}
	return c.gpu.Record(c.event, c.stream)
}

// Wait ends when all that was started is over. It is called on the driver's thread; alive is asked as by Start.
func (c *NCCLComm) Wait(alive func() error) error {
	if c.gpu == nil {
		return c.settle("exchange", alive, nil)
	}
	e := c.gpu.event(c.event)
	return c.settle("exchange", alive, func() (bool, error) {
		switch r := C.cuEventQuery(*(*C.CUevent)(unsafe.Pointer(&e))); r {
		case C.CUDA_SUCCESS:
			return true, nil
		case C.CUDA_ERROR_NOT_READY:
			return false, nil
		default:
			return false, wrap("exchange", result(r))
		}
	})
}

var _ = [1]struct{}{}[unsafe.Sizeof(cu.Stream{})-unsafe.Sizeof(C.CUstream(nil))] // a handle and no more, as stream above has it

// Close leaves the group, or, after a failure, gives it up. Giving up may hang where a kernel does: it is left to itself after 5 s.
func (c *NCCLComm) Close(failed bool) {
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer close(done)
		if c.gpu != nil {
			_ = cu.SetCurrentContext(c.gpu.ctx)
		}
		if failed {
			C.nccl_abort(c.nccl.lib, c.comm)
		} else {
			C.nccl_destroy(c.nccl.lib, c.comm)
		}
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
	}
}
