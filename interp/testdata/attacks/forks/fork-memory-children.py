# fork-memory-children {"want": "exc:PermissionError", "fork": "memory|timeout_wall|timeout_cpu|ok"}
import os,time
for _ in range(6):
    if os.fork()==0:
        a=[]
        while True:
            try: a.append(bytearray(4<<20))
            except MemoryError: time.sleep(9)
while True:
    try: os.wait()
    except ChildProcessError: break
