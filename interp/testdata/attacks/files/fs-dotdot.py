# fs-dotdot {"want": "ok"}
import os
for p in ('/tmp/../../../../etc/shadow','/usr/lib/../../etc/shadow','/./root/.profile','/var/log','/sys','/run','/boot','/etc/passwd','/etc/hostname','/root','/home','/mnt','/opt/wheels'):
    try: print('BAD',p,os.listdir(p) if os.path.isdir(p) else open(p).read(9))
    except OSError: pass
