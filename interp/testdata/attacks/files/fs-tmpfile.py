# fs-tmpfile {"want": "ok"}
import os
try:
    fd=os.open('/tmp',os.O_TMPFILE|os.O_RDWR,0o600); os.write(fd,b'x'); os.link('/proc/self/fd/%d'%fd,'/tmp/back'); print('linked')
except OSError as e: print(e.errno)
for d in ('/','/dev','/usr','/var/tmp','/home'):
    try: os.open(d,os.O_TMPFILE|os.O_RDWR,0o600); print('BAD',d)
    except OSError: pass
