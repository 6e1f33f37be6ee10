# What a session's Python has beside the language: the names that module site would add, and, of what the filter denies, a sentence that
# says so instead of a bare errno, and names the setting. None of this is a fence: the filter is.
#
# The fork server runs it before any other import could keep the originals, in a namespace of its own: cfg is the order's frame.

import _sitebuiltins
import _thread
import builtins
import errno
import os
import sys

FORK, EXEC, TMP = cfg["allow_fork"], cfg["allow_exec"], cfg["unshare"] != 0

exit_hint = "Ctrl-D (i.e. EOF)"
builtins.exit, builtins.quit = _sitebuiltins.Quitter("exit", exit_hint), _sitebuiltins.Quitter("quit", exit_hint)
builtins.help = _sitebuiltins._Helper()
builtins.copyright = _sitebuiltins._Printer("copyright", sys.copyright)
builtins.credits = _sitebuiltins._Printer("credits", "See https://www.python.org for more information.")
builtins.license = _sitebuiltins._Printer("license", "See https://www.python.org/psf/license/")


def refuse(module, names, sentence):
    """Functions whose call the filter denies raise what it would, in words."""
    try:
        module = __import__(module)
    except ImportError:  # not every Python has every module
        return

    def refusal(name):
        def refused(*args, **kwargs):
            raise PermissionError(errno.EPERM, sentence)

        refused.__name__ = refused.__qualname__ = name
        return refused

    for name in names:
        if hasattr(module, name):
            setattr(module, name, refusal(name))


def off(**settings):
    names = ["interp." + name for name, on in settings.items() if not on]
    return "processes are off in this sandbox (%s %s false)" % (" and ".join(names), "is" if len(names) == 1 else "are")


def starting(start):
    """What starts a thread, with an error that names the limit."""

    def started(*args, **kwargs):
        try:
            return start(*args, **kwargs)
        except RuntimeError as e:
            if str(e) != "can't start new thread":
                raise
        raise RuntimeError("can't start new thread: interp.limits.processes bounds the threads and processes of a session")

    started.__name__ = started.__qualname__ = start.__name__
    return started


for name in ("start_new_thread", "start_new", "start_joinable_thread"):
    if hasattr(_thread, name):
        setattr(_thread, name, starting(getattr(_thread, name)))

os_abort, os_exit, getpid = os.abort, os._exit, os.getpid


def abort():
    """The kernel keeps SIGABRT from the first process of a namespace, which then dies by what libc tries next. This is the exit status
    that a shell gives an abort, and the supervisor takes it for one."""
    if getpid() == 1:
        os_exit(134)
    os_abort()


os.abort = abort

if not FORK:
    refuse("os", ["fork", "forkpty"], off(allow_fork=FORK))
    refuse("_posixshmem", ["shm_open", "shm_unlink"], off(allow_fork=FORK))
if not FORK or not EXEC:
    refuse("os", ["system", "posix_spawn", "posix_spawnp"], off(allow_fork=FORK, allow_exec=EXEC))
    refuse("_posixsubprocess", ["fork_exec"], off(allow_fork=FORK, allow_exec=EXEC))
if not EXEC:
    refuse("os", ["execv", "execve"], off(allow_exec=EXEC))


class SemLock:
    """_multiprocessing.SemLock for a process that cannot have others, in which it needs no named semaphore and so no /dev/shm: pools of
    threads, locks, queues and shared values work. kind is 0 for a recursive mutex, 1 for a semaphore."""

    SEM_VALUE_MAX = 0x7FFFFFFF

    def __init__(self, kind, value, maxvalue, name, unlink):
        from threading import Condition, Lock

        self.handle, self.kind, self.maxvalue, self.name = id(self), kind, maxvalue, None
        self.value, self.held, self.owner = value, 0, None
        self.changed = Condition(Lock())

    def acquire(self, block=True, timeout=None):
        if self.kind == 0 and self._is_mine():
            self.held += 1
            return True
        if not block:
            timeout = 0
        elif timeout is not None:
            timeout = max(0, timeout)
        with self.changed:
            if not self.changed.wait_for(lambda: self.value > 0, timeout):
                return False
            self.value -= 1
            self.held += 1
            self.owner = _thread.get_ident()
        return True

    def release(self):
        if self.kind == 0:
            if not self._is_mine():
                raise AssertionError("attempt to release recursive lock not owned by thread")
            if self.held > 1:
                self.held -= 1
                return
        with self.changed:
            if self.value >= self.maxvalue:
                raise ValueError("semaphore or lock released too many times")
            self.value += 1
            self.held -= 1
            self.changed.notify()

    def __enter__(self):
        return self.acquire()

    def __exit__(self, *exc):
        self.release()

    def _is_mine(self):
        return self.held > 0 and self.owner == _thread.get_ident()

    def _count(self):
        return self.held

    def _get_value(self):
        return self.value

    def _is_zero(self):
        return self.value == 0

    def _after_fork(self):
        self.held = 0


def replace_shared_memory():
    try:
        import _multiprocessing
    except ImportError:
        return
    if hasattr(_multiprocessing, "SemLock"):
        _multiprocessing.SemLock = SemLock
    statvfs, sentence = os.statvfs, off(allow_fork=FORK)

    def room(path):
        """multiprocessing.heap looks for room in /dev/shm first: there is none, and it takes /tmp where there is one."""
        if path != "/dev/shm":
            return statvfs(path)
        if not TMP:
            raise PermissionError(errno.EPERM, sentence)
        return os.statvfs_result((4096, 4096, 0, 0, 0, 0, 0, 0, 0, 255))

    room.__name__ = room.__qualname__ = "statvfs"
    os.statvfs = room


if not FORK:
    replace_shared_memory()
