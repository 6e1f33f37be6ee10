# fs-fds {"want": "ok"}
import os
open_fds=[]
for fd in range(0,300):
    try: os.fstat(fd); open_fds.append(fd)
    except OSError: pass
print(open_fds)
if open_fds!=[0,1,2,3]: print('BAD',open_fds)
