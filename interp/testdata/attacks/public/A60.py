# A60 {"want": "ok alive"}
import os,signal
for p in (os.getppid(),-1,1,2):
    try: os.kill(p,signal.SIGKILL); print(p,"sent")
    except (OSError,PermissionError) as e: print(p,type(e).__name__)
