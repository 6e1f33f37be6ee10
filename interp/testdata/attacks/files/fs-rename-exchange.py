# fs-rename-exchange {"want": "ok"}
import ctypes,os
l=ctypes.CDLL(None,use_errno=True)
for a,b in ((b'/tmp',b'/usr'),(b'/tmp/x',b'@VICTIM_FILE@'),(b'@VICTIM_FILE@',b'/tmp/x'),(b'/tmp/..',b'/tmp/y')):
    for f in (0,1,2,4):
        if l.renameat2(-100,a,-100,b,f)!=-1: print('BAD',a,b,f)
