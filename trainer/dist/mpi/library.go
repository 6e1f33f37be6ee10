//go:build linux && cgo

package mpi

/*
#cgo LDFLAGS: -ldl
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

// A handle of Open MPI is the address of what it names, one of MPICH a number, one of the interface that MPI 5 fixes a number in the place
// of an address.
typedef union { void *at; int number; } mpi_handle;

typedef struct {
	int numbers;                            // handles are
	int funneled;                           // MPI_THREAD_FUNNELED
	mpi_handle world, byte, errors_return;  // MPI_COMM_WORLD, MPI_BYTE, MPI_ERRORS_RETURN
	void *f[13]; // its functions, by the names below
} mpi_lib;

enum { VERSION, INIT, INITIALIZED, FINALIZE, STRING, RANK, SIZE, HANDLER, ISEND, IRECV, TEST, COUNT, PROBE };
static const char *mpi_names[] = {"MPI_Get_library_version", "MPI_Init_thread", "MPI_Initialized", "MPI_Finalize", "MPI_Error_string",
	"MPI_Comm_rank", "MPI_Comm_size", "MPI_Comm_set_errhandler", "MPI_Isend", "MPI_Irecv", "MPI_Test", "MPI_Get_count", "MPI_Iprobe"};

// Libraries of MPI, and those below them, catch faults to print a trace. The program's own handlers stay: Go makes panics of faults.
static struct sigaction mpi_handlers[32];
static void mpi_keep_handlers(void) { for (int i = 1; i < 32; i++) sigaction(i, NULL, &mpi_handlers[i]); }
static void mpi_restore_handlers(void) { for (int i = 1; i < 32; i++) sigaction(i, &mpi_handlers[i], NULL); }

// mpi_load fills l and returns NULL, the loader's words, or the first name that is missing. The parts that a library of MPI loads itself
// look for its names among those of the whole program.
static const char *mpi_load(const char *path, mpi_lib *l, int *missing) {
	mpi_keep_handlers();
	void *so = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
	mpi_restore_handlers();
	if (!so) return dlerror();
	for (size_t i = 0; i < sizeof mpi_names / sizeof *mpi_names; i++) {
		if (!(l->f[i] = dlsym(so, mpi_names[i]))) {
			*missing = 1;
			return mpi_names[i];
		}
	}
	int (*fixed)(int *, int *) = (int (*)(int *, int *))dlsym(so, "MPI_Abi_get_version");
	int major = -1, minor;
	l->funneled = 1;
	l->world.at = dlsym(so, "ompi_mpi_comm_world");
	l->byte.at = dlsym(so, "ompi_mpi_byte");
	l->errors_return.at = dlsym(so, "ompi_mpi_errors_return");
	if (l->world.at && l->byte.at && l->errors_return.at) return NULL;
	if (fixed && !fixed(&major, &minor) && major >= 1) {
		l->funneled = 1024;
		l->world.at = (void *)0x101;
		l->byte.at = (void *)0x247;
		l->errors_return.at = (void *)0x143;
		return NULL;
	}
	l->numbers = 1;
	l->world.number = 0x44000000;
	l->byte.number = 0x4c00010d;
	l->errors_return.number = 0x54000001;
	return NULL;
}

// All kinds take the same arguments, but for handles.
static int mpi_version(mpi_lib *l, char *text, int *n) { return ((int (*)(char *, int *))l->f[VERSION])(text, n); }
static int mpi_init(mpi_lib *l, int want, int *given) {
	mpi_keep_handlers();
	int r = ((int (*)(int *, char ***, int, int *))l->f[INIT])(NULL, NULL, want, given);
	mpi_restore_handlers();
	return r;
}
static int mpi_initialized(mpi_lib *l, int *yes) { return ((int (*)(int *))l->f[INITIALIZED])(yes); }
static int mpi_finalize(mpi_lib *l) { return ((int (*)(void))l->f[FINALIZE])(); }
static int mpi_string(mpi_lib *l, int code, char *text, int *n) { return ((int (*)(int, char *, int *))l->f[STRING])(code, text, n); }

static int mpi_of_world(mpi_lib *l, int what, int *n) { // RANK, SIZE
	return l->numbers ? ((int (*)(int, int *))l->f[what])(l->world.number, n) : ((int (*)(void *, int *))l->f[what])(l->world.at, n);
}
static int mpi_return_errors(mpi_lib *l) {
	return l->numbers ? ((int (*)(int, int))l->f[HANDLER])(l->world.number, l->errors_return.number)
	                  : ((int (*)(void *, void *))l->f[HANDLER])(l->world.at, l->errors_return.at);
}
static int mpi_begin(mpi_lib *l, int send, void *at, int n, int peer, mpi_handle *request) {
	int what = send ? ISEND : IRECV;
	return l->numbers
		? ((int (*)(void *, int, int, int, int, int, int *))l->f[what])(at, n, l->byte.number, peer, 0, l->world.number, &request->number)
		: ((int (*)(void *, int, void *, int, int, void *, void **))l->f[what])(at, n, l->byte.at, peer, 0, l->world.at, &request->at);
}
// mpi_test looks whether a request is over, and if so how many bytes it has moved. A status is five ints in MPICH, less in Open MPI.
static int mpi_test(mpi_lib *l, mpi_handle *request, int *over, int *n) {
	long long status[16];
	int r = l->numbers ? ((int (*)(int *, int *, void *))l->f[TEST])(&request->number, over, status)
	                   : ((int (*)(void **, int *, void *))l->f[TEST])(&request->at, over, status);
	if (r || !*over) return r;
	return l->numbers ? ((int (*)(void *, int, int *))l->f[COUNT])(status, l->byte.number, n)
	                  : ((int (*)(void *, void *, int *))l->f[COUNT])(status, l->byte.at, n);
}
// mpi_progress makes the library do what it has put off, by a question of no interest: is there something from this rank?
static int mpi_progress(mpi_lib *l, int self) {
	long long status[16];
	int yes;
	return l->numbers ? ((int (*)(int, int, int, int *, void *))l->f[PROBE])(self, 0, l->world.number, &yes, status)
	                  : ((int (*)(int, int, void *, int *, void *))l->f[PROBE])(self, 0, l->world.at, &yes, status);
}
*/
import "C"

import (
	"errors"
	"fmt"
	"strings"
	"unsafe"
)

// Library is an MPI library that has been opened.
type Library struct {
	lib  *C.mpi_lib
	path string
	text string // what it says of itself
}

// Load opens the first of some libraries that is there. The error names what was tried, or what is wrong with the one that is.
func Load(paths []string) (*Library, error) {
	var said []string
	for _, path := range paths {
		l := &Library{lib: (*C.mpi_lib)(C.calloc(1, C.sizeof_mpi_lib)), path: path}
		name := C.CString(path)
		var missing C.int
		what := C.mpi_load(name, l.lib, &missing)
		C.free(unsafe.Pointer(name))
		if what == nil {
			return l, l.known()
		}
		text := C.GoString(what)
		C.free(unsafe.Pointer(l.lib))
		if missing != 0 {
			return nil, fmt.Errorf("mpi: %s has no %s: want an MPI library, version 3 or newer", path, text)
		}
		said = append(said, text)
	}
	return nil, fmt.Errorf("mpi: no MPI library (tried %s; the loader: %s): install the one of the launcher, or name its file (dist.mpi)",
		strings.Join(paths, ", "), said[0])
}

// known reads what the library is, and refuses one whose handles are of another kind.
func (l *Library) known() error {
	text := (*C.char)(C.calloc(1, 8192)) // MPI_MAX_LIBRARY_VERSION_STRING, the larger of the two
	defer C.free(unsafe.Pointer(text))
	var n C.int
	if r := C.mpi_version(l.lib, text, &n); r != 0 {
		return fmt.Errorf("mpi: %s does not say its version (result %d)", l.path, int(r))
	}
	l.text = C.GoString(text)
	if l.lib.numbers == 0 {
		return nil
	}
	for _, kin := range []string{"MPICH", "Intel(R) MPI", "MVAPICH"} {
		if strings.Contains(l.text, kin) {
			return nil
		}
	}
	return fmt.Errorf("mpi: %s is %q: want Open MPI, or a library with the interface of MPICH or of MPI 5", l.path, l.Version())
}

// Version is the library's name and version, such as Open MPI v4.1.4 or MPICH 4.0.2.
func (l *Library) Version() string {
	line, _, _ := strings.Cut(l.text, "\n")
	line, _, _ = strings.Cut(line, ",")
	return strings.Join(strings.Fields(strings.Replace(line, "Version:", "", 1)), " ")
}

// failed is a call's error in the library's words.
func (l *Library) failed(what string, code C.int) error {
	text := (*C.char)(C.calloc(1, 8192))
	defer C.free(unsafe.Pointer(text))
	var n C.int
	if C.mpi_string(l.lib, code, text, &n) != 0 {
		return fmt.Errorf("mpi: %s: %s: result %d", l.Version(), what, int(code))
	}
	return fmt.Errorf("mpi: %s: %s: %s", l.Version(), what, strings.Join(strings.Fields(C.GoString(text)), " "))
}

// init makes this process one of the job's. The thread that calls it makes every later call.
func (l *Library) init() (rank, size int, err error) {
	var yes, given, r, s C.int
	if code := C.mpi_initialized(l.lib, &yes); code != 0 {
		return 0, 0, l.failed("MPI_Initialized", code)
	}
	if yes != 0 {
		return 0, 0, errors.New("mpi: the library has been initialised before: a process is of one world")
	}
	if code := C.mpi_init(l.lib, l.lib.funneled, &given); code != 0 {
		return 0, 0, l.failed("MPI_Init_thread", code)
	}
	if given < l.lib.funneled { // the program has threads, and the one that called MPI_Init_thread makes every call
		return 0, 0, fmt.Errorf("mpi: %s gives threads at level %d: want at least %d (MPI_THREAD_FUNNELED): it was built without threads",
			l.Version(), int(given), int(l.lib.funneled))
	}
	if code := C.mpi_return_errors(l.lib); code != 0 {
		return 0, 0, l.failed("MPI_Comm_set_errhandler", code)
	}
	if code := C.mpi_of_world(l.lib, C.RANK, &r); code != 0 {
		return 0, 0, l.failed("MPI_Comm_rank", code)
	}
	if code := C.mpi_of_world(l.lib, C.SIZE, &s); code != 0 {
		return 0, 0, l.failed("MPI_Comm_size", code)
	}
	return int(r), int(s), nil
}

// request is a transfer that the library has been told of. It lies in C's memory: the library writes it.
type request struct {
	handle *C.mpi_handle
	Transfer
}

func (l *Library) begin(t Transfer) (request, error) {
	q := request{(*C.mpi_handle)(C.calloc(1, C.sizeof_mpi_handle)), t}
	send := C.int(0)
	if t.Send {
		send = 1
	}
	code := C.mpi_begin(l.lib, send, unsafe.Pointer(unsafe.SliceData(t.Bytes)), C.int(len(t.Bytes)), C.int(t.Peer), q.handle)
	if code != 0 {
		return q, l.failed(fmt.Sprintf("%d bytes to or from rank %d", len(t.Bytes), t.Peer), code)
	}
	return q, nil
}

// over looks whether a transfer is. What has come is as long as it was to be.
func (l *Library) over(q request) (bool, error) {
	var yes, n C.int
	if code := C.mpi_test(l.lib, q.handle, &yes, &n); code != 0 {
		return false, l.failed(fmt.Sprintf("%d bytes to or from rank %d", len(q.Bytes), q.Peer), code)
	}
	if yes != 0 && !q.Send && int(n) != len(q.Bytes) {
		return false, fmt.Errorf("mpi: rank %d sent %d bytes where %d were due", q.Peer, int(n), len(q.Bytes))
	}
	if yes != 0 {
		C.free(unsafe.Pointer(q.handle))
	}
	return yes != 0, nil
}

// progress lets the library go on with what is over for this rank and not for others. That it cannot shows in what they wait for.
func (l *Library) progress(self int) { C.mpi_progress(l.lib, C.int(self)) }

func (l *Library) finalize() { C.mpi_finalize(l.lib) }

// allocate is memory of C's. Fabrics remember what they have registered with the network by its address, and hear when C's library gives
// memory back to the system, not when Go does.
func allocate(n int) []byte { return unsafe.Slice((*byte)(C.malloc(C.size_t(n))), n) }
