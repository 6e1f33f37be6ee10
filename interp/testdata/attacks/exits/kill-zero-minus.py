# kill-zero-minus {"want": "ok|crashed|timeout_wall"}
import os,signal
for p in (0,-1,-2,1):
    for s in (signal.SIGTERM,signal.SIGSTOP,signal.SIGKILL,signal.SIGHUP):
        try: os.kill(p,s)
        except OSError: pass
print('here')
