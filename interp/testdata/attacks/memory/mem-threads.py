# mem-threads {"want": "ok|memory|exc:MemoryError|exc:RuntimeError|timeout_wall|timeout_cpu"}
import threading
def f():
    a=[]
    while True: a.append(bytearray(1<<20))
t=[threading.Thread(target=f) for _ in range(6)]
[x.start() for x in t];[x.join() for x in t]
