/* lazy.c is libcuda for the linker: every function of the CUDA driver API, each a jump to what retool_cuda_open finds in the libcuda.so.1 of
 * the machine the program runs on.
 *
 * A program linked with NVIDIA's library starts on machines with a driver only, and gorgonia.org/cu ends it before main where cuInit fails.
 * Linked with this one it starts anywhere, prints its help, and a sandboxed child, which is the same program again, never touches a GPU.
 *
 * names.h, which gpu.sh derives from cuda.h, has a line F(name) for each function but cuInit.
 */
#include <dlfcn.h>
#include <stddef.h>

/* Before retool_cuda_open: CUDA_ERROR_NOT_INITIALIZED. */
static int closed(void) { return 3; }
/* A function that the driver does not have: CUDA_ERROR_NOT_SUPPORTED. */
static int absent(void) { return 801; }

#if defined(__x86_64__)
#define JUMP(slot) "\tjmp *" slot "(%rip)\n"
#elif defined(__aarch64__)
#define JUMP(slot) "\tadrp x16, " slot "\n\tldr x16, [x16, #:lo12:" slot "]\n\tbr x16\n"
#else
#error "CUDA's driver exists for x86-64 and arm64"
#endif

#define F(name)                                                                  \
	__attribute__((used)) static void *slot_##name = (void *)closed;             \
	__asm__(".pushsection .text\n.globl " #name "\n.type " #name ", @function\n" #name ":\n" JUMP("slot_" #name) ".popsection\n");
#include "names.h"
#undef F

static const struct {
	const char *name;
	void **slot;
} table[] = {
#define F(name) {#name, &slot_##name},
#include "names.h"
#undef F
};

/* cu calls it before main. The real one is retool_cuda_open's. */
int cuInit(unsigned int flags) { return 0; }

/* retool_cuda_open loads the driver and initialises it. It returns why there is none, or a null pointer and cuInit's result. */
const char *retool_cuda_open(int *result) {
	void *lib = dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
	if (!lib) return dlerror();
	int (*init)(unsigned int) = (int (*)(unsigned int))dlsym(lib, "cuInit");
	if (!init) return dlerror();
	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
		void *f = dlsym(lib, table[i].name);
		*table[i].slot = f ? f : (void *)absent;
	}
	*result = init(0);
	return NULL;
}
