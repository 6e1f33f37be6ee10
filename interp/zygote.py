# The fork server. It imports once, never runs model code itself, and forks one isolated session per request.
#
# Runs as `python -s -S -B -c "<loads this text from fd 3>"`. Fds: 0 /dev/null, 1 and 2 the supervisor's log pipe,
# 3 the control socket (SOCK_SEQPACKET), 4 a directory handle on /proc, which the jail itself does not show.
# Everything below runs with a private copy of builtins: model code may replace the real ones.

import sys

sys.path[:] = [p for p in sys.path if p]

import array
import ast
import atexit
import base64
import builtins
import ctypes
import errno
import gc
import inspect
import io
import json
import linecache
import os
import resource
import select
import signal
import socket
import time
import traceback
import types

# random reseeds itself in every fork; every cell is seeded anyway, and a fork should touch as few pages as it can.
at_fork, os.register_at_fork = os.register_at_fork, lambda **hooks: None
import random

os.register_at_fork = at_fork

__builtins__ = dict(builtins.__dict__)

HARNESS = "<harness>"
CLONE_NEWPID = 0x20000000
CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_GET_SECCOMP, PR_SET_SECCOMP = 1, 4, 21, 22
PR_CAPBSET_DROP, PR_SET_SECUREBITS, PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS = 24, 28, 38, 39
PR_CAP_AMBIENT = 47
SYS_PIDFD_OPEN, SYS_CLOSE_RANGE = 434, 436  # the same on every architecture
SYS_OPEN_TREE, SYS_MOVE_MOUNT = 428, 429
SYS_LANDLOCK_CREATE, SYS_LANDLOCK_ADD, SYS_LANDLOCK_RESTRICT = 444, 445, 446

libc = ctypes.PyDLL(None, use_errno=True)  # PyDLL keeps the GIL: nothing may run between two set-up steps
PROC = 4


class Fault(Exception):
    """A set-up step of a session failed: stage and errno, sent to the supervisor instead of `ready`."""

    def __init__(self, stage, no):
        Exception.__init__(self, stage, no)
        self.stage, self.no = stage, no


def call(stage, f, *args):
    r = f(*args)
    if r == -1:
        raise Fault(stage, ctypes.get_errno())
    return r


def put(path, text):
    fd = os.open(path, os.O_WRONLY, dir_fd=PROC)
    try:
        os.write(fd, text)
    finally:
        os.close(fd)


# ---- boot -----------------------------------------------------------------------------------------------------------

cfg = json.loads(os.read(3, 1 << 18).decode())
TIER = cfg["tier"]
os_fork = os.fork
exec(compile(cfg["shims"], HARNESS, "exec"), {"__name__": "shims", "__builtins__": __builtins__, "cfg": cfg})
NAMESPACES = cfg["unshare"]  # 0: no namespaces, tier C
FIRST_CAPS = range(cfg["last_cap"] + 1)
sys.path.extend(p for p in cfg["path"] if p not in sys.path)
sys.setrecursionlimit(1000)


def landlock_abi():
    v = libc.syscall(SYS_LANDLOCK_CREATE, None, 0, 1)
    return v if v > 0 else 0


class LandlockBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = [("allowed", ctypes.c_uint64), ("fd", ctypes.c_int32)]


class SockFprog(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


ABI = min(landlock_abi(), cfg["landlock_max"])
READ_FILE, READ_DIR, WRITE_FILE, TRUNCATE, IOCTL_DEV, EXECUTE = 4, 8, 2, 0x4000, 0x8000, 1
FS_ALL = 0x1FFF | (0x2000 if ABI >= 2 else 0) | (0x4000 if ABI >= 3 else 0) | (0x8000 if ABI >= 5 else 0)
FS_TMP = FS_ALL & ~(EXECUTE | 0x40 | 0x200 | 0x800 | 0x8000)  # no execution, device nodes, sockets, ioctl
ruleset_attr = (ctypes.c_uint64 * 3)(FS_ALL, 3 if ABI >= 4 else 0, 3 if ABI >= 6 else 0)
ruleset_size = 8 if ABI < 4 else 16 if ABI < 6 else 24
RO, DEV = [], []
if ABI:
    read = READ_FILE | READ_DIR | (EXECUTE if cfg["allow_exec"] else 0)
    for p in cfg["ro"]:
        try:
            fd = os.open(p, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        isdir = os.path.isdir(p)
        RO.append(LandlockBeneath(read if isdir else read & ~READ_DIR, fd))
    for p in ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"):
        try:
            fd = os.open(p, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        DEV.append(LandlockBeneath(READ_FILE | WRITE_FILE | (TRUNCATE if ABI >= 3 else 0), fd))
    if NAMESPACES:  # the jail's own skeleton may be listed
        DEV.append(LandlockBeneath(READ_DIR, os.open("/", os.O_PATH | os.O_CLOEXEC)))

bpf = base64.b64decode(cfg["bpf"])
bpf_buffer = ctypes.create_string_buffer(bpf, len(bpf))
fprog = SockFprog(len(bpf) // 8, ctypes.addressof(bpf_buffer))
cap_header = (ctypes.c_uint32 * 2)(0x20080522, 0)
cap_zero = (ctypes.c_uint32 * 6)()
RLIMITS = [(getattr(resource, k), v) for k, v in cfg["rlimits"].items() if hasattr(resource, k)]
UNDER_TMP = [p for p in cfg["ro"] if p.startswith("/tmp/")]  # a virtual environment there must outlast the private /tmp
TMP_OPTIONS = ("size=%d,nr_inodes=%d,mode=1777" % (cfg["tmp"], cfg["inodes"])).encode()

modules, missing = {}, {}
for name in cfg["preload"]:
    try:
        m = __import__(name)
        modules[name] = str(getattr(m, "__version__", ""))
    except Exception as e:  # nothing may be required: a bare Python is a valid Python
        missing[name] = "%s: %s" % (type(e).__name__, e)
for text in cfg["warm"]:
    try:
        exec(compile(text, "<warm>", "exec"), {"__name__": "warm"})
    except Exception as e:
        missing["warm"] = "%s: %s" % (type(e).__name__, e)

if NAMESPACES:
    own_pidns = os.open("self/ns/pid", os.O_RDONLY, dir_fd=PROC)
tasks = len(os.listdir(os.open("self/task", os.O_RDONLY | os.O_DIRECTORY, dir_fd=PROC)))

control = socket.socket(fileno=3)
wake_r, wake_w = os.pipe()
os.set_blocking(wake_r, False)
os.set_blocking(wake_w, False)


# ---- session: traps, cells -------------------------------------------------------------------------------------------

running = [False]


def on_interrupt(number, frame):
    if running[0]:
        raise KeyboardInterrupt


type_name = type.__dict__["__name__"].__get__
NAME_CHARS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")
TB_MAX = 16384


def name_of(e):
    try:
        return "".join(c for c in type_name(type(e)) if c in NAME_CHARS)[:100] or "Exception"
    except BaseException:
        return "Exception"


def render(e, name):
    """The traceback as the interpreter would print it, without this file's frames, at most TB_MAX bytes."""
    try:
        tb = e.__traceback__
        while tb is not None and tb.tb_frame.f_code.co_filename == HARNESS:
            tb = tb.tb_next
        if isinstance(e, SyntaxError) and e.text is None and e.filename in linecache.cache:
            e.text = linecache.getline(e.filename, e.lineno)  # the compiler, unlike the parser, looks for it in a file
        te = traceback.TracebackException(type(e), e, tb)
        parts = [te]
        for x in parts[:1000]:
            x.stack[:] = [f for f in x.stack if f.filename != HARNESS]
            parts += [y for y in (x.__cause__, x.__context__, *(getattr(x, "exceptions", None) or ())) if y is not None]
        text = "".join(te.format())
        raw = text.encode("utf-8", "backslashreplace")
    except KeyboardInterrupt:
        raise
    except BaseException:
        raw = ("Traceback (most recent call last):\n%s\n" % name).encode()
    if len(raw) > TB_MAX:
        raw = raw[: TB_MAX // 4] + b"\n...\n" + raw[-(3 * TB_MAX // 4) :]
    return raw


def write_all(fd, raw):
    view = memoryview(raw)
    while len(view):
        view = view[os_write(fd, view) :]


os_write, os_readv, os_exit = os.write, os.readv, os._exit
cell_buffer = bytearray(1 << 18)  # untouched pages of the fork server: a session pays for what its cell fills
cell_view = memoryview(cell_buffer)
linecache_lazy = linecache.checkcache


def keep_cells(filename=None):
    """linecache.checkcache drops entries without a file; the cells' source lines must survive it."""
    kept = {k: v for k, v in linecache.cache.items() if k.startswith("<cell ")}
    linecache_lazy(filename)
    linecache.cache.update(kept)


linecache.checkcache = keep_cells


NAMED = ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef


def cell_of(cls):
    """The cell that a class stands in: that of a method of its own, else the last one with a class of that name."""
    name = type.__dict__["__qualname__"].__get__(cls)
    for key, value in vars(cls).items():
        code = getattr(getattr(value, "__func__", value), "__code__", None)
        if getattr(value, "__qualname__", "") == name + "." + key and getattr(code, "co_filename", "").startswith("<cell "):
            return code.co_filename
    for filename in reversed([k for k in linecache.cache if k.startswith("<cell ")]):
        found = ast.parse("".join(linecache.cache[filename][2]))
        for part in name.split("."):
            if part != "<locals>":
                found = next((n for n in ast.walk(found) if isinstance(n, NAMED) and n.name == part), None)
            if found is None:
                break
        else:
            return filename
    return None


def getfile(object):
    """inspect.getfile, which looks for the file of a class in its module: __main__ has none here, and cells have their lines."""
    if isinstance(object, type) and getattr(object, "__module__", None) == "__main__":
        try:
            filename = cell_of(object)
        except Exception:
            filename = None
        if filename is not None:
            return filename
    return inspect_getfile(object)


inspect_getfile, inspect.getfile = inspect.getfile, getfile


def split_echo(tree):
    """The cell without its final expression, and that expression, or None: a split of the tree, never of the text."""
    if tree.body and isinstance(tree.body[-1], ast.Expr):
        last = tree.body.pop()
        return tree, ast.Expression(last.value)
    return tree, None


def source(raw):
    """The text of a cell as Python would read it from a file."""
    text = raw.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
    return text[1:] if text.startswith("\ufeff") else text


def exit_code(code):
    """What the interpreter would leave with after SystemExit(code), and what it would say."""
    if code is None:
        return 0, b""
    if isinstance(code, int):
        return (code & 0xFF if -(1 << 63) <= code < 1 << 63 else 255), b""
    try:
        return 1, (str(code) + "\n").encode("utf-8", "backslashreplace")[:TB_MAX]
    except KeyboardInterrupt:
        raise
    except BaseException:  # an object that cannot say itself is left out
        return 1, b""


def threads():
    """The threads that have to end before a program does; none, and no import, unless the program has threads."""
    threading = sys.modules.get("threading")
    if threading is None:
        return set()
    return {t for t in threading.enumerate() if not t.daemon and t is not threading.main_thread()}


def pool_workers():
    """Threads of executors: they wait for work until their pool is shut down."""
    pools = sys.modules.get("concurrent.futures.thread")
    return set(pools._threads_queues) if pools is not None else set()


def settle(last, before):
    """What follows the last statement. At the end of a session that is the end of a program: threads are awaited, then atexit's
    functions run, in the interpreter's own order. After a cell that others follow, the threads it began are awaited, but for those of
    executors, which live on with the variables."""
    if last:
        threading = sys.modules.get("threading")
        if threading is not None:
            threading._shutdown()
        run_exit_functions()
        return
    while True:
        left = threads() - before - pool_workers()
        if not left:
            return
        for t in left:
            t.join()


getpid = os.getpid
run_exit_functions = atexit._run_exitfuncs


def execute(scope, number, seed, echo, last, raw):
    """Runs one cell and returns (ok, exception name, exit code or None, what to tell of it on stderr)."""
    text = source(raw)
    filename = "<cell %d>" % number
    me, before = getpid(), set()
    try:
        lines = (text if text.endswith("\n") else text + "\n").split("\n")
        linecache.cache[filename] = (len(text), None, [line + "\n" for line in lines[:-1]], filename)
        random.seed(seed)
        numpy = sys.modules.get("numpy")
        if numpy is not None:
            numpy.random.seed(seed)
        if not last:
            before = threads()
    except BaseException:
        pass  # an earlier cell broke them: its own loss
    try:
        try:
            running[0] = True
            if echo:
                body, final = split_echo(compile(text, filename, "exec", ast.PyCF_ONLY_AST, True))
                exec(compile(body, filename, "exec", 0, True), scope)
                if final is not None:
                    value = eval(compile(final, filename, "eval", 0, True), scope)
                    if value is not None:
                        scope["_"] = value
                        print(repr(value), file=sys.stdout)
                    del value
            else:
                exec(compile(text, filename, "exec", 0, True), scope)
            result = (True, "", None, b"")
        except SystemExit as e:
            code, message = exit_code(e.code)
            result = (False, "SystemExit", code, message) if code else (True, "", None, b"")
        except BaseException as e:
            name = name_of(e)
            result = (False, name, None, render(e, name))
            e.__traceback__ = None
        try:
            settle(last, before)
        except KeyboardInterrupt:
            if result[0]:
                result = (False, "KeyboardInterrupt", None, b"")
        except BaseException:  # the code took threading or its own threads apart
            pass
        for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
            try:
                stream.flush()
            except KeyboardInterrupt:
                raise
            except OSError as e:  # what was printed is lost, as where descriptor 1 was closed
                if result[0]:
                    result = (False, name_of(e), None, render(e, name_of(e)))
            except BaseException:
                pass
        running[0] = False
    except BaseException as e:  # an interrupt between two of the steps above
        running[0] = False
        result = (False, name_of(e), None, b"")
    if getpid() != me:  # a child that the code forked has come to the end of its program
        write_all(2, result[3])
        os_exit(0 if result[0] else result[2] or 1)
    return result


def answer(number, result):
    ok, name, code, tb = result
    if tb:
        try:
            write_all(2, tb)
        except OSError:  # the code closed it
            tb = b""
    if code is None:
        code = -1
    frame = '{"t":"done","id":%d,"ok":%s,"exc":"%s","exit":%d,"tb":%d}'
    os_write(3, (frame % (number, "true" if ok else "false", name, code, len(tb))).encode())


def checkpoint(number):
    """Forks before a cell. The child runs it; the parent sleeps as the state to return to.

    Returns True in the child. In the parent it returns False once the child has died: the session is one cell back. Every saved
    state stays until its child dies, so a chain of cells is a chain of sleeping parents that share their pages.
    """
    pid = os_fork()
    if pid == 0:
        return True
    while True:
        try:
            got, status = os.waitpid(-1 if os.getpid() == 1 else pid, 0)  # pid 1 inherits orphans as well
        except ChildProcessError:
            os_exit(70)
        except BaseException:
            continue
        if got == pid:
            break
    os_write(3, b'{"t":"rolled","id":%d,"st":%d}' % (number, status))
    return False


def reopen_stdin():
    """exit() closes it, for the sake of shells; the next cell of the session has one again."""
    try:
        if sys.stdin is sys.__stdin__ and sys.stdin.closed:
            sys.stdin = sys.__stdin__ = open(0, closefd=False)
    except BaseException:
        pass


def session_loop():
    main = types.ModuleType("__main__")
    fresh = types.ModuleType("builtins")
    fresh.__dict__.update(builtins.__dict__)
    main.__dict__["__builtins__"] = fresh
    sys.modules["__main__"] = main
    sys.argv = [""]
    scope = main.__dict__
    serial = 0
    os_write(3, b'{"t":"ready"}')
    while True:
        try:
            n = os_readv(3, [cell_buffer])
        except BaseException:
            continue
        if not n:
            os_exit(0)
        head, _, raw = bytes(cell_view[:n]).partition(b"\n")
        number, seed, echo, save, last = [int(x) for x in head.split()]
        serial += 1
        if save:
            if not checkpoint(number):
                continue
            os_write(3, b'{"t":"runs","id":%d}' % number)
        reopen_stdin()
        result = execute(scope, serial, seed, echo, last, raw)
        while True:
            try:
                answer(number, result)
                break
            except KeyboardInterrupt:
                continue
        result = None


# ---- session: set-up -------------------------------------------------------------------------------------------------


def confine(uid, private):
    """Every fence, in the one order that works: Landlock forbids mounts, the filter forbids everything before it."""
    os.setsid()
    if uid:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        call("dumpable", libc.prctl, PR_SET_DUMPABLE, 1, 0, 0, 0)
    if NAMESPACES:
        call("unshare", libc.unshare, NAMESPACES)
        put("self/setgroups", b"deny")
        put("self/uid_map", b"1000 %d 1" % uid)
        put("self/gid_map", b"1000 %d 1" % uid)
        trees = [
            (p, os.path.isdir(p), call("open_tree", libc.syscall, SYS_OPEN_TREE, -100, p.encode(), 0x88001, 0)) for p in UNDER_TMP
        ]
        call("mount /tmp", libc.mount, b"tmpfs", b"/tmp", b"tmpfs", 14, TMP_OPTIONS)
        for p, isdir, tree in trees:
            os.makedirs(p if isdir else os.path.dirname(p), exist_ok=True)
            if not isdir:
                os.close(os.open(p, os.O_CREAT | os.O_WRONLY))
            call("move_mount", libc.syscall, SYS_MOVE_MOUNT, tree, b"", -100, p.encode(), 4)
        os.chdir("/tmp")
    else:
        os.chdir("/")
    for which, value in RLIMITS:
        try:
            resource.setrlimit(which, (value, value))
        except ValueError:  # the hard limit is lower already: keep it
            hard = resource.getrlimit(which)[1]
            resource.setrlimit(which, (min(hard, value) if hard >= 0 else value, hard))
    if NAMESPACES or uid or os.getuid() == 0:
        for c in FIRST_CAPS:
            libc.prctl(PR_CAPBSET_DROP, c, 0, 0, 0)
        libc.prctl(PR_SET_SECUREBITS, 0x2F, 0, 0, 0)
    libc.prctl(PR_CAP_AMBIENT, 4, 0, 0, 0)
    call("capset", libc.capset, cap_header, cap_zero)
    call("no_new_privs", libc.prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    call("dumpable", libc.prctl, PR_SET_DUMPABLE, 0, 0, 0, 0)
    if ABI and "landlock" not in cfg["skip"]:
        rules = call("landlock_create_ruleset", libc.syscall, SYS_LANDLOCK_CREATE, ruleset_attr, ruleset_size, 0)
        for rule in RO + DEV:
            call("landlock_add_rule", libc.syscall, SYS_LANDLOCK_ADD, rules, 1, ctypes.byref(rule), 0)
        if NAMESPACES:
            tmp = os.open("/tmp", os.O_PATH)
            rule = LandlockBeneath(FS_TMP, tmp)
            call("landlock_add_rule", libc.syscall, SYS_LANDLOCK_ADD, rules, 1, ctypes.byref(rule), 0)
        call("landlock_restrict_self", libc.syscall, SYS_LANDLOCK_RESTRICT, rules, 0)
    if not NAMESPACES:
        call("pdeathsig", libc.prctl, PR_SET_PDEATHSIG, 9, 0, 0, 0)
        if os.getppid() != ZYGOTE:
            os_exit(71)
    call("close_range", libc.syscall, SYS_CLOSE_RANGE, 4, 0xFFFFFFFF, 0)
    if "seccomp" not in cfg["skip"]:
        call("seccomp", libc.prctl, PR_SET_SECCOMP, 2, ctypes.byref(fprog), 0, 0)
        if libc.prctl(PR_GET_SECCOMP, 0, 0, 0, 0) != 2:
            raise Fault("assert seccomp", 0)
    have = (ctypes.c_uint32 * 6)()
    call("capget", libc.capget, cap_header, have)
    if any(have):
        raise Fault("assert capabilities", 0)
    if libc.prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1:
        raise Fault("assert no_new_privs", 0)


def session(fds, uid):
    stage = "fds"
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, on_interrupt)
        for to, fd in ((3, fds[0]), (1, fds[1]), (2, fds[2])):
            os.dup2(fd, to)
        stage = "confine"
        confine(uid, False)
    except Fault as e:
        os_write(3, b'{"t":"fail","stage":"%s","errno":%d}' % (e.stage.encode(), e.no))
        os_exit(72)
    except OSError as e:
        os_write(3, b'{"t":"fail","stage":"%s","errno":%d}' % (stage.encode(), e.errno or 0))
        os_exit(72)
    except BaseException as e:
        os_write(3, b'{"t":"fail","stage":"%s %s","errno":0}' % (stage.encode(), name_of(e).encode()))
        os_exit(72)
    gc.enable()
    session_loop()


# ---- fork server -----------------------------------------------------------------------------------------------------

ZYGOTE = os.getpid()
children = {}


def send(message, fds=()):
    anc = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    control.sendmsg([json.dumps(message).encode()], anc)


def spawn(message, fds):
    n = message["id"]
    pid = -1
    try:
        if NAMESPACES:
            call("setns", libc.setns, own_pidns, CLONE_NEWPID)
            call("unshare pid", libc.unshare, CLONE_NEWPID)
        pid = os_fork()
        if pid == 0:
            try:
                session(fds, message["uid"])
            finally:
                os_exit(73)
        children[pid] = n
        pidfd = call("pidfd_open", libc.syscall, SYS_PIDFD_OPEN, pid, 0)
    except Fault as e:
        return send({"t": "err", "id": n, "stage": e.stage, "errno": e.no})
    except OSError as e:
        return send({"t": "err", "id": n, "stage": "fork", "errno": e.errno})
    send({"t": "ok", "id": n, "pid": pid}, [pidfd])
    os.close(pidfd)


def reap():
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        n = children.pop(pid, None)
        if n is not None:
            send({"t": "exit", "id": n, "st": status})


def rss():
    try:
        fd = os.open("self/statm", os.O_RDONLY, dir_fd=PROC)
        try:
            return int(os.read(fd, 200).split()[1]) * resource.getpagesize()
        finally:
            os.close(fd)
    except OSError:
        return 0


def serve():
    poll = select.poll()
    poll.register(3, select.POLLIN)
    poll.register(wake_r, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == wake_r:
                try:
                    os.read(wake_r, 4096)
                except BlockingIOError:
                    pass
                reap()
                continue
            raw, anc, flags, _ = control.recvmsg(4096, socket.CMSG_SPACE(12))
            if not raw:
                os_exit(0)  # the trainer is gone; pid 1 takes every session with it
            fds = array.array("i")
            for level, kind, data in anc:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
            message = json.loads(raw.decode())
            if message["t"] == "spawn":
                spawn(message, list(fds))
            elif message["t"] == "ping":
                send({"t": "pong", "id": message["id"], "rss": rss()})
            for fd in fds:
                os.close(fd)


sys.modules["__main__"].__dict__.pop("s", None)
signal.signal(signal.SIGCHLD, lambda number, frame: None)
signal.set_wakeup_fd(wake_w, warn_on_full_buffer=False)
gc.collect()
gc.disable()
gc.freeze()
send(
    {
        "t": "boot",
        "v": 1,
        "python": "%d.%d.%d" % sys.version_info[:3],
        "modules": modules,
        "missing": missing,
        "landlock": ABI,
        "tasks": tasks,
        "rss": rss(),
    }
)
try:
    serve()
except (ConnectionResetError, BrokenPipeError):
    os_exit(0)  # as above, with frames of ours unread
except BaseException:
    traceback.print_exc()
os_exit(1)
