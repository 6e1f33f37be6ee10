# repr-recursive {"want": "exc:RecursionError|crashed:SIGSEGV|timeout_cpu|timeout_wall"}
class R:
    def __repr__(s): return repr([s])
print(R())
