/* A library of MPICH's kind for tests, which does what STUB_MPI says. Compiled by world_test.go. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int is(const char *mode) { return !strcmp(getenv("STUB_MPI"), mode); }

int MPI_Get_library_version(char *s, int *n) {
	strcpy(s, is("stranger") ? "Another MPI 7.1, of nobody" : "MPICH Version:\t9.9\nand more");
	*n = strlen(s);
	return 0;
}
int MPI_Initialized(int *yes) { *yes = is("twice"); return 0; }
int MPI_Init_thread(int *argc, char ***argv, int want, int *given) {
	while (is("never joins")) usleep(1000);
	*given = is("single") ? 0 : want;
	return is("no init") ? 5 : 0;
}
int MPI_Finalize(void) { return 0; }
int MPI_Error_string(int code, char *s, int *n) { strcpy(s, "no route,\n as told"); *n = strlen(s); return 0; }
int MPI_Comm_rank(int c, int *n) { *n = 0; return c != 0x44000000; }
int MPI_Comm_size(int c, int *n) { *n = 2; return c != 0x44000000; }
int MPI_Comm_set_errhandler(int c, int h) { return c != 0x44000000 || h != 0x54000001; }
int MPI_Isend(const void *p, int n, int type, int to, int tag, int c, int *q) { *q = n; return is("no send") ? 5 : 0; }
int MPI_Irecv(void *p, int n, int type, int from, int tag, int c, int *q) { *q = n; return 0; }
int MPI_Test(int *q, int *over, int *status) {
	*over = !is("nothing comes");
	status[0] = *q;
	return is("no test") ? 5 : 0;
}
int MPI_Get_count(const int *status, int type, int *n) { *n = status[0] - is("short"); return type != 0x4c00010d; }
