# stack-overflow {"want": "crashed:SIGSEGV|exc:RecursionError|exc:MemoryError|timeout_cpu|timeout_wall"}
import sys
sys.setrecursionlimit(10**7)
def f(): return f()
def g(): return [g() for _ in (1,)]
import functools
class A:
    def __getattr__(s,n): return getattr(s,n+'x')
g()
