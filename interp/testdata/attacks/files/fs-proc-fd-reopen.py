# fs-proc-fd-reopen {"want": "ok"}
import os
for n in (0,1,2,3):
    for m in (os.O_RDONLY,os.O_RDWR):
        for d in ('/proc/self/fd/%d','/dev/fd/%d'):
            try: fd=os.open(d%n,m|os.O_NONBLOCK); print('opened',d%n)
            except OSError: pass
print('end')
