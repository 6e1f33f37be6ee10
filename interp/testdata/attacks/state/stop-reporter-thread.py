# stop-reporter-thread {"want": "ok|timeout_wall gone|exc:PermissionError"}
import os,signal,threading
for s in (signal.SIGSTOP,signal.SIGTSTP,signal.SIGTTIN):
    try: signal.raise_signal(s)
    except OSError: pass
print('on')
