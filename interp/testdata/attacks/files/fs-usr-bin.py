# fs-usr-bin {"want": "ok"}
import os
try: print(len(os.listdir('/usr/bin')))
except OSError: pass
for p in ('/bin/sh','/usr/bin/env','/usr/bin/sudo','/usr/sbin/useradd'):
    try: open(p,'rb').read(4); print('BAD',p)
    except OSError: pass
