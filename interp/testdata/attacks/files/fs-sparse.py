# fs-sparse {"want": "ok"}
try:
    f=open('/tmp/s','wb')
    try: f.truncate(1<<40); print('BAD')
    except OSError as e: print(e.errno)
    import os
    try: os.posix_fallocate(f.fileno(),0,1<<30); print('BAD')
    except OSError as e: print(e.errno)
except PermissionError: pass
