# fs-mmap-library-write {"want": "ok;ok", "has": "True"}
import mmap,os
fd=os.open(os.__file__,os.O_RDONLY)
try: mmap.mmap(fd,0,mmap.MAP_SHARED,mmap.PROT_WRITE|mmap.PROT_READ); print('BAD')
except OSError: pass
m=mmap.mmap(fd,0,mmap.MAP_PRIVATE,mmap.PROT_WRITE|mmap.PROT_READ); m[0:3]=b'BAD'; print('private')
# next cell
import os
print(open(os.__file__).read(3)!='BA'+'D')
