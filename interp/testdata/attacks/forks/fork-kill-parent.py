# fork-kill-parent {"want": "exc:PermissionError", "fork": "ok|timeout_wall"}
import os,signal,time
if os.fork()==0:
    try: os.kill(1,signal.SIGKILL); os.kill(1,signal.SIGSTOP)
    except OSError: pass
    os._exit(0)
os.wait()
print('alive')
