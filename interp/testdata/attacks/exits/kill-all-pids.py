# kill-all-pids {"want": "ok|timeout_cpu|timeout_wall"}
import os,signal
for p in range(2,33000):
    try: os.kill(p,signal.SIGKILL); print('BAD',p)
    except OSError: pass
