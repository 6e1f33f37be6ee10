# in-devices {"want": "ok"}
import os
for p in ('/dev/stdin','/dev/tty','/dev/console','/dev/pts/0','/dev/ptmx','/dev/fd/0'):
    try:
        fd=os.open(p,os.O_RDWR); print(p)
        if 'tty' in p or 'pt' in p or 'console' in p: print('BAD')
    except OSError: pass
import sys
print(repr(sys.stdin.read()))
