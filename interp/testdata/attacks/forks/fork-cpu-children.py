# fork-cpu-children {"want": "exc:PermissionError", "fork": "timeout_cpu|timeout_wall"}
import os
for _ in range(4):
    if os.fork()==0:
        while True: pass
while True: os.wait()
