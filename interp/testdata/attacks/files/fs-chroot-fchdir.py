# fs-chroot-fchdir {"want": "ok"}
import os
for f in (lambda: os.chroot('/tmp'), lambda: os.fchdir(os.open('/..',os.O_RDONLY)) or open('etc/shadow').read()):
    try: f(); print('BAD')
    except OSError: pass
