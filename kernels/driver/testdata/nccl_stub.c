/* A libnccl.so.2 for tests: memory of the host stands for that of GPUs, Unix sockets for what joins them. Compiled by nccl_test.go. As the
 * real one with blocking = 0, it joins in a thread of its own, and what fails in an exchange is seen by ncclCommGetAsyncError. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

typedef struct { char b[128]; } Id;
typedef struct { int rank, n, fd[64], state; pthread_t thread; Id id; } Comm;
enum { OK = 0, SYSTEM = 2, USAGE = 5, REMOTE = 6, PROGRESS = 7 };
static char last[256] = "";

int ncclGetVersion(int *v) { *v = OLD ? 21403 : 22905; return OK; }
const char *ncclGetErrorString(int r) {
	return r == REMOTE ? "remote process exited or there was a network error" : r ? "fake error" : "no error";
}
const char *ncclGetLastError(Comm *c) { return last; }
int ncclGetUniqueId(Id *id) {
	memset(id, 0, sizeof *id);
	snprintf(id->b, sizeof id->b, "%s/nccl", getenv("RETOOL_FAKE_NCCL_DIR"));
	return OK;
}

static struct sockaddr_un at(Comm *c, int rank) {
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	snprintf(a.sun_path, sizeof a.sun_path, "%.90s-%d", c->id.b, rank);
	return a;
}
static int fail(Comm *c, int state, const char *what) {
	snprintf(last, sizeof last, "rank %d: %s: %s", c->rank, what, strerror(errno));
	return c->state = state;
}
static void *join(void *v) {
	Comm *c = v;
	struct sockaddr_un a = at(c, c->rank);
	int l = socket(AF_UNIX, SOCK_STREAM, 0);
	if (bind(l, (void *)&a, sizeof a) || listen(l, 64)) return fail(c, SYSTEM, "listen"), NULL;
	for (int r = 0; r < c->rank; r++) {
		struct sockaddr_un to = at(c, r);
		for (;;) {
			c->fd[r] = socket(AF_UNIX, SOCK_STREAM, 0);
			if (!connect(c->fd[r], (void *)&to, sizeof to)) break;
			close(c->fd[r]);
			usleep(5000);
		}
		if (write(c->fd[r], &c->rank, 4) != 4) return fail(c, SYSTEM, "greet"), NULL;
	}
	for (int r = c->rank + 1; r < c->n; r++) {
		int s = accept(l, 0, 0), who;
		if (read(s, &who, 4) != 4) return fail(c, SYSTEM, "accept"), NULL;
		c->fd[who] = s;
	}
	close(l);
	c->state = OK;
	return NULL;
}
int ncclCommInitRankConfig(Comm **out, int n, Id id, int rank, const size_t *config) {
	if (*config < 48) return USAGE;
	Comm *c = *out = calloc(1, sizeof *c);
	c->rank = rank, c->n = n, c->id = id, c->state = PROGRESS;
	pthread_create(&c->thread, 0, join, c);
	return PROGRESS;
}
int ncclCommGetAsyncError(Comm *c, int *r) { *r = c->state; return OK; }
int ncclCommAbort(Comm *c) { for (int i = 0; i < c->n; i++) if (i != c->rank) shutdown(c->fd[i], SHUT_RDWR); return OK; }
int ncclCommDestroy(Comm *c) { for (int i = 0; i < c->n; i++) if (i != c->rank) close(c->fd[i]); free(c); return OK; }

static struct op { Comm *c; int send, peer; char *p; size_t n; } ops[4096];
static int count;
static void *run(void *v) {
	struct op *o = v;
	for (size_t done = 0; done < o->n;) {
		int fd = o->c->fd[o->peer];
		ssize_t k = o->send ? send(fd, o->p + done, o->n - done, MSG_NOSIGNAL) : read(fd, o->p + done, o->n - done);
		if (k <= 0) {
			if (!k) errno = ECONNRESET;
			fail(o->c, REMOTE, "exchange");
			break;
		}
		done += k;
	}
	return NULL;
}
static void *finish(void *v) {
	Comm *c = v;
	pthread_t t[4096];
	int n = count;
	for (int i = 0; i < n; i++) pthread_create(&t[i], 0, run, &ops[i]);
	for (int i = 0; i < n; i++) pthread_join(t[i], 0);
	count = 0;
	if (c->state == PROGRESS) c->state = OK;
	return NULL;
}
int ncclGroupStart(void) { return OK; }
int ncclGroupEnd(void) {
	if (!count) return OK;
	Comm *c = ops[0].c;
	c->state = PROGRESS;
	pthread_create(&c->thread, 0, finish, c);
	return PROGRESS;
}
static int add(Comm *c, int send, char *p, size_t n, int type, int peer) {
	if (c->state != OK || type != 1) return USAGE;
	ops[count++] = (struct op){c, send, peer, p, n};
	return OK;
}
#if !WITHOUT_SEND
int ncclSend(char *p, size_t n, int type, int peer, Comm *c, void *stream) { return add(c, 1, p, n, type, peer); }
#endif
int ncclRecv(char *p, size_t n, int type, int peer, Comm *c, void *stream) { return add(c, 0, p, n, type, peer); }
