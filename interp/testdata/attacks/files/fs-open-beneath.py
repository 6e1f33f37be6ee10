# fs-open-beneath {"as": "native", "want": "ok"}
import os
for p in (b'/tmp/../etc/passwd',b'/proc/1/root/etc/shadow',b'/proc/self/root/etc/shadow',b'/proc/self/cwd/../etc/shadow',b'/dev/fd/3/../..'):
    fd=l.openat(-100,p,0)
    if fd!=-1: print('BAD',p)
fd=os.open('/tmp',os.O_PATH|os.O_DIRECTORY)
for p in (b'..',b'../..',b'../etc/shadow',b'../root'):
    f=l.openat(fd,p,0o200000)
    if f!=-1:
        print(sorted(os.listdir(f)))
        if 'proc' in os.listdir(f) or 'root' in os.listdir(f): print('BAD')
print(e(437,-100,b'/tmp',ctypes.create_string_buffer(24),24))
