//go:build linux

package interp

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Python is Python: what a program does at its end, what the language has built in, how it reads its source. stdout is exact, the
// other two are parts of what stands there; status is Result.String.
var programs = map[string]struct{ code, status, stdout, traceback, stderr string }{
	"nothing to do":    {code: "print(1)", stdout: "1\n"},
	"exit":             {code: "print(42)\nexit()\nprint(0)", stdout: "42\n"},
	"quit in a loop":   {code: "for i in range(9):\n    if i == 3:\n        print(i)\n        quit()", stdout: "3\n"},
	"exit with a code": {code: "print(1)\nexit(4)", status: "exited(4)", stdout: "1\n"},
	"sys.exit":         {code: "import sys\nprint(1)\nsys.exit()", stdout: "1\n"},
	"sys.exit(main())": {code: "import sys\ndef main():\n    print(12)\n    return 0\nif __name__ == '__main__':\n" +
		"    sys.exit(main())", stdout: "12\n"},
	"sys.exit(None)":  {code: "import sys\nsys.exit(print(5))", stdout: "5\n"},
	"sys.exit(False)": {code: "import sys\nsys.exit(False)"},
	"sys.exit(True)":  {code: "import sys\nsys.exit(True)", status: "exited(1)"},
	"sys.exit(256)":   {code: "import sys\nsys.exit(256)"},
	"sys.exit(-1)":    {code: "import sys\nsys.exit(-1)", status: "exited(255)"},
	"sys.exit with a text": {code: "import sys\nprint(1)\nsys.exit('no solution')", status: "exited(1)", stdout: "1\n",
		traceback: "no solution\n", stderr: "no solution\n"},
	"sys.exit with what has no text": {code: "import sys\nclass A:\n    def __str__(self): raise SystemExit(4)\nsys.exit(A())",
		status: "exited(1)"},
	"raise SystemExit": {code: "raise SystemExit"},
	"exit in a function": {code: "import sys\ndef f():\n    try:\n        sys.exit(3)\n    finally:\n        print('f')\nf()",
		status: "exited(3)", stdout: "f\n"},
	"their names": {code: "print(exit, quit, sep='|')",
		stdout: "Use exit() or Ctrl-D (i.e. EOF) to exit|Use quit() or Ctrl-D (i.e. EOF) to exit\n"},
	"input": {code: "x = input()", status: "exception", traceback: "EOFError"},
	"no file": {code: "print(__name__)\nprint(__file__)", status: "exception", stdout: "__main__\n",
		traceback: "NameError: name '__file__' is not defined"},
	"warnings": {code: "import warnings\nwarnings.warn('careful')\nprint(3)", stdout: "3\n",
		stderr: "<cell 1>:2: UserWarning: careful\n  warnings.warn('careful')\n"},
	"a byte order mark": {code: "\ufeffprint(7)", stdout: "7\n"},
	"CR LF":             {code: "for i in range(2):\r\n    print(i)\r\nprint(repr('''a\r\nb'''))\r\n", stdout: "0\n1\n'a\\nb'\n"},
	"CR":                {code: "print(1)\rprint(2)", stdout: "1\n2\n"},
	"source, last line": {code: "import inspect\ndef f(): return 1\nprint(inspect.getsource(f), end='')", stdout: "def f(): return 1\n"},
	"source of a class": {code: "import inspect\nclass A:\n    x = 1\n    class B:\n        def f(self): pass\n" +
		"print(inspect.getsource(A), inspect.getsource(A.B), sep='', end='')",
		stdout: "class A:\n    x = 1\n    class B:\n        def f(self): pass\n    class B:\n        def f(self): pass\n"},
	"source of a dataclass": {code: "import inspect\nfrom dataclasses import dataclass\n@dataclass\nclass P:\n    x: int = 1\n" +
		"print(inspect.getsource(P), end='')", stdout: "@dataclass\nclass P:\n    x: int = 1\n"},
	"source of a class, none": {code: "import inspect\nA = type('A', (), {})\ntry: print(inspect.getsource(A))\n" +
		"except OSError as e: print(e)", stdout: "source code not available\n"},
	"source of a class of a module": {code: "import inspect, fractions\nprint(inspect.getsource(fractions.Fraction)[:15])",
		stdout: "class Fraction(\n"},
	"return at the top": {code: "x = 1\nreturn x", status: "exception", traceback: "line 2\n    return x\n    ^^^^^^^^\nSyntaxError: "},
	"abort":             {code: "import os\nprint(1, flush=True)\nos.abort()", status: "crashed(SIGABRT)", stdout: "1\n"},
	"too many threads": {code: "import threading\ntry:\n    for _ in range(1000):\n" +
		"        threading.Thread(target=threading.Event().wait, daemon=True).start()\n" +
		"except RuntimeError as e: print(e)",
		stdout: "can't start new thread: interp.limits.processes bounds the threads and processes of a session\n"},
	"a form feed":         {code: "x = 1\n\x0c\n1/0", status: "exception", traceback: "line 3, in <module>\n    1/0\n"},
	"descriptor 2 closed": {code: "import os\nos.close(2)\n1/0", status: "exception"},
	"descriptor 1 closed": {code: "import os\nprint(7, flush=True)\nos.close(1)\nprint(8)", status: "exception", stdout: "7\n",
		traceback: "OSError: [Errno 9] Bad file descriptor"},
	"a thread": {code: "import threading, time\ndef w():\n    time.sleep(0.1); print(42)\n" +
		"threading.Thread(target=w).start()\nprint(1)", stdout: "1\n42\n"},
	"a thread of a thread": {code: "import threading, time\ndef b():\n    time.sleep(0.05); print('b')\ndef a():\n" +
		"    threading.Thread(target=b).start(); print('a')\nthreading.Thread(target=a).start()", stdout: "a\nb\n"},
	"a timer":            {code: "import threading\nthreading.Timer(0.1, lambda: print('timer 9')).start()", stdout: "timer 9\n"},
	"a timer, cancelled": {code: "import threading\nt = threading.Timer(60, print)\nt.start()\nt.cancel()\nprint('ok')", stdout: "ok\n"},
	"a daemon": {code: "import threading, time\ndef spin():\n    while True: time.sleep(0.01)\n" +
		"threading.Thread(target=spin, daemon=True).start()\nprint(5)", stdout: "5\n"},
	"a thread fails": {code: "import threading\nthreading.Thread(target=lambda: 1/0).start()", stderr: "ZeroDivisionError"},
	"a thread, then an end": {code: "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.1), print('late'))).start()\n1/0",
		status: "exception", stdout: "late\n", traceback: "ZeroDivisionError"},
	"an executor": {code: "from concurrent.futures import ThreadPoolExecutor\n" +
		"with ThreadPoolExecutor(3) as p: print(list(p.map(lambda x: x*x, range(4))))", stdout: "[0, 1, 4, 9]\n"},
	"an executor, open": {code: "from concurrent.futures import ThreadPoolExecutor\nimport time\np = ThreadPoolExecutor(1)\n" +
		"for i in range(3): p.submit(lambda i=i: (time.sleep(0.02), print('job', i)))\nprint('submitted')",
		stdout: "submitted\njob 0\njob 1\njob 2\n"},
	"a pool of threads": {code: "from multiprocessing.pool import ThreadPool\nwith ThreadPool(3) as p: print(p.map(abs, [-1, 2]))",
		stdout: "[1, 2]\n"},
	"multiprocessing.dummy": {code: "from multiprocessing.dummy import Pool\nwith Pool(2) as p: print(p.map(abs, [-5]))", stdout: "[5]\n"},
	"exit functions":        {code: "import atexit\natexit.register(lambda: print('bye 7'))\nprint('hi')", stdout: "hi\nbye 7\n"},
	"their order": {code: "import atexit, threading, time\natexit.register(print, 'first')\natexit.register(print, 'second')\n" +
		"threading.Thread(target=lambda: (time.sleep(0.05), print('thread'))).start()\nprint('main')", stdout: "main\nthread\nsecond\nfirst\n"},
	"after an exit": {code: "import atexit, sys\natexit.register(print, 'bye')\nsys.exit(2)", status: "exited(2)", stdout: "bye\n"},
	"one fails": {code: "import atexit\natexit.register(print, 'still')\natexit.register(lambda: 1/0)", stdout: "still\n",
		stderr: "ZeroDivisionError"},
	"weakref.finalize": {code: "import weakref\nclass A: pass\na = A()\nweakref.finalize(a, print, 'end')\nprint('x')",
		stdout: "x\nend\n"},
	"asyncio": {code: "import asyncio\nasync def m():\n" +
		"    print(await asyncio.to_thread(sum, [1, 2]) if hasattr(asyncio, 'to_thread') else 3)\nasyncio.run(m())", stdout: "3\n"},
	"locks of processes": {code: "from multiprocessing import Lock, RLock, Semaphore\nl, r, s = Lock(), RLock(), Semaphore(1)\n" +
		"with l: print(l.acquire(False), l.acquire(timeout=0.01))\nwith r:\n    with r: print('twice')\n" +
		"print(s.acquire(), s.acquire(False))\ntry: r.release()\nexcept AssertionError: print('not mine')",
		stdout: "False False\ntwice\nTrue False\nnot mine\n"},
	"queue of processes": {code: "from multiprocessing import Queue, Pipe, SimpleQueue\nq = Queue(); q.put(3); print(q.get())\n" +
		"s = SimpleQueue(); s.put('x'); print(s.get())\na, b = Pipe(); a.send(4); print(b.recv())", stdout: "3\nx\n4\n"},
	"columns of an error":  {code: "x = int('q')", status: "exception", traceback: "line 1, in <module>\n    x = int('q')\n"},
	"names of the harness": {code: "import atexit, sys\natexit.register(sys.exit, 3)\nprint('hi')", stdout: "hi\n"},
}

func TestPythonIsPython(t *testing.T) {
	p := testPool(t, func(c *Config) { c.Limits.Wall = 30 * time.Second; c.Limits.CPU = 20 * time.Second })
	for name, c := range programs {
		r := run(t, p, 0, c.code)
		if c.status == "" {
			c.status = "ok"
		}
		require.Equal(t, c.status, r.String(), "%s: %s%s", name, r.Stderr, r.Traceback)
		require.Equal(t, c.stdout, string(r.Stdout), name)
		require.Contains(t, string(r.Traceback), c.traceback, name)
		require.Contains(t, string(r.Stderr), c.stderr, name)
		require.NotContains(t, string(r.Stderr)+string(r.Traceback), "<harness>", name)
		if c.stderr == "" && c.status == "ok" && name != "names of the harness" {
			require.Empty(t, string(r.Stderr), name)
		}
	}
}

// Whatever would start a process says that processes are off, and by which setting, to who catches it as to who does not.
func TestProcessesAreOffInWords(t *testing.T) {
	p := testPool(t, nil)
	const both = "processes are off in this sandbox (interp.allow_fork and interp.allow_exec are false)"
	const fork = "processes are off in this sandbox (interp.allow_fork is false)"
	const exec = "processes are off in this sandbox (interp.allow_exec is false)"
	for code, sentence := range map[string]string{
		"import os\nos.fork()": fork,
		"from multiprocessing import Process\np = Process(target=print)\np.start()":                             fork,
		"from multiprocessing import Pool\nwith Pool(2) as p: print(p.map(abs, [1]))":                           fork,
		"from multiprocessing import Manager\nprint(Manager().dict())":                                          fork,
		"from multiprocessing import shared_memory\nshared_memory.SharedMemory(create=True,size=9)":             fork,
		"from concurrent.futures import ProcessPoolExecutor as E\nwith E(2) as p: print(list(p.map(abs, [1])))": fork,
		"import os\nos.system('echo hi')":                                                                       both,
		"import os\nprint(os.popen('ls').read())":                                                               both,
		"import os\nos.posix_spawn('/bin/ls', ['ls'], {})":                                                      both,
		"import os\nos.spawnlp(os.P_WAIT, 'ls', 'ls')":                                                          fork,
		"import os\nos.execvp('ls', ['ls'])":                                                                    exec,
		"import subprocess\nsubprocess.run(['echo', 'hi'])":                                                     both,
		"import subprocess\nprint(subprocess.getoutput('ls'))":                                                  both,
		"import multiprocessing as m\nm.get_context('spawn').Process(target=print).start()":                     both,
		"import asyncio\nasync def m(): await asyncio.create_subprocess_exec('ls')\nasyncio.run(m())":           both,
		"import asyncio\nasync def m(): await asyncio.create_subprocess_shell('ls')\nasyncio.run(m())":          both,
	} {
		r := run(t, p, 0, code)
		require.Equal(t, Exception, r.Status, code)
		require.Equal(t, "PermissionError", r.Exc, code)
		require.True(t, strings.HasSuffix(string(r.Traceback), "PermissionError: [Errno 1] "+sentence+"\n"), "%s\n%s", code, r.Traceback)
		require.NotContains(t, string(r.Traceback), "<harness>")
		caught := "try:\n    " + strings.ReplaceAll(code, "\n", "\n    ") + "\nexcept OSError as e: print(e)"
		require.Equal(t, "[Errno 1] "+sentence+"\n", string(run(t, p, 0, caught).Stdout), caught)
	}
	if p.Info().Tier >= TierB { // what processes share lies in files
		require.Equal(t, "3\n", string(run(t, p, 0, "from multiprocessing import Value\nprint(Value('i', 3).value)").Stdout))
	}
}

// With allow_fork a child that comes to the end of the code ends there; it does not become a second session.
func TestForkedChildEndsWithItsProgram(t *testing.T) {
	p := testPool(t, func(c *Config) { c.AllowFork, c.MinTier = true, "A" })
	r := run(t, p, 0, "import os, sys, atexit\natexit.register(lambda: print('end of', 'child' if child else 'parent', flush=True))\n"+
		"child = False\npid = os.fork()\nif pid == 0:\n    child = True\n    sys.exit(5)\n"+
		"print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if hasattr(os, 'waitstatus_to_exitcode') else 5, flush=True)")
	require.Equal(t, "ok", r.String(), "%s", r.Traceback)
	require.Equal(t, "end of child\n5\nend of parent\n", string(r.Stdout))
}

// Awaiting threads and exit functions is part of the cell: its limits end them, what was printed stays.
func TestEndOfAProgramIsWithinItsLimits(t *testing.T) {
	p := testPool(t, func(c *Config) { c.Limits.Wall, c.Limits.CPU = time.Second, 700*time.Millisecond })
	for _, code := range []string{
		"import threading, time\nprint('x', flush=True)\nthreading.Thread(target=time.sleep, args=(99,)).start()",
		"import threading\nprint('x', flush=True)\ndef f():\n    while True: pass\nthreading.Thread(target=f).start()",
		"import atexit, time\nprint('x', flush=True)\natexit.register(time.sleep, 99)",
		"import atexit\nprint('x', flush=True)\ndef f():\n    while True: pass\natexit.register(f)",
	} {
		r := run(t, p, 0, code)
		require.Contains(t, []Status{TimeoutWall, TimeoutCPU}, r.Status, "%s: %s", code, r.Stderr)
		require.Equal(t, "x\n", string(r.Stdout), code)
	}
}

// In a trajectory's session a cell awaits the threads it began, but neither those of before nor an executor's; exit functions run at
// the end of the last cell, and exit() leaves the session as it was.
func TestEndOfACellInASession(t *testing.T) {
	p := testPool(t, func(c *Config) { c.Session = SessionTrajectory })
	for _, c := range []struct{ code, want string }{
		{"import threading, time, atexit\natexit.register(print, 'bye')\n" +
			"threading.Thread(target=lambda: (time.sleep(0.1), print('mine'))).start()", "mine\n"},
		{"from concurrent.futures import ThreadPoolExecutor\npool = ThreadPoolExecutor(1)\nprint(pool.submit(abs, -3).result())", "3\n"},
		{"print(pool.submit(abs, -4).result())", "4\n"},
		{"print('before')\nexit()", "before\n"},
		{"try: input()\nexcept EOFError: print('no input')", "no input\n"},
	} {
		r := run(t, p, 1, c.code)
		require.Equal(t, c.want, string(r.Stdout), "%s: %v %s", c.code, r, r.Traceback)
		require.Equal(t, OK, r.Status)
	}
	r, err := p.RunLast(context.Background(), 1, "pool.submit(lambda: (time.sleep(0.1), print('pool')))\nprint('last')")
	require.NoError(t, err)
	require.Equal(t, "last\npool\nbye\n", string(r.Stdout), "%v %s", r, r.Traceback)
	require.Equal(t, "False\n", string(run(t, p, 1, "print('pool' in globals())").Stdout), "a session ends with its last cell")
}

// A call without threads does not pay for them.
func TestThreadingIsNotImportedForNothing(t *testing.T) {
	p := testPool(t, nil)
	r := run(t, p, 0, "import sys\nprint([m for m in ('threading', 'multiprocessing', 'subprocess', 'pydoc', 'concurrent.futures') "+
		"if m in sys.modules])")
	require.Equal(t, "[]\n", string(r.Stdout))
}
