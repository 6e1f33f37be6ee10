# big-int {"want": "exc:ValueError|timeout_cpu|timeout_wall|exc:MemoryError"}
x=7**(7**9); print(len(str(x)))
