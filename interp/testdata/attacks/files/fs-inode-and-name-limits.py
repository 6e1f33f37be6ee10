# fs-inode-and-name-limits {"want": "ok"}
import os
for f in (lambda: os.mkdir('/tmp/'+'x'*300), lambda: os.mkdir('/tmp/'+'y/'*3000), lambda: open('/tmp/\udcff','w')):
    try: f()
    except (OSError,UnicodeError) as e: print(type(e).__name__)
