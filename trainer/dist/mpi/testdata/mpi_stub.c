/* A library for tests, of MPICH's kind, or MPI 5's where STUB_MPI ends in "fixed"; it does what that says. Compiled by world_test.go. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int is(const char *mode) {
	const char *now = getenv("STUB_MPI"); /* NULL after the test: a thread may be here still */
	return now && !strcmp(now, mode);
}
static int fixed(void) { return is("single, fixed") || is("well, fixed"); }
static int world(void *c) { return fixed() ? c == (void *)0x101 : (int)(size_t)c == 0x44000000; }
static int byte(void *d) { return fixed() ? d == (void *)0x247 : (int)(size_t)d == 0x4c00010d; }
static int errors_return(void *h) { return fixed() ? h == (void *)0x143 : (int)(size_t)h == 0x54000001; }
int MPI_Abi_get_version(int *major, int *minor) { *major = *minor = fixed() ? 1 : -1; return 0; }

int MPI_Get_library_version(char *s, int *n) {
	strcpy(s, is("stranger") ? "Another MPI 7.1, of nobody" : "MPICH Version:\t9.9\nand more");
	*n = strlen(s);
	return 0;
}
int MPI_Initialized(int *yes) { *yes = is("twice"); return 0; }
int MPI_Init_thread(int *argc, char ***argv, int want, int *given) {
	while (is("never joins")) usleep(1000);
	*given = is("single") ? 0 : is("single, fixed") ? 1 : want;
	return is("no init") ? 5 : 0;
}
int MPI_Finalize(void) { return 0; }
int MPI_Error_string(int code, char *s, int *n) { strcpy(s, "no route,\n as told"); *n = strlen(s); return 0; }
int MPI_Comm_rank(void *c, int *n) { *n = 0; return !world(c); }
int MPI_Comm_size(void *c, int *n) { *n = 2; return !world(c); }
int MPI_Comm_set_errhandler(void *c, void *h) { return !world(c) || !errors_return(h); }
int MPI_Isend(const void *p, int n, void *type, int to, int tag, void *c, int *q) {
	*q = n;
	return is("no send") || !byte(type) || !world(c) ? 5 : 0;
}
int MPI_Irecv(void *p, int n, void *type, int from, int tag, void *c, int *q) { *q = n; return byte(type) && world(c) ? 0 : 5; }
int MPI_Test(int *q, int *over, int *status) {
	*over = !is("nothing comes");
	status[0] = *q;
	return is("no test") ? 5 : 0;
}
int MPI_Get_count(const int *status, void *type, int *n) { *n = status[0] - is("short"); return !byte(type); }
int MPI_Iprobe(int from, int tag, void *c, int *yes, int *status) { *yes = 0; return !world(c); }
