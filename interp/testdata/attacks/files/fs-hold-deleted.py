# fs-hold-deleted {"want": "ok|exc:OSError|memory"}
import os
fs=[]
try:
    for i in range(100):
        f=open('/tmp/h','wb'); fs.append(f); os.unlink('/tmp/h'); f.write(b'x'*(4<<20)); f.flush()
except OSError as e: print(e.errno,i)
if sum(os.fstat(f.fileno()).st_size for f in fs)>70<<20: print('BAD')
for f in fs:
    try: f.truncate(0)
    except OSError: pass
