# del-resurrect-storm {"want": "timeout_cpu|timeout_wall|ok|exc:RecursionError|crashed:SIGSEGV|exc:MemoryError"}
class D:
    def __del__(s): D()
D()
