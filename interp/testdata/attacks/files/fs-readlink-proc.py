# fs-readlink-proc {"want": "ok"}
import os
for p in ['self','1',str(os.getppid())]+[str(i) for i in range(2,400)]:
    for f in ('exe','cwd','root','fd/0','fd/3','fd/5','ns/pid','ns/user'):
        try:
            r=os.readlink('/proc/%s/%s'%(p,f))
            if p not in ('self',str(os.getpid())): print('BAD',p,f,r)
        except OSError: pass
