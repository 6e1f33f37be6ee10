// Package interp runs the Python that a model writes. That code is hostile or broken by default and arrives by the thousand: it
// must never harm the host, hang the trainer, leak, or be slow.
//
//	Pool     Run(ctx, key, code) → Result; Forget, Stats, Info, Close
//	Config   which Python, which limits; Default, Validate
//	Result   how a cell ended and what it printed
//	Tier     which fences stand: A, B, C1, C2; decided by a self-test, never silently
//
// # Process tree
//
// The supervisor (this package, in the trainer) starts its own executable again as the root of a jail (Init, init_linux.go), which
// builds a read-only root and becomes the fork server (zygote.py). That imports libraries once, never runs model code, and forks
// one session per call: pid 1 of its own pid namespace, with every fence up before it says `ready`. Sessions wait in a warm pool;
// the supervisor talks to each over a SOCK_SEQPACKET socket (fd 3), reads its output from two pipes, and ends it through a pidfd.
//
// # Threat model
//
// Model code is arbitrary native code inside its session: Python objects of the harness protect nothing. What holds is the
// kernel's: namespaces, an empty capability set, Landlock, a default-deny system call filter, rlimits, a memory cgroup. Every frame
// from a session is hostile; facts (exit, CPU time, memory, elapsed time) come from the kernel. A kernel flaw escapes all tiers.
// CPU side channels between neighbours are not addressed.
//
// # Where this departs from the design
//
// Python runs with -s -S -B, not -I: -I ignores PYTHONHASHSEED, and the environment is a fixed list anyway. A cell travels as one
// line of numbers and raw text rather than JSON, so that nothing the code can replace parses it. Cgroups are reused. Sessions are
// stopped between the cells of a trajectory, so that threads of an ended cell use no CPU. sendmsg is denied. Of the network, ipc and
// uts namespaces sessions share the fork server's, which are empty, unless paranoid. With checkpoints every saved state sleeps
// until its child dies, not only the newest: killing an older one would look to its parent like the death of a cell.
// Tier C's filter also denies every call that changes a directory or truncates by path: Landlock's first versions do not govern all
// of them. Huge pages and the options of a socket that describe its other end are denied in every tier.
//
// # Where a program ends
//
// In call mode a cell is a program, and ends as one: non-daemon threads are awaited, then atexit's functions run, in CPython's order and
// within the cell's limits; SystemExit of 0 or None is ok, and what sys.exit was given to say is on standard error. A session's cell ends
// when the non-daemon threads it began have ended; those of an executor live on with the variables, stopped between cells. Exit
// functions run after the last cell only (RunLast): nobody knows that a rollout's call was its trajectory's last, so there they never do.
// Nothing runs after a session's own death: a kill, a crash, os._exit.
//
// A cell is read as Python reads a file: without a byte order mark, with any line ends. Its __name__ is "__main__", it has no __file__.
// shims.py gives it what module site would, and says in words that processes are off.
//
// # Which Python
//
// `make python` installs requirements.txt where DefaultPython looks. Versions are read when a fork server boots, kept in Info, and held
// to the file if the environment is that one.
package interp
